"""`shelfgap registry`: versions of the model, the champion among them, and who was it when."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shelfgap_flows.cli_output import AsJson, WorkspaceOption, print_json

if TYPE_CHECKING:
    from shelfgap_export.promotion_log import Entry
    from shelfgap_training.registry import ModelRegistry

    from shelfgap_flows.workspace import Workspace

registry_app = typer.Typer(help="Versions of the model in MLflow, and the champion among them.", no_args_is_help=True)

Approve = Annotated[bool, typer.Option("--approve", help="Approved already, as in CI: nobody is asked.")]


@registry_app.command("list", epilog="Example: shelfgap registry list --workspace runs/store-12")
def list_versions(workspace: WorkspaceOption = Path(), as_json: AsJson = False) -> None:
    """Show all versions, the newest first, with champion and challenger."""
    from dataclasses import asdict

    from shelfgap_export.aliases import roles

    registry = _registry(workspace)
    versions = registry.versions()
    role_of = {version: role for role, version in roles(registry).items()}
    if as_json:
        shown = [{**asdict(version), "role": role_of.get(version.version)} for version in versions]
        print_json({"model": registry.model, "versions": shown})
        return
    for version in versions:
        print(
            f"{version.version:>4}  {role_of.get(version.version, ''):10}  {version.bundle_version}  "
            f"{version.registered_at}  model {version.identity[:12]}  bundle {version.bundle_sha256[:12]}"
        )
    if not versions:
        print(f"{registry.model}: nothing is registered; run: shelfgap release")


@registry_app.command(epilog="Example: shelfgap registry history --at 2026-11-01")
def history(
    at: Annotated[
        str | None, typer.Option(help="A day, or a time such as 2026-11-01T14:30; in UTC unless it says otherwise.")
    ] = None,
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Show which version was champion when, who approved it, and on which gate."""
    from shelfgap_export.promotion_log import champions_during, read_log

    start, end = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)) if at is None else _time(at)
    registry = _registry(workspace)
    champions = champions_during(read_log(registry), start, end)
    if as_json:
        shown = [{**entry.to_dict(), "until": until} for entry, until in champions]
        print_json({"model": registry.model, "champions": shown})
        return
    for entry, until in champions:
        _print_entry(entry, until)
    if not champions:
        print(f"{registry.model}: no champion" + ("" if at is None else f" at {at}"))


@registry_app.command(epilog="Example: shelfgap registry register release/bundle.tar")
def register(
    bundle: Annotated[Path, typer.Argument(help="The .tar of a bundle, as one that was signed elsewhere.")],
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Register a bundle, byte for byte; `shelfgap release` does that by itself. The same bytes are the same version."""
    from dataclasses import asdict

    from shelfgap_export.promotion import register_bundle

    version = register_bundle(_registry(workspace), bundle)
    if as_json:
        print_json(asdict(version))
    else:
        print(f"version {version.version}: {version.bundle_version}, model {version.identity[:12]}")


@registry_app.command(epilog="Example: shelfgap registry fetch champion --to champion.tar")
def fetch(
    which: Annotated[str, typer.Argument(metavar="VERSION", help="A number, `champion` or `challenger`.")],
    to: Annotated[Path, typer.Option(help="File to write.")],
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Download the bundle of a version, checked against what was registered."""
    from dataclasses import asdict

    from shelfgap_export.aliases import version_called

    registry = _registry(workspace)
    version = version_called(registry, which)
    registry.fetch(version, to)
    if as_json:
        print_json({**asdict(version), "path": str(to)})
    else:
        print(f"{to}: version {version.version} ({version.bundle_version})")


@registry_app.command(epilog="Example: shelfgap registry promote --workspace runs/store-12")
def promote(
    version: Annotated[int | None, typer.Argument(help="Which; else the challenger.")] = None,
    gate: Annotated[
        Path | None, typer.Option(help="The gate.json of a newer gate run than that in the bundle.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="For the log.")] = None,
    approve: Approve = False,
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Make a version champion: its gate must have passed exactly its model, against the present champion.

    Somebody approves it: at the terminal, or where PREFECT_API_URL names a server in Prefect, which pauses the flow.
    """
    opened = _prepare_flow(workspace)
    from shelfgap_flows.promote import run_promote

    _show(run_promote(opened, version, gate, reason, approved=approve, confirm=_asker()), as_json)


@registry_app.command(epilog='Example: shelfgap registry rollback --reason "misses gaps under cold light"')
def rollback(
    reason: Annotated[str, typer.Option(help="Why, for the log.")],
    version: Annotated[int | None, typer.Argument(help="Which; else the champion before this one.")] = None,
    approve: Approve = False,
    workspace: WorkspaceOption = Path(),
    as_json: AsJson = False,
) -> None:
    """Make an earlier champion champion again."""
    opened = _prepare_flow(workspace)
    from shelfgap_flows.promote import run_rollback

    _show(run_rollback(opened, version, reason, approved=approve, confirm=_asker()), as_json)


def _registry(root: Path) -> ModelRegistry:
    from shelfgap_flows.settings import Settings, registry_for
    from shelfgap_flows.workspace import Workspace

    return registry_for(Workspace(root.resolve()), Settings())


def _prepare_flow(root: Path) -> Workspace:
    """Refuse what is no workspace, and keep Prefect's state in it."""
    from shelfgap_flows.workspace import Workspace

    _registry(root)
    workspace = Workspace(root.resolve())
    os.environ.setdefault("PREFECT_HOME", str(workspace.prefect_home))
    return workspace


def _asker() -> Callable[[str], bool] | None:
    """Return what asks at the terminal, on standard error; None where nobody sits at one."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return lambda what: typer.confirm(f"{what}Approve?", err=True)


def _time(text: str) -> tuple[datetime, datetime]:
    """Return the begin and end of a day, or a moment twice."""
    whole_day = len(text) <= len("2026-11-01")
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return moment, moment + timedelta(days=1) if whole_day else moment
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"--at takes 2026-11-01 or 2026-11-01T14:30, got {text!r}") from None


def _show(entry: Entry, as_json: bool) -> None:
    if as_json:
        print_json(entry.to_dict())
    else:
        _print_entry(entry, None)


def _print_entry(entry: Entry, until: str | None) -> None:
    print(f"{entry.at} to {until or 'now'}: version {entry.version} ({entry.bundle_version}), {entry.action}")
    asked = "" if entry.requested_by == entry.approved_by else f", requested by {entry.requested_by}"
    print(f"  approved by {entry.approved_by}{asked}" + (f": {entry.reason}" if entry.reason else ""))
    print(f"  gate {entry.gate.sha256[:12]} of {entry.gate.created_at}: {entry.gate.reason}")
