"""Check a dataset directory against its contract: every record, every picture, and that no split leaks."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from shelfgap_datasets.coco import IMAGES_DIR, load_dataset
from shelfgap_datasets.duplicates import near_pairs
from shelfgap_datasets.fingerprint import fingerprint_images
from shelfgap_datasets.intake.pictures import PictureProblem, open_picture
from shelfgap_datasets.params import DuplicateParams
from shelfgap_datasets.pictures import read_picture, unlisted_pictures
from shelfgap_datasets.redact import redaction_problems
from shelfgap_datasets.schema import Dataset, ImageRecord, Rejection, Split


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        sound: the dataset without its bad records.
        records: bad records, each with reason and remedy.
        leaks: scenes or pictures that stand in two splits; setting records aside does not cure these.
        exposed: pictures that may still show a shopper, if that was asked.
        unlisted: pictures in `images/` that no record names.
    """

    sound: Dataset
    records: tuple[Rejection, ...]
    leaks: tuple[str, ...]
    exposed: tuple[str, ...]
    unlisted: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Say whether the dataset can be trained on as it is."""
        return not self.records and not self.leaks and not self.exposed

    def to_dict(self) -> dict[str, object]:
        """Return counts and problems, for machines."""
        boxes = Counter(box.class_name for image in self.sound.images for box in image.boxes)
        splits = Counter(image.split or "none" for image in self.sound.images)
        return {
            "passed": self.passed,
            "images": len(self.sound.images),
            "boxes": {name: boxes[name] for name in self.sound.annotated_classes},
            "splits": {name: splits[name] for name in (*get_args(Split), "none") if splits[name]},
            "groups": len({image.group for image in self.sound.images if image.group}),
            "bad_records": [{"source": r.source, "reason": r.reason, "action": r.action} for r in self.records],
            "leaks": list(self.leaks),
            "exposed": list(self.exposed),
            "unlisted": list(self.unlisted),
        }


def check_dataset(
    root: Path,
    duplicates: DuplicateParams,
    progress: Callable[[int, int], None] | None = None,
    *,
    require_redacted: bool = False,
) -> CheckReport:
    """Check a dataset directory.

    Args:
        root: the directory.
        duplicates: when two pictures are near-duplicates, for the search for leaks.
        progress: called with (pictures checked, pictures in all).
        require_redacted: look for shoppers that were not pixelated.

    Raises:
        DatasetError: no dataset at all.
    """
    dataset = load_dataset(root)
    problems = list(dataset.rejections)
    kept: list[ImageRecord] = []
    for done, record in enumerate(dataset.images, start=1):
        reason = _picture_problem(root, record)
        if reason is None:
            kept.append(record)
        else:
            problems.append(Rejection(record.file_name, *reason))
        if progress is not None:
            progress(done, len(dataset.images))
    sound = replace(dataset, images=tuple(kept), rejections=())
    exposed = []
    if require_redacted:
        unseen = unlisted_pictures(root, sound)  # those of bad records too: setting them aside leaves the picture
        exposed = redaction_problems(root, sound)
        exposed += [f"{name}: no sound record names it, so it may show a shopper anywhere" for name in unseen]
    return CheckReport(
        sound=sound,
        records=tuple(problems),
        leaks=tuple(_leaks(root, kept, duplicates)),
        exposed=tuple(exposed),
        unlisted=tuple(unlisted_pictures(root, dataset)),
    )


def _picture_problem(root: Path, record: ImageRecord) -> tuple[str, str] | None:
    path = root / IMAGES_DIR / record.file_name
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
        return "a link that leaves the dataset", "put the file itself there"
    try:
        data = read_picture(root, record.file_name)
    except (FileNotFoundError, IsADirectoryError):
        return f"no such picture in {IMAGES_DIR}/", "put it back, or remove the record"
    except OSError as error:
        return f"cannot be read ({error.strerror})", "make the file readable, or copy it again"
    try:
        picture = open_picture(data)
    except PictureProblem as problem:
        return problem.reason, problem.action
    if picture.orientation != 1:
        return "EXIF rotation is not applied", "import the folder again: shelfgap data import"
    if picture.size != (record.height, record.width):
        height, width = picture.size
        return (
            f"the record says {record.width}x{record.height}, the picture is {width}x{height}",
            "correct it",
        )
    digest = hashlib.sha256(data).hexdigest()
    if not record.sha256:
        return "the record has no sha256", "import the folder again: shelfgap data import"
    if digest != record.sha256:
        return "the picture was changed: its SHA-256 is not the recorded one", "restore the picture"
    return None


def _leaks(root: Path, records: list[ImageRecord], duplicates: DuplicateParams) -> list[str]:
    """Name what stands in two splits: groups, and near-duplicate pictures."""
    if all(record.split is None for record in records):
        return []
    unsplit = [record.file_name for record in records if record.split is None]
    leaks = [f"{name}: in no split" for name in unsplit]
    sides: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.group is not None and record.split is not None:
            sides[record.group].add(record.split)
    leaks += [
        f"group {name} is in {' and '.join(sorted(splits))}"
        for name, splits in sorted(sides.items())
        if len(splits) > 1
    ]
    crossing: set[tuple[int, int]] = set()
    for pairs in near_pairs(fingerprint_images(root, records), duplicates):
        crossing |= {(min(p), max(p)) for p in pairs.tolist() if records[p[0]].split != records[p[1]].split}
    for one, two in sorted(crossing):
        first, second = records[one], records[two]
        leaks.append(f"{first.file_name} ({first.split}) and {second.file_name} ({second.split}) show the same scene")
    return leaks
