"""Small labelled folders, and a way to import them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labelled_pictures import ALIASES, coco, paint
from shelfgap_datasets.intake.importer import ImportReport, import_source


@pytest.fixture
def coco_source(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a COCO source folder of n pictures with one box each."""

    def make(count: int = 3, **changes: Any) -> Path:
        root = tmp_path / "source"
        names = [f"images/{i}.jpg" for i in range(count)]
        for seed, name in enumerate(names):
            paint(root / name, seed)
        document = coco({name: [[10, 20, 30, 20]] for name in names}) | changes
        (root / "labels.json").write_text(json.dumps(document))
        return root

    return make


@pytest.fixture
def run_import(tmp_path: Path) -> Callable[..., tuple[ImportReport, Path]]:
    """Return a function that imports a folder to a fresh target with the aliases of this suite."""

    def run(source: Path, **options: Any) -> tuple[ImportReport, Path]:
        to = options.pop("to", tmp_path / "dataset")
        return import_source(source, to, **{"class_aliases": ALIASES, "allow_unstated": True, **options}), to

    return run
