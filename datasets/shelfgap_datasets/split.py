"""Split a dataset by group, so that no scene stands on both sides."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from shelfgap_datasets.duplicates import Pairs, join_groups, near_pairs
from shelfgap_datasets.fingerprint import Fingerprints, fingerprint_images
from shelfgap_datasets.params import DuplicateParams, SplitParams
from shelfgap_datasets.schema import SPLITS, Dataset, DatasetError, ImageRecord, Rejection, Split
from shelfgap_datasets.sequence import sequence_keys


def split_dataset(
    root: Path,
    dataset: Dataset,
    split: SplitParams,
    duplicates: DuplicateParams,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Give every image its group and split.

    Images of one store, else one camera, else one source sequence are a group; groups that share a
    near-duplicate picture are joined. The hash of the group's name decides, so a group that keeps its name
    keeps its side however the dataset grows.

    Args:
        root: dataset directory, for the pictures.
        dataset: its images.
        split: shares and salt.
        duplicates: when two pictures are near-duplicates.
        progress: called with (pictures hashed, pictures in all).

    Raises:
        DatasetError: too few groups to fill every split, or a picture cannot be read.
    """
    prints = fingerprint_images(root, dataset.images, progress)
    groups = group_names(dataset.images, near_pairs(prints, duplicates))
    sides = {name: assign(name, split) for name in set(groups)}
    missing = [side for side in SPLITS if side not in sides.values() and _share(side, split) > 0]
    if missing:
        raise DatasetError(
            f"{root}: {len(sides)} group(s) of images leave {' and '.join(missing)} empty; "
            "more stores, cameras or scenes are needed (or other fractions in params.yaml: dataset.split)"
        )
    images = (replace(i, group=g, split=sides[g]) for i, g in zip(dataset.images, groups, strict=True))
    return replace(dataset, images=tuple(images))


def extend_split(
    root: Path,
    dataset: Dataset,
    split: SplitParams,
    duplicates: DuplicateParams,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Give new images their group and split, and leave those that have one where they are.

    A new image goes where its scene stands already. One that links scenes on two sides cannot go anywhere: it is
    rejected, and the scenes stay apart.

    Args:
        root: dataset directory, for the pictures.
        dataset: its images, some of them with a split.
        split: shares and salt.
        duplicates: when two pictures are near-duplicates.
        progress: called with (pictures hashed, pictures in all).

    Raises:
        DatasetError: too few groups to fill every split, or a picture cannot be read.
    """
    if all(image.split is None for image in dataset.images):
        return split_dataset(root, dataset, split, duplicates, progress)
    prints = fingerprint_images(root, dataset.images, progress)
    linked = _linked_sides(dataset.images, prints, duplicates)
    rejections = list(dataset.rejections)

    def reject(image: ImageRecord, between: set[Split]) -> None:
        reason = f"links scenes that stand in {' and '.join(sorted(between))}"
        rejections.append(Rejection(image.source, reason, "leave it out, or start a new line of versions"))

    # those that link two sides themselves go first, so that others of their scene need not go with them
    stays = np.array([len(between) < 2 for between in linked], np.bool_)
    for image, between in zip(dataset.images, linked, strict=True):
        if len(between) > 1:
            reject(image, between)
    images = [image for image, stay in zip(dataset.images, stays, strict=True) if stay]
    names = group_names(images, near_pairs(prints.of(stays), duplicates))
    sides: dict[str, set[Split]] = defaultdict(set)
    groups: dict[str, str] = {}
    for image, name in zip(images, names, strict=True):
        if image.split is not None:
            sides[name].add(image.split)
            groups.setdefault(name, image.group or name)
    kept: list[ImageRecord] = []
    for image, name in zip(images, names, strict=True):
        if image.split is not None:
            kept.append(image)
        elif len(sides[name]) > 1:
            reject(image, sides[name])
        else:
            side = next(iter(sides[name]), None) or assign(name, split)
            kept.append(replace(image, group=groups.get(name, name), split=side))
    return replace(dataset, images=tuple(kept), rejections=tuple(rejections))


def _linked_sides(images: Sequence[ImageRecord], prints: Fingerprints, duplicates: DuplicateParams) -> list[set[Split]]:
    """Return for each new image the sides of the images that it is linked to itself; nothing for one with a split."""
    keys = [sequence_keys(image) for image in images]
    _, twins = np.unique(prints.whole[:, 0], return_inverse=True)  # of equal hashes `near_pairs` looks at the first
    of_key: dict[str, set[Split]] = defaultdict(set)
    of_twins: dict[int, set[Split]] = defaultdict(set)
    for image, mine in zip(images, keys, strict=True):
        if image.split is not None:
            for key in mine:
                of_key[key].add(image.split)
    for one, other in chain.from_iterable(pairs.tolist() for pairs in near_pairs(prints, duplicates)):
        for new, old in ((one, images[other].split), (other, images[one].split)):
            if old is not None:
                of_twins[twins[new]].add(old)
    return [
        of_twins[twin].union(*(of_key[key] for key in mine)) if image.split is None else set()
        for image, mine, twin in zip(images, keys, twins.tolist(), strict=True)
    ]


def group_names(images: Sequence[ImageRecord], near: Iterable[Pairs]) -> list[str]:
    """Return the group of each image: the first in the alphabet of the keys that near-duplicates and twins join."""
    keys = [sequence_keys(image) for image in images]
    members: dict[str, list[int]] = defaultdict(list)
    for index, mine in enumerate(keys):
        for key in mine:
            members[key].append(index)
    same_key = np.array([(rows[0], row) for rows in members.values() for row in rows], np.int64)
    roots = join_groups(len(images), chain([same_key], near)).tolist()
    first: dict[int, str] = {}
    for root, mine in zip(roots, keys, strict=True):
        first[root] = min(first.get(root, mine[0]), mine[0])
    return [first[root] for root in roots]


def assign(group: str, split: SplitParams) -> Split:
    """Return the split of a group from the SHA-256 of salt and name."""
    digest = hashlib.sha256(f"{split.salt}\0{group}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < split.test_fraction:
        return "test"
    return "val" if position < split.test_fraction + split.val_fraction else "train"


def _share(side: Split, split: SplitParams) -> float:
    shares = {"val": split.val_fraction, "test": split.test_fraction}
    return shares.get(side, 1 - split.val_fraction - split.test_fraction)
