"""Group-disjoint folds: each scene is in the test part of exactly one, so that their tests can be pooled."""

from __future__ import annotations

from dataclasses import replace

from shelfgap_datasets.params import SplitParams
from shelfgap_datasets.schema import SPLITS, Dataset, DatasetError, Split
from shelfgap_datasets.split import assign


def fold_datasets(dataset: Dataset, count: int, split: SplitParams) -> tuple[Dataset, ...]:
    """Return the dataset with the splits of each fold.

    Args:
        dataset: images with group and split.
        count: 1 for the project's own split, else how many test parts cover all images.
        split: salt, and the share of all groups that each fold validates on.

    Raises:
        DatasetError: a part of a fold would be empty.
    """
    if count < 1:
        raise DatasetError(f"the number of folds must be 1 or more, got {count}")
    folds: tuple[Dataset, ...] = (dataset,)
    if count > 1:
        folds = tuple(
            replace(
                dataset,
                images=tuple(
                    replace(i, split=fold_side(i.group or i.file_name, fold, count, split)) for i in dataset.images
                ),
            )
            for fold in range(count)
        )
    for number, fold in enumerate(folds, start=1):
        missing = [side for side in SPLITS if not fold.of_split(side)]
        if missing:
            raise DatasetError(
                f"fold {number} of {count} has no {' and no '.join(missing)} images; take fewer folds or more scenes"
            )
    return folds


def fold_side(group: str, fold: int, count: int, split: SplitParams) -> Split:
    """Return the part of one fold in which a group stands, by the hash rule of the project's own split.

    The line on which that rule places groups is cut into `count` test parts; the rest of a fold is divided between
    validation and training by a second hash, salted with the fold.

    >>> split = SplitParams(val_fraction=0.15, test_fraction=0.2, salt="s")
    >>> [fold_side("scene 1", fold, 3, split) for fold in range(3)].count("test")
    1
    """

    def is_before(part: int) -> bool:
        cut = SplitParams(val_fraction=0.0, test_fraction=part / count, salt=split.salt)
        return assign(group, cut) == "test"

    if is_before(fold + 1) and not is_before(fold):
        return "test"
    share = min(1.0, split.val_fraction * count / (count - 1))
    return assign(group, SplitParams(val_fraction=share, test_fraction=0.0, salt=f"{split.salt}/fold {fold}"))
