"""One and the same box, written in each format, arrives as the same box."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
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


def write_yolo_quoted_numbers(root: Path) -> None:
    write_yolo_box(root)
    (root / "data.yaml").write_text("names: {'0': Shoe, '1': Empty}\n")


def write_coco_float_ids(root: Path) -> None:
    document = coco({"a.jpg": [[10, 20, 30, 20]]})
    document["images"][0]["id"] = 1.0
    document["annotations"][0] |= {"image_id": 1, "category_id": 3.0}
    (root / "_annotations.coco.json").write_text(json.dumps(document))


def write_yolo_polygon(root: Path) -> None:
    (root / "data.yaml").write_text("names: {0: Shoe, 1: Empty}\n")
    points = [(10, 30), (25, 20), (40, 30), (25, 40)]
    (root / "a.txt").write_text("1 " + " ".join(f"{x / 80} {y / 60}" for x, y in points))


def write_voc(root: Path) -> None:
    (root / "a.xml").write_text(
        "<annotation><filename>a.jpg</filename><size><width>80</width><height>60</height></size><object><name>Empty"
        "</name><bndbox><xmin>10</xmin><ymin>20</ymin><xmax>40</xmax><ymax>40</ymax></bndbox></object></annotation>"
    )


def write_cvat_turned_box(root: Path) -> None:
    """The box 20 wide and 30 high about (25, 30), turned by a quarter."""
    (root / "annotations.xml").write_text(
        "<annotations><version>1.1</version><image id='0' name='a.jpg' width='80' height='60'>"
        "<box label='Empty' xtl='15' ytl='15' xbr='35' ybr='45' rotation='90'/></image></annotations>"
    )


def write_cvat_polygon(root: Path) -> None:
    (root / "annotations.xml").write_text(
        "<annotations><image id='0' name='a.jpg' width='80' height='60'>"
        "<polygon label='Empty' points='10,30;25,20;40,30;25,40'/></image></annotations>"
    )


def label_studio_result(**value: object) -> dict[str, object]:
    return {"type": next(k for k in value if k.endswith("labels")), "original_width": 80, "original_height": 60} | {
        "value": value
    }


def write_label_studio(root: Path) -> None:
    """An old annotation, a cancelled one, and the one that counts; the picture was uploaded."""
    box = {"x": 100 * 10 / 80, "y": 100 * 20 / 60, "width": 100 * 30 / 80, "height": 100 * 20 / 60, "rotation": 0}
    right = label_studio_result(**box, rectanglelabels=["Empty"])
    wrong = label_studio_result(x=1, y=1, width=3, height=3, rectanglelabels=["Empty"])
    annotations = [
        {"result": [right, {"type": "choices", "value": {"choices": ["dark"]}}], "updated_at": "2026-02-01"},
        {"result": [wrong], "updated_at": "2026-01-01"},
        {"result": [wrong], "updated_at": "2026-03-01", "was_cancelled": True},
    ]
    task = {"data": {"image": "/data/upload/7/0a1b2c3d-a.jpg"}, "annotations": annotations}
    (root / "tasks.json").write_text(json.dumps([task]))


def write_label_studio_turned(root: Path) -> None:
    """A rectangle of 20x30 pixels turned by a quarter about its upper left corner (40, 20)."""
    box = {"x": 50, "y": 100 / 3, "width": 25, "height": 50, "rotation": 90}
    task = {
        "data": {"image": "s3://bucket/a.jpg"},
        "annotations": [{"result": [label_studio_result(**box, rectanglelabels=["Empty"])]}],
    }
    (root / "tasks.json").write_text(json.dumps([task]))


def write_label_studio_min(root: Path) -> None:
    box = {"x": 12.5, "y": 100 / 3, "width": 37.5, "height": 100 / 3, "rectanglelabels": ["Empty"]}
    shape = box | {"original_width": 80, "original_height": 60}
    (root / "min.json").write_text(json.dumps([{"image": "/data/local-files/?d=a.jpg", "id": 1, "label": [shape]}]))


FORMATS = {
    "cvat turned": write_cvat_turned_box,
    "cvat polygon": write_cvat_polygon,
    "label-studio": write_label_studio,
    "label-studio turned": write_label_studio_turned,
    "label-studio min": write_label_studio_min,
    "coco": write_coco,
    "coco float ids": write_coco_float_ids,
    "createml": write_createml,
    "yolo": write_yolo_box,
    "yolo polygon": write_yolo_polygon,
    "yolo quoted numbers": write_yolo_quoted_numbers,
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


def write_crowd(root: Path) -> None:
    document = coco({"a.jpg": [[10, 20, 30, 20]]})
    document["annotations"][0]["iscrowd"] = 1
    (root / "_annotations.coco.json").write_text(json.dumps(document))


def write_difficult(root: Path) -> None:
    write_voc(root)
    text = (root / "a.xml").read_text()
    (root / "a.xml").write_text(text.replace("<bndbox>", "<difficult>1</difficult><bndbox>"))


def write_unsure(root: Path) -> None:
    write_yolo_box(root)
    (root / "data.yaml").write_text("names: [Empty, Disorganized]\n")


@pytest.mark.parametrize("write", [write_crowd, write_difficult, write_unsure])
def test_a_box_that_says_nothing_arrives_as_an_ignored_region(tmp_path, run_import, write):
    source = tmp_path / "source"
    paint(source / "a.jpg")
    write(source)
    report, to = run_import(source)
    assert report.rejected == 0
    dataset = load_dataset(to)
    assert dataset.annotated_classes == ("gap", "ignore")
    assert dataset.detector_classes == ("gap",)
    (image,) = dataset.images
    assert [box.class_name for box in image.boxes] == ["ignore"]
    assert image.ignored_xyxy() == pytest.approx(np.array([BOX]), abs=1e-4)


def test_a_crowd_of_what_is_no_class_of_ours_is_left_out(tmp_path, run_import):
    source = tmp_path / "source"
    paint(source / "a.jpg")
    document = coco({"a.jpg": [[10, 20, 30, 20], [1, 1, 9, 9]]})
    document["categories"].append({"id": 4, "name": "person"})
    document["annotations"][1] |= {"category_id": 4, "iscrowd": 1}
    (source / "_annotations.coco.json").write_text(json.dumps(document))
    _, to = run_import(source)
    assert load_dataset(to).annotated_classes == ("gap",)
    assert [box.class_name for box in load_dataset(to).images[0].boxes] == ["gap"]


def test_a_crowd_of_shoppers_stays_an_occluder_since_it_is_to_be_pixelated(tmp_path, run_import):
    source = tmp_path / "source"
    paint(source / "a.jpg")
    write_crowd(source)
    _, to = run_import(source, class_map={"Empty": "occluder"})
    assert load_dataset(to).annotated_classes == ("occluder",)
    assert [box.class_name for box in load_dataset(to).images[0].boxes] == ["occluder"]


def test_sets_below_one_folder_are_joined_and_equal_names_stay_apart(tmp_path, run_import):
    source = tmp_path / "source"
    for number, name in enumerate(["one", "two"]):
        paint(source / name / "a.jpg", number)
        write_yolo_box(source / name)
    report, to = run_import(source)
    assert report.images == 2
    assert {i.file_name for i in load_dataset(to).images} == {"one/a.jpg", "two/a.jpg"}


@pytest.mark.parametrize("kind", ["yolo", "coco", "cvat"])
def test_of_sets_that_list_different_classes_each_picture_says_what_was_looked_for(tmp_path, run_import, kind):
    source = tmp_path / "source"
    for number, listed in enumerate((["empty"], ["empty", "low"])):
        folder = source / str(number)
        paint(folder / "a.jpg", number)
        if kind == "yolo":
            (folder / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
            (folder / "data.yaml").write_text(f"names: [{', '.join(listed)}]\n")
        elif kind == "coco":
            categories = [{"id": 3 + i, "name": name} for i, name in enumerate(listed)]
            document = coco({"a.jpg": [[1, 1, 9, 9]]}) | {"categories": categories}
            (folder / "labels.json").write_text(json.dumps(document))
        else:
            labels = "".join(f"<label><name>{name}</name></label>" for name in listed)
            box = '<image id="0" name="a.jpg"><box label="empty" xtl="1" ytl="1" xbr="9" ybr="9"/></image>'
            xml = f"<annotations><meta><task><labels>{labels}</labels></task></meta>{box}</annotations>"
            (folder / "annotations.xml").write_text(xml)
    report, to = run_import(source)
    assert report.format == kind
    dataset = load_dataset(to)
    assert dataset.annotated_classes == ("gap", "low")
    assert [image.annotated_classes for image in dataset.images] == [("gap",), None]


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


def test_sku110k_tables_give_products(tmp_path, run_import):
    source = tmp_path / "source"
    paint(source / "images" / "test_0.jpg")
    paint(source / "images" / "test_1.jpg", 1)
    (source / "annotations").mkdir()
    (source / "annotations" / "annotations_test.csv").write_text(
        "test_0.jpg,10,20,40,40,object,80,60\ntest_0.jpg,40,20,50,40,object,80,60\ntest_1.jpg,1,1,9,9,object,80,60\n"
    )
    report, to = run_import(source)
    assert (report.format, report.boxes, report.rejected) == ("sku110k", {"product": 3}, 0)
    dataset = load_dataset(to)
    assert dataset.detector_classes == ()
    assert dataset.images[0].boxes[0].xyxy == BOX


def test_a_class_without_a_box_counts_as_labelled_where_the_task_lists_it(tmp_path, run_import):
    source = tmp_path / "source"
    paint(source / "a.jpg")
    (source / "annotations.xml").write_text(
        "<annotations><meta><job><labels><label><name>gap</name></label><label><name>low</name></label></labels></job>"
        "</meta><image id='0' name='a.jpg' width='80' height='60'/></annotations>"
    )
    _, to = run_import(source)
    assert load_dataset(to).annotated_classes == ("gap", "low")


def test_shapes_that_enclose_nothing_and_unfinished_tasks_are_set_aside(tmp_path, run_import):
    source = tmp_path / "cvat"
    paint(source / "a.jpg")
    (source / "annotations.xml").write_text(
        "<annotations><image id='0' name='a.jpg' width='80' height='60'><points label='gap' points='1,2'/>"
        "<box label='gap' xtl='1' ytl='1' xbr='9' ybr='9'/></image><track id='4'/></annotations>"
    )
    report, to = run_import(source)
    assert (report.boxes, report.rejected) == ({"gap": 1}, 2)
    assert "export as CVAT for images 1.1" in (to / "rejected.jsonl").read_text()
    source = tmp_path / "studio"
    paint(source / "a.jpg")
    paint(source / "b.jpg", 1)
    done = [{"result": [label_studio_result(x=1, y=1, width=30, height=30, rectanglelabels=["gap"])]}]
    tasks = [
        {"data": {"image": "a.jpg"}, "annotations": done},
        {"data": {"image": "b.jpg"}, "annotations": [], "predictions": done},
    ]
    (source / "tasks.json").write_text(json.dumps(tasks))
    report, to = run_import(source, to=tmp_path / "second")
    assert (report.images, report.boxes) == (1, {"gap": 1})
    assert "a task without a finished annotation" in (to / "rejected.jsonl").read_text()


def test_what_the_files_of_a_source_state(tmp_path, run_import):
    source = tmp_path / "source"
    for number, folder in enumerate(("cc", "mit", "own")):
        paint(source / folder / "a.jpg", number)
        (source / folder / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (source / "data.yaml").write_text("names: [gap]\n")
    (source / "SOURCE.yaml").write_text("consent: public-dataset\nlicense: PD\n")
    (source / "cc" / "README.dataset.txt").write_text("# shelf\n\nLicense: CC BY 4.0\n")
    (source / "mit" / "LICENSE").write_text("MIT License\n\nPermission is hereby granted, free of charge, to any")
    (source / "own" / "SOURCE.yaml").write_text("consent: notice\nstore: lyon\n")
    _, to = run_import(source, allow_unstated=False)
    found = {i.source: (i.license, i.consent, i.store) for i in load_dataset(to).images}
    assert found == {
        "cc/a.jpg": ("CC BY 4.0", "public-dataset", None),
        "mit/a.jpg": ("MIT", "public-dataset", None),
        "own/a.jpg": ("PD", "notice", "lyon"),
    }


def test_pictures_without_rights_are_set_aside_and_their_neighbours_kept(coco_source, run_import):
    source = coco_source()
    document = json.loads((source / "labels.json").read_text())
    document["images"][0] |= {"license": "MIT", "consent": "notice"}
    document["images"][1] |= {"license": "MIT", "consent": "whatever"}
    (source / "labels.json").write_text(json.dumps(document))
    report, to = run_import(source, allow_unstated=False)
    assert (report.images, report.rejected) == (1, 2)
    rejected = (to / "rejected.jsonl").read_text()
    assert "consent basis 'whatever' is not known" in rejected
    assert "no licence and no consent basis stated" in rejected
