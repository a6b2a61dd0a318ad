"""What every command says and takes alike: results for people or machines, errors, progress."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from shelfgap_flows.strict_json import json_text

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object as the last line of standard output.")]
WorkspaceOption = Annotated[Path, typer.Option(help="Workspace directory, with its params.yaml.")]


def print_json(value: object) -> None:
    """Print a value as one line of JSON."""
    print(json_text(value), flush=True)


def require_name(option: str, name: str) -> None:
    """Refuse a name that makes no file name.

    Raises:
        BadParameter: it makes none.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise typer.BadParameter(f"{option} must be letters, digits, dots, dashes and underscores, got {name!r}")


def fail(message: str) -> NoReturn:
    """Print one line to standard error and exit with 1."""
    print(f"shelfgap: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(1)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal; elsewhere nothing.

    Yields:
        A function to call with (done, in all).
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield show


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each of several steps on a terminal; elsewhere nothing.

    Yields:
        A function to call with (what, done, in all).
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show
