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
# # Explore a dataset
#
# What is in a dataset directory before anything is trained on it: pictures with their boxes, sizes, light, splits,
# near-duplicates and faults. Set `SHELFGAP_DATASET` to a directory that `shelfgap data import` made; without it a few
# synthetic shelves are rendered.

# %%
import os
import tempfile
from pathlib import Path

from IPython.display import HTML, Image, Markdown, display
from shelfgap_datasets.card.facts import collect_facts
from shelfgap_datasets.card.page import to_markdown
from shelfgap_datasets.coco import load_dataset, save_dataset
from shelfgap_datasets.diff import diff_datasets
from shelfgap_datasets.diff import to_markdown as diff_markdown
from shelfgap_datasets.split import split_dataset
from shelfgap_datasets.synthetic.stills import synthesize
from shelfgap_flows.params import workspace_params

params = workspace_params(Path(os.environ.get("SHELFGAP_WORKSPACE", "..")))
if "SHELFGAP_DATASET" in os.environ:
    root = Path(os.environ["SHELFGAP_DATASET"])
else:
    root = Path(tempfile.mkdtemp()) / "stills"
    stills = synthesize(root, params.synth.model_copy(update={"count": 30, "height": 240, "width": 320}), workers=1)
    divided = split_dataset(root, stills, params.dataset.split, params.dataset.duplicates)
    save_dataset(root, divided)
dataset = load_dataset(root)
facts = collect_facts(root, params.dataset.duplicates, pictures=12)
f"{root}: {facts.images} pictures, labelled with {', '.join(dataset.annotated_classes)}"

# %% [markdown]
# ## Pictures

# %%
display(
    HTML("".join(f'<img src="{url}" title="{name}" style="height:150px;margin:2px">' for name, url in facts.thumbnails))
)

# %% [markdown]
# ## Figures
#
# The same as on the dataset card (`shelfgap data card`).

# %%
display(Markdown(to_markdown(facts)))

# %% [markdown]
# ## Near-duplicates
#
# Pictures that show one scene; the split keeps them on one side.

# %%
side = {image.file_name: image.split for image in dataset.images}
for names in facts.duplicates[:5]:
    print(", ".join(f"{name} ({side[name]})" for name in names))
assert all(len({side[name] for name in names}) == 1 for names in facts.duplicates), "a scene stands on two sides"

# %% [markdown]
# ## Two versions
#
# What `shelfgap data diff` says of a version without its first picture.

# %%
smaller = type(dataset)(dataset.images[1:], dataset.annotated_classes)
display(Markdown(diff_markdown(diff_datasets(dataset, smaller), "all", "without the first")))
first = dataset.images[0]
display(Image(filename=str(root / "images" / first.file_name)) if (root / "images").is_dir() else first.file_name)
