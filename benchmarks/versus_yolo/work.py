"""The work folder: what is done stands in JSON files beside what it was done with, and is not done again."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shelfgap_datasets.coco import write_text_atomic
from shelfgap_edge.errors import ShelfgapError

Identity = Mapping[str, Any]


class BenchmarkError(ShelfgapError):
    """The comparison cannot go on."""


class NotYetError(BenchmarkError):
    """A step was not asked for, and what it makes is not there."""


def cached(path: Path, identity: Identity, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what an earlier call made of the same identity, else make it and keep it.

    Args:
        path: JSON file of the result.
        identity: all that the result depends on, JSON-ready.
        make: returns the result, JSON-ready.
    """
    wanted = json.loads(json.dumps(identity))
    known = read_json(path)
    if known is not None and known.get("identity") == wanted:
        result: dict[str, Any] = known["result"]
        return result
    result = json.loads(json.dumps(make()))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(path, json.dumps({"identity": wanted, "result": result}, indent=1) + "\n")
    return result


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object of a JSON file, None where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def short_hash(identity: Identity) -> str:
    """Return eight hexadecimal digits of an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]


def file_hash(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def locked(work: Path) -> Iterator[None]:
    """Hold the work folder, so that two commands do not train in one place.

    Raises:
        BenchmarkError: another command holds it.
    """
    work.mkdir(parents=True, exist_ok=True)
    with (work / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BenchmarkError(f"{work}: another command works here; wait for it, or take another --work") from None
        yield
