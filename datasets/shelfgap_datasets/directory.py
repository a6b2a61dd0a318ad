"""Directories that appear whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shelfgap_datasets.schema import DatasetError


@contextmanager
def written_whole(root: Path) -> Iterator[Path]:
    """Give an empty folder beside `root` to fill; on success it becomes `root`, else it goes.

    An earlier `root` is replaced only then, so an interrupted run leaves what was there.

    Raises:
        DatasetError: the disk is full, or the folder cannot be written.
    """
    partial = root.with_name(f".{root.name}.partial")
    replaced = root.with_name(f".{root.name}.replaced")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
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
        shutil.rmtree(partial, ignore_errors=True)
