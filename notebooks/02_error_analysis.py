# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Error analysis
#
# A released workspace from its labels to the mistakes of its bundle: what training sees, what the bundle finds on test
# scenes, where it errs, and whether its scores can be believed. Run `make release` first; set `SHELFGAP_WORKSPACE` for
# another workspace than the repository.

# %%
import json
import os
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from IPython.display import Image, Markdown, display
from PIL import Image as Picture
from shelfgap_datasets.coco import load_dataset
from shelfgap_datasets.datamodule import EpochOrder, ShelfImages
from shelfgap_datasets.transforms import TrainTransform
from shelfgap_edge.postprocess import Detections
from shelfgap_edge.runtime import Detector
from shelfgap_flows.workspace import Workspace
from shelfgap_training.charts import draw_curves
from shelfgap_training.evaluate import evaluate, score_images
from shelfgap_training.gallery import contact_sheet, draw_detections, worst_sheet
from shelfgap_training.metrics import Truth, at_threshold, match_class
from shelfgap_training.report import TITLES, errors_tables, figure_text, markdown_table, slices_table

here = Path.cwd()
workspace = Workspace(Path(os.environ.get("SHELFGAP_WORKSPACE", here.parent if here.name == "notebooks" else here)))
params = workspace.params()
dataset = load_dataset(workspace.dataset)
detector = Detector.load(workspace.bundle, threads=os.cpu_count() or 1)
classes, thresholds = detector.manifest.classes, detector.manifest.score_thresholds
{split: len(dataset.of_split(split)) for split in ("train", "val", "test")}

# %% [markdown]
# ## What training sees
# Training pictures at the size of the network with their labels in green, and below them what augmentation makes of
# them in the first epoch. Boxes follow their pixels.

# %%
size = detector.manifest.input_size
none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
train = ShelfImages(workspace.dataset, dataset.of_split("train"), classes, size)
plain = [train[index][1] for index in range(min(3, len(train)))]
train.transform = TrainTransform(params.train.augment, size)
augmented = [train[key][1] for key in list(EpochOrder(len(train), params.train.seed, epoch=0))[:3]]
drawn = [draw_detections(s.image_rgb, none, classes, Truth(s.boxes_xyxy, s.class_ids)) for s in (*plain, *augmented)]
display(Picture.fromarray(contact_sheet(drawn, columns=3, cell=size)))

# %% [markdown]
# ## Figures on the test split
# Every candidate of the bundle on every test picture, scored at the operating point that was frozen in it. In brackets
# the interval that draws of whole groups of pictures give.

# %%
scored = score_images(detector, workspace.dataset, dataset.of_split("test"), dataset.annotated_classes)
evaluation = evaluate(workspace.dataset, scored, thresholds, detector.manifest.default_precision, params.evaluation)
display(
    Markdown(
        markdown_table(
            ["", "all", *evaluation["by_class"]],
            [
                [
                    title,
                    figure_text(evaluation[key]),
                    *(figure_text(one[key]) for one in evaluation["by_class"].values()),
                ]
                for key, title in TITLES.items()
            ],
        )
    )
)
gated = json.loads((workspace.reports / "evaluation.json").read_text())["test"][detector.manifest.default_precision]
print(f"AP50 that the gate judged: {figure_text(gated['ap50'])}")

# %% [markdown]
# ## The worst pictures
# Labelled boxes are green when found, else yellow. Detections have the colour of their class (gap red, low orange,
# occluder blue), thin when they hit, thick with the kind of error otherwise.

# %%
display(Picture.fromarray(worst_sheet(workspace.dataset, scored, thresholds, 10)))

# %% [markdown]
# ## Kinds of errors

# %%
for side, table in errors_tables(evaluation["errors"]).items():
    display(Markdown(f"{side}\n\n{table}"))
judged = scored.judged(thresholds)
kinds = Counter(kind for image in judged for kind in image.mistakes)
print("pictures with such a mistake:", dict(kinds.most_common()))

# %% [markdown]
# ## Slices
# Where it is weak: light, blur and store of the picture, size and place of the box.

# %%
display(Markdown(slices_table(evaluation["slices"])))

# %% [markdown]
# ## Curves and calibration
# Left: what another operating point would give. Right: on the diagonal a score of 0.7 finds a box in seven of ten.

# %%
with TemporaryDirectory() as folder:
    path = Path(folder) / "curves.png"
    draw_curves(path, scored.matches(thresholds), evaluation["calibration"], scored.classes)
    display(Image(path.read_bytes()))

# %% [markdown]
# ## Another operating point
# For a store that would rather miss a gap than call its staff in vain, or the reverse.

# %%
gap = scored.classes.index("gap")
matches = match_class(scored.truths, scored.detections, gap)
rows = []
for factor in (0.6, 0.8, 1.0, 1.2, 1.5):
    point = at_threshold(matches, factor * thresholds["gap"])
    rates = (f"{rate:.2f}" for rate in (factor * thresholds["gap"], point.precision, point.recall, point.f1))
    rows.append([*rates, point.detections - point.true_positives, point.boxes - point.true_positives])
display(Markdown(markdown_table(["threshold", "precision", "recall", "F1", "false alarms", "missed"], rows)))
