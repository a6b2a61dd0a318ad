"""Promotion: a version of the registry becomes champion, on a gate that passed exactly its model.

The log is the truth and is appended to first; the aliases follow from the log and the versions. So a kill between any
two steps leaves nothing that the next call does not put right, and of two promotions at once the second is refused.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shelfgap_edge.admission import admit_bundle
from shelfgap_edge.bundle import Files
from shelfgap_edge.contract import Manifest
from shelfgap_edge.identity import model_identity
from shelfgap_edge.runtime import manifest_of
from shelfgap_training.registry import BUNDLE_FILE, ModelRegistry, RegisteredBundle
from shelfgap_training.report import markdown_table

from shelfgap_export.aliases import align_aliases, require_as_logged
from shelfgap_export.bundle import GATE_FILE
from shelfgap_export.gate_record import GateRecord, PromotionError, check_compared, check_gate
from shelfgap_export.promotion_log import Action, Entry, PromotionLog, append_to_log, read_log


@dataclass(frozen=True)
class Plan:
    """What is to be approved: one step from the log as it was read.

    Attributes:
        action: promote or roll back.
        version: that becomes champion.
        gate: that it rests on.
        gate_json: the bytes of that gate.json; None for a rollback, whose gate was kept already.
        log: as it was read; the plan is void when somebody else appends to it.
    """

    action: Action
    version: RegisteredBundle
    gate: GateRecord
    gate_json: bytes | None
    log: PromotionLog

    @property
    def done(self) -> Entry | None:
        """The entry of the version, if it is champion already."""
        champion = self.log.champion
        return champion if champion is not None and champion.version == self.version.version else None

    @property
    def key(self) -> str:
        """A digest of all that is approved: another version, gate or champion gives another one."""
        parts = [self.action, self.version.version, self.version.bundle_sha256, self.gate.sha256, self.log.last_text]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def to_text(self) -> str:
        """Say in one line what is to be approved."""
        before = self.log.champion
        place = "nothing" if before is None else f"version {before.version} ({before.bundle_version})"
        return f"{self.action} version {self.version.version} ({self.version.bundle_version}) in place of {place}"


def register_bundle(registry: ModelRegistry, tar: Path, training_run: str | None = None) -> RegisteredBundle:
    """Register the `.tar` of a bundle, byte for byte; the newest version is challenger until it is promoted.

    Args:
        registry: of the model that the bundle is named after.
        tar: the file; the same bytes are the same version.
        training_run: MLflow run that made it.

    Raises:
        BundleError: it is not a whole bundle.
        PromotionError: it is a bundle of another name, or a directory.
        TrackingError: MLflow cannot be reached.
    """
    if tar.is_dir():
        raise PromotionError(f"{tar}: is a directory; a registry keeps one file, give its {tar.name}.tar")
    manifest, files = _read(tar)
    if manifest.name != registry.model:
        raise PromotionError(f"{tar}: a bundle of {manifest.name!r}, expected one of {registry.model!r} (bundle.name)")
    version = registry.register(tar.read_bytes(), model_identity(manifest, files), manifest.version, training_run)
    align_aliases(registry)
    return version


def plan_promotion(registry: ModelRegistry, version: int | None = None, gate_file: Path | None = None) -> Plan:
    """Look whether a version may become champion.

    Args:
        registry: of the model.
        version: which; None is the challenger.
        gate_file: a gate.json that is newer than the one in its bundle.

    Returns:
        What is to be approved; `done` if the version is champion already.

    Raises:
        PromotionError: no challenger, or no passing gate of exactly its model against the present champion.
        ShelfgapError: the version, its bytes or the log are not in order, or MLflow cannot be reached.
    """
    log = read_log(registry)
    known = _newest(registry, log) if version is None else registry.version(version)
    where = f"{registry.model} version {known.version}"
    require_as_logged(log, known, where)
    manifest, files = _fetch(registry, known)
    if model_identity(manifest, files) != known.identity:
        raise PromotionError(f"{where}: its tag names another model than its bytes are; register it anew")
    plain = files.get(GATE_FILE) if gate_file is None else _read_file(gate_file)
    if plain is None:
        raise PromotionError(f"{where}: no {GATE_FILE} in its bundle; give one with --gate")
    plan = Plan("promote", known, check_gate(plain, known.identity, str(gate_file or where)), plain, log)
    if log.champion is not None:
        check_compared(plan.gate, log.champion.identity, known.identity, str(gate_file or where))
    return plan


def plan_rollback(registry: ModelRegistry, version: int | None = None) -> Plan:
    """Look whether an earlier champion can be champion again.

    Args:
        registry: of the model.
        version: which; None is the one before the present champion.

    Raises:
        PromotionError: it never was champion, or there is none before.
        ShelfgapError: its bytes or the log are not in order, or MLflow cannot be reached.
    """
    log = read_log(registry)
    if version is None and log.champion is not None and log.champion.action == "rollback":
        raise PromotionError(
            f"{registry.model}: the last step was a rollback already, to version {log.champion.version} at "
            f"{log.champion.at}; name a version to go back further"
        )
    earlier = log.before_champion() if version is None else log.promoted(version)
    if earlier is None:
        were = ", ".join(str(number) for number in sorted({entry.version for entry in log.entries})) or "none"
        what = "there was no champion before" if version is None else f"version {version} never was champion"
        raise PromotionError(f"{registry.model}: {what}; a rollback goes to one that was (champions so far: {were})")
    known = registry.version(earlier.version)
    require_as_logged(log, known, f"{registry.model} version {known.version}")
    _fetch(registry, known)
    return Plan("rollback", known, earlier.gate, None, log)


def carry_out(
    registry: ModelRegistry, plan: Plan, *, requested_by: str, approved_by: str, reason: str | None, now: datetime
) -> Entry:
    """Append what was planned to the log, then set the aliases; a plan that was carried out changes nothing.

    Args:
        registry: of the model.
        plan: what was approved.
        requested_by: who started it.
        approved_by: who approved it.
        reason: why; a rollback needs one.
        now: the time in UTC; a clock that is behind the last entry counts as that one's time.

    Raises:
        PromotionError: somebody else promoted since the plan was made, or a rollback has no reason.
        ShelfgapError: the log is not in order, or MLflow cannot be reached.
    """
    if plan.action == "rollback" and not reason:
        raise PromotionError("a rollback needs a reason; give --reason")
    entry = plan.done
    if entry is None:
        if plan.gate_json is not None:
            registry.keep(plan.gate_json, f"gates/{plan.gate.sha256}", GATE_FILE)
        entry = _next_entry(plan, requested_by, approved_by, reason, now)
        if not append_to_log(registry, plan.log, entry):
            champion = read_log(registry).champion
            if champion is None or champion.version != entry.version:
                raise PromotionError(
                    f"{registry.model}: somebody else promoted since this was looked at; see: shelfgap registry history"
                )
            entry = champion
    align_aliases(registry)
    return entry


def gate_text(plan: Plan) -> str:
    """Return what the gate of a promotion found, as Markdown."""
    lines = [f"## {plan.to_text()}", "", f"Gate of {plan.gate.created_at}: {plan.gate.reason}", ""]
    if plan.gate_json is not None:
        checks: list[Mapping[str, Any]] = json.loads(plan.gate_json)["checks"]
        rows = [[check.get("verdict", ""), check.get("name", ""), check.get("reason", "")] for check in checks]
        lines.append(markdown_table(["verdict", "check", "what was found"], rows))
    return "\n".join(lines) + "\n"


def _newest(registry: ModelRegistry, log: PromotionLog) -> RegisteredBundle:
    """Return the newest version: the challenger, or the champion that it became.

    Raises:
        PromotionError: there is none, or it was champion before and is not now.
    """
    newest = next(iter(registry.versions()), None)
    if newest is None:
        raise PromotionError(f"{registry.model}: nothing is registered; run: shelfgap release")
    if log.promoted(newest.version) is not None and log.entries[-1].version != newest.version:
        raise PromotionError(
            f"{registry.model}: no challenger; the newest version ({newest.version}) was champion before, "
            "roll back to it, or release anew"
        )
    return newest


def _fetch(registry: ModelRegistry, version: RegisteredBundle) -> tuple[Manifest, Files]:
    """Return manifest and files of a version, as they lie in the store, its sums checked."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / BUNDLE_FILE
        registry.fetch(version, path)
        return _read(path)


def _read(tar: Path) -> tuple[Manifest, Files]:
    files = admit_bundle(tar).files
    return manifest_of(files, str(tar)), files


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PromotionError(f"{path}: cannot be read ({error.strerror}); --gate takes a gate.json") from None


def _next_entry(plan: Plan, requested_by: str, approved_by: str, reason: str | None, now: datetime) -> Entry:
    before = plan.log.champion
    at = now.astimezone(UTC) if before is None else max(now.astimezone(UTC), datetime.fromisoformat(before.at))
    return Entry(
        number=len(plan.log.entries) + 1,
        at=at.isoformat(timespec="milliseconds"),
        action=plan.action,
        version=plan.version.version,
        bundle_version=plan.version.bundle_version,
        bundle_sha256=plan.version.bundle_sha256,
        identity=plan.version.identity,
        requested_by=requested_by,
        approved_by=approved_by,
        reason=reason,
        gate=plan.gate,
    )
