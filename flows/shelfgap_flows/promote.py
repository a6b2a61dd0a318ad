"""The promote and rollback flows: look, ask somebody, carry out, tell.

Nothing is written before it is approved; a flow that is killed while it waits, or after it was approved, is run again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL
from pydantic import Field
from shelfgap_edge.errors import ShelfgapError
from shelfgap_export.aliases import align_aliases
from shelfgap_export.gate_record import PromotionError
from shelfgap_export.promotion import Plan, carry_out, gate_text, plan_promotion, plan_rollback
from shelfgap_export.promotion_log import Action, Entry

from shelfgap_flows.notify import notify
from shelfgap_flows.one_line import one_line_errors
from shelfgap_flows.prefect_server import start_server
from shelfgap_flows.settings import Settings, registry_for
from shelfgap_flows.workspace import Workspace

_POLL_SECONDS = 2


class Approval(RunInput):
    """What Prefect asks for while a promotion is paused."""

    approve: bool
    approved_by: str = Field(min_length=1, max_length=200)
    note: str = Field(default="", max_length=500)


@task(cache_policy=NO_CACHE)  # the registry changes, and the arguments do not
def look(workspace: Workspace, action: Action, version: int | None, gate: Path | None) -> Plan:
    """Look what is to be approved, after what an earlier run left half done."""
    registry = registry_for(workspace, Settings())
    align_aliases(registry)
    return plan_rollback(registry, version) if action == "rollback" else plan_promotion(registry, version, gate)


@task(cache_policy=NO_CACHE)
def conclude(workspace: Workspace, plan: Plan, approved_by: str, reason: str | None) -> Entry:
    """Carry out what was approved."""
    settings = Settings()
    return carry_out(
        registry_for(workspace, settings),
        plan,
        requested_by=settings.who(),
        approved_by=approved_by,
        reason=reason,
        now=datetime.now(UTC),
    )


@flow(name="promote")
def promote_flow(
    workspace_root: str,
    version: int | None = None,
    gate: str | None = None,
    reason: str | None = None,
    approved: bool = False,
    approved_plan: str | None = None,
) -> Entry:
    """Make a version champion, if its gate passed and somebody approves; `approved_plan` is the key of one plan."""
    workspace = Workspace(Path(workspace_root))
    plan = look(workspace, "promote", version, None if gate is None else Path(gate))
    return _decide(workspace, plan, reason, approved, approved_plan)


@flow(name="rollback")
def rollback_flow(
    workspace_root: str,
    reason: str,
    version: int | None = None,
    approved: bool = False,
    approved_plan: str | None = None,
) -> Entry:
    """Make an earlier champion champion again, if somebody approves; `approved_plan` is the key of one plan."""
    workspace = Workspace(Path(workspace_root))
    return _decide(workspace, look(workspace, "rollback", version, None), reason, approved, approved_plan)


def _decide(workspace: Workspace, plan: Plan, reason: str | None, approved: bool, approved_plan: str | None) -> Entry:
    settings, log = Settings(), get_run_logger()
    if approved_plan is not None and approved_plan != plan.key:
        raise PromotionError(
            f"what was approved is not what would be done now ({plan.to_text()}); nothing was changed, run it again"
        )
    if plan.done is not None:
        log.info("version %d is champion already", plan.version.version)
        return conclude(workspace, plan, plan.done.approved_by, reason or plan.done.reason)
    what = f"{registry_for(workspace, settings).model}: {plan.to_text()}"
    create_markdown_artifact(gate_text(plan), key=f"{plan.action}-gate")
    try:
        by, reason = (settings.who(), reason) if approved or approved_plan else _ask(settings, plan, what, reason)
        entry = conclude(workspace, plan, by, reason)
    except ShelfgapError as error:
        notify(settings, f"Not done: {what}", str(error), "bad")
        raise
    told = f"approved by {entry.approved_by}" + (f": {entry.reason}" if entry.reason else "")
    notify(settings, f"Done: {what}", told, "good")
    log.info("%s, %s", what, told)
    return entry


def _ask(settings: Settings, plan: Plan, what: str, reason: str | None) -> tuple[str, str | None]:
    """Pause until somebody approves in Prefect; returns who, and why.

    Raises:
        PromotionError: somebody refused, or nobody answered in time.
    """
    form = Approval.with_initial_data(description=gate_text(plan) + (f"\nReason: {reason}\n" if reason else ""))
    notify(settings, f"Please approve: {what}", f"{plan.gate.reason}\n{flow_run.ui_url or ''}", "ask")
    get_run_logger().info("waiting for approval: %s", flow_run.ui_url)
    try:
        answer = pause_flow_run(wait_for_input=form, timeout=settings.approval_seconds, poll_interval=_POLL_SECONDS)
    except FlowPauseTimeout:
        raise PromotionError(
            f"nobody approved within {settings.approval_seconds} s (SHELFGAP_APPROVAL_SECONDS); nothing was changed"
        ) from None
    if not answer.approve:
        raise PromotionError(f"{answer.approved_by} did not approve; nothing was changed. {answer.note}")
    return answer.approved_by, "; ".join(text for text in (reason, answer.note) if text) or None


def run_promote(
    workspace: Workspace,
    version: int | None,
    gate: Path | None,
    reason: str | None,
    *,
    approved: bool,
    confirm: Callable[[str], bool] | None,
) -> Entry:
    """Run the promote flow; a failure of the domain is logged as one line, without a traceback.

    Args:
        workspace: whose registry.
        version: None is the challenger.
        gate: a newer gate.json than that of the bundle.
        reason: for the log.
        approved: nobody is asked.
        confirm: asks at the terminal, where there is no Prefect server that would last; None: nobody is there.

    Raises:
        ShelfgapError: it may not be promoted, or nobody approved.
    """
    with one_line_errors():
        plan = None if approved else _confirmed(lambda: look.fn(workspace, "promote", version, gate), confirm)
        start_server(workspace.prefect_home)
        path = None if gate is None else str(gate.resolve())
        entry: Entry = promote_flow(str(workspace.root), version, path, reason, approved, plan)
        return entry


def run_rollback(
    workspace: Workspace,
    version: int | None,
    reason: str,
    *,
    approved: bool,
    confirm: Callable[[str], bool] | None,
) -> Entry:
    """Run the rollback flow; as `run_promote`, to an earlier champion (None: the one before).

    Raises:
        ShelfgapError: that version cannot be gone back to, or nobody approved.
    """
    with one_line_errors():
        plan = None if approved else _confirmed(lambda: look.fn(workspace, "rollback", version, None), confirm)
        start_server(workspace.prefect_home)
        entry: Entry = rollback_flow(str(workspace.root), reason, version, approved, plan)
        return entry


def _confirmed(planned: Callable[[], Plan], confirm: Callable[[str], bool] | None) -> str | None:
    """Ask at the terminal, and return the key of what was approved; None where Prefect can be paused on instead.

    Raises:
        PromotionError: there is neither, or the answer was no.
    """
    if PREFECT_API_URL.value():
        return None
    if confirm is None:
        raise PromotionError(
            "somebody has to approve this: run it at a terminal, or with PREFECT_API_URL of a server where it can be "
            "approved, or with --approve"
        )
    plan = planned()
    if plan.done is None and not confirm(f"{plan.to_text()}\n  gate of {plan.gate.created_at}: {plan.gate.reason}\n"):
        raise PromotionError("not approved; nothing was changed")
    return plan.key
