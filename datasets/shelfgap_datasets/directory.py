"""Directories that appear whole or not at all."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shelfgap_datasets.schema import DatasetError


@contextmanager
def written_whole(root: Path, resume_key: str | None = None) -> Iterator[Path]:
    """Give a folder beside `root` to fill; on success it becomes `root`.

    An earlier `root` is replaced only then, so an interrupted run leaves what was there.

    Args:
        root: directory to make.
        resume_key: stands for everything that decides its content. Then what an interrupted run made is kept, and is
            in the folder when a run of the same key begins; without a key the folder is empty and goes on failure.

    Raises:
        DatasetError: the disk is full, or the folder cannot be written.
    """
    partial = root.with_name(f".{root.name}.{resume_key or ''}partial")
    replaced = root.with_name(f".{root.name}.replaced")
    try:
        for left in root.parent.glob(f".{glob.escape(root.name)}.*partial"):
            if resume_key is None or left != partial:
                shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True, exist_ok=True)
        yield partial
        shutil.rmtree(replaced, ignore_errors=True)
        if root.exists():
            root.rename(replaced)
        partial.rename(root)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise DatasetError(
            f"{root}: cannot be written ({error.strerror or error}); free some space or choose another folder"
        ) from None
    finally:
        if resume_key is None:
            shutil.rmtree(partial, ignore_errors=True)
