"""`shelfgap data`: import, check and split datasets."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shelfgap_flows.cli_gate import EXIT_CODES
from shelfgap_flows.cli_labelling import ClassMap, SourceFormat, add_labelling_commands
from shelfgap_flows.cli_output import AsJson, WorkspaceOption, print_json, progress_bar, require_name
from shelfgap_flows.cli_synth import add_synth_commands

data_app = typer.Typer(help="Import, check, generate and split datasets.", no_args_is_help=True)


class Consent(StrEnum):
    """Why pictures may be used as far as persons are concerned."""

    SYNTHETIC = "synthetic"
    NO_PERSONS = "no-persons"
    CONSENT = "consent"
    NOTICE = "notice"
    PUBLIC_DATASET = "public-dataset"


@data_app.command(
    "import",
    epilog="Example: shelfgap data import photos --to data --license CC-BY-4.0 --consent notice --class-map Empty=gap",
)
def import_(
    to: Annotated[Path, typer.Option(help="Dataset directory to make; an earlier import is replaced.")],
    source: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of labelled photographs; sets below it are joined. Else `dataset.source` of params.yaml."
        ),
    ] = None,
    format: Annotated[SourceFormat, typer.Option(help="Format of the annotations.")] = SourceFormat.AUTO,
    class_map: ClassMap = "",
    license: Annotated[str | None, typer.Option(help="Licence of the photographs, if their files do not say.")] = None,
    consent: Annotated[Consent | None, typer.Option(help="Basis of their use, if their files do not say.")] = None,
    allow_unstated: Annotated[
        bool, typer.Option("--allow-unstated", help="Take pictures without licence or consent basis, marked so.")
    ] = False,
    store: Annotated[str | None, typer.Option(help="Key of the store they come from.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse class names that nothing maps.")] = False,
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Import labelled photographs; bad records are set aside.

    Formats: COCO, YOLO, Pascal VOC, CreateML, CVAT for images, Label Studio, SKU-110K.
    """
    from shelfgap_datasets.intake.class_names import parse_class_map
    from shelfgap_datasets.intake.importer import import_source

    from shelfgap_flows.params import workspace_params

    params = workspace_params(workspace).dataset
    with progress_bar("importing") as progress:
        report = import_source(
            workspace / params.source if source is None else source,
            to,
            class_aliases=params.class_aliases,
            format=format.value,
            class_map=parse_class_map(class_map),
            license=license or params.license,
            consent=consent.value if consent else params.consent,
            allow_unstated=allow_unstated,
            store=store,
            strict=strict,
            progress=progress,
        )
    if as_json:
        print_json({"dataset": str(to), **asdict(report)})
        return
    boxes = ", ".join(f"{count} {name}" for name, count in report.boxes.items())
    print(f"{to}: {report.images} images from {report.format}, boxes: {boxes}")
    if report.merged:
        print(f"  {report.merged} pictures were byte for byte another one and were merged")
    if report.rejected:
        print(f"  {report.rejected} records left out, see {to}/rejected.jsonl")
    for warning in report.warnings:
        print(f"  {warning}")


@data_app.command(
    epilog="Example: shelfgap data ingest photographs --name lyon-3 --license CC-BY-4.0 --consent notice --workspace w",
)
def ingest(
    source: Annotated[Path, typer.Argument(help="Folder of labelled photographs.")],
    name: Annotated[
        str,
        typer.Option(
            help="Name of the source; another ingestion of this name replaces it, but for pictures of others."
        ),
    ],
    format: Annotated[SourceFormat, typer.Option(help="Format of the annotations.")] = SourceFormat.AUTO,
    class_map: ClassMap = "",
    license: Annotated[str | None, typer.Option(help="Licence of the photographs, if their files do not say.")] = None,
    consent: Annotated[Consent | None, typer.Option(help="Basis of their use, if their files do not say.")] = None,
    store: Annotated[str | None, typer.Option(help="Key of the store they come from.")] = None,
    classes: Annotated[str | None, typer.Option(help="Labelled classes to keep: gap,low. Default: all.")] = None,
    redact: Annotated[bool, typer.Option(help="Pixelate occluders, and refuse what may show a shopper.")] = True,
    corrections: Annotated[
        bool, typer.Option("--corrections", help="SOURCE holds corrected labels of the current version.")
    ] = False,
    push: Annotated[bool, typer.Option("--push", help="Push the version to the DVC remote.")] = False,
    then_retrain: Annotated[bool, typer.Option("--then-retrain", help="Then do what `shelfgap retrain` does.")] = False,
    workspace: Annotated[Path, typer.Option(help="Workspace directory; a new one is made.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Make a labelled source part of the next version of the workspace's dataset, or say why not.

    Import, join, redact, split, check, compare, version, push and card, as a Prefect flow; a killed one goes on.
    """
    import os

    from shelfgap_datasets.intake.class_names import parse_class_map

    from shelfgap_flows.workspace import open_workspace

    require_name("--name", name)
    if corrections and (license or consent or store or classes):
        raise typer.BadParameter("--license, --consent, --store and --classes do not go with --corrections")
    opened = open_workspace(workspace)
    os.environ.setdefault("PREFECT_HOME", str(opened.prefect_home))
    from shelfgap_flows.ingest import IngestOptions, run_ingest

    result = run_ingest(
        opened,
        IngestOptions(
            source=str(source.resolve()),
            name=name,
            format=format.value,
            class_map=parse_class_map(class_map),
            license=license,
            consent=consent.value if consent else None,
            store=store,
            classes=tuple(part.strip() for part in classes.split(",")) if classes else None,
            redact=redact,
            push=push,
            corrections=corrections,
        ),
    )
    if result.is_new and not as_json:
        print(f"version {result.version}: {result.images} images, {result.added} new, {result.rejected} left out")
        print(f"  {result.dataset}; card: {result.card}")
    elif not as_json:
        print(f"nothing new; {result.version} stays current")
    if not then_retrain:
        if as_json:
            print_json(asdict(result))
        return
    from shelfgap_flows.cli_training import print_retraining
    from shelfgap_flows.retrain import run_retrain

    retraining = run_retrain(opened, None)
    if as_json:
        print_json({**asdict(result), "retraining": retraining.to_dict()})
    else:
        print_retraining(retraining)
    raise typer.Exit(EXIT_CODES.get(retraining.verdict, 0))


@data_app.command(epilog="Example: shelfgap data pack data/v1 --to data/v1-packed")
def pack(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="Dataset directory.")],
    to: Annotated[Path, typer.Option(help="Dataset directory to make.")],
    pictures_per_shard: Annotated[int, typer.Option(min=1, help="Pictures in a tar file.")] = 5000,
    as_json: AsJson = False,
) -> None:
    """Pack the pictures of a large dataset into tar shards; check, split, train, evaluate and card read both."""
    from shelfgap_datasets.pictures import pack as pack_dataset

    with progress_bar("packing") as progress:
        shards = pack_dataset(dataset, to, pictures_per_shard=pictures_per_shard, progress=progress)
    if as_json:
        print_json({"dataset": str(to), "shards": len(shards)})
    else:
        print(f"{to}: {len(shards)} shards")


@data_app.command(epilog="Example: shelfgap data check data/dataset")
def check(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="Dataset directory.")],
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Move bad records to rejected.jsonl and keep the rest.")
    ] = False,
    require_redacted: Annotated[
        bool, typer.Option("--require-redacted", help="Fail where a shopper may still be seen.")
    ] = False,
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Check every record and picture, and that no scene stands in two splits; exit code 1 if not sound."""
    from dataclasses import replace

    from shelfgap_datasets.checks import check_dataset
    from shelfgap_datasets.coco import save_dataset

    from shelfgap_flows.params import workspace_params

    with progress_bar("checking") as progress:
        duplicates = workspace_params(workspace).dataset.duplicates
        report = check_dataset(dataset, duplicates, progress, require_redacted=require_redacted)
    sound = report.passed
    if quarantine and report.records and report.sound.images:
        save_dataset(dataset, replace(report.sound, rejections=report.records))
        sound = not report.leaks and not report.exposed
    if as_json:
        print_json({"dataset": str(dataset), **report.to_dict(), "quarantined": quarantine})
    else:
        boxes = sum(len(image.boxes) for image in report.sound.images)
        print(f"{dataset}: {len(report.sound.images)} sound images, {boxes} boxes")
        for bad in report.records:
            print(f"  {bad.source}: {bad.reason}; {bad.action}")
        for leak in report.leaks:
            print(f"  leak: {leak}; run: shelfgap data split {dataset}")
        for problem in report.exposed:
            print(f"  {problem}")
        if report.exposed:
            print(f"  label occluders, remove pictures of no sound record, then run: shelfgap data redact {dataset}")
        for name in report.unlisted:
            print(f"  images/{name}: no record names it")
        print("sound" if report.passed else "bad records were set aside" if sound else "not sound")
    if not sound:
        raise typer.Exit(1)


@data_app.command(epilog="Example: shelfgap data diff data/v1 data/v2 --markdown diff.md")
def diff(
    before: Annotated[Path, typer.Argument(metavar="A", help="Dataset directory.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Dataset directory, the newer version.")],
    markdown: Annotated[Path | None, typer.Option(help="File for the text; else it is printed.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say which pictures and boxes came, went and changed; exit code 1 if a picture changed split."""
    from shelfgap_datasets.coco import load_dataset, write_text_atomic
    from shelfgap_datasets.diff import diff_datasets, to_markdown

    found = diff_datasets(load_dataset(before), load_dataset(after))
    text = to_markdown(found, str(before), str(after))
    if markdown is not None:
        write_text_atomic(markdown, text)
    if as_json:
        print_json(found.to_dict())
    elif markdown is None:
        print(text, end="")
    if found.moved_split:
        raise typer.Exit(1)


@data_app.command(epilog="Example: shelfgap data card data/dataset --to card")
def card(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="Dataset directory.")],
    to: Annotated[Path, typer.Option(help="Folder for card.html and card.md.")],
    pictures: Annotated[int, typer.Option(min=0, help="Pictures to show.")] = 24,
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Write the dataset card: sources, licences, counts, pictures, distributions, duplicates, known faults."""
    from shelfgap_datasets.card.facts import collect_facts
    from shelfgap_datasets.card.page import to_html, to_markdown
    from shelfgap_datasets.coco import write_text_atomic

    from shelfgap_flows.params import workspace_params

    with progress_bar("reading") as progress:
        duplicates = workspace_params(workspace).dataset.duplicates
        facts = collect_facts(dataset, duplicates, pictures=pictures, progress=progress)
    to.mkdir(parents=True, exist_ok=True)
    write_text_atomic(to / "card.html", to_html(facts))
    write_text_atomic(to / "card.md", to_markdown(facts))
    if as_json:
        print_json({"card": str(to / "card.html"), "images": facts.images, "faults": list(facts.faults)})
    else:
        print(f"{to / 'card.html'}: {facts.images} images, {len(facts.faults)} kinds of faults")


@data_app.command(epilog="Example: shelfgap data redact data/dataset")
def redact(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="Dataset directory; its pictures are changed.")],
    as_json: AsJson = False,
) -> None:
    """Pixelate every occluder box beyond recovery, so that the data keeps no shopper."""
    from shelfgap_datasets.redact import redact_dataset

    with progress_bar("redacting") as progress:
        report = redact_dataset(dataset, progress)
    if as_json:
        print_json({"dataset": str(dataset), **asdict(report)})
    else:
        print(f"{dataset}: {report.boxes} boxes pixelated in {report.redacted} pictures, {report.already} were before")
        if report.unlisted:
            print(f"  {report.unlisted} pictures that no record names stay as they are; see: shelfgap data check")


@data_app.command(epilog="Example: shelfgap data split data/dataset")
def split(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="Dataset directory.")],
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Assign every image to train, val or test by its group; near-duplicates share a group.

    Images of a version that `data ingest` made keep their place.
    """
    from collections import Counter

    from shelfgap_datasets.coco import VERSION_FILE, load_dataset, save_dataset
    from shelfgap_datasets.schema import SPLITS
    from shelfgap_datasets.split import extend_split, split_dataset

    from shelfgap_flows.params import workspace_params

    params = workspace_params(workspace).dataset
    loaded = load_dataset(dataset)
    with progress_bar("comparing") as progress:
        divide = extend_split if (dataset / VERSION_FILE).is_file() else split_dataset
        divided = divide(dataset, loaded, params.split, params.duplicates, progress)
    save_dataset(dataset, divided)
    counts = Counter(image.split for image in divided.images)
    groups = len({image.group for image in divided.images})
    if as_json:
        per_split: dict[str, int] = {side: counts[side] for side in SPLITS}
        print_json({"dataset": str(dataset), "groups": groups, **per_split})
    else:
        sides = ", ".join(f"{counts[side]} {side}" for side in SPLITS)
        print(f"{dataset}: {groups} groups; {sides}")


add_labelling_commands(data_app)
add_synth_commands(data_app)
