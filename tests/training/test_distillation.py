"""A student learns from its teacher: what it says comes nearer, and a teacher that does not fit is refused."""

from __future__ import annotations

import pytest
import torch
from shelfgap_training.assignment import cell_centres
from shelfgap_training.checkpoint import CheckpointError, TrainedDetector
from shelfgap_training.distillation import Said, ask, distillation_losses, require_teacher
from shelfgap_training.losses import to_boxes
from shelfgap_training.model import GapDetector, RawOutput
from shelfgap_training.params import LossParams
from shelfgap_training.train import train
from small_network import ASSIGNMENT, MODEL, TRAIN, dark_patches

LOSS = LossParams(assignment=ASSIGNMENT, box_weight=2.0)
WIDER = MODEL.model_copy(update={"neck_channels": 24})
LARGER = WIDER.model_copy(update={"input_height": 128, "input_width": 192})


class OneBox:
    """A teacher of pictures of 128 x 192 that says one box of everything, and is sure where it stands."""

    params = LARGER

    def __call__(self, pixels):
        assert pixels.shape[2:] == (128, 192)
        xs, ys = cell_centres(16, 24, pixels.device)
        x1, y1, x2, y2 = 48.0, 32.0, 144.0, 64.0
        ltrb = torch.stack([xs - x1, ys - y1, x2 - xs, y2 - ys])[None]
        inside = (ltrb > 0).all(dim=1, keepdim=True)
        return RawOutput(torch.where(inside, 9.0, -9.0), ltrb)


def test_the_loss_is_nothing_for_a_copy_and_its_gradient_leads_there():
    torch.manual_seed(0)
    teacher = RawOutput(torch.randn(2, 2, 12, 16), torch.rand(2, 4, 12, 16) * 20 + 1)
    said = Said(teacher.logits.sigmoid(), to_boxes(teacher.ltrb))
    assert distillation_losses(teacher, said, LOSS).total < 1e-5
    logits = torch.zeros(2, 2, 12, 16, requires_grad=True)
    raw = RawOutput(logits, teacher.ltrb)
    (gradient,) = torch.autograd.grad(distillation_losses(raw, said, LOSS).total, logits)
    assert (torch.sign(-gradient) == torch.sign(teacher.logits)).all()


def test_a_teacher_that_is_sure_of_nothing_teaches_no_box():
    silent = Said(torch.full((1, 1, 12, 16), 1e-5), torch.ones(1, 4, 12, 16))
    raw = RawOutput(torch.zeros(1, 1, 12, 16), torch.full((1, 4, 12, 16), 9.0))
    losses = distillation_losses(raw, silent, LOSS)
    assert losses.box == 0
    assert losses.score > 0


def test_a_teacher_of_the_same_size_is_taken_at_its_word():
    torch.manual_seed(0)
    teacher, pixels = GapDetector(WIDER, 2).eval(), torch.rand(2, 3, 96, 128)
    with torch.no_grad():
        raw = teacher(pixels)
    said = ask(teacher, pixels, MODEL.input_size)
    torch.testing.assert_close(said.scores, raw.logits.sigmoid(), rtol=0, atol=0)
    torch.testing.assert_close(said.boxes_xyxy, to_boxes(raw.ltrb), rtol=0, atol=0)


def test_what_a_teacher_of_larger_pictures_says_is_brought_to_the_cells_of_the_student():
    said = ask(OneBox(), torch.zeros(1, 3, 96, 128), MODEL.input_size)
    assert said.scores.shape == (1, 1, 12, 16)
    box = torch.tensor([32.0, 24.0, 96.0, 48.0])  # in 96 x 128
    torch.testing.assert_close(said.boxes_xyxy[0].flatten(1).T, box.expand(12 * 16, 4))
    sure = (said.scores[0, 0] > 0.5).nonzero()
    assert sure.amin(0).tolist() == [3, 4]  # the cells from 24 and 32 pixels
    assert sure.amax(0).tolist() == [5, 11]  # to 48 and 96


def test_small_pictures_are_shown_as_small_to_the_teacher():
    seen = []
    teacher = GapDetector(LARGER, 1).eval()
    teacher.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    assert ask(teacher, torch.zeros(1, 3, 64, 64), MODEL.input_size).scores.shape == (1, 1, 8, 8)
    assert seen == [(1, 3, 96, 96)]  # of 85 and 96, the nearest multiples of 32


def test_a_teacher_of_other_classes_is_refused():
    detector = TrainedDetector(GapDetector(WIDER, 1), ("gap",), "", None)
    assert require_teacher(detector, ("gap",)) is detector.model
    with pytest.raises(CheckpointError, match="the teacher knows gap, the student is to learn gap, low; train one"):
        require_teacher(detector, ("gap", "low"))


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*")
def test_a_student_is_trained_beside_its_teacher_and_keeps_nothing_of_it(tmp_path):
    dataset = dark_patches(tmp_path / "data")
    teacher = TrainedDetector(GapDetector(WIDER, 1).eval(), dataset.detector_classes, "", None)
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    alone = train(tmp_path / "data", dataset, MODEL, TRAIN, scratch=tmp_path / "alone", workers=0)
    taught = train(tmp_path / "data", dataset, MODEL, TRAIN, scratch=tmp_path / "taught", workers=0, teacher=teacher)
    assert taught.model.state_dict().keys() == alone.model.state_dict().keys()
    assert any((a != b).any() for a, b in zip(alone.model.parameters(), taught.model.parameters(), strict=True))
    for name, value in teacher.model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, msg=name)
