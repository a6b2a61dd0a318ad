"""`shelfgap data export`, `correct` and `review`: to the tools of those who label, and back."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shelfgap_flows.cli_output import AsJson, WorkspaceOption, print_json, progress_bar


class SourceFormat(StrEnum):
    """Annotation formats that can be imported."""

    AUTO = "auto"
    COCO = "coco"
    YOLO = "yolo"
    VOC = "voc"
    CREATEML = "createml"
    CVAT = "cvat"
    LABEL_STUDIO = "label-studio"
    SKU110K = "sku110k"


class ExportFormat(StrEnum):
    """Annotation formats that can be written."""

    COCO = "coco"
    YOLO = "yolo"
    CVAT = "cvat"
    LABEL_STUDIO = "label-studio"


class ReviewFormat(StrEnum):
    """Labelling tools that a review queue is written for."""

    CVAT = "cvat"
    LABEL_STUDIO = "label-studio"


ClassMap = Annotated[str, typer.Option(help='Names of the source and our classes: "Empty Shelf=gap,Half=low".')]


def add_labelling_commands(app: typer.Typer) -> None:
    """Add the commands to `shelfgap data`."""
    app.command(epilog="Example: shelfgap data export data/dataset --format cvat --to review")(export)
    app.command(epilog="Example: shelfgap data correct data/dataset review-done --to data/corrected")(correct)
    app.command(epilog="Example: shelfgap data review data/dataset --to queue --format cvat")(review)


def export(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="Dataset directory.")],
    to: Annotated[Path, typer.Option(help="Folder to make.")],
    format: Annotated[ExportFormat, typer.Option(help="What to write.")],
    image_prefix: Annotated[
        str, typer.Option(help="Where Label Studio finds the pictures, before their file name.")
    ] = "/data/local-files/?d=images/",
    as_json: AsJson = False,
) -> None:
    """Write pictures and labels for a labelling tool or another trainer."""
    from shelfgap_datasets.coco import load_dataset
    from shelfgap_datasets.labelling.export import export_dataset

    loaded = load_dataset(dataset)
    with progress_bar("exporting") as progress:
        export_dataset(dataset, loaded, format.value, to, image_prefix=image_prefix, progress=progress)
    if as_json:
        print_json({"folder": str(to), "format": format.value, "images": len(loaded.images)})
    else:
        print(f"{to}: {len(loaded.images)} images as {format.value}")


def correct(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="Dataset directory.")],
    corrections: Annotated[Path, typer.Argument(help="Folder that the labelling tool exported.")],
    to: Annotated[Path, typer.Option(help="Dataset directory to make.")],
    format: Annotated[SourceFormat, typer.Option(help="Format of the corrections.")] = SourceFormat.AUTO,
    class_map: ClassMap = "",
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Take corrected labels back, as a new version; pictures without a correction stay as they are."""
    from shelfgap_datasets.intake.class_names import parse_class_map
    from shelfgap_datasets.labelling.correct import correct_dataset

    from shelfgap_flows.params import workspace_params

    report = correct_dataset(
        dataset,
        corrections,
        to,
        class_aliases=workspace_params(workspace).dataset.class_aliases,
        format=format.value,
        class_map=parse_class_map(class_map),
    )
    if as_json:
        print_json({"dataset": str(to), **asdict(report)})
        return
    print(f"{to}: {len(report.changed)} of {report.seen} returned pictures have other boxes now")
    for rejection in report.rejections:
        print(f"  {rejection.source}: {rejection.reason}; {rejection.action}")


def review(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="Dataset directory.")],
    to: Annotated[Path, typer.Option(help="Folder of the queue to make.")],
    format: Annotated[ReviewFormat, typer.Option(help="Labelling tool.")] = ReviewFormat.CVAT,
    folds: Annotated[int, typer.Option(min=2, max=20, help="Trainings, each without one part of the groups.")] = 3,
    most: Annotated[int, typer.Option(min=1, help="Doubtful labels to queue.")] = 100,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each training; else from params.yaml.")] = None,
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Queue likely missing, loose, extra and wrongly named boxes for review; `data correct` takes them back."""
    from collections import Counter

    from shelfgap_flows.params import workspace_params
    from shelfgap_flows.review import review_labels

    suspects = review_labels(
        dataset,
        to,
        workspace_params(workspace),
        scratch=workspace / ".scratch",
        folds=folds,
        most=most,
        format=format.value,
        epochs=epochs,
    )
    kinds = Counter(suspect.kind for suspect in suspects)
    if as_json:
        print_json({"queue": str(to), "suspects": len(suspects), "kinds": dict(kinds)})
    else:
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        print(f"{to}: {len(suspects)} labels to look at ({listed}); see {to / 'sheet.jpg'}")
