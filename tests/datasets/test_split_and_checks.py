"""Groups keep together, near-duplicates are found without comparing all pairs, checks find what was planted."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled_pictures import paint
from PIL import Image
from shelfgap_datasets.checks import check_dataset
from shelfgap_datasets.coco import load_dataset, load_rejections, save_dataset
from shelfgap_datasets.params import DuplicateParams, SplitParams
from shelfgap_datasets.schema import Dataset, DatasetError, ImageRecord
from shelfgap_datasets.sequence import sequence_key
from shelfgap_datasets.split import assign, extend_split, group_names, split_dataset

SPLIT = SplitParams(val_fraction=0.25, test_fraction=0.25, salt="s")
DUPLICATES = DuplicateParams(max_hash_distance=6, max_turned_distance=10)


def record(name: str, **values) -> ImageRecord:
    return ImageRecord(
        file_name=name, width=80, height=60, sha256="", license="MIT", consent="no-persons", source=name, **values
    )


@pytest.fixture
def make_dataset(tmp_path):
    def make(count: int, **values) -> tuple:
        root = tmp_path / "data"
        records = []
        for number in range(count):
            path = paint(root / "images" / f"{number}.jpg", number)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            records.append(replace(record(f"{number}.jpg", **values), sha256=digest))
        dataset = Dataset(tuple(records), ("gap",))
        save_dataset(root, dataset)
        return root, dataset

    return make


@given(st.lists(st.text(), unique=True, min_size=1), st.text())
def test_a_group_never_moves_as_others_come(groups, salt):
    params = SplitParams(val_fraction=0.2, test_fraction=0.2, salt=salt)
    before = {name: assign(name, params) for name in groups[: len(groups) // 2]}
    after = {name: assign(name, params) for name in groups}
    assert before.items() <= after.items()


def test_shares_are_about_what_was_asked():
    sides = [assign(f"group {i}", SPLIT) for i in range(4000)]
    for side, share in (("train", 0.5), ("val", 0.25), ("test", 0.25)):
        assert sides.count(side) / 4000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"store": "s", "camera": "c"}, "store:s"),
        ({"camera": "c"}, "camera:c"),
        ({"source": "a/0001.jpg"}, "source:a/0001.jpg"),
        ({"source": "set/train/images/1-100_jpg.rf.0123456789abcdef0123.jpg"}, "sequence:set/1-100_jpg"),
        ({"source": "set/valid/images/1-100_jpg.rf.fedcba98765432100123.jpg"}, "sequence:set/1-100_jpg"),
        ({"source": "film_frame_0012.png"}, "sequence:film"),
        ({"source": "lyon/images/frame_000012.PNG"}, "sequence:lyon"),  # what CVAT and ffmpeg make of a film
        ({"source": "lyon/images/frame_000013.PNG"}, "sequence:lyon"),
        ({"source": "train/images/aisle_mp4-7_jpg.rf.0123456789abcdef0123.jpg"}, "sequence:aisle"),
        ({"source": "valid/images/aisle_mp4-8_jpg.rf.fedcba98765432100123.jpg"}, "sequence:aisle"),
        ({"source": "a/film_frame_3_png.rf.0123456789abcdef0123.jpg"}, "sequence:a/film"),
        ({"source": "a/picture_png.jpg"}, "source:a/picture_png.jpg"),
    ],
)
def test_what_makes_a_sequence(values, key):
    assert sequence_key(replace(record("x.jpg"), **values)) == key


def test_near_duplicates_join_their_groups():
    images = [record("a.jpg", store="b"), record("b.jpg", store="a"), record("c.jpg", store="c")]
    assert group_names(images, [np.array([[0, 1]])]) == ["store:a", "store:a", "store:c"]


def test_a_split_leaks_nothing_and_is_written_and_read(make_dataset):
    root, dataset = make_dataset(40)
    flipped = Image.open(root / "images" / "0.jpg").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    flipped.save(root / "images" / "1.jpg", quality=60)
    divided = split_dataset(root, dataset, SPLIT, DUPLICATES)
    assert divided.images[0].group == divided.images[1].group
    by_group = {}
    for image in divided.images:
        assert by_group.setdefault(image.group, image.split) == image.split
    assert {i.split for i in divided.images} == {"train", "val", "test"}
    save_dataset(root, divided)
    assert load_dataset(root) == divided


@pytest.mark.parametrize("history", [False, True])
def test_a_picture_that_cannot_be_read_is_named(make_dataset, history):
    root, dataset = make_dataset(4)
    path = root / "images" / "2.jpg"
    path.write_bytes(path.read_bytes()[:300])
    first = replace(dataset.images[0], split="train" if history else None)
    divide = extend_split if history else split_dataset
    with pytest.raises(DatasetError, match=r"the picture 2\.jpg cannot be read \(.*\); run: shelfgap data check"):
        divide(root, replace(dataset, images=(first, *dataset.images[1:])), SPLIT, DUPLICATES)


def test_one_group_only_is_an_error(make_dataset):
    root, dataset = make_dataset(5, store="only")
    with pytest.raises(DatasetError, match=r"1 group\(s\) of images leave .* empty; more stores, cameras or scenes"):
        split_dataset(root, dataset, SPLIT, DUPLICATES)


def planted(root, dataset, fault):
    first = dataset.images[0]
    path = root / "images" / first.file_name
    if fault == "gone":
        path.unlink()
        return dataset
    if fault == "changed":
        paint(path, 1234)
        return dataset
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:300])
        return dataset
    values = {"size": {"width": 800}, "unhashed": {"sha256": ""}}[fault]
    return replace(dataset, images=(replace(first, **values), *dataset.images[1:]))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("gone", "no such picture"),
        ("changed", "the picture was changed"),
        ("cut", "damaged or cut short|truncated"),
        ("size", "the record says 800x60, the picture is 80x60"),
        ("unhashed", "the record has no sha256"),
    ],
)
def test_a_planted_fault_is_found_and_can_be_set_aside(make_dataset, fault, reason):
    root, dataset = make_dataset(4)
    assert check_dataset(root, DUPLICATES).passed
    save_dataset(root, planted(root, dataset, fault))
    report = check_dataset(root, DUPLICATES)
    assert not report.passed
    (bad,) = report.records
    assert bad.source == "0.jpg"
    assert re.search(reason, bad.reason), bad.reason
    save_dataset(root, replace(report.sound, rejections=report.records))
    assert check_dataset(root, DUPLICATES).passed
    assert len(load_dataset(root).images) == 3
    assert load_rejections(root) == report.records


def test_a_planted_leak_is_found(make_dataset):
    root, dataset = make_dataset(3)
    mirrored = Image.open(root / "images" / "0.jpg").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.save(root / "images" / "1.jpg", quality=50)
    digest = hashlib.sha256((root / "images" / "1.jpg").read_bytes()).hexdigest()
    one, two, three = dataset.images
    images = (
        replace(one, split="train", group="a"),
        replace(two, split="test", group="b", sha256=digest),
        replace(three, split="val", group="b"),
    )
    save_dataset(root, replace(dataset, images=images))
    report = check_dataset(root, DUPLICATES)
    assert report.leaks == (
        "group b is in test and val",
        "0.jpg (train) and 1.jpg (test) show the same scene",
    )
    assert not report.passed


def test_a_picture_without_record_is_named(make_dataset):
    root, _ = make_dataset(2)
    paint(root / "images" / "stray.jpg", 50)
    report = check_dataset(root, DUPLICATES)
    assert report.unlisted == ("stray.jpg",)
    assert report.passed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "not readable as JSON"),
        ("[]", "expected a COCO object with the lists images, annotations, categories"),
        (json.dumps({"images": [], "annotations": [], "categories": [{"id": 1, "name": "gap"}]}), "no usable image"),
        (
            json.dumps({"images": [], "annotations": [], "categories": [{"id": 1, "name": "Empty"}]}),
            r"annotations\.json: the classes must be distinct ones of gap, .*, got Empty; import the folder: shelfgap",
        ),
    ],
)
def test_a_damaged_dataset_is_refused(tmp_path, content, message):
    (tmp_path / "annotations.json").write_text(content)
    with pytest.raises(DatasetError, match=message):
        load_dataset(tmp_path)
