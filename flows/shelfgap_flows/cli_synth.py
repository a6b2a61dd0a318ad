"""`shelfgap data synth` and `synth-days`: shelves that are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shelfgap_flows.cli_output import AsJson, WorkspaceOption, print_json, progress_bar

ProductsOption = Annotated[
    Path | None, typer.Option(help="Folder of product pictures, with their licence; else procedural packages.")
]


def add_synth_commands(app: typer.Typer) -> None:
    """Add the commands to `shelfgap data`."""
    app.command(epilog="Example: shelfgap data synth data/synthetic --count 720 --seed 7")(synth)
    app.command("synth-days", epilog="Example: shelfgap data synth-days data/days --days 3 --seed 7")(synth_days)


def synth(
    to: Annotated[Path, typer.Argument(metavar="DIR", help="Dataset directory to make.")],
    count: Annotated[int | None, typer.Option(min=1, help="Number of stills; else from params.yaml.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed; else from params.yaml.")] = None,
    products: ProductsOption = None,
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Render pictures of shelves with exact boxes of gaps, low stock and occluders."""
    from shelfgap_datasets.synthetic.stills import synthesize

    from shelfgap_flows.params import workspace_params

    given = _given(count=count, seed=seed, products=products)
    params = workspace_params(workspace).synth.model_copy(update=given)
    with progress_bar("rendering") as progress:
        dataset = synthesize(to, params, progress)
    boxes = sum(len(image.boxes) for image in dataset.images)
    if as_json:
        print_json({"dataset": str(to), "images": len(dataset.images), "boxes": boxes, "seed": params.seed})
    else:
        print(f"{to}: {len(dataset.images)} synthetic images, {boxes} boxes, seed {params.seed}")


def synth_days(
    to: Annotated[Path, typer.Argument(metavar="DIR", help="Dataset directory to make.")],
    days: Annotated[int | None, typer.Option(min=1, max=999, help="Number of days; else from params.yaml.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed; else from params.yaml.")] = None,
    products: ProductsOption = None,
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Render whole days before a fixed camera each, with boxes per frame and a timeline per facing."""
    from shelfgap_datasets.synthetic.shelf_days import TIMELINE_FILE, synthesize_days

    from shelfgap_flows.params import workspace_params

    given = _given(days=days, seed=seed, products=products)
    params = workspace_params(workspace).shelf_day.model_copy(update=given)
    with progress_bar("rendering") as progress:
        dataset = synthesize_days(to, params, progress)
    boxes = sum(len(image.boxes) for image in dataset.images)
    if as_json:
        timeline = str(to / TIMELINE_FILE)
        print_json({"dataset": str(to), "images": len(dataset.images), "boxes": boxes, "timeline": timeline})
    else:
        print(f"{to}: {params.days} days, {len(dataset.images)} frames, {boxes} boxes; {to / TIMELINE_FILE}")


def _given(**values: object) -> dict[str, object]:
    """Return the options that were given, to replace values of params.yaml."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items() if value is not None}
