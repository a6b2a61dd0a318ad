"""A network small enough to train in a test, and data that it can learn."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image
from shelfgap_datasets.coco import save_dataset
from shelfgap_datasets.params import AugmentParams
from shelfgap_datasets.schema import Box, Dataset, ImageRecord, Split
from shelfgap_training.params import (
    AssignmentParams,
    DistillationParams,
    ImitationParams,
    LossParams,
    ModelParams,
    ProgressiveParams,
    TrainParams,
)

MODEL = ModelParams(
    input_height=96,
    input_width=128,
    stage_channels=(8, 16, 16, 16),
    stage_blocks=(1, 2, 1, 1),
    neck_channels=16,
    head_channels=24,
    max_detections=20,
)
AUGMENT = AugmentParams(
    gap_growth_epochs=0,
    gap_growth_probability=0.0,
    mosaic_probability=0.2,
    flip_probability=0.5,
    scale=(0.9, 1.1),
    translate=0.05,
    rotate_degrees=0,
    shear_degrees=0,
    colour_probability=0.2,
    degrade_probability=0.1,
    min_visibility=0.3,
)
ASSIGNMENT = AssignmentParams(cells_per_box=5, score_power=1.0, iou_power=6.0)
TRAIN = TrainParams(
    seed=1,
    initial_weights=None,
    epochs=3,
    batch_size=4,
    learning_rate=0.004,
    weight_decay=0.01,
    warmup_epochs=1,
    ema_decay=0.8,
    validate_every_epochs=1,
    loss=LossParams(assignment=ASSIGNMENT, box_weight=2.0),
    imitation=ImitationParams(epochs=0, size_px=64),
    progressive=ProgressiveParams(share=0.0, scale=1.0),
    distillation=DistillationParams(teacher=None, weight=1.0),
    augment=AUGMENT,
)


def dark_patches(root: Path, train: int = 12, val: int = 4, test: int = 4) -> Dataset:
    """Write a dataset of bright noise with one or two dark patches, each a gap."""
    rng = np.random.default_rng(0)
    records = []
    (root / "images").mkdir(parents=True)
    splits: list[Split] = ["train"] * train + ["val"] * val + ["test"] * test
    for number, split in enumerate(splits):
        image = rng.integers(120, 255, (96, 128, 3), np.uint8)
        boxes = []
        for left in (6, 70)[: 1 + number % 2]:
            x, y = left + int(rng.integers(0, 20)), int(rng.integers(5, 50))
            image[y : y + 32, x : x + 30] = 15
            boxes.append(Box("gap", (x, y, x + 30, y + 32)))
        name = f"{number}.png"
        Image.fromarray(image).save(root / "images" / name)
        digest = hashlib.sha256((root / "images" / name).read_bytes()).hexdigest()
        records.append(
            ImageRecord(
                file_name=name,
                width=128,
                height=96,
                sha256=digest,
                license="CC0-1.0",
                consent="synthetic",
                source=name,
                group=str(number),
                split=split,
                boxes=tuple(boxes),
            )
        )
    dataset = Dataset(tuple(records), ("gap",))
    save_dataset(root, dataset)
    return dataset
