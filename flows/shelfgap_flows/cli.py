"""The `shelfgap` command: arguments in, one call, a printed result out."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from shelfgap_edge.errors import ShelfgapError

from shelfgap_flows.cli_bundle import bundle_app
from shelfgap_flows.cli_ci import ci
from shelfgap_flows.cli_data import data_app
from shelfgap_flows.cli_gate import EXIT_CODES
from shelfgap_flows.cli_output import AsJson, fail, print_json
from shelfgap_flows.cli_publish import add_publish_command
from shelfgap_flows.cli_registry import registry_app
from shelfgap_flows.cli_stages import add_stage_commands
from shelfgap_flows.cli_training import add_training_commands

app = typer.Typer(
    name="shelfgap",
    help="Datasets, gap detectors and edge bundles for cameras that watch supermarket shelves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
app.add_typer(bundle_app, name="bundle")
app.add_typer(registry_app, name="registry")
add_stage_commands(app)
add_training_commands(app)
add_publish_command(app)
app.command(epilog="Example: shelfgap ci --workspace stores/12")(ci)


def main() -> None:
    """Run the command line; a failure of the domain is one line and exit code 1."""
    _prepare_process()
    try:
        app(prog_name="shelfgap")
    except ShelfgapError as error:
        fail(str(error))
    except SystemExit as ended:
        if ended.code == 130:  # what Typer makes of Ctrl-C
            print("shelfgap: interrupted; run the same command to go on from there", file=sys.stderr)
        raise
    except OSError as error:  # a full disk, a folder without permission
        fail(f"{error.filename or 'file'}: {error.strerror or error}")


@app.command(
    epilog="Example: shelfgap release --dataset photographs --workspace runs/store-12",
)
def release(
    dataset: Annotated[
        Path | None, typer.Option(help="Labelled photographs: a dataset directory or any importable folder.")
    ] = None,
    params: Annotated[Path | None, typer.Option(help="Replaces the params.yaml of the workspace.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Which detector of params.yaml to train: fast or accurate.")
    ] = None,
    workspace: Annotated[Path, typer.Option(help="Directory of data, models, reports and stores.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Run everything from a dataset to a measured bundle; what is up to date is not run again."""
    from shelfgap_flows.workspace import open_alone

    with open_alone(workspace, dataset, params, preset) as opened:
        os.environ.setdefault("PREFECT_HOME", str(opened.prefect_home))
        from shelfgap_flows.release import run_release

        result = run_release(opened)
    from rich.console import Console
    from rich.table import Table

    from shelfgap_flows.summary import summary_rows

    if as_json:
        print_json(result.to_dict())
    else:
        table = Table(title="shelfgap release", show_header=False, title_justify="left")
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, value in summary_rows(result):
            table.add_row(name, value)
        Console().print(table)
    raise typer.Exit(EXIT_CODES[result.verdict])


def _prepare_process() -> None:
    """Log to standard error; keep libraries from calling home, and waiting threads from the cores that others need."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    for noisy in ("httpx", "matplotlib", "onnxscript", "torch", "alembic", "onnx_ir"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for name, value in {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",  # read by torch when it loads
    }.items():
        os.environ.setdefault(name, value)
