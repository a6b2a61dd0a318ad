"""A student learns from its teacher: what it says comes nearer, and a teacher that does not fit is refused."""

from __future__ import annotations

import pytest
import torch
from shelfgap_training.checkpoint import CheckpointError, TrainedDetector
from shelfgap_training.distillation import distillation_losses, require_teacher
from shelfgap_training.model import GapDetector, RawOutput
from shelfgap_training.params import LossParams
from shelfgap_training.train import train
from small_network import ASSIGNMENT, MODEL, TRAIN, dark_patches

LOSS = LossParams(assignment=ASSIGNMENT, box_weight=2.0)
WIDER = MODEL.model_copy(update={"neck_channels": 24})


def test_the_loss_is_nothing_for_a_copy_and_its_gradient_leads_there():
    torch.manual_seed(0)
    teacher = RawOutput(torch.randn(2, 2, 12, 16), torch.rand(2, 4, 12, 16) * 20 + 1)
    assert distillation_losses(teacher, teacher, LOSS).total < 1e-5
    logits = torch.zeros(2, 2, 12, 16, requires_grad=True)
    raw = RawOutput(logits, teacher.ltrb)
    (gradient,) = torch.autograd.grad(distillation_losses(raw, teacher, LOSS).total, logits)
    assert (torch.sign(-gradient) == torch.sign(teacher.logits)).all()


def test_a_teacher_that_is_sure_of_nothing_teaches_no_box():
    silent = RawOutput(torch.full((1, 1, 12, 16), -12.0), torch.ones(1, 4, 12, 16))
    raw = RawOutput(torch.zeros(1, 1, 12, 16), torch.full((1, 4, 12, 16), 9.0))
    losses = distillation_losses(raw, silent, LOSS)
    assert losses.box == 0
    assert losses.score > 0


def test_a_teacher_of_other_classes_or_size_is_refused():
    detector = TrainedDetector(GapDetector(WIDER, 1), ("gap",), "", None)
    assert require_teacher(detector, ("gap",), MODEL) is detector.model
    with pytest.raises(
        CheckpointError, match="the teacher knows gap at 96x128 pixels, the student is to learn gap, low"
    ):
        require_teacher(detector, ("gap", "low"), MODEL)
    with pytest.raises(CheckpointError, match="at 64x128; train one alike"):
        require_teacher(detector, ("gap",), MODEL.model_copy(update={"input_height": 64}))


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
