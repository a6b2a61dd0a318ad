"""Import a labelled source folder, whatever its format, into the dataset contract."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from zlib import crc32

from shelfgap_datasets.coco import ANNOTATIONS_FILE, IMAGES_DIR, keep_version, load_dataset, save_dataset
from shelfgap_datasets.directory import written_whole
from shelfgap_datasets.intake.boxes import are_at_odds, boxes_of_picture, classes_of, union
from shelfgap_datasets.intake.class_names import map_names
from shelfgap_datasets.intake.formats import Format, read_annotations
from shelfgap_datasets.intake.model import LOOKED_FOR, SourceImage, read_looked_for
from shelfgap_datasets.intake.pictures import PictureProblem, open_picture
from shelfgap_datasets.intake.provenance import read_provenance
from shelfgap_datasets.intake.tree import scan
from shelfgap_datasets.schema import (
    CONSENT_BASES,
    LABEL_CLASSES,
    UNSTATED,
    Box,
    Dataset,
    DatasetError,
    ImageRecord,
    Rejection,
    Twin,
    in_order,
)
from shelfgap_datasets.sequence import links

IMPORT_FILE = "import.json"


class NothingUsableError(DatasetError):
    """No picture of a source, or of a shard of it, can be used; `rejections` say why."""

    def __init__(self, message: str, rejections: tuple[Rejection, ...]) -> None:
        super().__init__(message)
        self.rejections = rejections


@dataclass(frozen=True)
class ImportReport:
    """What an import found.

    Attributes:
        format: the annotation format.
        images: pictures kept.
        boxes: boxes kept, by our class.
        unmapped: boxes left out, by class name of the source that no alias maps.
        rejected: records left out; each stands in `rejected.jsonl`.
        merged: pictures that were byte for byte another one.
        warnings: what the user should know.
    """

    format: str
    images: int
    boxes: dict[str, int]
    unmapped: dict[str, int]
    rejected: int
    merged: int
    warnings: tuple[str, ...]


def import_source(
    source: Path,
    to: Path,
    *,
    class_aliases: Mapping[str, Iterable[str]],
    format: Format = "auto",
    class_map: Mapping[str, str] | None = None,
    license: str | None = None,
    consent: str | None = None,
    store: str | None = None,
    allow_unstated: bool = False,
    shard: tuple[int, int] = (0, 1),
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Import the labelled pictures below a folder; several sets below it become one dataset.

    Where sets list different classes, each picture says which were looked for in it.
    Bad records are set aside in `rejected.jsonl`. Splits of the source are dropped, since they often leak;
    those of a version that `data ingest` made are kept. Importing
    again gives the same bytes.

    Args:
        source: the folder.
        to: dataset directory to make; an earlier import there is replaced.
        class_aliases: our class -> names in sources.
        format: of the annotations; found out by default.
        class_map: source name -> our class, before the aliases.
        license: of every picture; else what the source states.
        consent: basis for every picture, a key of `CONSENT_BASES`; else what the source states.
        store: key of the store, for pictures that name none.
        allow_unstated: take pictures without licence or consent basis, as "unstated"; else they are rejected.
        shard: (number, of how many): only the pictures whose name falls to it, for imports that run side by side.
        strict: refuse class names that nothing maps.
        progress: called with (pictures done, pictures in all).

    Raises:
        NothingUsableError: no picture with an annotation can be used.
        DatasetError: no such folder, unclear format or classes, no licence or consent basis,
            or `to` holds other files.
    """
    if consent is not None and consent not in CONSENT_BASES:
        raise DatasetError(f"consent basis {consent!r} is not known; expected one of {', '.join(CONSENT_BASES)}")
    if not source.is_dir():
        raise DatasetError(f"{source}: no such folder")
    _refuse_target(source, to)
    try:
        tree = scan(source)
    except OSError as error:
        raise DatasetError(f"{source}: cannot be listed ({error.strerror})") from None
    if not tree.pictures:
        refused = f"; {tree.rejections[0].source}: {tree.rejections[0].reason}" if tree.rejections else ""
        raise DatasetError(f"{source}: no pictures in this folder; expected labelled photographs{refused}")
    reading = read_annotations(tree, source, format)
    names = map_names(reading.class_names, class_aliases, class_map)
    counts = Counter(box.label for image in reading.images for box in image.boxes)
    unmapped = {name: counts[name] for name in sorted(reading.class_names) if name not in names}
    listed = ", ".join(f"{name} ({count} boxes)" for name, count in unmapped.items())
    if unmapped and strict:
        raise DatasetError(f"{source}: no class for {listed}; map them with --class-map 'NAME=gap'")
    if not names:
        found = f"found {listed}" if listed else "no class names found"
        raise DatasetError(
            f"{source}: no class name means {', '.join(LABEL_CLASSES)}; {found}; map with --class-map 'NAME=gap'"
        )

    provenance = read_provenance(tree)
    given = {key: value for key, value in (("license", license), ("consent", consent)) if value is not None}
    number, shards = shard
    # what is wrong with the annotation files themselves belongs to the first shard
    rejections = [] if number else [*tree.rejections, *reading.rejections, *provenance.rejections]
    by_picture: dict[str, list[SourceImage]] = {}
    for image in reading.images:
        if crc32(image.picture.encode()) % shards == number:
            by_picture.setdefault(image.picture, []).append(image)
    rejections += [
        Rejection(picture, "a picture without an annotation", "label it; an empty annotation says: nothing here")
        for picture in tree.pictures
        if picture not in by_picture and crc32(picture.encode()) % shards == number
    ]
    annotated = classes_of(reading.images, names)
    records: dict[str, ImageRecord] = {}  # by SHA-256
    taken: set[str] = set()
    at_odds: list[tuple[str, str]] = []
    merged = 0
    with written_whole(to) as partial:
        (partial / IMAGES_DIR).mkdir()
        for done, (path, images) in enumerate(sorted(by_picture.items()), start=1):
            if progress is not None:
                progress(done, len(by_picture))
            try:
                picture = open_picture(tree.root / path)
            except PictureProblem as bad:
                rejections.append(Rejection(path, bad.reason, bad.action))
                continue
            boxes, problems = boxes_of_picture(path, picture, images, names)
            rejections += problems
            if boxes is None:
                continue
            stated = {**({"store": store} if store else {}), **provenance.of(path), **_stated(images), **given}
            labelled = _labelled(images, names, boxes, annotated, stated.get(LOOKED_FOR))
            problem = _rights_problem(stated, allow_unstated)
            if problem:
                rejections.append(Rejection(path, *problem))
                continue
            digest = hashlib.sha256(picture.data).hexdigest()
            if digest in records:
                merged += 1
                first = records[digest]
                if are_at_odds(first.boxes, boxes):
                    at_odds.append((first.source, path))
                both = None
                if first.annotated_classes is not None and labelled is not None:
                    both = _own({*first.annotated_classes, *labelled}, annotated)
                twin = Twin(path, stated.get("store"), stated.get("camera"))
                twins = (*first.twins, twin) if links(first, twin) else first.twins
                records[digest] = replace(first, boxes=union(first.boxes, boxes), annotated_classes=both, twins=twins)
                continue
            name = _free_name(path, picture.suffix, taken)
            target = partial / IMAGES_DIR / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(picture.data)
            records[digest] = ImageRecord(
                file_name=name,
                width=picture.size[1],
                height=picture.size[0],
                sha256=digest,
                source=path,
                boxes=boxes,
                license=stated.get("license", UNSTATED),
                consent=stated.get("consent", UNSTATED),
                store=stated.get("store"),
                camera=stated.get("camera"),
                section=stated.get("section"),
                captured_at=stated.get("captured_at"),
                annotated_classes=labelled,
            )
        records = _with_history(source, partial, records)
        if not records:
            last = rejections[-1] if rejections else None
            reason = f"; last reason: {last.source}: {last.reason}; {last.action}" if last else ""
            raise NothingUsableError(f"{source}: no usable picture with an annotation{reason}", tuple(rejections))
        dataset = Dataset(tuple(records.values()), annotated, tuple(rejections))
        save_dataset(partial, dataset)
        report = _report(reading.format, dataset, unmapped, merged, at_odds)
        (partial / IMPORT_FILE).write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return report


def _with_history(source: Path, to: Path, records: dict[str, ImageRecord]) -> dict[str, ImageRecord]:
    """Keep what a version that `data ingest` made says of its pictures; groups and splits of others are dropped."""
    if not keep_version(source, to):
        return records
    before = {image.sha256: image for image in load_dataset(source).images}
    kept = {
        digest: replace(record, group=known.group, split=known.split, redacted=known.redacted, twins=known.twins)
        for digest, record in records.items()
        if (known := before.get(digest)) is not None
    }
    return records | kept


def _labelled(
    images: list[SourceImage],
    names: Mapping[str, str],
    boxes: tuple[Box, ...],
    annotated: tuple[str, ...],
    stated: str | None,
) -> tuple[str, ...] | None:
    """Return the classes that were looked for in a picture; None for all of the source.

    They are those that an export of ours states, else those that all its annotations list. Whoever drew a box of a
    class has looked for it. What is stated in other words than an export's says nothing.
    """
    listed = read_looked_for(stated)
    if listed is not None:
        looked_for = {names.get(name, name) for name in listed}.intersection(annotated)
    elif any(image.labelled is None for image in images):
        return None
    else:
        looked_for = {names[name] for image in images for name in image.labelled or () if name in names}
    looked_for |= {box.class_name for box in boxes}
    return _own(looked_for, annotated)


def _own(classes: set[str], annotated: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return classes in their order, None where they are all of the source."""
    listed = in_order(classes)
    return None if listed == annotated else listed


def _stated(images: list[SourceImage]) -> dict[str, str]:
    """Return what the annotations of a picture state of it; the first that does counts."""
    stated: dict[str, str] = {}
    for image in reversed(images):
        stated |= image.stated
    return stated


def _rights_problem(stated: Mapping[str, str], allow_unstated: bool) -> tuple[str, str] | None:
    """Say what licence or consent lack, and what to do; None when the picture may be used."""
    license, consent = stated.get("license", UNSTATED), stated.get("consent", UNSTATED)
    if consent not in (*CONSENT_BASES, UNSTATED):
        return f"consent basis {consent!r} is not known", f"state one of {', '.join(CONSENT_BASES)}"
    if allow_unstated:
        return None
    missing = [name for name, value in (("licence", license), ("consent basis", consent)) if value == UNSTATED]
    if not missing:
        return None
    options = " and ".join({"licence": "--license NAME", "consent basis": "--consent BASIS"}[name] for name in missing)
    return f"no {' and no '.join(missing)} stated", f"state it with {options}, or in SOURCE.yaml beside the pictures"


def _free_name(path: str, suffix: str, taken: set[str]) -> str:
    """Return the path below the source with the stored suffix; numbered when another picture has it."""
    path = path.removeprefix(f"{IMAGES_DIR}/")
    stem, old = posixpath.splitext(path)
    name = path if old.lower() in (suffix, ".jpeg" if suffix == ".jpg" else suffix) else stem + suffix
    number = 2
    while name.lower() in taken:
        name = f"{stem}-{number}{suffix}"
        number += 1
    taken.add(name.lower())
    return name


def _report(
    format: str, dataset: Dataset, unmapped: dict[str, int], merged: int, at_odds: Sequence[tuple[str, str]]
) -> ImportReport:
    warnings = []
    for what, key in (("licence", "license"), ("consent basis", "consent")):
        unstated = sum(getattr(image, key) == UNSTATED for image in dataset.images)
        if unstated:
            warnings.append(f"{unstated} pictures without a stated {what}; name it with --{key}")
    if unmapped:
        listed = ", ".join(f"{name} ({count} boxes)" for name, count in unmapped.items())
        warnings.append(f"class names left out: {listed}")
    if at_odds:
        first, second = at_odds[0]
        warnings.append(
            f"{len(at_odds)} pictures stand there twice with boxes that have little in common, such as {first} and "
            f"{second}; both are kept, but one of the two may be the labels of another picture: look at them"
        )
    boxes = Counter(box.class_name for image in dataset.images for box in image.boxes)
    return ImportReport(
        format=format,
        images=len(dataset.images),
        boxes={name: boxes[name] for name in dataset.annotated_classes},
        unmapped=unmapped,
        rejected=len(dataset.rejections),
        merged=merged,
        warnings=tuple(warnings),
    )


def _refuse_target(source: Path, to: Path) -> None:
    """Refuse a target that would destroy something."""
    here, there = source.resolve(), to.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise DatasetError(f"{to}: lies inside the source, or the source inside it; choose another folder")
    if not to.exists():
        return
    if not to.is_dir():
        raise DatasetError(f"{to}: is a file; choose a folder that does not exist yet")
    if not any(to.iterdir()) or (to / IMPORT_FILE).is_file():
        return
    try:
        load_dataset(to)
    except DatasetError:
        raise DatasetError(f"{to}: not empty and no earlier import; choose another folder") from None
    raise DatasetError(
        f"{to}: holds a dataset that was not imported ({ANNOTATIONS_FILE} without {IMPORT_FILE}); choose another folder"
    )
