"""After redaction nothing of an occluder is left to recover, and what claims to be redacted is looked at."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_pictures import paint
from PIL import Image
from shelfgap_datasets.checks import check_dataset
from shelfgap_datasets.coco import load_dataset, load_rejections, save_dataset
from shelfgap_datasets.params import DuplicateParams
from shelfgap_datasets.redact import pixelate, redact_dataset, redaction_problems
from shelfgap_datasets.schema import Box, Dataset, DatasetError, ImageRecord

DUPLICATES = DuplicateParams(max_hash_distance=6, max_turned_distance=10)
SIZE = (240, 320)
SHOPPER = Box("occluder", (60.0, 30.0, 160.0, 230.0))


def detailed(path, seed):
    """A picture in which every pixel differs from the next, with a thumbnail of itself in its EXIF block."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)
    exif = Image.Exif()
    exif[0x010E] = "shopper before the shelf"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95, exif=exif)
    return path


@pytest.fixture
def shelf(tmp_path):
    """Three pictures, two with a shopper, on the basis of a notice."""
    root, images = tmp_path / "data", []
    for seed, name in enumerate(("a.jpg", "b.png", "c.jpg")):
        path = detailed(root / "images" / name, seed)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        boxes = (SHOPPER, Box("gap", (200.0, 20.0, 260.0, 90.0))) if name != "c.jpg" else ()
        images.append(
            ImageRecord(
                file_name=name,
                width=SIZE[1],
                height=SIZE[0],
                sha256=digest,
                license="MIT",
                consent="notice",
                source=name,
                group=name,
                split="train",
                boxes=boxes,
            )
        )
    save_dataset(root, Dataset(tuple(images), ("gap", "occluder")))
    return root


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_boxes_are_pixelated_and_the_rest_of_the_picture_stays(shelf):
    before = {name: pixels(shelf / "images" / name) for name in ("a.jpg", "b.png", "c.jpg")}
    untouched = (shelf / "images" / "c.jpg").read_bytes()
    report = redact_dataset(shelf)
    assert (report.redacted, report.already, report.boxes) == (2, 0, 2)
    for name in ("a.jpg", "b.png"):
        now = pixels(shelf / "images" / name)
        inside = now[34:226, 64:156]
        assert np.abs(np.diff(inside, axis=1)).mean() < 3  # it was about 60
        assert np.abs(now - before[name])[:, 180:].mean() < 4  # JPEG alone
        record = next(image for image in load_dataset(shelf).images if image.file_name == name)
        assert record.redacted
        assert record.sha256 == hashlib.sha256((shelf / "images" / name).read_bytes()).hexdigest()
    assert (shelf / "images" / "c.jpg").read_bytes() == untouched
    assert b"shopper before" not in (shelf / "images" / "a.jpg").read_bytes()
    assert check_dataset(shelf, DUPLICATES, require_redacted=True).passed


def test_what_else_lies_in_the_folder_stays(shelf):
    for name in (".git/config", "notes/aisle 3.md", "README.md"):
        (shelf / name).parent.mkdir(exist_ok=True)
        (shelf / name).write_text(name)
    redact_dataset(shelf)
    assert [(shelf / name).read_text() for name in (".git/config", "notes/aisle 3.md")] == [
        ".git/config",
        "notes/aisle 3.md",
    ]
    assert (shelf / "README.md").read_text() == "README.md"


def test_a_second_run_changes_nothing(shelf):
    redact_dataset(shelf)
    before = {path: path.read_bytes() for path in shelf.rglob("*") if path.is_file()}
    report = redact_dataset(shelf)
    assert (report.redacted, report.already, report.boxes) == (0, 2, 0)
    assert {path: path.read_bytes() for path in shelf.rglob("*") if path.is_file()} == before


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 300), st.integers(0, 220), st.integers(1, 320), st.integers(1, 240), st.integers(0, 99))
def test_what_is_left_of_a_box_is_at_most_six_by_six_colours(x, y, width, height, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)
    box = np.array([[x, y, min(320, x + width), min(240, y + height)]], np.float32)
    out = pixelate(picture, box)
    x1, y1, x2, y2 = box[0].astype(int)
    colours = {tuple(colour) for colour in out[y1:y2, x1:x2].reshape(-1, 3).tolist()}
    assert 1 <= len(colours) <= 36
    assert all(channel % 16 == 0 or channel == 255 for colour in colours for channel in colour)
    far = np.ones(SIZE, bool)
    far[max(0, y1 - 9) : y2 + 9, max(0, x1 - 11) : x2 + 11] = False
    np.testing.assert_array_equal(out[far], picture[far])


def test_what_pixelation_leaves_does_not_tell_two_faces_apart():
    """Two pictures with the same means in six by six cells become one and the same."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 200, (6, 6, 3))
    noise = rng.integers(-30, 30, (240, 240, 3))
    even = np.repeat(np.repeat(coarse, 40, 0), 40, 1)
    turned = noise.reshape(6, 40, 6, 40, 3)[:, ::-1, :, ::-1].reshape(240, 240, 3)  # within each cell
    one, two = even + noise, even + turned
    box = np.array([[0, 0, 240, 240]], np.float32)
    np.testing.assert_array_equal(*(pixelate(p.astype(np.uint8), box) for p in (one, two)))


def test_require_redacted_believes_pixels_not_records(shelf):
    dataset = load_dataset(shelf)
    assert redaction_problems(shelf, dataset) == [
        "a.jpg: 1 occluder box(es) not redacted",
        "b.png: 1 occluder box(es) not redacted",
    ]
    report = check_dataset(shelf, DUPLICATES, require_redacted=True)
    assert not report.passed
    assert check_dataset(shelf, DUPLICATES).passed
    lying = replace(dataset, images=tuple(replace(image, redacted=True) for image in dataset.images))
    assert redaction_problems(shelf, lying) == [
        "a.jpg: the record says redacted, the pixels do not",
        "b.png: the record says redacted, the pixels do not",
    ]


def test_where_occluders_were_not_labelled_nobody_knows_unless_nobody_is_there(shelf):
    dataset = load_dataset(shelf)
    bare = tuple(image.of_classes(("gap",)) for image in dataset.images)
    unlabelled = Dataset(bare, ("gap",))
    assert len(redaction_problems(shelf, unlabelled)) == 3
    nobody = replace(unlabelled, images=tuple(replace(image, consent="no-persons") for image in bare))
    assert redaction_problems(shelf, nobody) == []


def test_an_interrupted_redaction_leaves_the_dataset_as_it_was(shelf):
    before = {path: path.read_bytes() for path in shelf.rglob("*") if path.is_file()}

    def stop(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        redact_dataset(shelf, stop)
    assert {path: path.read_bytes() for path in shelf.rglob("*") if path.is_file()} == before
    assert [path.name for path in shelf.parent.iterdir()] == ["data"]


def test_pictures_keep_their_bytes_where_there_is_nobody(tmp_path):
    root = tmp_path / "data"
    path = paint(root / "images" / "a.jpg")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    rights = {"license": "MIT", "consent": "notice"}
    record = ImageRecord(file_name="a.jpg", width=80, height=60, sha256=digest, source="a.jpg", **rights)
    save_dataset(root, Dataset((record,), ("gap", "occluder")))
    content = path.read_bytes()
    assert redact_dataset(root).boxes == 0
    assert path.read_bytes() == content


def test_bad_records_are_set_aside_and_pictures_without_a_record_stay(shelf):
    path = shelf / "annotations.json"
    raw = json.loads(path.read_text())
    raw["images"][2]["split"] = "trian"
    raw["annotations"][0]["bbox"][2] = 0  # of the shopper
    path.write_text(json.dumps(raw))
    mistyped = (shelf / "images" / "c.jpg").read_bytes()
    report = redact_dataset(shelf)
    assert (report.redacted, report.boxes, report.unlisted) == (1, 1, 1)
    assert [row.reason for row in load_rejections(shelf)] == [
        "split must be one of train, val, test, got 'trian'",
        "zero or negative area: width 0, height 200",
    ]
    assert (shelf / "images" / "c.jpg").read_bytes() == mistyped
    assert check_dataset(shelf, DUPLICATES).unlisted == ("c.jpg",)
    assert check_dataset(shelf, DUPLICATES).passed
    strict = check_dataset(shelf, DUPLICATES, require_redacted=True)
    assert strict.exposed == ("c.jpg: no sound record names it, so it may show a shopper anywhere",)
    assert not strict.passed


def test_the_picture_of_a_bad_record_may_show_a_shopper_before_it_is_set_aside_and_after(shelf):
    redact_dataset(shelf)
    with (shelf / "images" / "c.jpg").open("ab") as picture:
        picture.write(b"changed")
    for _ in range(2):
        report = check_dataset(shelf, DUPLICATES, require_redacted=True)
        assert report.exposed == ("c.jpg: no sound record names it, so it may show a shopper anywhere",)
        save_dataset(shelf, replace(report.sound, rejections=report.records))


@pytest.mark.parametrize("orientation", [3, 6])
def test_what_is_displayed_is_pixelated_whatever_way_the_picture_is_stored(tmp_path, orientation):
    root = tmp_path / "data"
    stored = SIZE if orientation == 3 else SIZE[::-1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = root / "images" / "a.png"
    path.parent.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (*stored, 3), np.uint8)
    Image.fromarray(noise).save(path, exif=exif)
    displayed = np.rot90(noise, 2 if orientation == 3 else -1)
    record = ImageRecord(
        file_name="a.png",
        width=SIZE[1],
        height=SIZE[0],
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        license="MIT",
        consent="notice",
        source="a.png",
        boxes=(SHOPPER,),
    )
    save_dataset(root, Dataset((record,), ("occluder",)))
    redact_dataset(root)
    expected = pixelate(np.ascontiguousarray(displayed), record.boxes_xyxy())
    np.testing.assert_array_equal(pixels(path), expected)
    assert check_dataset(root, DUPLICATES, require_redacted=True).passed


def test_a_picture_that_is_not_of_its_records_size_is_named(shelf):
    dataset = load_dataset(shelf)
    first = replace(dataset.images[0], width=900, boxes=(Box("occluder", (700.0, 30.0, 800.0, 230.0)),))
    save_dataset(shelf, replace(dataset, images=(first, *dataset.images[1:])))
    before = {path: path.read_bytes() for path in shelf.rglob("*") if path.is_file()}
    with pytest.raises(DatasetError, match=r"a\.jpg: the record says 900x240, the picture is 320x240; run: "):
        redact_dataset(shelf)
    assert {path: path.read_bytes() for path in shelf.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "box", [(319.99999, 10.0, 320.0, 20.0), (10.0, 239.999999, 20.0, 240.0), (0.0, 0.0, 1e-9, 9.0)]
)
def test_a_box_without_a_whole_pixel_costs_at_least_that_pixel(shelf, box):
    dataset = load_dataset(shelf)
    jpeg, png, other = dataset.images
    png = replace(png, boxes=(Box("occluder", box),))
    save_dataset(shelf, replace(dataset, images=(jpeg, png, other)))
    assert redact_dataset(shelf).boxes == 2
    assert check_dataset(shelf, DUPLICATES, require_redacted=True).passed
