"""The difference of two versions lists exactly what was changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shelfgap_datasets.diff import diff_datasets, to_markdown
from shelfgap_datasets.schema import Box, Dataset, ImageRecord

PLACES = [(10.0 + 60 * i, 20.0, 50.0 + 60 * i, 80.0) for i in range(5)]


def picture(number: int, boxes: int = 3, split: str = "train") -> ImageRecord:
    return ImageRecord(
        file_name=f"{number:03}.jpg",
        width=320,
        height=240,
        sha256=f"{number:064x}",
        license="MIT",
        consent="notice",
        source=f"{number}",
        split=split,  # type: ignore[arg-type]
        boxes=tuple(Box("gap", place) for place in PLACES[:boxes]),
    )


def dataset(*images: ImageRecord, classes=("gap", "low")) -> Dataset:
    return Dataset(tuple(images), classes)


BEFORE = dataset(*(picture(n) for n in range(10)))


def with_box(image: ImageRecord, row: int, *boxes: Box) -> ImageRecord:
    return replace(image, boxes=(*image.boxes[:row], *boxes, *image.boxes[row + 1 :]))


def test_three_pictures_more_two_boxes_moved_and_one_gone_are_listed_and_nothing_else():
    images = list(BEFORE.images)
    images[1] = with_box(images[1], 0, Box("gap", (14.0, 22.0, 54.0, 82.0)))
    images[4] = with_box(images[4], 2, Box("gap", (131.0, 20.0, 180.0, 80.0)))
    images[7] = with_box(images[7], 1)
    found = diff_datasets(BEFORE, dataset(*images[::-1], *(picture(n) for n in (20, 21, 22))))
    assert found.added == ("020.jpg", "021.jpg", "022.jpg")
    assert sorted((c.kind, c.file_name) for c in found.boxes) == [
        ("moved", "001.jpg"),
        ("moved", "004.jpg"),
        ("removed", "007.jpg"),
    ]
    moved = next(c for c in found.boxes if c.file_name == "001.jpg")
    assert (moved.before, moved.after) == (Box("gap", PLACES[0]), Box("gap", (14.0, 22.0, 54.0, 82.0)))
    assert (found.removed, found.renamed, found.replaced, found.fields, found.moved_split) == ((), (), (), (), ())
    text = to_markdown(found, "v1", "v2")
    assert "Pictures: 3 added, 0 removed" in text
    assert "Boxes of common pictures: 0 added, 1 removed, 2 moved, 0 relabelled." in text
    assert "| gap boxes | 30 | 38 |" in text
    assert "- 007.jpg: gap [70.0, 20.0, 110.0, 80.0]" in text
    assert "## Pictures removed" not in text


def test_pictures_in_which_other_classes_were_looked_for_are_told_and_classes_of_one_version_alone_once():
    images = list(BEFORE.images)
    images[2] = replace(images[2], annotated_classes=("gap",))
    found = diff_datasets(BEFORE, dataset(*images, classes=("gap", "low", "occluder")))
    assert [(c.file_name, c.field, c.before, c.after) for c in found.fields] == [
        ("002.jpg", "looked for", "gap, low", "gap")
    ]
    assert found.classes_added == ("occluder",)
    assert "- 002.jpg: looked for gap, low → gap" in to_markdown(found, "a", "b")


@given(st.permutations(range(10)))
def test_order_is_no_difference(order):
    found = diff_datasets(BEFORE, dataset(*(BEFORE.images[i] for i in order)))
    assert (found.added, found.removed, found.renamed, found.replaced) == ((), (), (), ())
    assert (found.boxes, found.fields, found.moved_split) == ((), (), ())
    assert found.before == found.after


def test_a_picture_that_changed_split_stands_first_and_a_first_split_is_none():
    images = list(BEFORE.images)
    images[3] = replace(images[3], split="test")
    found = diff_datasets(BEFORE, dataset(*images))
    assert [(c.file_name, c.before, c.after) for c in found.moved_split] == [("003.jpg", "train", "test")]
    assert "**1 picture(s) changed split. This must not happen: fix it first.**" in to_markdown(found, "a", "b")
    unsplit = dataset(*(replace(image, split=None) for image in BEFORE.images))
    assert diff_datasets(unsplit, BEFORE).moved_split == ()


def test_renamed_replaced_and_relabelled_pictures_are_told_apart():
    images = list(BEFORE.images)
    images[0] = replace(images[0], file_name="new name.jpg")
    images[1] = replace(images[1], sha256="f" * 64, redacted=True)
    images[2] = with_box(images[2], 0, Box("low", (11.0, 20.0, 50.0, 80.0)))
    images[3] = with_box(images[3], 0, Box("low", (200.0, 100.0, 220.0, 140.0)))
    images[4] = replace(images[4], license="CC0-1.0")
    found = diff_datasets(BEFORE, dataset(*images[:9], classes=("gap", "low", "occluder")))
    assert found.renamed == (("000.jpg", "new name.jpg"),)
    assert found.replaced == ("001.jpg",)
    assert found.removed == ("009.jpg",)
    assert found.added == ()
    assert [(c.file_name, c.kind) for c in found.boxes] == [
        ("002.jpg", "relabelled"),
        ("003.jpg", "removed"),
        ("003.jpg", "added"),
    ]
    assert [(c.file_name, c.field) for c in found.fields] == [("001.jpg", "redacted"), ("004.jpg", "license")]
    assert found.classes_added == ("occluder",)


def test_records_without_a_hash_are_known_by_their_names():
    plain = dataset(*(replace(image, sha256="") for image in BEFORE.images))
    found = diff_datasets(plain, dataset(*plain.images[1:]))
    assert (found.removed, found.added, found.renamed) == (("000.jpg",), (), ())


def test_long_lists_are_cut_in_the_text_and_whole_in_the_object():
    found = diff_datasets(BEFORE, dataset(*BEFORE.images, *(picture(n) for n in range(100, 150))))
    assert "- and 30 more" in to_markdown(found, "a", "b")
    assert len(found.to_dict()["added"]) == 50


@pytest.mark.parametrize("empty", [0, 1])
def test_a_version_without_boxes_has_no_medians(empty):
    bare = dataset(*(replace(image, boxes=()) for image in BEFORE.images))
    pair = (bare, BEFORE) if empty == 0 else (BEFORE, bare)
    assert "| gap, median share of the picture |" in to_markdown(diff_datasets(*pair), "a", "b")
