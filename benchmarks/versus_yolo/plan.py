"""What is compared: the arguments of the command, and the data that follow from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from shelfgap_datasets.coco import annotations_hash, load_dataset, save_dataset
from shelfgap_datasets.intake.importer import import_source
from shelfgap_datasets.schema import Dataset
from shelfgap_datasets.split import split_dataset
from shelfgap_flows.params import Params

from versus_yolo.folds import fold_datasets
from versus_yolo.work import Identity, NotYetError, cached, file_hash, short_hash

STEPS = ("ours", "peer", "export", "score", "latency", "report")


@dataclass(frozen=True)
class Fold:
    """One division of the photographs."""

    number: int  # from 0
    count: int
    root: Path  # dataset directory of the pictures
    dataset: Dataset

    @property
    def label(self) -> str:
        """How it is called in messages."""
        return f"fold {self.number + 1} of {self.count}"

    @cached_property
    def identity(self) -> Identity:
        """All that the division depends on."""
        sides = [f"{image.sha256} {image.split} {image.boxes}" for image in self.dataset.images]
        digest = hashlib.sha256("\n".join([*self.dataset.detector_classes, *sides]).encode()).hexdigest()
        return {"fold": self.number, "folds": self.count, "images": digest[:16]}


@dataclass(frozen=True)
class Run:
    """A training whose folds are all done: a preset of ours, or YOLO11n for a time."""

    name: str
    is_ours: bool
    folders: tuple[Path, ...]  # one a fold


@dataclass(frozen=True)
class Plan:
    """The arguments."""

    source: Path
    work: Path
    folds: int
    presets: tuple[str, ...]
    peer_epochs: int
    peer_python: Path | None
    params: Params
    params_root: Path  # what `initial_weights` is relative to
    turns: int
    epochs_cap: int | None
    steps: tuple[str, ...]

    def step(self, name: str, path: Path, identity: Identity, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what a step made before, else let it work if it was asked for.

        Raises:
            NotYetError: it was not.
        """

        def work() -> dict[str, Any]:
            if name not in self.steps:
                raise NotYetError(f"{path}: not there yet; run with --steps {name}")
            return make()

        return cached(path, identity, work)

    def folder(self, name: str, fold: Fold, identity: Identity) -> Path:
        """Return the folder of one training; other data or another recipe have another one."""
        return self.work / "runs" / f"{name}-{short_hash(identity)}-fold{fold.number + 1}of{fold.count}"

    def prepare(self) -> tuple[Fold, ...]:
        """Import and split the photographs, unless that is done, and return the folds."""
        root = self.work / "data"
        sections = self.params.dataset

        def divided() -> dict[str, Any]:
            print(f"importing {self.source}", flush=True)
            import_source(self.source, root, class_aliases=sections.class_aliases, allow_unstated=True)
            save_dataset(root, split_dataset(root, load_dataset(root), sections.split, sections.duplicates))
            return {"annotations": annotations_hash(root)}

        cached(self.work / "data.json", {**sections.model_dump(), "source": str(self.source.resolve())}, divided)
        dataset = load_dataset(root)
        datasets = fold_datasets(dataset, self.folds, sections.split)
        return tuple(Fold(number, self.folds, root, fold) for number, fold in enumerate(datasets))


def model_identity(path: Path) -> Identity:
    """Return what an exported model is known by."""
    return {"model": file_hash(path)[:16]}
