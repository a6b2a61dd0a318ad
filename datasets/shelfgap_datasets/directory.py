"""Directories that appear whole or not at all."""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shelfgap_datasets.schema import DatasetError


def replaced_path(root: Path) -> Path:
    """Return where an earlier `root` lies between the two renames that replace it, and after a kill between them."""
    return root.with_name(f".{root.name}.replaced")


@contextmanager
def written_whole(root: Path, resume_key: str | None = None) -> Iterator[Path]:
    """Give a folder beside `root` to fill; on success it becomes `root`.

    An earlier `root` is replaced only then, so an interrupted run leaves what was there; one that a kill left without
    its name gets it back.

    Args:
        root: directory to make.
        resume_key: stands for everything that decides its content. Then what an interrupted run made is kept, and is
            in the folder when a run of the same key begins; without a key the folder is empty and goes on failure.

    Raises:
        DatasetError: the disk is full, the folder cannot be written, or another command is writing it.
    """
    partial = root.with_name(f".{root.name}.{resume_key or ''}partial")
    replaced = replaced_path(root)
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with _held(partial, root):
            try:
                for left in root.parent.glob(f".{glob.escape(root.name)}.*partial"):
                    if left != partial:
                        with _held(left, root):
                            shutil.rmtree(left, ignore_errors=True)
                _give_back(root)
                if resume_key is None:
                    _empty(partial)
                yield partial
                shutil.rmtree(replaced, ignore_errors=True)
                if root.exists():
                    root.rename(replaced)
                partial.rename(root)
            except BaseException:
                _give_back(root)
                if resume_key is None:  # only here: once it is renamed, the name may be another command's
                    shutil.rmtree(partial, ignore_errors=True)
                raise
            shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise DatasetError(
            f"{root}: cannot be written ({error.strerror or error}); free some space or choose another folder"
        ) from None


@contextmanager
def _held(folder: Path, root: Path) -> Iterator[None]:
    """Hold a folder that a command fills; a killed one holds nothing, and what was renamed is not what is held."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        busy = DatasetError(f"{root}: another command is writing it; run this one again when that has ended")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        except OSError:  # a file system without locks
            pass
        if not folder.is_dir() or not os.path.samestat(os.fstat(descriptor), folder.stat()):
            raise busy
        yield
    finally:
        os.close(descriptor)


def _give_back(root: Path) -> None:
    """Give an earlier `root` its name again, where a kill or an error between the renames took it."""
    replaced = replaced_path(root)
    if replaced.is_dir() and not root.exists():
        replaced.rename(root)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
