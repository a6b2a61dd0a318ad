"""The ingest flow: a labelled source becomes the next version of the workspace's dataset, or nothing does.

Each step writes a directory whole under `.ingest/KEY`, where the key stands for the source, the options and the version
it adds to. A flow that was killed finds what is done there, so running the same command again goes on.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from shelfgap_datasets.card.facts import collect_facts
from shelfgap_datasets.card.page import to_html
from shelfgap_datasets.card.page import to_markdown as card_markdown
from shelfgap_datasets.checks import check_dataset
from shelfgap_datasets.coco import (
    VERSION_FILE,
    annotations_hash,
    load_dataset,
    load_rejections,
    save_dataset,
    write_text_atomic,
)
from shelfgap_datasets.diff import diff_datasets
from shelfgap_datasets.diff import to_markdown as diff_markdown
from shelfgap_datasets.directory import written_whole
from shelfgap_datasets.intake.formats import Format
from shelfgap_datasets.intake.importer import IMPORT_FILE, NothingUsableError, import_source
from shelfgap_datasets.intake.tree import scan
from shelfgap_datasets.labelling.correct import correct_dataset
from shelfgap_datasets.merge import Part, merge_datasets
from shelfgap_datasets.redact import redact_dataset
from shelfgap_datasets.schema import Dataset, DatasetError, ImageRecord, Rejection
from shelfgap_datasets.split import extend_split

from shelfgap_flows.one_line import one_line_errors
from shelfgap_flows.prefect_server import start_server
from shelfgap_flows.versions import current_version, make_current, next_version, only_one, versions_folder
from shelfgap_flows.workspace import Workspace, require_remote, run_dvc

_SHARD_PICTURES = 5000


@dataclass(frozen=True)
class IngestOptions:
    """What to ingest and how; see `shelfgap data ingest --help`."""

    source: str
    name: str
    format: Format
    class_map: dict[str, str]
    license: str | None
    consent: str | None
    store: str | None
    classes: tuple[str, ...] | None
    redact: bool
    push: bool
    corrections: bool  # the source corrects labels of the current version, and brings no pictures of its own


@dataclass(frozen=True)
class Ingested:
    """What an ingestion brought; `version` is the current one, new or not."""

    version: str
    dataset: str
    is_new: bool
    images: int
    added: int
    rejected: int
    card: str | None


@dataclass(frozen=True)
class Unusable:
    """Why nothing came of a shard, and of each of its pictures."""

    reason: str
    rejections: tuple[Rejection, ...]


@task(task_run_name="import-{shard}-of-{shards}")
def import_shard(workspace: Workspace, options: IngestOptions, place: Path, shard: int, shards: int) -> Unusable | None:
    """Import one shard of the source; return why none of its pictures can be used, or None.

    Raises:
        DatasetError: the source cannot be read or understood.
    """
    to = place / f"imported-{shard:04d}"
    if to.is_dir():
        return None
    params = workspace.params().dataset
    try:
        report = import_source(
            Path(options.source),
            to,
            class_aliases=params.class_aliases,
            format=options.format,
            class_map=options.class_map,
            license=options.license or params.license,
            consent=options.consent or params.consent,
            store=options.store,
            shard=(shard, shards),
        )
    except NothingUsableError as error:
        return Unusable(str(error), error.rejections)
    for warning in report.warnings:
        get_run_logger().warning("%s", warning)
    return None


@task
def join(
    workspace: Workspace, options: IngestOptions, place: Path, shards: Sequence[Path], rejections: Sequence[Rejection]
) -> Path:
    """Join the shards with the current version, whose earlier pictures of the same source go.

    `rejections` are those of shards of which nothing came.
    """
    to = place / "joined"
    if not to.is_dir():
        fresh = [(root, replace(load_dataset(root), rejections=load_rejections(root))) for root in shards]
        root, first = fresh[0]
        fresh[0] = root, replace(first, rejections=(*first.rejections, *rejections))
        parts = [Part(root, dataset, options.name) for root, dataset in fresh]
        if (current := current_version(workspace)) is not None:
            root = versions_folder(workspace) / current
            before = load_dataset(root)
            parts = [replace(part, dataset=_with_history(part, before)) for part in parts]
            stays, handed_on = _without(before, load_rejections(root), f"{options.name}/")
            parts = [Part(root, stays, ""), *parts, Part(root, handed_on, "")]
        merge_datasets(parts, to, options.classes)
    return to


@task
def correct(workspace: Workspace, options: IngestOptions, place: Path) -> Path:
    """Replace the boxes of the current version that a labelling tool sent back.

    Raises:
        DatasetError: there is no version yet, or the corrections speak of none of its pictures.
    """
    to = place / "joined"
    current = current_version(workspace)
    if current is None:
        raise DatasetError(f"{workspace.root}: there is no version to correct yet; ingest photographs first")
    if not to.is_dir():
        aliases = workspace.params().dataset.class_aliases
        root = versions_folder(workspace) / current
        source, names = Path(options.source), options.class_map
        report = correct_dataset(root, source, to, class_aliases=aliases, format=options.format, class_map=names)
        get_run_logger().info("%d of %d returned pictures have other boxes now", len(report.changed), report.seen)
    return to


def _without(before: Dataset, rejections: Sequence[Rejection], prefix: str) -> tuple[Dataset, Dataset]:
    """Return a version without what one source brought, and what of that other sources brought too.

    The latter is theirs, with all its boxes, since nobody knows whose they are. Where the source brings such a picture
    again, the two become one.
    """
    stays: list[ImageRecord] = []
    handed_on: list[ImageRecord] = []
    for image in before.images:
        others = tuple(twin for twin in image.twins if not twin.source.startswith(prefix))
        if not image.source.startswith(prefix):
            stays.append(replace(image, twins=others))
        elif others:
            theirs = others[0]
            place = replace(image, source=theirs.source, store=theirs.store, camera=theirs.camera)
            handed_on.append(replace(place, twins=others[1:]))
    of_others = tuple(row for row in rejections if not row.source.startswith(prefix))
    rest = replace(before, images=tuple(stays), rejections=of_others)
    return rest, replace(before, images=tuple(handed_on), rejections=())


def _with_history(part: Part, before: Dataset) -> Dataset:
    """Give pictures that stood in the version before their group and split."""
    by_name = {image.file_name: image for image in before.images}
    by_content = {image.sha256: image for image in before.images}
    images = []
    for image in part.dataset.images:
        known = by_name.get(f"{part.folder}/{image.file_name}") or by_content.get(image.sha256)
        images.append(image if known is None else replace(image, group=known.group, split=known.split))
    return replace(part.dataset, images=tuple(images))


@task
def redact(place: Path, joined: Path) -> Path:
    """Pixelate every occluder box."""
    marker = place / "redacted"
    if not marker.exists():
        redact_dataset(joined)
        marker.touch()
    return joined


@task
def split(workspace: Workspace, joined: Path) -> Path:
    """Group and split what is new; what had a split keeps it."""
    params = workspace.params().dataset
    save_dataset(joined, extend_split(joined, load_dataset(joined), params.split, params.duplicates))
    return joined


@task
def check(workspace: Workspace, options: IngestOptions, joined: Path) -> None:
    """Check the candidate, and leave the report as an artifact.

    Raises:
        DatasetError: it is not sound.
    """
    report = check_dataset(joined, workspace.params().dataset.duplicates, require_redacted=options.redact)
    facts = report.to_dict()
    problems = [*(f"{r.source}: {r.reason}" for r in report.records), *report.leaks, *report.exposed]
    listed = "\n".join(f"- {problem}" for problem in problems[:50])
    verdict = "sound" if report.passed else "not sound"
    create_markdown_artifact(
        f"# Dataset check: {verdict}\n\n```json\n{json.dumps(facts, indent=1)[:20000]}\n```\n\n{listed}\n",
        key="dataset-check",
    )
    if not report.passed:
        hint = "; label and redact occluders, or pass --no-redact" if report.exposed else ""
        raise DatasetError(f"the dataset would not be sound: {problems[0]} ({len(problems)} problems){hint}")


@task
def compare(workspace: Workspace, joined: Path) -> dict[str, Any]:
    """Compare the candidate with the current version, and leave the difference as an artifact.

    Raises:
        DatasetError: a picture would change split.
    """
    after = load_dataset(joined)
    current = current_version(workspace)
    if current is None:
        text = f"# Dataset: first version\n\n{len(after.images)} pictures.\n"
        create_markdown_artifact(text, key="dataset-diff")
        return {"added": len(after.images), "is_new": True}
    found = diff_datasets(load_dataset(versions_folder(workspace) / current), after)
    create_markdown_artifact(diff_markdown(found, current, "candidate"), key="dataset-diff")
    if found.moved_split:
        first = found.moved_split[0]
        raise DatasetError(f"{first.file_name} would move from {first.before} to {first.after}")
    changes = (found.added, found.removed, found.renamed, found.replaced, found.boxes, found.fields)
    is_new = any(changes) or bool(found.classes_added or found.classes_removed)
    return {"added": len(found.added), "is_new": is_new}


@task
def version(workspace: Workspace, place: Path, joined: Path) -> str:
    """Give the candidate the next number and track it with DVC."""
    note = place / "version"
    if not note.exists():
        write_text_atomic(note, next_version(workspace))
    name = note.read_text()
    root = versions_folder(workspace) / name
    if root.is_dir() and annotations_hash(root) != annotations_hash(joined):  # another ingestion was faster
        name = next_version(workspace)
        write_text_atomic(note, name)
        root = versions_folder(workspace) / name
    if not root.is_dir():
        (joined / IMPORT_FILE).unlink(missing_ok=True)
        with written_whole(root) as partial:
            shutil.copytree(joined, partial, dirs_exist_ok=True)
            write_text_atomic(partial / VERSION_FILE, json.dumps({"version": name}) + "\n")
    run_dvc(workspace, "add", "--quiet", f"data/versions/{name}")
    return name


@task(retries=4, retry_delay_seconds=[2, 5, 15, 45])
def push(workspace: Workspace, name: str) -> None:
    """Push a version to the remote storage of the workspace; a failing remote is tried again."""
    run_dvc(workspace, "push", "--quiet", f"data/versions/{name}.dvc")


@task
def card(workspace: Workspace, name: str) -> str:
    """Write the dataset card of a version."""
    facts = collect_facts(versions_folder(workspace) / name, workspace.params().dataset.duplicates)
    folder = workspace.reports / "datasets" / name
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomic(folder / "card.html", to_html(facts))
    write_text_atomic(folder / "card.md", card_markdown(facts))
    return str(folder / "card.html")


@flow(name="ingest-dataset")
def ingest_flow(workspace_root: str, options: IngestOptions) -> Ingested:
    """Import, join, redact, split, check, compare, version, push, card."""
    workspace = Workspace(Path(workspace_root))
    log = get_run_logger()
    source = Path(options.source)
    if not source.is_dir():
        raise DatasetError(f"{source}: no such folder")
    place = workspace.root / ".ingest" / _key(workspace, options)
    place.mkdir(parents=True, exist_ok=True)
    joined = correct(workspace, options, place) if options.corrections else _import_and_join(workspace, options, place)
    if options.redact:
        redact(place, joined)
    split(workspace, joined)
    check(workspace, options, joined)
    change = compare(workspace, joined)
    images = len(load_dataset(joined).images)
    rejected = len(load_rejections(joined))
    current = current_version(workspace)
    if not change["is_new"] and current is not None:
        log.info("nothing new; the current version stays %s", current)
        shutil.rmtree(place)
        root = versions_folder(workspace) / current
        return Ingested(current, str(root), False, images, 0, rejected, None)
    name = version(workspace, place, joined)
    if options.push:
        push(workspace, name)
    page = card(workspace, name)
    make_current(workspace, name)
    shutil.rmtree(place)
    log.info("version %s is current: %d pictures, %d of them new", name, images, change["added"])
    return Ingested(name, str(versions_folder(workspace) / name), True, images, change["added"], rejected, page)


def _import_and_join(workspace: Workspace, options: IngestOptions, place: Path) -> Path:
    """Import the source shard by shard, side by side, and join it with the current version.

    Raises:
        DatasetError: the source cannot be read or understood, or nothing in it can be used.
    """
    stays = f"the current version stays {current_version(workspace) or 'none'}"
    shards = max(1, math.ceil(len(scan(Path(options.source)).pictures) / _SHARD_PICTURES))
    runs = [import_shard.submit(workspace, options, place, number, shards) for number in range(shards)]
    try:
        outcomes = [run.result() for run in runs]
    except DatasetError as error:
        raise DatasetError(f"{error}; {stays}") from None
    unusable = [outcome for outcome in outcomes if outcome is not None]
    if len(unusable) == shards:
        raise DatasetError(f"{unusable[0].reason}; {stays}")
    imported = [place / f"imported-{number:04d}" for number, outcome in enumerate(outcomes) if outcome is None]
    return join(workspace, options, place, imported, [one for outcome in unusable for one in outcome.rejections])


def run_ingest(workspace: Workspace, options: IngestOptions) -> Ingested:
    """Run the ingest flow, one at a time in a workspace; a failure of the domain is logged as one line.

    Raises:
        ShelfgapError: the source cannot be used, or the remote storage fails.
    """
    if options.push:
        require_remote(workspace)  # before the work, and not tried again like a remote that fails
    with only_one(workspace), one_line_errors():
        start_server(workspace.prefect_home)
        result: Ingested = ingest_flow(str(workspace.root), options)
        return result


def _key(workspace: Workspace, options: IngestOptions) -> str:
    """Return what stands for this ingestion: source files by size and time, options, parameters, base version."""
    source = Path(options.source).resolve()
    found = [path for path in source.rglob("*") if path.exists()]  # a link may lead nowhere
    files = sorted((str(p.relative_to(source)), p.stat().st_size, p.stat().st_mtime_ns) for p in found)
    params = workspace.params().dataset.model_dump(mode="json")
    identity = json.dumps([str(source), files, asdict(options), params, current_version(workspace)], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:16]
