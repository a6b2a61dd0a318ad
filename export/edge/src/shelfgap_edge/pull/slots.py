"""Two slots for bundles and a link to the one that runs; the link changes in one step.

`slots/a` and `slots/b` hold a whole, verified bundle each; `current` is a symbolic link to the one that runs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from shelfgap_edge.durable import rename_durably, sync_folder
from shelfgap_edge.pull.index import FileEntry

SLOTS = ("a", "b")
CURRENT = "current"


class Slots:
    """The slots below a device's state folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.folder = root / "slots"
        self.current_path = root / CURRENT

    def current(self) -> str | None:
        """Return the slot that runs, None before the first update."""
        try:
            name = Path(self.current_path.readlink()).name
        except FileNotFoundError:
            return None
        return name if name in SLOTS else None

    def spare(self) -> str:
        """Return the slot that does not run."""
        return "b" if self.current() == "a" else "a"

    def path(self, slot: str) -> Path:
        """Return the folder of a slot."""
        return self.folder / slot

    def folders(self) -> list[Path]:
        """Return the folders of the slots that hold something."""
        return [self.path(slot) for slot in SLOTS if self.path(slot).is_dir()]

    def fill(
        self,
        slot: str,
        entries: Iterable[FileEntry],
        locate: Callable[[FileEntry], Path],
        check: Callable[[Path], None],
    ) -> None:
        """Make a bundle of files in a slot that does not run; what was there goes when the new one is whole.

        Args:
            slot: "a" or "b".
            entries: the bundle's files.
            locate: where the content of each lies.
            check: called with the folder before it takes the slot; what it raises leaves the slot as it was.
        """
        assert slot != self.current(), "the running slot is never touched"
        self.folder.mkdir(exist_ok=True)
        draft = self.folder / f"{slot}.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        for entry in entries:
            target = draft / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(locate(entry), target)
        for folder in (draft, *(path for path in draft.rglob("*") if path.is_dir())):
            sync_folder(folder)
        check(draft)
        shutil.rmtree(self.path(slot), ignore_errors=True)
        rename_durably(draft, self.path(slot))

    def switch(self, slot: str | None) -> None:
        """Let that slot run; None for none."""
        if slot is None:
            self.current_path.unlink(missing_ok=True)
            sync_folder(self._root)
            return
        draft = self._root / f".{CURRENT}.new"
        draft.unlink(missing_ok=True)
        draft.symlink_to(Path(self.folder.name) / slot)
        rename_durably(draft, self.current_path)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)  # the store's own name for it goes soon
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
