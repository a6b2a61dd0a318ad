"""One and the same box, written in four formats, arrives as the same box."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from labelled_pictures import coco, paint
from shelfgap_datasets.coco import load_dataset

BOX = (10.0, 20.0, 40.0, 40.0)  # in an 80x60 picture


def write_coco(root: Path) -> None:
    (root / "_annotations.coco.json").write_text(json.dumps(coco({"a.jpg": [[10, 20, 30, 20]]})))


def write_createml(root: Path) -> None:
    box = {"label": "Empty", "coordinates": {"x": 25, "y": 30, "width": 30, "height": 20}}
    (root / "a.json").write_text(json.dumps([{"image": "a.png", "annotations": [box]}]))  # converted since


def write_yolo_box(root: Path) -> None:
    (root / "data.yaml").write_text("names: [Shoe, Empty]\n")
    (root / "a.txt").write_text(f"1 {25 / 80} {30 / 60} {30 / 80} {20 / 60}\n")


def write_yolo_polygon(root: Path) -> None:
    (root / "data.yaml").write_text("names: {0: Shoe, 1: Empty}\n")
    points = [(10, 30), (25, 20), (40, 30), (25, 40)]
    (root / "a.txt").write_text("1 " + " ".join(f"{x / 80} {y / 60}" for x, y in points))


def write_voc(root: Path) -> None:
    (root / "a.xml").write_text(
        "<annotation><filename>a.jpg</filename><size><width>80</width><height>60</height></size><object><name>Empty"
        "</name><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>40</xmax><ymax>40</ymax></bndbox></object></annotation>"
    )


FORMATS = {
    "coco": write_coco,
    "createml": write_createml,
    "yolo": write_yolo_box,
    "yolo polygon": write_yolo_polygon,
    "voc": write_voc,
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("asked", [True, False], ids=["asked", "found out"])
def test_each_format_gives_the_same_box(tmp_path, run_import, kind, asked):
    source = tmp_path / "source"
    paint(source / "a.jpg")
    FORMATS[kind](source)
    report, to = run_import(source, format=kind.split()[0] if asked else "auto")
    assert report.format == kind.split()[0]
    assert report.rejected == 0
    (image,) = load_dataset(to).images
    (box,) = image.boxes
    assert box.class_name == "gap"
    assert box.xyxy == pytest.approx(BOX, abs=1e-4)
    assert (image.height, image.width) == (60, 80)
    assert (to / "images" / image.file_name).read_bytes() == (source / "a.jpg").read_bytes()


def test_sets_below_one_folder_are_joined_and_equal_names_stay_apart(tmp_path, run_import):
    source = tmp_path / "source"
    for number, name in enumerate(["one", "two"]):
        paint(source / name / "a.jpg", number)
        write_yolo_box(source / name)
    report, to = run_import(source)
    assert report.images == 2
    assert {i.file_name for i in load_dataset(to).images} == {"one/a.jpg", "two/a.jpg"}


def test_two_formats_in_one_folder_ask_which(tmp_path, run_import):
    source = tmp_path / "source"
    paint(source / "a.jpg")
    write_voc(source)
    write_coco(source)
    with pytest.raises(Exception, match=r"annotations in coco and voc; say which counts with --format"):
        run_import(source)
    assert run_import(source, format="voc")[0].images == 1


def test_yolo_pictures_with_an_empty_file_are_full_shelves(tmp_path, run_import):
    source = tmp_path / "source"
    for number in range(2):
        paint(source / "images" / f"{number}.jpg", number)
    (source / "data.yaml").write_text("names: [empty]\nlicense: CC BY 4.0\n")
    (source / "labels").mkdir()
    (source / "labels" / "0.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (source / "labels" / "1.txt").write_text("")
    _, to = run_import(source)
    images = load_dataset(to).images
    assert [len(image.boxes) for image in images] == [1, 0]
    assert {image.license for image in images} == {"CC BY 4.0"}
