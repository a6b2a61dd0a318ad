"""Sources become one dataset, and what had a split keeps it as more comes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from labelled_pictures import paint
from shelfgap_datasets.checks import check_dataset
from shelfgap_datasets.coco import load_dataset, load_rejections, save_dataset
from shelfgap_datasets.intake.importer import import_source
from shelfgap_datasets.labelling.correct import correct_dataset
from shelfgap_datasets.labelling.export import export_dataset
from shelfgap_datasets.merge import Part, merge_datasets
from shelfgap_datasets.params import DuplicateParams, SplitParams
from shelfgap_datasets.pictures import pack
from shelfgap_datasets.schema import Box, Dataset, DatasetError, ImageRecord, Rejection, Twin
from shelfgap_datasets.split import extend_split, group_names, split_dataset

SPLIT = SplitParams(val_fraction=0.3, test_fraction=0.3, salt="s")
DUPLICATES = DuplicateParams(max_hash_distance=6, max_turned_distance=10)
GAP = Box("gap", (10.0, 10.0, 30.0, 30.0))


def record(root, name, seed, boxes=(GAP,), **values) -> ImageRecord:
    path = paint(root / "images" / name, seed)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    rights = {"license": "MIT", "consent": "notice"}
    return ImageRecord(file_name=name, width=80, height=60, sha256=digest, source=name, boxes=boxes, **rights, **values)


def part(root, seeds, folder, classes=("gap",), **values) -> Part:
    images = tuple(record(root, f"{seed}.png", seed, **values) for seed in seeds)
    dataset = Dataset(images, classes)
    save_dataset(root, dataset)
    return Part(root, dataset, folder)


def test_pictures_keep_apart_by_folder_and_equal_ones_are_one(tmp_path):
    one, two = (
        part(tmp_path / "one", (1, 2), "one"),
        part(tmp_path / "two", (2, 3), "two", boxes=(GAP, Box("gap", (50, 5, 70, 25)))),
    )
    two = replace(two, dataset=replace(two.dataset, rejections=(Rejection("x.json", "bad", "mend"),)))
    merged = merge_datasets([one, two], tmp_path / "all")
    assert [image.file_name for image in merged.images] == ["one/1.png", "one/2.png", "two/3.png"]
    assert len(merged.images[1].boxes) == 2  # what the second labeller saw as well
    assert merged.rejections == (Rejection("two/x.json", "bad", "mend"),)
    assert load_dataset(tmp_path / "all").images == merged.images
    for image in merged.images:
        data = (tmp_path / "all" / "images" / image.file_name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == image.sha256


def test_equal_names_without_folders_are_numbered(tmp_path):
    one, two = part(tmp_path / "one", (1,), ""), part(tmp_path / "two", (5,), "")
    odd = replace(two.dataset.images[0], file_name="1.png")
    (tmp_path / "two" / "images" / "5.png").rename(tmp_path / "two" / "images" / "1.png")
    merged = merge_datasets([one, replace(two, dataset=replace(two.dataset, images=(odd,)))], tmp_path / "all")
    assert [image.file_name for image in merged.images] == ["1.png", "1-2.png"]


def test_of_parts_labelled_differently_each_picture_says_what_was_looked_for(tmp_path):
    low = Box("low", (40.0, 10.0, 60.0, 30.0))
    one = part(tmp_path / "one", (1, 3), "one", ("gap", "low"), boxes=(GAP, low))
    two = part(tmp_path / "two", (2, 3), "two")
    merge_datasets([one, two], tmp_path / "all")
    merged = load_dataset(tmp_path / "all")
    assert merged.annotated_classes == ("gap", "low")
    labelled = {image.file_name: [image.is_labelled(name) for name in ("gap", "low")] for image in merged.images}
    both = [True, True]
    assert labelled == {"one/1.png": both, "one/3.png": both, "two/2.png": [True, False]}  # 3 stands in both parts
    again = merge_datasets([Part(tmp_path / "all", merged, "")], tmp_path / "again", ("gap",))
    assert [image.annotated_classes for image in again.images] == [None] * 3
    assert {box.class_name for image in again.images for box in image.boxes} == {"gap"}
    unsure = Box("ignore", (40.0, 10.0, 60.0, 30.0))
    three = part(tmp_path / "three", (4,), "three", ("low", "ignore"), boxes=(low, unsure))
    lows = merge_datasets([three], tmp_path / "lows", ("low",))
    assert lows.annotated_classes == ("low", "ignore")  # what says nothing does not become background
    assert lows.images[0].boxes == (low, unsure)
    with pytest.raises(DatasetError, match=r"three: labelled with low, ignore, of which none is wanted \(gap\)"):
        merge_datasets([three], tmp_path / "gaps", ("gap",))
    four = part(tmp_path / "four", (5,), "four", ("ignore",), boxes=(unsure,))
    assert len(merge_datasets([one, four], tmp_path / "five").images) == 3  # with no --classes nothing is unwanted
    with pytest.raises(DatasetError, match=r"two: labelled with gap, of which none is wanted \(low\)"):
        merge_datasets([one, two], tmp_path / "low", ("low",))
    for wrong in ("lwo", "occluder"):
        with pytest.raises(DatasetError, match=f"--classes: {wrong} is labelled nowhere; there is gap, low"):
            merge_datasets([one, two], tmp_path / "typo", ("gap", wrong))


def test_an_import_keeps_what_was_looked_for_in_each_picture(tmp_path):
    low = Box("low", (40.0, 10.0, 60.0, 30.0))
    one = part(tmp_path / "one", (1, 3), "one", ("gap", "low"), boxes=(GAP, low))
    two = part(tmp_path / "two", (2, 3), "two")
    merge_datasets([one, two], tmp_path / "all")
    import_source(tmp_path / "all", tmp_path / "back", class_aliases={})
    assert [(image.sha256, image.annotated_classes) for image in load_dataset(tmp_path / "back").images] == [
        (image.sha256, image.annotated_classes) for image in load_dataset(tmp_path / "all").images
    ]


def test_pictures_without_a_hash_are_not_taken_for_one_another(tmp_path):
    one, two = part(tmp_path / "one", (1, 2), "one"), part(tmp_path / "two", (1, 3), "two")
    bare = replace(one, dataset=replace(one.dataset, images=tuple(replace(i, sha256="") for i in one.dataset.images)))
    merged = merge_datasets([bare, two, bare], tmp_path / "all")
    names = [image.file_name for image in merged.images]
    assert names == ["one/1.png", "one/2.png", "two/1.png", "two/3.png", "one/1-2.png", "one/2-2.png"]
    assert [len(image.boxes) for image in merged.images] == [1] * 6


def test_an_occluder_that_another_labeller_adds_to_a_redacted_picture_is_to_be_redacted(tmp_path):
    classes, seen, added = (
        ("gap", "occluder"),
        Box("occluder", (0.0, 0.0, 20.0, 50.0)),
        Box("occluder", (50, 0, 79, 50)),
    )
    one = part(tmp_path / "one", (1, 2), "one", classes, boxes=(seen,), redacted=True)
    two = part(tmp_path / "two", (2,), "two", classes, boxes=(seen, GAP, added))
    merged = merge_datasets([one, two], tmp_path / "all")
    assert [(image.file_name, image.redacted) for image in merged.images] == [("one/1.png", True), ("one/2.png", False)]
    assert added in merged.images[1].boxes
    two = part(tmp_path / "three", (2,), "two", classes, boxes=(seen, GAP))
    assert [image.redacted for image in merge_datasets([one, two], tmp_path / "same").images] == [True, True]


def test_an_import_of_a_version_keeps_group_split_and_redaction(tmp_path):
    values = {"group": "g", "split": "val", "redacted": True}
    part(tmp_path / "version", (1, 2), "", ("gap", "occluder"), **values)
    (tmp_path / "version" / "version.json").write_text('{"version": "v0001"}')
    import_source(tmp_path / "version", tmp_path / "back", class_aliases={})
    images = load_dataset(tmp_path / "back").images
    assert [(image.group, image.split, image.redacted) for image in images] == [("g", "val", True)] * 2


@pytest.mark.parametrize("step", ["pack", "correct"])
def test_what_is_made_of_a_version_is_one_so_that_no_picture_changes_sides(tmp_path, step):
    root, to, mark = part(tmp_path / "v0001", (1, 2), "").root, tmp_path / "new", '{"version": "v0001"}'
    (root / "version.json").write_text(mark)
    save_dataset(root, replace(load_dataset(root), rejections=(Rejection("x.jpg", "bad", "mend"),)))
    if step == "pack":
        pack(root, to, pictures_per_shard=1)
    else:
        export_dataset(root, load_dataset(root), "coco", tmp_path / "out")
        correct_dataset(root, tmp_path / "out", to, class_aliases={})
    assert (to / "version.json").read_text() == mark  # `data split` goes by it
    assert load_rejections(to) == (Rejection("x.jpg", "bad", "mend"),)


def test_a_box_or_a_mark_of_a_class_that_was_not_labelled_is_set_aside(tmp_path):
    part(tmp_path / "data", (1, 2), "", ("gap", "low"))
    path = tmp_path / "data" / "annotations.json"
    raw = json.loads(path.read_text())
    raw["images"][0]["annotated_classes"] = ["low"]
    raw["images"][1]["annotated_classes"] = ["gap", "products"]
    path.write_text(json.dumps(raw))
    dataset = load_dataset(tmp_path / "data")
    assert [(image.file_name, image.boxes) for image in dataset.images] == [("1.png", ())]
    reasons = [row.reason for row in dataset.rejections]
    assert "class 'gap' is not annotated in 1.png" in reasons
    assert "annotated_classes must be a list of the dataset's (gap, low), got ['gap', 'products']" in reasons


@pytest.mark.parametrize("key", ["file_name", "store"])
def test_a_record_with_half_a_character_is_set_aside(tmp_path, key):
    part(tmp_path / "data", (1, 2), "", store="s")
    path = tmp_path / "data" / "annotations.json"
    raw = json.loads(path.read_text())
    raw["images"][0][key] = "\ud800.png"
    path.write_text(json.dumps(raw))
    report = check_dataset(tmp_path / "data", DUPLICATES)
    assert [image.file_name for image in report.sound.images] == ["2.png"]
    (bad, *_) = report.records
    assert bad.reason == f"{key} '\\ud800.png' has a character that no text can hold"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("image_id", [1], "belongs to no usable image record"),
        ("category_id", {"id": 1}, "category_id {'id': 1} is not an annotated class"),
        ("bbox", [10**400, 1, 5, 5], "bbox must be four numbers"),
    ],
)
def test_a_box_with_what_is_no_id_or_number_is_set_aside(tmp_path, key, value, reason):
    part(tmp_path / "data", (1, 2), "")
    path = tmp_path / "data" / "annotations.json"
    raw = json.loads(path.read_text())
    raw["annotations"][0][key] = value
    path.write_text(json.dumps(raw))
    dataset = load_dataset(tmp_path / "data")
    assert [len(image.boxes) for image in dataset.images] == [0, 1]
    assert [reason in rejection.reason for rejection in dataset.rejections] == [True]


def test_a_picture_whose_size_no_picture_has_is_set_aside(tmp_path):
    part(tmp_path / "data", (1, 2), "")
    path = tmp_path / "data" / "annotations.json"
    raw = json.loads(path.read_text())
    raw["images"][0]["width"] = 10**400
    path.write_text(json.dumps(raw))
    dataset = load_dataset(tmp_path / "data")
    assert [image.file_name for image in dataset.images] == ["2.png"]
    assert "width and height must be positive integers" in dataset.rejections[0].reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "not readable as JSON"),
        ('{"images": [], "annotations": [], "categories": [], "licenses": 3}', "licenses must be a list, got 3"),
    ],
)
def test_annotations_that_are_none_are_refused_in_one_line(tmp_path, text, reason):
    (tmp_path / "annotations.json").write_text(text)
    with pytest.raises(DatasetError, match=reason):
        load_dataset(tmp_path)


@pytest.fixture
def divided(tmp_path):
    root = tmp_path / "data"
    images = tuple(record(root, f"{seed}.png", seed) for seed in range(20))
    return root, split_dataset(root, Dataset(images, ("gap",)), SPLIT, DUPLICATES)


def test_new_pictures_find_their_place_and_no_old_one_moves(divided):
    root, dataset = divided
    more = tuple(record(root, f"{seed}.png", seed) for seed in range(20, 40))
    whole = extend_split(root, replace(dataset, images=(*more, *dataset.images)), SPLIT, DUPLICATES)
    sides = {image.file_name: (image.group, image.split) for image in whole.images}
    assert len(sides) == 40
    assert all(sides[image.file_name] == (image.group, image.split) for image in dataset.images)
    assert {sides[image.file_name][1] for image in more} == {"train", "val", "test"}


def test_a_copy_goes_where_its_scene_stands_even_if_its_own_name_says_otherwise(divided):
    root, dataset = divided
    copies = []
    for image in dataset.images:
        pixels = cv2.imread(str(root / "images" / image.file_name))
        name = f"a copy of {image.file_name}"
        cv2.imwrite(str(root / "images" / name), np.ascontiguousarray(pixels[:, ::-1]))
        copies.append(replace(image, file_name=name, source=name, sha256=name, group=None, split=None))
    whole = extend_split(root, replace(dataset, images=(*dataset.images, *copies)), SPLIT, DUPLICATES)
    placed = {image.file_name: image for image in whole.images}
    for image in dataset.images:
        copy = placed[f"a copy of {image.file_name}"]
        assert (copy.group, copy.split) == (image.group, image.split)


def test_a_picture_that_links_two_sides_is_left_out(divided):
    root, dataset = divided
    train, test = (next(i for i in dataset.images if i.split == side) for side in ("train", "test"))
    same_store = replace(train, store="s1"), replace(test, store="s2")
    linking, beside = record(root, "link.png", 77, store="s1"), record(root, "beside.png", 78, store="s1")
    images = [i for i in dataset.images if i not in (train, test)]
    # the link shows the scene of the one and belongs to the store of the other
    pixels = (root / "images" / test.file_name).read_bytes()
    (root / "images" / "link.png").write_bytes(pixels)
    whole = extend_split(root, replace(dataset, images=(*images, *same_store, linking, beside)), SPLIT, DUPLICATES)
    placed = {image.file_name: image.split for image in whole.images}
    assert "link.png" not in placed
    assert placed["beside.png"] == "train"  # it links nothing, and is not lost with its neighbour
    assert [r.reason for r in whole.rejections] == ["links scenes that stand in test and train"]


def test_a_copy_of_a_picture_that_is_left_out_stays_with_its_scene(divided):
    """The copy has the very hash of what is left out, whose pairs alone tell where the scene stands."""
    root, dataset = divided
    train, test = (next(i for i in dataset.images if i.split == side) for side in ("train", "test"))
    images = tuple(replace(test, store="s2") if i is test else i for i in dataset.images)
    for name, store in (("0 link.png", "s2"), ("1 copy.png", None)):
        shown = cv2.imread(str(root / "images" / train.file_name))
        cv2.imwrite(str(root / "images" / name), np.clip(shown.astype(int) + 3, 0, 255).astype(np.uint8))
        images = (
            replace(train, file_name=name, source=name, store=store, sha256=name, group=None, split=None),
            *images,
        )
    for order in (images, images[::-1]):
        whole = extend_split(root, replace(dataset, images=order), SPLIT, DUPLICATES)
        placed = {image.file_name: image.split for image in whole.images}
        assert "0 link.png" not in placed
        assert placed["1 copy.png"] == "train"
        assert [r.source for r in whole.rejections] == ["0 link.png"]


def two_stores(tmp_path, picture_of_both):
    """Two stores in one source; `picture_of_both` paints the second store's copy of a picture of the first."""
    source = tmp_path / "source"
    for store, seeds in (("s1", (1, 2)), ("s2", (1, 3))):
        pictures = []
        for seed in seeds:
            path = source / store / f"{seed}.png"
            paint(path, seed) if (store, seed) != ("s2", 1) else picture_of_both(path)
            box = {"label": "gap", "coordinates": {"x": 20, "y": 20, "width": 20, "height": 20}}
            pictures.append({"image": path.name, "annotations": [box]})
        (source / store / "labels.json").write_text(json.dumps(pictures))
        rights = f"license: MIT\nconsent: notice\nstore: {store}\n"
        (source / store / "SOURCE.yaml").write_text(rights)
    import_source(source, tmp_path / "data", class_aliases={})
    return load_dataset(tmp_path / "data")


def test_a_picture_that_two_stores_have_joins_their_groups(tmp_path):
    dataset = two_stores(tmp_path, lambda path: paint(path, 1))
    assert [image.twins for image in dataset.images] == [(Twin("s2/1.png", "s2"),), (), ()]
    assert group_names(dataset.images, []) == ["store:s1"] * 3
    alone = [replace(image, twins=()) for image in dataset.images]
    assert group_names(alone, []) == ["store:s1", "store:s1", "store:s2"]
    merged = merge_datasets([Part(tmp_path / "data", dataset, "one")], tmp_path / "all")
    assert merged.images[0].twins == (Twin("one/s2/1.png", "s2"),)
    assert load_dataset(tmp_path / "all") == merged


def test_pictures_of_a_store_whose_picture_stands_in_train_already_go_there(tmp_path):
    one = part(tmp_path / "one", (1, 2), "one", split="train", group="store:s1", store="s1")
    two = part(tmp_path / "two", (2, *range(3, 15)), "two", store="s2")
    joined = merge_datasets([one, two], tmp_path / "all")
    assert joined.images[1].twins == (Twin("two/2.png", "s2"),)
    after = extend_split(tmp_path / "all", joined, SPLIT, DUPLICATES)
    assert {image.split for image in after.images} == {"train"}


def test_twins_that_are_no_list_of_places_set_the_record_aside(tmp_path):
    one = part(tmp_path / "one", (1, 2), "one")
    page = tmp_path / "one" / "annotations.json"
    for twins in ("s2", [{"store": "s2"}], [{"source": "a", "aisle": 3}], [{"source": "a", "store": 2}]):
        raw = json.loads(page.read_text())
        raw["images"][0]["twins"] = twins
        page.write_text(json.dumps(raw))
        dataset = load_dataset(one.root)
        assert [image.file_name for image in dataset.images] == ["2.png"]
        assert "twins must be a list of objects with source, store and camera" in dataset.rejections[0].reason
