"""The state folder of a device: fill the spare slot, switch, try out, go back.

At any moment `current` leads to a whole, verified bundle; each step can be killed and is taken up again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from shelfgap_edge.bundle import check_sums, read_bundle
from shelfgap_edge.errors import BundleError, PullError
from shelfgap_edge.pull.index import Release
from shelfgap_edge.pull.slots import Slots
from shelfgap_edge.pull.source import Source
from shelfgap_edge.pull.state import Failure, Installed, Trial, load_state, save_state
from shelfgap_edge.pull.store import Store
from shelfgap_edge.runtime import manifest_of
from shelfgap_edge.signature import TrustedKeys, check_signed

MAX_STARTS = 3
"""A self-test that was begun so often and never ended, as when it takes the device down, has failed."""
_SPARE_BYTES = 4 * 2**20  # that must stay free on the disk

SelfTest = Callable[[Path], str | None]


class Installation:
    """What is installed in a state folder.

    Args:
        folder: the state folder; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.slots = Slots(folder)
        self.store = Store(folder / "store")
        self.state = load_state(folder)

    def running(self) -> Installed | None:
        """Return what `current` leads to, None before the first update."""
        slot = self.slots.current()
        return None if slot is None else self.state.slots.get(slot)

    def is_intact(self) -> bool:
        """Return whether the running bundle still has the bytes that its sums list."""
        try:
            check_sums(read_bundle(self.slots.current_path.resolve()), "")
        except BundleError:
            return False
        return True

    def prepare(
        self,
        release: Release,
        product: str,
        source: Source,
        keys: TrustedKeys,
        *,
        now: datetime,
        on_bytes: Callable[[int], None],
        sleep: Callable[[float], None],
    ) -> str:
        """Gather the files of a release and make a verified bundle of them in the spare slot; return that slot.

        Raises:
            SignatureError, BundleError: the bundle must not run.
            PullError: a file cannot be had, the disk is too small, or the bundle is not what the index says.
        """
        self.store.keep_only(release.files)
        for entry in release.files:
            if not self.store.path(entry).exists():
                self.store.adopt(entry, self.slots.folders())
        self._check_space(release)
        for entry in release.files:
            if not self.store.path(entry).exists():
                self.store.fetch(entry, source, on_bytes, sleep)
        slot = self.slots.spare()

        def check(draft: Path) -> None:
            where = f"release {release.number}"
            files = read_bundle(draft)
            check_signed(files, keys, now=now, where=where)
            check_sums(files, where)
            manifest = manifest_of(files, where)
            if (manifest.name, manifest.version) != (product, release.version):
                raise PullError(
                    f"{where}: its manifest says {manifest.name} {manifest.version}, the index {product} "
                    f"{release.version}; publish again"
                )

        self.slots.fill(slot, release.files, self.store.path, check)
        held = {**self.state.slots, slot: Installed(release.number, release.version)}
        self._save(slots=held, trial=Trial(slot, self.slots.current()))
        return slot

    def try_out(self, self_test: SelfTest, restart: SelfTest, now: datetime) -> str | None:
        """Switch to the slot that is on trial and test it; go back if it fails.

        Args:
            self_test: called with the path of `current`; None if it passes, else the reason.
            restart: called with the same after each switch; a reason from it counts as a failure too.
            now: for the record.

        Returns:
            None if it runs now, else why the device went back; then it is not taken again.
        """
        trial = self.state.trial
        assert trial is not None
        release = self.state.slots[trial.slot]
        failure = self.state.failed.get(release.release)
        if failure is None:
            reason = self._test(trial, self_test, restart)
            if reason is None:
                self._save(trial=None, highest_release=max(self.state.highest_release, release.release))
                self.clean_up()
                return None
            failure = Failure(release.version, reason, now.isoformat(timespec="seconds"))
        try:
            # Known before the way back begins, so that a kill on it does not bring the release back.
            self._save(failed={**self.state.failed, release.release: failure})
        finally:  # on a full disk it is not known, and tried again; run on it must not
            self.slots.switch(trial.previous)
            restart(self.slots.current_path)
        self._save(trial=None)
        self.clean_up()
        return failure.reason

    def finish_trial(self, self_test: SelfTest, restart: SelfTest, now: datetime) -> None:
        """End a trial that a kill or a power cut left, if the switch was made; else forget it."""
        trial = self.state.trial
        if trial is None:
            return
        if self.slots.current() == trial.slot or self.state.slots[trial.slot].release in self.state.failed:
            self.try_out(self_test, restart, now)
        else:
            self._save(trial=None)

    def forget_failures(self) -> None:
        """Let releases that failed their self-test be tried again."""
        self._save(failed={})

    def clean_up(self) -> None:
        """Delete what was gathered for a release that is installed or refused."""
        shutil.rmtree(self.folder / "store", ignore_errors=True)

    def _test(self, trial: Trial, self_test: SelfTest, restart: SelfTest) -> str | None:
        if trial.starts >= MAX_STARTS:
            return f"its self-test was started {trial.starts} times and never ended"
        self._save(trial=replace(trial, starts=trial.starts + 1))
        if self.slots.current() != trial.slot:
            self.slots.switch(trial.slot)
        return self_test(self.slots.current_path) or restart(self.slots.current_path)

    def _check_space(self, release: Release) -> None:
        needed, free = self.store.missing_bytes(release.files), shutil.disk_usage(self.folder).free
        if needed and needed + _SPARE_BYTES > free:
            raise PullError(
                f"{self.folder}: release {release.number} needs {needed / 2**20:.1f} MB and "
                f"{_SPARE_BYTES / 2**20:.0f} MB to spare, {free / 2**20:.1f} MB are free; make room"
            )

    def _save(self, **changes: object) -> None:
        state = replace(self.state, **changes)  # type: ignore[arg-type]
        save_state(self.folder, state)
        self.state = state
