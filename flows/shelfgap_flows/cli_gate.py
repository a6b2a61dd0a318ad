"""`shelfgap gate`: may this bundle replace that one?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from shelfgap_flows.cli_output import AsJson, WorkspaceOption, print_json, progress_bars

EXIT_CODES = {"pass": 0, "fail": 1, "inconclusive": 3}
"""Exit code of each verdict."""
_STYLES = {"pass": "green", "fail": "red", "inconclusive": "yellow", "not judged": "dim"}


class JudgedSplit(StrEnum):
    """Which pictures to judge on."""

    TEST = "test"
    ALL = "all"


class Runtime(StrEnum):
    """What runs the models."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"


def gate(
    candidate: Annotated[
        Path | None, typer.Option(help="Bundle directory or .tar to judge; else the models of the workspace.")
    ] = None,
    champion: Annotated[Path | None, typer.Option(help="Bundle that it would replace; else floors alone.")] = None,
    dataset: Annotated[Path | None, typer.Option(help="Dataset directory to judge on.")] = None,
    split: Annotated[JudgedSplit | None, typer.Option(help="Which of its pictures; test unless told.")] = None,
    device_class: Annotated[
        str | None, typer.Option(help="What this machine stands for: judges its latency budget of params.yaml.")
    ] = None,
    runtime: Annotated[Runtime | None, typer.Option(help="What runs the models; onnxruntime unless told.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for gate.json, .md, .xml and .html; gate unless told.")
    ] = None,
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Judge a bundle against the one that it would replace: exit code 0 pass, 1 fail, 3 inconclusive.

    Accuracy by a paired bootstrap of whole groups, floors on every slice, latency in turns in fresh processes, size and
    memory; values and margins stand in params.yaml under `gate`. See docs/gate.md.
    """
    from shelfgap_export.gate.reports import clear_reports

    from shelfgap_flows.gate import gate_bundles, gate_stage
    from shelfgap_flows.params import workspace_params
    from shelfgap_flows.workspace import Workspace

    others = [value for value in (champion, split, device_class, runtime, report) if value is not None]
    if (candidate is None) != (dataset is None) or (candidate is None and others):
        raise typer.BadParameter(
            "--candidate and --dataset go together; --champion, --split, --device-class, --runtime and --report go with"
            " them"
        )
    with progress_bars() as progress:
        if candidate is None or dataset is None:
            result = gate_stage(Workspace(workspace.resolve()), progress)
            folder = Workspace(workspace).reports
        else:
            folder = report or Path("gate")
            clear_reports(folder)  # before params.yaml may be refused
            result = gate_bundles(
                candidate,
                champion,
                dataset,
                folder,
                workspace_params(workspace),
                split=(split or JudgedSplit.TEST).value,
                device_class=device_class,
                runtime=(runtime or Runtime.ONNXRUNTIME).value,
                progress=progress,
            )
    if as_json:
        print_json(result)
    else:
        _print_table(result, folder)
    raise typer.Exit(EXIT_CODES[result["verdict"]])


def _print_table(result: dict[str, Any], folder: Path) -> None:
    """Print a verdict for people; slices that hold, or are too small, in one line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(title="shelfgap gate", title_justify="left")
    for head in ("verdict", "check", "what was found"):
        table.add_column(head, overflow="fold")
    quiet = {"pass": 0, "not judged": 0}
    for check in result["checks"]:
        if check["kind"] == "slice floor" and check["verdict"] in quiet:
            quiet[check["verdict"]] += 1
            continue
        table.add_row(Text(check["verdict"], _STYLES[check["verdict"]]), Text(check["name"]), Text(check["reason"]))
    console.print(table)
    print(f"{quiet['pass']} slices hold their floor, {quiet['not judged']} have too few boxes and were not judged")
    console.print(Text(f"{result['verdict']}: {result['reason']}", f"bold {_STYLES[result['verdict']]}"))
    print(f"{folder / 'gate.html'}")
