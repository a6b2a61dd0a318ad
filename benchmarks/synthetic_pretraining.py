"""What synthetic stills and grown gaps bring on real photographs, paired with training on the photographs alone.

    python benchmarks/synthetic_pretraining.py PHOTOGRAPHS --work DIR [--seeds 2]

Recipes, each with every seed: `real` (the photographs alone), `synthetic` (stills alone), `pretrained` (from the
weights of `synthetic` on to the photographs), `grown` (gaps enlarged and copied in the first half of the epochs,
originals in the second); `real-quarter` and `pretrained-quarter` have a quarter of the photographs' groups to train on.
All are scored on the test split of the photographs through the edge runtime; the interval of a difference comes from
2,000 draws of whole scenes. What is done is kept in the work folder and not done again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from shelfgap_datasets.coco import load_dataset, save_dataset
from shelfgap_datasets.intake.importer import import_source
from shelfgap_datasets.schema import Dataset, ImageRecord
from shelfgap_datasets.split import split_dataset
from shelfgap_datasets.synthetic.stills import synthesize
from shelfgap_edge.postprocess import Detections
from shelfgap_edge.runtime import Detector
from shelfgap_export.bundle import make_manifest
from shelfgap_export.onnx_export import export_core, with_float_front_end
from shelfgap_flows.params import Params, load_params
from shelfgap_training.bootstrap import ClassMatches, class_matches, mean_ap50, paired_difference
from shelfgap_training.checkpoint import TrainedDetector, load_detector, save_detector
from shelfgap_training.evaluate import score_images
from shelfgap_training.train import train

RECIPES = {  # name -> the recipe that it is compared with
    "real": "real",
    "synthetic": "real",
    "pretrained": "real",
    "grown": "real",
    "real-quarter": "real-quarter",
    "pretrained-quarter": "real-quarter",
}


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    arguments = parser.parse_args()
    params = load_params(arguments.params)
    real, stills = _datasets(arguments.photographs, arguments.work, params)
    wanted = [name for name in RECIPES if name in arguments.recipes or name in map(RECIPES.get, arguments.recipes)]
    if any(name.startswith("pretrained") for name in wanted) and "synthetic" not in wanted:
        wanted.insert(0, "synthetic")
    runs: dict[str, list[list[ClassMatches]]] = {name: [] for name in wanted}
    for seed in range(1, arguments.seeds + 1):
        for name in wanted:
            # in a process of its own: its workers are forked, which threads of this one would not survive
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                pool.submit(_train, name, seed, arguments.work, real, stills, params).result()
            runs[name].append(_score(load_detector(arguments.work / f"{name}-{seed}.pt"), real))
    test = load_dataset(real).of_split("test")
    scenes = [image.group or image.file_name for image in test]
    once = np.ones(len(test), np.int64)
    rows = {}
    for name in wanted:
        if RECIPES[name] not in runs:
            continue
        ap50 = [mean_ap50(run, once) for run in runs[name]]
        gain = paired_difference(runs[name], runs[RECIPES[name]], scenes)
        rows[name] = {"ap50": ap50, "gain": gain._asdict()}
        shown = ", ".join(f"{value:.4f}" for value in ap50)
        bounds = f"[{gain.low:+.4f}, {gain.high:+.4f}]"
        print(f"{name:<20}AP50 {np.mean(ap50):.4f} ({shown})   minus {RECIPES[name]} {gain.value:+.4f} {bounds}")
    (arguments.work / "result.json").write_text(json.dumps(rows, indent=1) + "\n")


def _datasets(photographs: Path, work: Path, params: Params) -> tuple[Path, Path]:
    real, stills = work / "real", work / "stills"
    if not real.is_dir():
        import_source(photographs, real, class_aliases=params.dataset.class_aliases, allow_unstated=True)
    if not stills.is_dir():
        synthesize(stills, params.synth)
    for root in (real, stills):
        dataset = load_dataset(root)
        if any(image.split is None for image in dataset.images):
            save_dataset(root, split_dataset(root, dataset, params.dataset.split, params.dataset.duplicates))
    return real, stills


def _train(name: str, seed: int, work: Path, real: Path, stills: Path, params: Params) -> None:
    path = work / f"{name}-{seed}.pt"
    if path.is_file():
        return
    recipe = params.train.model_copy(update={"seed": seed})
    if name == "grown":
        growth = {"gap_growth_epochs": recipe.epochs // 2, "gap_growth_probability": 1.0}
        recipe = recipe.model_copy(update={"augment": recipe.augment.model_copy(update=growth)})
    root = stills if name == "synthetic" else real
    dataset = load_dataset(root)
    if name.endswith("quarter"):
        dataset = _quarter(dataset)
    scratch = work / f"scratch-{name}-{seed}"
    scratch.mkdir(exist_ok=True)
    initial = load_detector(work / f"synthetic-{seed}.pt") if name.startswith("pretrained") else None
    result = train(root, dataset, params.model, recipe, scratch=scratch, initial=initial)
    print(f"{name} {seed}: {result.seconds:.0f} s, validation AP50 {result.val_ap50:.4f}", flush=True)
    save_detector(path, TrainedDetector(result.model, dataset.detector_classes, "", None))


def _quarter(dataset: Dataset) -> Dataset:
    """Leave a quarter of the training groups, and validation and test whole."""

    def is_kept(image: ImageRecord) -> bool:
        digest = hashlib.sha256(f"quarter\0{image.group}".encode()).digest()
        return image.split != "train" or digest[0] < 64

    return replace(dataset, images=tuple(filter(is_kept, dataset.images)))


def _score(trained: TrainedDetector, root: Path) -> list[ClassMatches]:
    """Match the gaps that a detector finds in the test split."""
    size = trained.model.params.input_size
    model = with_float_front_end(export_core(trained.model), size).SerializeToString()
    manifest = make_manifest(name="benchmark", classes=trained.classes, input_size=size)
    scored = score_images(Detector(manifest, model), root, load_dataset(root).of_split("test"), ("gap",))
    found = [Detections(d.boxes_xyxy, d.scores, d.class_ids) for d in scored.detections]
    return class_matches(scored.truths, found, len(scored.classes))


if __name__ == "__main__":
    main()
