"""The versions of a workspace's dataset: directories under data/versions, tracked by DVC, one of them current."""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from pathlib import Path

from shelfgap_datasets.coco import write_text_atomic

from shelfgap_flows.lock import hold
from shelfgap_flows.workspace import Workspace, WorkspaceError

_NAME = re.compile(r"v(\d{4,})")


def versions_folder(workspace: Workspace) -> Path:
    """Return where the versions of a workspace lie."""
    return workspace.root / "data" / "versions"


def current_version(workspace: Workspace) -> str | None:
    """Return the name of the current version, or None before the first.

    Raises:
        WorkspaceError: the note of it is damaged.
    """
    path = workspace.root / "data" / "current.json"
    if not path.is_file():
        return None
    try:
        name = json.loads(path.read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError, TypeError):
        raise WorkspaceError(f'{path}: not readable; write {{"version": "vNNNN"}} into it') from None
    return str(name)


def make_current(workspace: Workspace, name: str) -> None:
    """Make a version the current one; the note only ever shows a whole name."""
    text = json.dumps({"version": name, "dataset": f"data/versions/{name}"}) + "\n"
    write_text_atomic(workspace.root / "data" / "current.json", text)


def next_version(workspace: Workspace) -> str:
    """Return the name after the highest that exists, with or without its pictures here."""
    folder = versions_folder(workspace)
    found = [int(match[1]) for path in folder.glob("v*") if (match := _NAME.match(path.name))]
    return f"v{max(found, default=0) + 1:04d}"


def only_one(workspace: Workspace) -> AbstractContextManager[None]:
    """Hold the workspace for one ingestion at a time; a second waits. A killed process holds nothing."""
    return hold(workspace.root / "data" / ".ingest.lock", "another ingestion")
