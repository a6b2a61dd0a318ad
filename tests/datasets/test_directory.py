"""A directory that is replaced whole: by one command at a time, and whatever moment a kill falls on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from shelfgap_datasets.coco import load_dataset
from shelfgap_datasets.directory import written_whole
from shelfgap_datasets.schema import DatasetError


def content(root: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in root.iterdir()}


def killed_while_writing(folder: Path, code: str) -> Path:
    """Return a directory `data` with one file, which a command that ran `code` with `root` was to replace."""
    root = folder / "data"
    root.mkdir()
    (root / "old").write_text("0")
    first = "import os, sys; from pathlib import Path; from shelfgap_datasets.directory import written_whole"
    command = [sys.executable, "-c", f"{first}\nroot = Path(sys.argv[1])\n{code}", str(root)]
    assert subprocess.run(command, check=False, timeout=120).returncode == -9
    return root


@pytest.mark.parametrize("keys", [(None, None), ("a-", "a-"), ("a-", "b-"), (None, "b-"), ("a-", None)])
def test_of_two_commands_that_write_one_directory_the_second_is_refused(tmp_path, keys):
    root = tmp_path / "data"
    with written_whole(root, keys[0]) as partial:
        (partial / "one").write_text("1")
        with pytest.raises(DatasetError, match="data: another command is writing it"), written_whole(root, keys[1]):
            raise AssertionError
        (partial / "two").write_text("2")
    assert content(root) == {"one": "1", "two": "2"}
    with written_whole(root, keys[1]) as partial:
        (partial / "three").write_text("3")
    assert content(root) == {"three": "3"}
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_killed_command_holds_nothing_and_leaves_what_was_there(tmp_path):
    root = killed_while_writing(
        tmp_path,
        "with written_whole(root) as partial:\n    (partial / 'half').write_text('1'); os.kill(os.getpid(), 9)",
    )
    assert content(root) == {"old": "0"}
    with written_whole(root) as partial:
        (partial / "new").write_text("1")
    assert content(root) == {"new": "1"}


def test_a_command_that_ends_leaves_the_draft_of_the_next_one(tmp_path, monkeypatch):
    """The next one may begin while the first still deletes what it replaced."""
    root = tmp_path / "data"
    root.mkdir()
    rmtree, began = shutil.rmtree, []

    def slow(folder: Path, **options: bool) -> None:
        rmtree(folder, **options)
        if (root / "one").exists() and not began:
            began.append(written_whole(root))
            (began[0].__enter__() / "two").write_text("2")

    monkeypatch.setattr(shutil, "rmtree", slow)
    with written_whole(root) as partial:
        (partial / "one").write_text("1")
    began[0].__exit__(None, None, None)
    assert content(root) == {"two": "2"}


@pytest.fixture
def killed(tmp_path):
    """Return a directory that a kill between the two renames left without its name."""
    root = killed_while_writing(
        tmp_path,
        "rename = Path.rename\n"
        "Path.rename = lambda self, to: (rename(self, to), os.kill(os.getpid(), 9))\n"
        "with written_whole(root) as partial:\n"
        "    (partial / 'new').write_text('1')",
    )
    assert not root.exists()
    return root


def test_after_a_kill_between_the_renames_a_failing_command_leaves_the_earlier_directory(killed):
    with pytest.raises(DatasetError, match="no such thing"), written_whole(killed):
        raise DatasetError("no such thing")
    assert content(killed) == {"old": "0"}
    assert [path.name for path in killed.parent.iterdir()] == ["data"]


def test_after_a_kill_between_the_renames_it_is_said_where_the_directory_is(killed):
    with pytest.raises(DatasetError, match=r"data: no such folder; .* left it as .*\.data\.replaced, rename that"):
        load_dataset(killed)
    (killed.parent / ".data.replaced").rename(killed)
    assert content(killed) == {"old": "0"}
