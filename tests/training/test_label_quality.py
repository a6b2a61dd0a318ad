"""Planted label errors are found and named, sound labels are left alone."""

from __future__ import annotations

import numpy as np
import pytest
from shelfgap_datasets.schema import Box, Dataset, DatasetError, ImageRecord
from shelfgap_edge.postprocess import Detections
from shelfgap_training.label_quality import find_suspects, fold_of, rank, without_fold

CLASSES = ("gap", "low")


def picture(*boxes: Box, name: str = "a.jpg", **given: object) -> ImageRecord:
    rights = {"license": "MIT", "consent": "no-persons"}
    return ImageRecord(file_name=name, width=320, height=240, sha256="", source=name, boxes=boxes, **rights, **given)


def found(*rows: tuple[str, float, tuple[float, float, float, float]]) -> Detections:
    return Detections(
        np.array([box for _, _, box in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([CLASSES.index(name) for name, _, _ in rows], np.int64),
    )


GAP = (20.0, 20.0, 80.0, 100.0)
FAR = (200.0, 20.0, 260.0, 90.0)
LOOSE = (20.0, 20.0, 140.0, 120.0)


def test_a_label_that_the_detector_confirms_is_no_suspect():
    assert find_suspects(picture(Box("gap", GAP)), found(("gap", 0.8, GAP), ("low", 0.1, GAP)), CLASSES) == []


@pytest.mark.parametrize(
    ("labels", "detections", "kind", "class_name", "label"),
    [
        ((), [("gap", 0.9, GAP)], "missing", "gap", None),
        ((Box("gap", LOOSE),), [("gap", 0.9, GAP)], "loose", "gap", 0),
        ((Box("low", GAP),), [("gap", 0.9, GAP), ("low", 0.2, GAP)], "wrong class", "gap", 0),
        ((Box("gap", GAP),), [], "extra", "gap", 0),
        (
            (Box("low", (200.0, 20.0, 260.0, 90.0)), Box("gap", GAP)),
            [("low", 0.7, (200, 20, 260, 90))],
            "extra",
            "gap",
            1,
        ),
    ],
)
def test_each_kind_of_error_is_named(labels, detections, kind, class_name, label):
    (suspect,) = find_suspects(picture(*labels), found(*detections), CLASSES)
    assert (suspect.kind, suspect.class_name, suspect.label) == (kind, class_name, label)
    assert 0 < suspect.doubt <= 1
    assert (suspect.suggested_xyxy is None) == (kind == "extra")


def test_one_missing_box_is_named_once_and_other_classes_are_left_alone():
    near = tuple(v + 2 for v in GAP)
    suspects = find_suspects(picture(), found(("gap", 0.9, GAP), ("gap", 0.6, near), ("low", 0.3, GAP)), CLASSES)
    assert [(s.kind, s.doubt) for s in suspects] == [("missing", 0.9)]
    assert find_suspects(picture(Box("product", GAP)), found(), CLASSES) == []


def test_a_class_that_nobody_looked_for_in_the_picture_is_not_missed_there():
    detections = found(("gap", 0.9, GAP), ("low", 0.95, GAP), ("low", 0.8, FAR))
    assert find_suspects(picture(Box("gap", GAP), annotated_classes=("gap",)), detections, CLASSES) == []
    everywhere = find_suspects(picture(Box("gap", GAP)), detections, CLASSES)
    assert {(s.kind, s.class_name) for s in everywhere} == {("wrong class", "low"), ("missing", "low")}


def test_in_a_region_that_says_nothing_no_label_is_missing_and_labels_are_doubted_as_elsewhere():
    ignored = Box("ignore", (0.0, 0.0, 150.0, 150.0))
    assert find_suspects(picture(ignored), found(("gap", 0.9, GAP)), CLASSES) == []
    for label, detection in ((Box("gap", LOOSE), ("gap", 0.9, GAP)), (Box("low", GAP), ("gap", 0.9, GAP))):
        assert find_suspects(picture(label, ignored), found(detection), CLASSES) == find_suspects(
            picture(label), found(detection), CLASSES
        )


def test_the_number_of_a_label_counts_all_boxes_of_the_picture():
    image = picture(Box("product", GAP), Box("gap", (200.0, 20.0, 260.0, 90.0)))
    (suspect,) = find_suspects(image, found(), CLASSES)
    assert suspect.label == 1


def test_kinds_take_turns_and_the_most_doubtful_comes_first():
    names = iter("abcdefgh")
    suspects = [
        s
        for score in (0.5, 0.9, 0.7)
        for s in find_suspects(picture(name=next(names)), found(("gap", score, GAP)), CLASSES)
    ]
    suspects += find_suspects(picture(Box("gap", LOOSE), name="z"), found(("gap", 0.4, GAP)), CLASSES)
    assert [(s.kind, s.file_name) for s in rank(suspects, 3)] == [("missing", "b"), ("loose", "z"), ("missing", "c")]
    assert rank([], 5) == []


def test_folds_keep_groups_together_and_hold_every_picture_out_once():
    images = tuple(picture(name=f"{i}.jpg", group=f"g{i // 3}") for i in range(60))
    dataset = Dataset(images, ("gap",))
    held_out = []
    for fold in range(3):
        divided = without_fold(dataset, fold, 3)
        mine = {image.file_name for image in divided.of_split("val")}
        assert {i.group for i in divided.of_split("val")}.isdisjoint({i.group for i in divided.of_split("train")})
        held_out += sorted(mine)
    assert sorted(held_out) == sorted(image.file_name for image in images)
    with pytest.raises(DatasetError, match=r"1 group\(s\) do not fill 3 folds"):
        without_fold(Dataset(images[:3], ("gap",)), fold_of(images[0], 3), 3)
