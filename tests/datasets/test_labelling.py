"""Datasets go out in every format and come back the same; corrections come back as a new version."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labelled_pictures import paint
from shelfgap_datasets.coco import load_dataset, save_dataset
from shelfgap_datasets.intake.importer import import_source
from shelfgap_datasets.labelling.correct import correct_dataset
from shelfgap_datasets.labelling.export import export_dataset
from shelfgap_datasets.schema import CONSENT_BASES, LABEL_CLASSES, Box, Dataset, DatasetError, ImageRecord, in_order

HEIGHT, WIDTH = 60, 80
KEYS = ("license", "consent", "store", "camera", "section", "captured_at")
texts = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=12).filter(
    lambda text: text == text.strip() and text
)


@st.composite
def boxes(draw) -> Box:
    x1, y1 = draw(st.floats(0, WIDTH - 2)), draw(st.floats(0, HEIGHT - 2))
    x2, y2 = draw(st.floats(x1 + 1, WIDTH)), draw(st.floats(y1 + 1, HEIGHT))
    return Box(draw(st.sampled_from(LABEL_CLASSES)), (x1, y1, x2, y2))


@st.composite
def labels(draw) -> dict[str, object]:
    optional = {key: draw(st.none() | texts) for key in ("store", "camera", "section", "captured_at")}
    kept: list[Box] = []
    for box in draw(st.lists(boxes(), max_size=4)):
        if all(max(abs(a - b) for a, b in zip(box.xyxy, k.xyxy, strict=True)) > 0.5 for k in kept):
            kept.append(box)
    basis = draw(st.sampled_from(sorted(CONSENT_BASES)))
    drawn = {box.class_name for box in kept}
    looked_for = draw(st.none() | st.sets(st.sampled_from(LABEL_CLASSES)).map(lambda some: in_order({*some, *drawn})))
    return {
        "license": draw(texts),
        "consent": basis,
        "boxes": tuple(kept),
        "annotated_classes": looked_for,
        **optional,
    }


NAMES = ("1.jpg", "1.png", "aisle 3/1.jpg", "aisle 3/images/1.jpg")


def write_dataset(root: Path, records: list[dict[str, object]]) -> Dataset:
    images = []
    for seed, (name, values) in enumerate(zip(NAMES, records, strict=False)):
        path = paint(root / "images" / name, seed, (HEIGHT, WIDTH))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        images.append(
            ImageRecord(file_name=name, width=WIDTH, height=HEIGHT, sha256=digest, source=name, **values)  # type: ignore[arg-type]
        )
    dataset = Dataset(tuple(images), LABEL_CLASSES)
    save_dataset(root, dataset)
    return dataset


def assert_same_labels(one: ImageRecord, two: ImageRecord) -> None:
    assert [getattr(one, key) for key in KEYS] == [getattr(two, key) for key in KEYS]
    assert [one.is_labelled(name) for name in LABEL_CLASSES] == [two.is_labelled(name) for name in LABEL_CLASSES]
    assert [box.class_name for box in one.boxes] == [box.class_name for box in two.boxes]
    for before, after in zip(one.boxes, two.boxes, strict=True):
        assert after.xyxy == pytest.approx(before.xyxy, abs=0.01)


@pytest.mark.parametrize("format", ["coco", "yolo", "cvat", "label-studio"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(labels(), min_size=4, max_size=4))
def test_a_round_trip_loses_nothing(tmp_path_factory, format, records):
    folder = tmp_path_factory.mktemp("trip")
    dataset = write_dataset(folder / "data", records)
    export_dataset(folder / "data", dataset, format, folder / "out")
    report = import_source(folder / "out", folder / "back", class_aliases={}, format=format)
    assert report.rejected == 0
    back = {image.sha256: image for image in load_dataset(folder / "back").images}
    assert len(back) == 4
    for image in dataset.images:
        assert_same_labels(image, back[image.sha256])


@pytest.mark.parametrize(
    ("stated", "labelled"),
    [
        ("gap,low", None),
        ("low, gap", None),
        ("low", ("low",)),
        ("none", ()),
        ("Empty shelf", None),  # no words of ours: as if nothing were stated
        ("3", None),
    ],
)
def test_what_others_state_of_classes_takes_no_label_away(tmp_path, stated, labelled):
    dataset = replace(some_dataset(tmp_path / "data"), annotated_classes=("gap", "low"))
    images = (replace(dataset.images[0], annotated_classes=("gap",), boxes=()),)
    export_dataset(tmp_path / "data", replace(dataset, images=images), "yolo", tmp_path / "out")
    records = tmp_path / "out" / "records.jsonl"
    records.write_text(records.read_text().replace('"annotated_classes": "gap"', f'"annotated_classes": "{stated}"'))
    import_source(tmp_path / "out", tmp_path / "back", class_aliases={})
    (image,) = load_dataset(tmp_path / "back").images
    assert image.annotated_classes == labelled


def test_classes_that_an_export_states_are_mapped_like_its_boxes(tmp_path):
    dataset = replace(some_dataset(tmp_path / "data"), annotated_classes=("gap", "low"))
    images = (replace(dataset.images[0], annotated_classes=("low",), boxes=()), *dataset.images[1:])
    export_dataset(tmp_path / "data", replace(dataset, images=images), "yolo", tmp_path / "out")
    import_source(tmp_path / "out", tmp_path / "back", class_aliases={}, class_map={"low": "gap"})
    assert {image.annotated_classes for image in load_dataset(tmp_path / "back").images} == {None}


def test_label_studio_finds_pictures_whatever_their_names(tmp_path):
    names = ("aisle 3 + 4.jpg", "50%20 off.png", "shelf#2?.jpg", "a&d=b.jpg")
    dataset = some_dataset(tmp_path / "data")
    renamed = tuple(replace(image, file_name=name) for image, name in zip(dataset.images, names, strict=True))
    for old, new in zip(dataset.images, renamed, strict=True):
        (tmp_path / "data" / "images" / old.file_name).rename(tmp_path / "data" / "images" / new.file_name)
    save_dataset(tmp_path / "data", replace(dataset, images=renamed))
    export_dataset(tmp_path / "data", load_dataset(tmp_path / "data"), "label-studio", tmp_path / "out")
    assert import_source(tmp_path / "out", tmp_path / "back", class_aliases={}).rejected == 0
    assert [image.file_name for image in load_dataset(tmp_path / "back").images] == sorted(names)


def some_dataset(root: Path) -> Dataset:
    box = Box("gap", (10.12345, 20.0, 40.98765, 40.0))
    records = [
        {"license": "MIT", "consent": "notice", "boxes": (box,), "group": f"g{i}", "split": "train"} for i in range(4)
    ]
    return write_dataset(root, records)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("format", "with_pictures"),
    [  # the flat names of YOLO mean nothing without the pictures
        *((format, True) for format in ("coco", "yolo", "cvat", "label-studio")),
        *((format, False) for format in ("coco", "cvat", "label-studio")),
    ],
)
def test_an_untouched_export_corrects_nothing(tmp_path, format, with_pictures):
    dataset = some_dataset(tmp_path / "data")
    export_dataset(tmp_path / "data", dataset, format, tmp_path / "out")
    if not with_pictures:
        for path in (tmp_path / "out" / "images").rglob("*.*"):
            path.unlink()
    report = correct_dataset(tmp_path / "data", tmp_path / "out", tmp_path / "new", class_aliases={})
    assert (report.seen, report.changed, report.rejections) == (4, (), ())
    assert load_dataset(tmp_path / "new") == load_dataset(tmp_path / "data")


def test_a_correction_changes_its_box_and_nothing_else(tmp_path):
    dataset = some_dataset(tmp_path / "data")
    export_dataset(tmp_path / "data", dataset, "label-studio", tmp_path / "out")
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    tasks[1]["annotations"][0]["result"][0]["value"]["rectanglelabels"] = ["low"]
    tasks[2]["annotations"][0]["result"] = []
    del tasks[3]
    tasks.append({"data": {"image": "stranger.jpg"}, "annotations": [{"result": []}]})
    (tmp_path / "out" / "tasks.json").write_text(json.dumps(tasks))
    report = correct_dataset(tmp_path / "data", tmp_path / "out", tmp_path / "new", class_aliases={})
    assert report.changed == (NAMES[1], NAMES[2])
    assert [r.source for r in report.rejections] == ["tasks.json: [3]"]
    expected = list(dataset.images)
    expected[1] = replace(expected[1], boxes=(Box("low", expected[1].boxes[0].xyxy),))
    expected[2] = replace(expected[2], boxes=())
    now = load_dataset(tmp_path / "new")
    for want, got in zip(expected, now.images, strict=True):
        assert (got.group, got.split) == (want.group, want.split)
        assert_same_labels(want, got)
    with pytest.raises(DatasetError, match="exists and is not empty"):
        correct_dataset(tmp_path / "data", tmp_path / "out", tmp_path / "new", class_aliases={})


def test_a_class_that_corrections_add_was_looked_for_in_the_pictures_that_came_back_only(tmp_path):
    dataset = replace(some_dataset(tmp_path / "data"), annotated_classes=("gap", "occluder"))
    images = (replace(dataset.images[0], annotated_classes=("gap",)), *dataset.images[1:])
    save_dataset(tmp_path / "data", replace(dataset, images=images))
    export_dataset(tmp_path / "data", load_dataset(tmp_path / "data"), "label-studio", tmp_path / "out")
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    for task, name in ((tasks[0], "occluder"), (tasks[1], "low")):
        task["annotations"][0]["result"][0]["value"]["rectanglelabels"] = [name]
    (tmp_path / "out" / "tasks.json").write_text(json.dumps(tasks[:3]))
    correct_dataset(tmp_path / "data", tmp_path / "out", tmp_path / "new", class_aliases={})
    now = load_dataset(tmp_path / "new")
    assert now.annotated_classes == ("gap", "low", "occluder")
    assert [image.annotated_classes for image in now.images] == [None, None, None, ("gap", "occluder")]
    assert [box.class_name for image in now.images for box in image.boxes] == ["occluder", "low", "gap", "gap"]


def with_shoppers(root):
    """The dataset with an occluder in each picture."""
    dataset = some_dataset(root)
    shopper = Box("occluder", (50.0, 5.0, 70.0, 50.0))
    dataset = replace(dataset, images=tuple(replace(i, boxes=(*i.boxes, shopper)) for i in dataset.images))
    save_dataset(root, dataset)
    return dataset


@pytest.mark.parametrize("format", ["cvat", "coco", "yolo"])
def test_boxes_of_classes_that_the_labelling_project_does_not_list_stay(tmp_path, format):
    dataset = with_shoppers(tmp_path / "data")
    without = replace(
        dataset,
        annotated_classes=("gap", "low"),
        images=tuple(image.of_classes(("gap", "low")) for image in dataset.images),
    )
    export_dataset(tmp_path / "data", without, format, tmp_path / "out")
    report = correct_dataset(tmp_path / "data", tmp_path / "out", tmp_path / "new", class_aliases={})
    assert (report.changed, report.rejections) == ((), ())
    assert load_dataset(tmp_path / "new") == load_dataset(tmp_path / "data")


def test_a_box_that_was_given_an_unknown_name_stays_and_is_told_of(tmp_path):
    dataset = some_dataset(tmp_path / "data")
    export_dataset(tmp_path / "data", dataset, "cvat", tmp_path / "out")
    page = tmp_path / "out" / "annotations.xml"
    text = page.read_text().replace('<box label="gap"', '<box label="nearly empty"', 1)
    page.write_text(text)
    report = correct_dataset(tmp_path / "data", tmp_path / "out", tmp_path / "new", class_aliases={})
    assert report.changed == ()
    (told,) = report.rejections
    assert told.reason == "1 boxes are called 'nearly empty', which means no class; what they replace stays"
    assert "--class-map 'nearly empty=CLASS'" in told.action
    known = {"low": ["nearly empty"]}
    report = correct_dataset(tmp_path / "data", tmp_path / "out", tmp_path / "mapped", class_aliases=known)
    assert (len(report.changed), report.rejections) == (1, ())


def test_a_redacted_picture_whose_occluders_changed_must_be_redacted_again(tmp_path):
    dataset = some_dataset(tmp_path / "data")
    shopper = Box("occluder", (50.0, 5.0, 70.0, 50.0))
    images = tuple(replace(i, boxes=(*i.boxes, shopper), redacted=True) for i in dataset.images)
    save_dataset(tmp_path / "data", replace(dataset, images=images))
    export_dataset(tmp_path / "data", load_dataset(tmp_path / "data"), "cvat", tmp_path / "out")
    page = tmp_path / "out" / "annotations.xml"
    page.write_text(page.read_text().replace('xtl="50.0000"', 'xtl="45.0000"', 1))
    correct_dataset(tmp_path / "data", tmp_path / "out", tmp_path / "new", class_aliases={})
    assert [image.redacted for image in load_dataset(tmp_path / "new").images] == [False, True, True, True]


def test_what_xml_cannot_hold_is_said(tmp_path):
    dataset = some_dataset(tmp_path / "data")
    odd = replace(dataset, images=(replace(dataset.images[0], store="a\x07b"),))
    with pytest.raises(DatasetError, match=r"'a\\x07b' has a character that XML cannot hold"):
        export_dataset(tmp_path / "data", odd, "cvat", tmp_path / "out")
    assert not (tmp_path / "out").exists()
