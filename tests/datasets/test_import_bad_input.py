"""What is wrong in a source is named, and nothing valid beside it is lost."""

from __future__ import annotations

import json
import math
import os
import re

import numpy as np
import pytest
from labelled_pictures import coco, paint
from PIL import Image
from shelfgap_datasets.coco import load_dataset, load_rejections
from shelfgap_datasets.schema import DatasetError


def add_picture_record(source, name, boxes=((1, 1, 5, 5),), size=(60, 80)):
    document = json.loads((source / "labels.json").read_text())
    document["images"].append({"id": 99, "file_name": name, "height": size[0], "width": size[1]})
    document["annotations"] += [
        {"id": 990 + i, "image_id": 99, "category_id": 3, "bbox": list(box)} for i, box in enumerate(boxes)
    ]
    (source / "labels.json").write_text(json.dumps(document))


def reasons(to):
    return {(r.source, r.reason) for r in load_rejections(to)}


def test_no_such_folder(tmp_path, run_import):
    with pytest.raises(DatasetError, match=r"nowhere: no such folder$"):
        run_import(tmp_path / "nowhere")


def test_an_empty_folder(tmp_path, run_import):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty: no pictures in this folder; expected labelled photographs"):
        run_import(tmp_path / "empty")
    assert not (tmp_path / "dataset").exists()


def test_pictures_without_annotations(tmp_path, run_import):
    paint(tmp_path / "source" / "a.jpg")
    with pytest.raises(DatasetError, match=r"1 pictures but no annotations \(known: COCO, YOLO, VOC, CreateML, CVAT"):
        run_import(tmp_path / "source")


def test_annotations_without_pictures(tmp_path, run_import):
    paint(tmp_path / "source" / "other.jpg")
    (tmp_path / "source" / "labels.json").write_text(json.dumps(coco({"a.jpg": [[1, 1, 5, 5]]})))
    with pytest.raises(DatasetError, match=r"no coco annotation belongs to a picture; first problem: labels.json"):
        run_import(tmp_path / "source")


def test_a_picture_without_annotation_is_set_aside(coco_source, run_import):
    source = coco_source()
    paint(source / "images" / "stray.jpg", 77)
    report, to = run_import(source)
    assert report.images == 3
    assert reasons(to) == {("images/stray.jpg", "a picture without an annotation")}


def cut_jpeg(path):
    paint(path)
    path.write_bytes(path.read_bytes()[:-200])


def cmyk(path):
    Image.new("CMYK", (80, 60)).save(path)


def sixteen_bit_grey(path):
    Image.fromarray(np.full((60, 80), 40000, np.uint16)).save(path, "PNG")


def sixteen_bit_colour(path):
    import cv2

    cv2.imwrite(str(path), np.full((60, 80, 3), 40000, np.uint16))


BROKEN = {
    "cut.jpg": (cut_jpeg, "damaged or cut short|truncated"),
    "text.jpg": (lambda p: p.write_text("not a picture"), r"not a picture, though its name ends in \.jpg"),
    "none.jpg": (lambda p: p.write_bytes(b""), "an empty file"),
    "print.jpg": (cmyk, "a CMYK picture"),
    "deep.png": (sixteen_bit_grey, "not 8 bits a channel|16 bits a channel"),
    "deep_colour.png": (sixteen_bit_colour, "16 bits a channel"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_picture_is_set_aside_and_its_neighbours_kept(coco_source, run_import, name):
    write, reason = BROKEN[name]
    source = coco_source()
    write(source / "images" / name)
    add_picture_record(source, f"images/{name}")
    report, to = run_import(source)
    assert report.images == 3
    ((where, why),) = reasons(to)
    assert where == f"images/{name}"
    assert re.search(reason, why), why
    assert "\n" not in why


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("labelled", ["as displayed", "as stored"])
def test_exif_rotation_is_applied_and_boxes_follow(tmp_path, run_import, orientation, labelled):
    if labelled == "as stored" and orientation < 5:
        pytest.skip("only a swap of axes shows which way the labels were drawn")
    source = tmp_path / "source"
    source.mkdir()
    # A white patch on black, in the picture as stored: its box must follow the patch.
    stored = np.zeros((64, 96, 3), np.uint8)
    stored[8:24, 16:48] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(source / "a.jpg", exif=exif, quality=95, subsampling=0)
    from PIL import ImageOps

    with Image.open(source / "a.jpg") as image:
        shown = np.asarray(ImageOps.exif_transpose(image))
    rows, columns = np.nonzero(shown[..., 0] > 127)
    seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    if labelled == "as stored":
        document = coco({"a.jpg": [[16, 8, 32, 16]]}, size=(64, 96))
    else:
        box = [int(seen[0]), int(seen[1]), int(seen[2] - seen[0]), int(seen[3] - seen[1])]
        document = coco({"a.jpg": [box]}, size=shown.shape[:2])
    (source / "labels.json").write_text(json.dumps(document))
    _, to = run_import(source)
    (record,) = load_dataset(to).images
    assert (record.height, record.width) == shown.shape[:2]
    assert record.boxes[0].xyxy == pytest.approx(seen, abs=1)
    with Image.open(to / "images" / "a.jpg") as written:
        assert written.getexif().get(0x0112, 1) == 1
        bright = np.asarray(written)[..., 0] > 127
    x1, y1, x2, y2 = (int(v) for v in record.boxes[0].xyxy)
    assert bright[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].all()


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([200, 20, 10, 10], "wholly outside the 80x60 image"),
        ([10, 20, 0, 10], "zero or negative area: width 0, height 10"),
        ([10, 20, -4, 10], "zero or negative area: width -4, height 10"),
        ([math.nan, 20, 10, 10], "a coordinate is NaN or infinite"),
        ([math.inf, 20, 10, 10], "a coordinate is NaN or infinite"),
        ([10, 20, 10], "bbox must be four numbers"),
        ("box", "bbox must be four numbers"),
    ],
)
def test_a_bad_box_is_set_aside_and_its_neighbours_kept(coco_source, run_import, box, reason):
    source = coco_source()
    document = json.loads((source / "labels.json").read_text())
    document["annotations"].append({"id": 500, "image_id": 1, "category_id": 3, "bbox": box})
    (source / "labels.json").write_text(json.dumps(document))
    _, to = run_import(source)
    ((where, why),) = reasons(to)
    assert where == "labels.json: annotations[3]"
    assert why.startswith(reason)
    assert [len(image.boxes) for image in load_dataset(to).images] == [1, 1, 1]


def test_a_box_over_the_edge_is_clipped(coco_source, run_import):
    source = coco_source(1, annotations=[{"id": 1, "image_id": 1, "category_id": 3, "bbox": [-10, 50, 30, 30]}])
    _, to = run_import(source)
    assert load_dataset(to).images[0].boxes[0].xyxy == (0, 50, 20, 60)


def test_unknown_class_names_are_listed_or_refused(coco_source, run_import):
    source = coco_source()
    document = json.loads((source / "labels.json").read_text())
    document["categories"].append({"id": 4, "name": "Shoe"})
    document["annotations"].append({"id": 500, "image_id": 1, "category_id": 4, "bbox": [1, 1, 9, 9]})
    (source / "labels.json").write_text(json.dumps(document))
    report, to = run_import(source)
    assert report.unmapped == {"Shoe": 1}
    assert "class names left out: Shoe (1 boxes)" in report.warnings
    assert load_dataset(to).annotated_classes == ("gap",)
    with pytest.raises(DatasetError, match=r"no class for Shoe \(1 boxes\); map them with --class-map"):
        run_import(source, strict=True)
    report, to = run_import(source, class_map={"shoe": "occluder"}, strict=True)
    assert report.boxes == {"gap": 3, "occluder": 1}


def test_no_known_class_at_all(coco_source, run_import):
    source = coco_source(categories=[{"id": 3, "name": "Shoe"}])
    with pytest.raises(DatasetError, match=r"means gap, low, occluder, product, ignore; found Shoe \(3 boxes\)"):
        run_import(source)


@pytest.mark.parametrize("name", ["../outside.jpg", "/etc/outside.jpg", "images/../../outside.jpg", "C:\\outside.jpg"])
def test_a_file_name_that_climbs_out_is_refused(tmp_path, coco_source, run_import, name):
    source = coco_source()
    paint(tmp_path / "outside.jpg", 5)
    add_picture_record(source, name)
    report, to = run_import(source)
    assert report.images == 3
    assert reasons(to) == {("labels.json: images[3]", f"file_name {name!r} leaves the source folder")}


def test_a_link_out_of_the_source_is_refused(tmp_path, coco_source, run_import):
    source = coco_source()
    paint(tmp_path / "secret.jpg", 5)
    (source / "images" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    add_picture_record(source, "images/link.jpg")
    _, to = run_import(source)
    assert ("images/link.jpg", "a link that leaves the source folder") in reasons(to)
    assert not (to / "images" / "images" / "link.jpg").exists()


def test_a_linked_folder_is_told_of(tmp_path, coco_source, run_import):
    source = coco_source()
    paint(tmp_path / "elsewhere" / "1.jpg", 5)
    (source / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    report, to = run_import(source)
    assert report.images == 3
    assert reasons(to) == {("more", "a linked folder is not entered")}
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "images").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(DatasetError, match=r"no pictures in this folder; .*; images: a linked folder is not entered"):
        run_import(tmp_path / "links")


def test_a_folder_that_cannot_be_listed_costs_none_beside_it(coco_source, run_import):
    source = coco_source()
    place = os.open(source, os.O_RDONLY)
    for _ in range(20):  # deeper than a path may be long; a closed folder is none to root
        os.mkdir("d" * 250, dir_fd=place)
        inside = os.open("d" * 250, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inside
    os.close(place)
    report, to = run_import(source)
    assert report.images == 3
    ((where, reason),) = reasons(to)
    assert where.startswith("dddd")
    assert reason == "a folder that cannot be listed (File name too long)"


def test_a_size_that_is_not_the_pictures_is_refused(coco_source, run_import):
    source = coco_source()
    paint(source / "images" / "x.jpg", 9)
    add_picture_record(source, "images/x.jpg", size=(600, 800))
    _, to = run_import(source)
    assert reasons(to) == {("images/x.jpg", "the annotation speaks of 800x600, the picture is 80x60")}


def test_a_damaged_annotation_file_is_set_aside(coco_source, run_import):
    source = coco_source()
    (source / "half.json").write_text('{"images": [')
    report, to = run_import(source)
    assert report.images == 3
    ((where, why),) = reasons(to)
    assert where == "half.json"
    assert why.startswith("not readable as JSON")


def test_equal_pictures_are_merged_and_their_boxes_joined(tmp_path, run_import):
    source = tmp_path / "source"
    for name in ("a.jpg", "b.jpg"):
        paint(source / name)
    boxes = {"a.jpg": [[10, 20, 30, 20]], "b.jpg": [[11, 20, 30, 20], [60, 5, 10, 10]]}
    (source / "labels.json").write_text(json.dumps(coco(boxes)))
    report, to = run_import(source)
    assert (report.images, report.merged) == (1, 1)
    assert [box.xyxy for box in load_dataset(to).images[0].boxes] == [(10, 20, 40, 40), (60, 5, 70, 15)]


def test_labels_of_another_picture_are_told_of(tmp_path, run_import):
    source = tmp_path / "source"
    for name, seed in (("a.jpg", 0), ("b.jpg", 0), ("c.jpg", 1), ("d.jpg", 1), ("e.jpg", 2), ("f.jpg", 2)):
        paint(source / name, seed)
    boxes = {"a.jpg": [[10, 20, 30, 20], [60, 5, 10, 10]], "b.jpg": [[11, 20, 30, 20], [30, 5, 10, 10]]}
    boxes |= {"c.jpg": [[10, 20, 30, 20]], "d.jpg": [[50, 20, 20, 20]], "e.jpg": [], "f.jpg": [[50, 20, 20, 20]]}
    (source / "labels.json").write_text(json.dumps(coco(boxes)))
    report, to = run_import(source)
    (warning,) = [warning for warning in report.warnings if "twice" in warning]
    assert warning.startswith("1 pictures stand there twice")
    assert "such as c.jpg and d.jpg" in warning
    assert len(load_dataset(to).images[1].boxes) == 2


def test_import_again_gives_the_same_bytes(coco_source, run_import):
    def contents(root):
        return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    source = coco_source()
    _, to = run_import(source)
    first = contents(to)
    run_import(source)
    assert contents(to) == first
    assert len(first) == 5  # three pictures, annotations, report


def test_a_folder_with_other_things_is_not_overwritten(tmp_path, coco_source, run_import):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "letter.txt").write_text("dear")
    with pytest.raises(DatasetError, match="not empty and no earlier import; choose another folder"):
        run_import(coco_source())
    assert (tmp_path / "dataset" / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize("place", ["source", "source/inside", "."])
def test_source_and_target_must_be_apart(tmp_path, coco_source, run_import, place):
    with pytest.raises(DatasetError, match="lies inside the source, or the source inside it"):
        run_import(coco_source(), to=tmp_path / place)


def test_a_failed_import_leaves_the_earlier_one(coco_source, run_import, monkeypatch):
    source = coco_source()
    _, to = run_import(source)
    before = (to / "annotations.json").read_bytes()
    import shelfgap_datasets.intake.importer as importer

    def full_disk(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(importer, "save_dataset", full_disk)
    with pytest.raises(DatasetError, match=r"cannot be written \(No space left on device\); free some space"):
        run_import(source)
    assert (to / "annotations.json").read_bytes() == before
    assert [p.name for p in to.parent.iterdir() if "partial" in p.name] == []


def test_licence_and_store_go_with_each_image(coco_source, run_import):
    source = coco_source(licenses=[{"id": 1, "name": "CC BY 4.0"}])
    report, to = run_import(source, store="s1", consent="notice", allow_unstated=False)
    assert {(i.license, i.consent, i.store) for i in load_dataset(to).images} == {("CC BY 4.0", "notice", "s1")}
    assert report.warnings == ()
    report, to = run_import(source, license="MIT")
    assert {(i.license, i.consent) for i in load_dataset(to).images} == {("MIT", "unstated")}
    assert report.warnings == ("3 pictures without a stated consent basis; name it with --consent",)


def test_a_box_with_a_number_of_hundreds_of_digits_is_set_aside(coco_source, run_import):
    source = coco_source()
    add_picture_record(source, "images/0.jpg", boxes=((10**400, 1, 5, 5),))
    report, to = run_import(source)
    assert report.images == 3
    assert any("bbox must be four numbers" in reason for _, reason in reasons(to))


def test_a_box_that_is_turned_without_end_is_set_aside(tmp_path, run_import):
    paint(tmp_path / "source" / "a.png")
    box = "<box label='Empty' xtl='{x}' ytl='15' xbr='35' ybr='45' rotation='{turn}'/>"
    (tmp_path / "source" / "annotations.xml").write_text(
        "<annotations><version>1.1</version><image id='0' name='a.png' width='80' height='60'>"
        f"{box.format(x=15, turn='inf')}{box.format(x=5, turn='0')}</image></annotations>"
    )
    report, to = run_import(tmp_path / "source")
    assert report.boxes == {"gap": 1}
    assert [reason for _, reason in reasons(to)] == ["a coordinate is NaN or infinite"]
