"""Import and split of real photographs, against scene groups that somebody else worked out."""

from __future__ import annotations

import csv
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from labelled_pictures import ALIASES
from shelfgap_datasets.checks import check_dataset
from shelfgap_datasets.coco import load_dataset, save_dataset
from shelfgap_datasets.duplicates import join_groups, near_pairs
from shelfgap_datasets.fingerprint import fingerprint_images
from shelfgap_datasets.intake.importer import import_source
from shelfgap_datasets.params import DuplicateParams, SplitParams
from shelfgap_datasets.schema import ImageRecord
from shelfgap_datasets.split import split_dataset

SOURCE = Path(__file__).parents[3] / "shared" / "data" / "shelf-gaps-a"
SPLIT = SplitParams(val_fraction=0.15, test_fraction=0.2, salt="shelfgap-1")
DUPLICATES = DuplicateParams(max_hash_distance=6, max_turned_distance=10)

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not SOURCE.is_dir(), reason=f"{SOURCE}: not on this machine"),
]


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    to = tmp_path_factory.mktemp("real") / "dataset"
    report = import_source(SOURCE, to, class_aliases=ALIASES, allow_unstated=True)
    divided = split_dataset(to, load_dataset(to), SPLIT, DUPLICATES)
    save_dataset(to, divided)
    return to, report, divided


def test_both_sets_come_in_together(imported):
    _, report, divided = imported
    assert report.images == len(divided.images) == 800
    assert report.merged == 197  # pictures that are byte for byte in both sets
    assert report.boxes["gap"] == 3086
    assert report.boxes["ignore"] == 1755  # "Disorganized": no gap, and no background either
    assert not any("Disorganized" in warning for warning in report.warnings)
    assert any(warning.startswith("9 pictures stand there twice") for warning in report.warnings)


def test_the_splits_are_sound_and_of_the_wanted_size(imported):
    to, _, divided = imported
    assert check_dataset(to, DUPLICATES).passed
    shares = {side: len(divided.of_split(side)) / 800 for side in ("train", "val", "test")}
    assert shares["val"] == pytest.approx(0.15, abs=0.05)
    assert shares["test"] == pytest.approx(0.2, abs=0.06)


def scene_rows() -> list[dict[str, str]]:
    with (SOURCE / "groups.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def prints(tmp_path_factory):
    """Fingerprints of all 997 files as their authors left them, byte-identical ones included."""
    records = [
        ImageRecord(file_name=name, width=300, height=300, sha256="", license="", consent="", source=name)
        for r in scene_rows()
        for name in [f"{r['set']}/{r['split']}/images/{r['image']}"]
    ]
    root = tmp_path_factory.mktemp("authors")
    (root / "images").symlink_to(SOURCE)
    return fingerprint_images(root, records)


def pairs_of(labels) -> set[tuple[int, int]]:
    members = defaultdict(list)
    for row, label in enumerate(labels):
        members[label].append(row)
    return {pair for rows in members.values() for pair in combinations(rows, 2)}


def shared_points(one: str, two: str) -> int:
    """Count the keypoints of two pictures that one homography explains, the second mirrored or not.

    Copies share 256 and more here, strangers 13 at most.
    """
    orb, matcher = cv2.ORB_create(1500), cv2.BFMatcher(cv2.NORM_HAMMING)
    first, second = (cv2.imread(path, cv2.IMREAD_GRAYSCALE) for path in (one, two))
    best = 0
    for image in (second, second[:, ::-1]):
        (points, words), (others, theirs) = (
            orb.detectAndCompute(np.ascontiguousarray(i), None) for i in (first, image)
        )
        matches = [m for m, n in matcher.knnMatch(words, theirs, k=2) if m.distance < 0.8 * n.distance]
        if len(matches) < 8:
            continue
        source = np.float32([points[m.queryIdx].pt for m in matches])
        target = np.float32([others[m.trainIdx].pt for m in matches])
        _, inliers = cv2.findHomography(source, target, cv2.RANSAC, 4)
        best = max(best, 0 if inliers is None else int(inliers.sum()))
    return best


def test_near_duplicates_agree_with_an_independent_grouping(prints):
    rows = scene_rows()
    truth = pairs_of(row["scene_group"] for row in rows)
    upright = prints._replace(is_turned=np.zeros(len(rows), np.bool_))
    found = pairs_of(join_groups(len(rows), near_pairs(upright, DUPLICATES)).tolist())
    assert len(truth & found) / len(truth) >= 0.95
    assert len(truth & found) / len(found) >= 0.97


def test_what_black_corners_add_are_the_same_scenes_by_their_keypoints(prints):
    """The independent grouping knows no turned copies, so what is found beyond it is judged by matching keypoints."""
    rows = scene_rows()
    truth = pairs_of(row["scene_group"] for row in rows)
    groups = join_groups(len(rows), near_pairs(prints, DUPLICATES)).tolist()
    found = pairs_of(groups)
    assert len(truth & found) / len(truth) >= 0.95
    paths = [str(SOURCE / r["set"] / r["split"] / "images" / r["image"]) for r in rows]
    confirmed = {pair for pair in found - truth if shared_points(paths[pair[0]], paths[pair[1]]) >= 100}
    assert len((truth & found) | confirmed) / len(found) >= 0.97


@pytest.mark.parametrize("name", ["single-empty", "multiclass"])
def test_every_scene_on_both_sides_of_the_authors_split_is_found(prints, name):
    rows = scene_rows()
    groups = join_groups(len(rows), near_pairs(prints, DUPLICATES)).tolist()
    sides: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for row, group in zip(rows, groups, strict=True):
        if row["set"] == name:
            sides[row["scene_group"]][row["split"]].add(group)
    leaking = [found for found in sides.values() if len(found) == 2]
    assert len(leaking) == 18
    assert all(found["train"] & found["test"] for found in leaking)


def test_no_scene_of_an_independent_grouping_stands_in_two_splits(imported):
    _, _, divided = imported
    scene_of = {f"{r['set']}/{r['split']}/images/{r['image']}": r["scene_group"] for r in scene_rows()}
    sides = defaultdict(set)
    for image in divided.images:
        sides[scene_of[image.source]].add(image.split)
    assert len(sides) > 600
    assert [scene for scene, found in sides.items() if len(found) > 1] == []
