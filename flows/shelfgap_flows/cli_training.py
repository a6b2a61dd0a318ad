"""`shelfgap sweep` and `shelfgap retrain`: flows that train more than one detector."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shelfgap_flows.cli_gate import EXIT_CODES
from shelfgap_flows.cli_output import AsJson, print_json, require_name

if TYPE_CHECKING:
    from shelfgap_flows.retrain import Retraining

EVERY_NIGHT = "0 3 * * *"

WorkspaceOption = Annotated[Path, typer.Option(help="Directory of data, models, reports and stores.")]


def add_training_commands(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(epilog="Example: shelfgap sweep --workspace runs/store-12 --trials 30")(sweep)
    app.command(epilog='Example: shelfgap retrain --workspace runs/store-12 --serve --cron "0 3 * * *"')(retrain)


def sweep(
    workspace: WorkspaceOption = Path(),
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Trials in all, with those that were done; else from params.yaml."),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Name of the study; else recipe, data and code decide which one goes on.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search better numbers for the recipe, by short trainings scored on validation images.

    What is searched stands in params.yaml under `sweep`. The best are written to sweep/best_params.yaml, for `shelfgap
    release --params`. A sweep that was stopped goes on.
    """
    if study is not None:
        require_name("--study", study)
    from shelfgap_flows.workspace import open_workspace

    opened = open_workspace(workspace)
    os.environ.setdefault("PREFECT_HOME", str(opened.prefect_home))
    from shelfgap_flows.sweep import run_sweep

    result = run_sweep(opened, trials, study)
    if as_json:
        print_json(result.to_dict())
        return
    states = [row.state for row in result.trials]
    counts = ", ".join(f"{states.count(s)} {s}" for s in ("complete", "pruned", "failed") if s in states)
    print(f"study {result.study}: {len(states)} trials ({counts})")
    print(f"  best: trial {result.best.number}, validation AP50 {result.best.val_ap50:.4f}")
    if result.recipe is not None:
        print(f"  params.yaml as it is: {result.recipe.val_ap50:.4f}")
    for key, value in result.best.values.items():
        print(f"  {key}: {value:.4g}")
    print(f"  {result.best_params}; train it in full: shelfgap release --params {result.best_params}")


def retrain(
    workspace: WorkspaceOption = Path(),
    dataset: Annotated[
        Path | None, typer.Option(help="Labelled photographs; else the newest version that `data ingest` made.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Stay, and look for new data on schedule, as a Prefect deployment.")
    ] = False,
    cron: Annotated[str | None, typer.Option(help=f"When to look, with --serve; else {EVERY_NIGHT!r}.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train anew where the data changed since the release, and release what is not worse than it.

    Two candidates are trained, from the weights of the released detector and from scratch, and compared on the same
    validation images; the gate has the last word. What was stopped goes on.
    """
    if cron is not None and not serve:
        raise typer.BadParameter("--cron goes with --serve")
    if serve and as_json:
        raise typer.BadParameter("--serve has no result to print as JSON")
    from shelfgap_flows.workspace import open_workspace

    opened = open_workspace(workspace)
    os.environ.setdefault("PREFECT_HOME", str(opened.prefect_home))
    from shelfgap_flows.retrain import run_retrain, serve_retrain

    if serve:
        from prefect.client.schemas.schedules import CronSchedule
        from pydantic import ValidationError

        try:
            CronSchedule(cron=cron or EVERY_NIGHT)
        except ValidationError:
            raise typer.BadParameter(f"--cron takes five fields such as {EVERY_NIGHT!r}, got {cron!r}") from None
        serve_retrain(opened, dataset, cron or EVERY_NIGHT)
        return
    result = run_retrain(opened, dataset)
    if as_json:
        print_json(result.to_dict())
    else:
        print_retraining(result)
    raise typer.Exit(EXIT_CODES.get(result.verdict, 0))


def print_retraining(result: Retraining) -> None:
    """Print what a retraining brought, for people."""
    from shelfgap_training.report import figure_text

    print(f"{result.verdict}: {result.reason}")
    if result.comparison is not None:
        for name, figure in result.comparison["ap50"].items():
            print(f"  {name}: validation AP50 {figure_text(figure, 4)}")
    if result.release is not None:
        print(f"  on test images, INT8: AP50 {figure_text(result.release['evaluation']['ap50'], 4)}")
        if result.release["bundle"] is not None:
            print(f"  {result.release['bundle']}")
