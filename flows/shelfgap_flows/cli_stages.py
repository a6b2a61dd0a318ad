"""The stages of dvc.yaml as commands, and pictures of what a bundle finds."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from shelfgap_flows.cli_gate import gate
from shelfgap_flows.cli_output import AsJson, WorkspaceOption, fail, print_json, progress_bars


class ScoredSplit(StrEnum):
    """Which images to score."""

    TEST = "test"
    ALL = "all"


class Precision(StrEnum):
    """Which model of a bundle."""

    INT8 = "int8"
    FP32 = "fp32"


def add_stage_commands(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (train, export, quantize, evaluate, bench, gate, predict):
        app.command(epilog=f"Example: {_EXAMPLES[command.__name__]}")(command)


_EXAMPLES = {
    "train": "shelfgap train --workspace runs/store-12",
    "export": "shelfgap export --json",
    "quantize": "shelfgap quantize --json",
    "evaluate": "shelfgap evaluate --bundle release/bundle --dataset data/dataset --split test --json",
    "bench": "shelfgap bench --json",
    "gate": "shelfgap gate --candidate new.tar --champion released.tar --dataset data/dataset",
    "predict": "shelfgap predict release/bundle shelf.jpg --draw pictures",
}


def train(workspace: WorkspaceOption = Path(), as_json: AsJson = False) -> None:
    """Train the detector on data/dataset; an interrupted training goes on from its last epoch."""
    from shelfgap_flows.settings import Settings
    from shelfgap_flows.stages import train_stage

    report = train_stage(_workspace(workspace), Settings())
    if not report:  # one of several processes; the main one speaks
        return
    val_ap50 = "unknown" if math.isnan(report["val_ap50"]) else f"{report['val_ap50']:.3f}"
    _show(
        report,
        as_json,
        f"trained {report['epochs']} epochs on {report['train_images']} images in {report['seconds']:.0f} s "
        f"({report['device']}), validation AP50 {val_ap50}, MLflow run {report['mlflow_run_id']}",
    )


def export(workspace: WorkspaceOption = Path(), as_json: AsJson = False) -> None:
    """Export the detector to float ONNX and prove that it agrees with torch."""
    from shelfgap_flows.stages import export_stage

    report = export_stage(_workspace(workspace))
    parity = report["parity_torch_fp32"]
    _show(
        report,
        as_json,
        f"{report['parameters']} parameters, {report['macs'] / 1e9:.2f} GMAC; torch to ONNX on "
        f"{parity['images']} frames: at most {parity['max_box_px']:.2g} px and {parity['max_score']:.2g} in score",
    )


def quantize(
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Instead, show what each layer costs in INT8 on validation.")
    ] = False,
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Quantize the float model to INT8, calibrated on training images."""
    from shelfgap_flows.measure import quantize_sensitivity
    from shelfgap_flows.stages import quantize_stage

    if sensitivity:
        report = quantize_sensitivity(_workspace(workspace))
        _show(report, as_json, *_sensitivity_rows(report))
        return
    report = quantize_stage(_workspace(workspace))
    _show(
        report,
        as_json,
        f"{report['int8_convolutions']} convolutions in INT8, {report['float_convolutions']} left in float, "
        f"calibrated on {report['calibration_images']} training images",
    )


def evaluate(
    bundle: Annotated[Path | None, typer.Option(help="Score this bundle instead of the workspace.")] = None,
    dataset: Annotated[Path | None, typer.Option(help="Dataset directory to score the bundle on.")] = None,
    split: Annotated[ScoredSplit | None, typer.Option(help="Which of its images; test unless told.")] = None,
    precision: Annotated[Precision | None, typer.Option(help="Which model of the bundle; int8 unless told.")] = None,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="Instead, judge its alerts: the dataset holds shelf-days.")
    ] = False,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="With --timeline: also try other settings, and draw the trade-off.")
    ] = False,
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Score on labelled images through the edge runtime: a bundle, or the models of the workspace.

    With --timeline its alerts are scored over time, on shelf-days of `shelfgap data synth-days`.
    """
    from shelfgap_flows.measure import evaluate_bundle, evaluate_stage
    from shelfgap_flows.params import workspace_params

    if (bundle is None) != (dataset is None):
        raise typer.BadParameter("--bundle and --dataset go together")
    if sweep and not timeline:
        raise typer.BadParameter("--sweep goes with --timeline")
    if timeline and bundle is None:
        raise typer.BadParameter("--timeline needs --bundle and --dataset")
    if (split and (bundle is None or timeline)) or (precision and bundle is None):
        raise typer.BadParameter("--split and --precision go with --bundle, and --split not with --timeline")
    if bundle is None or dataset is None:
        report = evaluate_stage(_workspace(workspace))
        summary = [_scores(report["test"][name]) for name in ("fp32", "int8")]
        _show(report, as_json, *summary)
        return
    params, mode = workspace_params(workspace), (precision or Precision.INT8).value
    if timeline:
        from shelfgap_training.temporal.report import timeline_lines

        from shelfgap_flows.timeline import evaluate_timeline

        with progress_bars() as progress:
            report = evaluate_timeline(_workspace(workspace), params, bundle, dataset, mode, sweep, progress)
        _show(report, as_json, *timeline_lines(report))
        return
    evaluation = evaluate_bundle(bundle, dataset, (split or ScoredSplit.TEST).value, mode, params.evaluation)
    _show(evaluation, as_json, _scores(evaluation))


def bench(
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Instead, measure the candidate against the champion, for the gate.")
    ] = False,
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Measure the latency of the workspace's models with the edge harness."""
    from shelfgap_edge.bench.table import to_table

    if pairs:
        from shelfgap_flows.gate import pairs_stage
        from shelfgap_flows.settings import Settings

        with progress_bars() as progress:
            report = pairs_stage(_workspace(workspace), Settings().device_class, progress)
        _show(report, as_json, _ratio_line(report["latency"]))
        return
    from shelfgap_flows.measure import bench_stage

    report = bench_stage(_workspace(workspace))
    _show(report, as_json, to_table(report))


def predict(
    bundle: Annotated[Path, typer.Argument(help="Bundle directory or .tar.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures.")],
    draw: Annotated[Path, typer.Option(metavar="OUTDIR", help="Folder for the pictures with boxes.")],
    precision: Annotated[Precision, typer.Option(help="Which model of the bundle.")] = Precision.INT8,
    as_json: AsJson = False,
) -> None:
    """Draw what a bundle finds in pictures, for people; a bad picture is reported and the others are done."""
    from shelfgap_flows.pictures import draw_predictions

    drawn, problems = draw_predictions(bundle, images, draw, precision.value)
    if as_json:
        print_json({"drawn": drawn, "problems": problems})
    else:
        for entry in drawn:
            print(f"{entry['picture']}: {len(entry['detections'])} found")
    for problem in problems:
        typer.echo(f"shelfgap: {problem['image']}: {problem['reason']}", err=True)
    if not drawn:
        fail("no usable image")
    if problems:
        raise typer.Exit(1)


def _workspace(root: Path) -> Any:
    from shelfgap_flows.workspace import Workspace

    return Workspace(root.resolve())


def _show(report: dict[str, Any], as_json: bool, *lines: str) -> None:
    show: Callable[[], None] = (lambda: print_json(report)) if as_json else (lambda: print("\n".join(lines)))
    show()


def _ratio_line(latency: dict[str, Any] | None) -> str:
    if latency is None:
        return "no champion to measure against"
    ratio = latency["ratio"]
    interval = f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
    return f"latency by that of the champion: {interval}, {latency['pairs']} pairs of processes"


def _sensitivity_rows(report: dict[str, Any]) -> list[str]:
    """Return the table: layers by the noise that each alone adds to the outputs, the noisiest first."""
    rows = [
        f"AP50 on validation: fp32 {report['fp32_ap50']:.4f}, INT8 {report['int8_ap50']:.4f}; "
        f"INT8 outputs {report['int8_sqnr_db']:.1f} dB above their noise",
        f"{'':28}{'alone in INT8':^20}{'alone left float':^20}",
        f"{'layer':28}{'SQNR dB':>10}{'AP50':>10}{'SQNR dB':>10}{'AP50':>10}",
    ]
    rows += [
        f"{row['layer']:28}{row['alone_sqnr_db']:>10.1f}{row['alone_ap50_change']:>+10.4f}"
        f"{row['without_sqnr_db']:>10.1f}{row['without_ap50_gain']:>+10.4f}"
        for row in report["layers"]
    ]
    return rows


def _scores(evaluation: dict[str, Any]) -> str:
    from shelfgap_training.report import TITLES, figure_text

    figures = ", ".join(f"{title} {figure_text(evaluation[key], 3)}" for key, title in TITLES.items())
    counts = f"{evaluation['images']} images in {evaluation['groups']} groups, {evaluation['boxes']} boxes"
    return f"{evaluation['precision_mode']}: {figures} ({counts})"
