"""Import and split of real photographs, against scene groups that somebody else worked out."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import pytest
from labelled_pictures import ALIASES
from shelfgap_datasets.checks import check_dataset
from shelfgap_datasets.coco import load_dataset, save_dataset
from shelfgap_datasets.intake.importer import import_source
from shelfgap_datasets.params import DuplicateParams, SplitParams
from shelfgap_datasets.split import split_dataset

SOURCE = Path(__file__).parents[3] / "shared" / "data" / "shelf-gaps-a"
SPLIT = SplitParams(val_fraction=0.15, test_fraction=0.2, salt="shelfgap-1")
DUPLICATES = DuplicateParams(max_hash_distance=6)

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not SOURCE.is_dir(), reason=f"{SOURCE}: not on this machine"),
]


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    to = tmp_path_factory.mktemp("real") / "dataset"
    report = import_source(SOURCE, to, class_aliases=ALIASES, allow_unstated=True)
    divided = split_dataset(to, load_dataset(to), SPLIT, DUPLICATES)
    save_dataset(to, divided)
    return to, report, divided


def test_both_sets_come_in_together(imported):
    _, report, divided = imported
    assert report.images == len(divided.images) == 800
    assert report.merged == 197  # pictures that are byte for byte in both sets
    assert report.boxes["gap"] == 3086
    assert any("Disorganized" in warning for warning in report.warnings)


def test_the_splits_are_sound_and_of_the_wanted_size(imported):
    to, _, divided = imported
    assert check_dataset(to, DUPLICATES).passed
    shares = {side: len(divided.of_split(side)) / 800 for side in ("train", "val", "test")}
    assert shares["val"] == pytest.approx(0.15, abs=0.05)
    assert shares["test"] == pytest.approx(0.2, abs=0.06)


def test_no_scene_of_an_independent_grouping_stands_in_two_splits(imported):
    _, _, divided = imported
    with (SOURCE / "groups.csv").open() as file:
        scene_of = {f"{r['set']}/{r['split']}/images/{r['image']}": r["scene_group"] for r in csv.DictReader(file)}
    sides = defaultdict(set)
    for image in divided.images:
        sides[scene_of[image.source]].add(image.split)
    assert len(sides) > 600
    assert [scene for scene, found in sides.items() if len(found) > 1] == []
