"""The promotion log: which version was champion when, who approved it, on which gate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from shelfgap_training.registry import ModelRegistry
from shelfgap_training.registry_log import LogError

from shelfgap_export.gate_record import GateRecord

Action = Literal["promote", "rollback"]


@dataclass(frozen=True)
class Entry:
    """A champion, from `at` until the next entry.

    Attributes:
        number: from 1.
        at: ISO 8601 time in UTC; never before that of the entry before.
        action: how it became champion.
        version: of the registry.
        bundle_version: of its manifest.
        bundle_sha256: of its bytes.
        identity: of its model.
        requested_by: who started the promotion.
        approved_by: who approved it.
        reason: why; None where none was given.
        gate: what it rests on; of a rollback, the one that it was promoted on.
    """

    number: int
    at: str
    action: Action
    version: int
    bundle_version: str
    bundle_sha256: str
    identity: str
    requested_by: str
    approved_by: str
    reason: str | None
    gate: GateRecord

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class PromotionLog:
    """The entries of a model, the oldest first, and the text of the last one."""

    entries: tuple[Entry, ...]
    last_text: str | None

    @property
    def champion(self) -> Entry | None:
        """The entry of the present champion; None before the first promotion."""
        return self.entries[-1] if self.entries else None

    def promoted(self, version: int) -> Entry | None:
        """Return the last entry of a version; None if it never was champion."""
        return next((entry for entry in reversed(self.entries) if entry.version == version), None)

    def before_champion(self) -> Entry | None:
        """Return the champion before the present one first became it; None if there was none."""
        versions = [entry.version for entry in self.entries]
        first = versions.index(versions[-1]) if versions else 0
        return self.entries[first - 1] if first else None

    def between(self, start: datetime, end: datetime) -> list[Entry]:
        """Return the champions of a time, the oldest first: the one at its start, and each that came before its end."""
        times = [datetime.fromisoformat(entry.at) for entry in self.entries]
        at_start = sum(time <= start for time in times) - 1
        return list(self.entries[max(at_start, 0) : sum(time <= start or time < end for time in times)])


def read_log(registry: ModelRegistry) -> PromotionLog:
    """Read the log of a model; each entry holds the SHA-256 of the one before it.

    Raises:
        LogError: an entry is missing, altered, or of a form that is not known.
        TrackingError: MLflow cannot be reached.
    """
    entries: list[Entry] = []
    before: str | None = None
    for number, text in enumerate(registry.log(), start=1):
        try:
            values = json.loads(text)
            previous = values.pop("previous")
            entry = Entry(**{**values, "gate": GateRecord(**values["gate"])})
        except (ValueError, KeyError, TypeError, AttributeError):
            raise LogError(f"{registry.model}: entry {number} of the promotion log is not readable: {text!r}") from None
        if previous != _digest(before) or entry.number != number:
            raise LogError(
                f"{registry.model}: entry {number - 1 or number} of the promotion log is not what entry {number} was "
                f"written after; somebody changed the database at {registry.uri}, restore it"
            )
        entries.append(entry)
        before = text
    return PromotionLog(tuple(entries), before)


def append_to_log(registry: ModelRegistry, log: PromotionLog, entry: Entry) -> bool:
    """Append an entry to the log as it was read; False when somebody appended since.

    Raises:
        LogError: the entry is too long.
        TrackingError: MLflow cannot be reached.
    """
    values = {**entry.to_dict(), "previous": _digest(log.last_text)}
    return registry.append(entry.number, json.dumps(values, sort_keys=True, ensure_ascii=False))


def champions_during(log: PromotionLog, start: datetime, end: datetime) -> Sequence[tuple[Entry, str | None]]:
    """Return the champions of a time, each with the time at which the next one took over (None: it still is)."""
    return [
        (entry, log.entries[entry.number].at if entry.number < len(log.entries) else None)
        for entry in log.between(start, end)
    ]


def _digest(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()
