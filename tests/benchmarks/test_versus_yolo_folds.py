"""Folds keep scenes whole, test each scene once, and never move one when others come."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shelfgap_datasets.params import SplitParams
from shelfgap_datasets.schema import Dataset, DatasetError, ImageRecord
from shelfgap_datasets.split import assign
from versus_yolo.folds import fold_datasets, fold_side

SPLIT = SplitParams(val_fraction=0.15, test_fraction=0.2, salt="shelfgap-1")


def dataset(groups: list[str]) -> Dataset:
    """Two images a group, with the project's own split."""
    images = []
    for group in groups:
        for view in range(2):
            name = f"{group}-{view}.jpg"
            record = ImageRecord(
                file_name=name, width=9, height=9, sha256=name, license="CC0-1.0", consent="synthetic", source=name
            )
            images.append(replace(record, group=group, split=assign(group, SPLIT)))
    return Dataset(tuple(images), ("gap",))


@settings(deadline=None)
@given(group=st.text(min_size=1, max_size=20), count=st.integers(2, 9))
def test_every_group_is_tested_in_exactly_one_fold(group, count):
    sides = [fold_side(group, fold, count, SPLIT) for fold in range(count)]
    assert sides.count("test") == 1


@pytest.mark.parametrize("count", [2, 3, 5])
def test_shares_are_as_asked(count):
    groups = [f"scene {number}" for number in range(3000)]
    for fold in range(count):
        shares = Counter(fold_side(group, fold, count, SPLIT) for group in groups)
        assert shares["test"] / 3000 == pytest.approx(1 / count, abs=0.03)
        assert shares["val"] / 3000 == pytest.approx(0.15, abs=0.03)


def test_the_first_of_five_folds_tests_what_the_project_tests():
    """A test fraction of a fifth is the same cut of the same line."""
    groups = [f"scene {number}" for number in range(500)]
    assert {g for g in groups if fold_side(g, 0, 5, SPLIT) == "test"} == {
        g for g in groups if assign(g, SPLIT) == "test"
    }


def test_folds_keep_scenes_whole_and_cover_all_images_once():
    whole = dataset([f"scene {number}" for number in range(60)])
    folds = fold_datasets(whole, 3, SPLIT)
    tested = [image.file_name for fold in folds for image in fold.of_split("test")]
    assert sorted(tested) == sorted(image.file_name for image in whole.images)
    for fold in folds:
        sides = {(image.group, image.split) for image in fold.images}
        assert len(sides) == 60
        assert len(fold.images) == len(whole.images)
    assert folds[0].of_split("val") != folds[1].of_split("val")


def test_one_fold_is_the_projects_own_split():
    whole = dataset([f"scene {number}" for number in range(60)])
    assert fold_datasets(whole, 1, SPLIT) == (whole,)


def test_too_few_scenes_are_refused():
    with pytest.raises(DatasetError, match=r"fold \d of 3 has no .* images; take fewer folds or more scenes"):
        fold_datasets(dataset(["one", "two"]), 3, SPLIT)
    with pytest.raises(DatasetError, match="must be 1 or more, got 0"):
        fold_datasets(dataset(["one"]), 0, SPLIT)
