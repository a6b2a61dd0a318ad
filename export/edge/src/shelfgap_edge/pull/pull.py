"""One update of a device: what does the index offer to my ring, do I run it already, fetch it, try it out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from shelfgap_edge.contract import RUNTIMES
from shelfgap_edge.errors import MissingRuntimeError, PullError
from shelfgap_edge.pull.accept import accept_index
from shelfgap_edge.pull.index import RINGS, Index, Release
from shelfgap_edge.pull.installation import Installation
from shelfgap_edge.pull.lock import hold
from shelfgap_edge.pull.self_test import replay_golden_frames, run_command
from shelfgap_edge.pull.source import Source
from shelfgap_edge.signature import load_keys

_Status = Literal["updated", "current", "kept", "rejected"]
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Device:
    """Who pulls.

    Attributes:
        state: folder of the slots and of what the device remembers; made if absent.
        keys: the public keys that it trusts, see `trust`.
        ring: which releases it takes, one of `RINGS`.
        product: the name of the bundles it runs; None for that of the first index it sees.
        runtime: what runs the models, one of `RUNTIMES`.
        restart: program and arguments that make the service load `current`; it runs after each switch, and if it fails
            after an update, so has the update.
        self_test_seconds: after that the self-test, or the command, has failed.
        pull_seconds: after that a pull gives up; the next one goes on from there.
    """

    state: Path
    keys: Path
    ring: str = RINGS[-1]
    product: str | None = None
    runtime: str = RUNTIMES[0]
    restart: tuple[str, ...] | None = None
    self_test_seconds: float = 120.0
    pull_seconds: float = 3600.0


@dataclass(frozen=True)
class Outcome:
    """How a pull ended.

    Attributes:
        status: "updated" to what the ring is offered; "current", it ran already; "kept", nothing is offered, or
            something older that the index does not allow to go back to; "rejected", what is offered failed its
            self-test here, now or earlier, and the previous bundle runs.
        reason: for people, one line.
        release, version: what runs now; None where nothing does.
        index: number of the index.
        fetched_bytes: files that came; what was here already is not counted.
        warnings: for people.
    """

    status: _Status
    reason: str
    release: int | None
    version: str | None
    index: int
    fetched_bytes: int
    warnings: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as a JSON-ready dict."""
        return asdict(self)


def pull(
    device: Device,
    source: Source,
    *,
    retry_failed: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] = time.sleep,
    self_test: Callable[[Path], str | None] | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> Outcome:
    """Bring a device to what its ring is offered; can be killed at any time and called again.

    Args:
        device: who pulls.
        source: where from.
        retry_failed: try releases again that failed their self-test here.
        clock: the device's time, in UTC.
        sleep: waits that many seconds.
        self_test: None for the golden frames in a process of their own; else see `Installation.try_out`.
        on_progress: called with (bytes gathered, bytes of the release).

    Raises:
        SignatureError, BundleError: index or bundle are not to be trusted.
        PullError: the update cannot be taken. Whatever is raised, what is installed runs on.
    """
    if find_spec(device.runtime) is None:  # the device's fault, not one of a bundle
        raise MissingRuntimeError(f"{device.runtime} is not installed here; install it, or choose another runtime")
    keys = load_keys(device.keys)
    deadline = time.monotonic() + device.pull_seconds
    fetched = 0

    def count(size: int) -> None:
        nonlocal fetched
        fetched += size
        if time.monotonic() > deadline:
            raise PullError(f"{source.where}: not done in {device.pull_seconds:g} s; the next pull goes on")

    def test(bundle: Path) -> str | None:
        return replay_golden_frames(bundle, device.runtime, device.self_test_seconds)

    def restart(_: Path) -> str | None:
        return run_command(device.restart, device.self_test_seconds) if device.restart else None

    try:
        device.state.mkdir(parents=True, exist_ok=True)
        with hold(device.state):
            here = Installation(device.state)
            if retry_failed:
                here.forget_failures()
            here.finish_trial(self_test or test, restart, clock())
            index = accept_index(
                device.state, source, keys, clock=clock(), product=device.product, on_bytes=count, sleep=sleep
            )
            fetched = 0  # what counts are files
            release = index.offered(device.ring)
            if release is None:
                return _outcome(here, index, "kept", f"the index offers nothing to ring {device.ring}", fetched)
            stay = _reason_to_stay(here, index, release)
            if stay is not None:
                return _outcome(here, index, *stay, fetched)

            def on_bytes(size: int) -> None:
                count(size)
                on_progress(release.size - here.store.missing_bytes(release.files), release.size)

            now = max(clock(), index.issued_at)
            before = here.running()
            here.prepare(release, index.product, source, keys, now=now, on_bytes=on_bytes, sleep=sleep)
            failure = here.try_out(self_test or test, restart, now)
            if failure is not None:
                return _outcome(here, index, "rejected", _rejection(release, failure), fetched)
            came = "" if before is None else f", was release {before.release} ({before.version})"
            return _outcome(here, index, "updated", f"now release {release.number} ({release.version}){came}", fetched)
    except OSError as error:  # a full disk, a folder without permission
        what = f"{error.filename or device.state}: {error.strerror or error}"
        raise PullError(f"{what}; what is installed runs on, and the next pull goes on from here") from None


def _reason_to_stay(here: Installation, index: Index, release: Release) -> tuple[_Status, str] | None:
    """Return status and reason if what is offered is not to be installed, else None."""
    running = here.running()
    named = f"release {release.number} ({release.version})"
    if release.number in here.state.failed:
        return "rejected", _rejection(release, here.state.failed[release.number].reason)
    if running is not None and running.release == release.number and here.is_intact():
        return "current", f"{named} runs already"
    if release.number < here.state.highest_release and release.number not in index.allow_rollback:
        return "kept", f"{named} is offered, {here.state.highest_release} was here; the index does not allow to go back"
    return None


def _rejection(release: Release, reason: str) -> str:
    return f"release {release.number} ({release.version}) failed its self-test on this device: {reason}"


def _outcome(here: Installation, index: Index, status: _Status, reason: str, fetched_bytes: int) -> Outcome:
    if here.state.trial is None:
        here.clean_up()
    running = here.running()
    warnings = []
    known = None if running is None else index.release(running.release)
    if known is not None and known.withdrawn_at is not None:
        warnings.append(f"release {known.number} runs here and was withdrawn at {known.withdrawn_at}")
    return Outcome(
        status,
        reason,
        None if running is None else running.release,
        None if running is None else running.version,
        index.number,
        fetched_bytes,
        tuple(warnings),
    )
