# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From shelf to bundle
#
# What a released workspace holds: its pictures and their labels, what training makes of them, and what the
# bundle finds on scenes it was never trained on. Run `make release` first; set `SHELFGAP_WORKSPACE` for another
# workspace than the repository.

# %%
import json
import os
from pathlib import Path

import numpy as np
from PIL import Image
from shelfgap_datasets.coco import load_dataset
from shelfgap_datasets.datamodule import EpochOrder, ShelfImages
from shelfgap_datasets.frames import load_resized
from shelfgap_datasets.pictures import read_picture
from shelfgap_datasets.transforms import TrainTransform
from shelfgap_edge.postprocess import Detections
from shelfgap_edge.runtime import Detector
from shelfgap_flows.workspace import Workspace
from shelfgap_training.gallery import contact_sheet, draw_detections
from shelfgap_training.metrics import Truth

here = Path.cwd()
workspace = Workspace(Path(os.environ.get("SHELFGAP_WORKSPACE", here.parent if here.name == "notebooks" else here)))
dataset = load_dataset(workspace.dataset)
params = workspace.params()
size = params.model.input_size
classes = dataset.annotated_classes
none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
{split: len(dataset.of_split(split)) for split in ("train", "val", "test")}

# %% [markdown]
# ## Labels
# Labelled boxes in green, on training images at the size that the network sees.

# %%
train = ShelfImages(workspace.dataset, dataset.of_split("train"), classes, size)
samples = [train[index][1] for index in range(min(6, len(train)))]
Image.fromarray(
    contact_sheet(
        [draw_detections(s.image_rgb, none, classes, Truth(s.boxes_xyxy, s.class_ids)) for s in samples],
        columns=3,
        cell=size,
    )
)

# %% [markdown]
# ## Augmentation
# The same images as the network meets them in the first epoch. Boxes follow their pixels.

# %%
train.transform = TrainTransform(params.train.augment, size)
keys = list(EpochOrder(len(train), params.train.seed, epoch=0))[:6]
samples = [train[key][1] for key in keys]
Image.fromarray(
    contact_sheet(
        [draw_detections(s.image_rgb, none, classes, Truth(s.boxes_xyxy, s.class_ids)) for s in samples],
        columns=3,
        cell=size,
    )
)

# %% [markdown]
# ## Detections of the bundle on test scenes
# Green: labelled. Red: gap found; orange: low; blue: occluder.

# %%
detector = Detector.load(workspace.bundle)
pictures = []
for record in dataset.of_split("test")[:6]:
    frame = load_resized(read_picture(workspace.dataset, record.file_name), size)
    scale = np.array([size[1] / record.width, size[0] / record.height] * 2, np.float32)
    truth = Truth(record.boxes_xyxy() * scale, record.class_ids(classes))
    pictures.append(draw_detections(frame, detector.detect(frame), detector.manifest.classes, truth))
Image.fromarray(contact_sheet(pictures, columns=3, cell=size))

# %% [markdown]
# ## Figures
# The same that the gate judged.

# %%
evaluation = json.loads((workspace.reports / "evaluation.json").read_text())
for precision, result in evaluation["test"].items():
    row = {name: result[name]["value"] for name in ("ap50", "ap50_95", "precision", "recall", "f1")}
    print(precision, row)
    for name, figures in result["by_class"].items():
        print("   ", name, figures)
