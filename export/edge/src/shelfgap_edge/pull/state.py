"""What a device remembers between updates, in `state.json` of its state folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from shelfgap_edge.durable import write_durably
from shelfgap_edge.errors import PullError

STATE_FILE = "state.json"
_SCHEMA = "shelfgap-device/1"


@dataclass(frozen=True)
class Installed:
    """What a slot holds: number and version of the release."""

    release: int
    version: str


@dataclass(frozen=True)
class Trial:
    """A release that was switched to and has not passed its self-test yet.

    Attributes:
        slot: where it is.
        previous: the slot to go back to, None if there was none.
        starts: how often the self-test was started.
    """

    slot: str
    previous: str | None
    starts: int = 0


@dataclass(frozen=True)
class Failure:
    """Why a release is not taken again: it failed its self-test here."""

    version: str
    reason: str
    at: str


@dataclass(frozen=True)
class State:
    """See the module.

    Attributes:
        highest_release: the highest that passed its self-test here; below it only what the index allows.
        slots: slot -> what it holds.
        trial: the self-test that is due.
        failed: release -> why it is not taken again.
    """

    highest_release: int = 0
    slots: Mapping[str, Installed] = field(default_factory=dict)
    trial: Trial | None = None
    failed: Mapping[int, Failure] = field(default_factory=dict)


def load_state(folder: Path) -> State:
    """Read the state; a device without one is new.

    Raises:
        PullError: the file is not of the schema.
    """
    path = folder / STATE_FILE
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        return State()
    except (ValueError, RecursionError):
        raise PullError(f"{path}: not JSON; {_REMEDY}") from None
    try:
        if raw["schema"] != _SCHEMA:
            raise ValueError(f"schema {raw['schema']!r}, expected {_SCHEMA}")
        slots = {slot: Installed(int(entry["release"]), str(entry["version"])) for slot, entry in raw["slots"].items()}
        trial = None if raw["trial"] is None else Trial(**raw["trial"])
        if trial is not None and trial.slot not in slots:
            raise ValueError(f"slot {trial.slot!r} is on trial and holds nothing")
        return State(
            highest_release=int(raw["highest_release"]),
            slots=slots,
            trial=None if trial is None else replace(trial, starts=int(trial.starts)),
            failed={int(number): Failure(**entry) for number, entry in raw["failed"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PullError(f"{path}: not of its schema ({error!r}); {_REMEDY}") from None


def save_state(folder: Path, state: State) -> None:
    """Write the state, whole or not at all."""
    content: dict[str, Any] = {"schema": _SCHEMA, **asdict(state)}
    write_durably(folder / STATE_FILE, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


_REMEDY = "delete it to start over: the bundle runs on, and the ring's release is installed once more"
