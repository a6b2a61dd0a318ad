"""The two entrants of a workspace's gate: its candidate, and what that is compared with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from shelfgap_datasets.coco import write_text_atomic
from shelfgap_edge.contract import MODEL_FILES
from shelfgap_export.aliases import champion_version
from shelfgap_export.gate.entrant import Entrant, entrant_of, load_entrant
from shelfgap_training.registry import ModelRegistry

from shelfgap_flows.base_bundle import fetch_released
from shelfgap_flows.hashes import file_hash
from shelfgap_flows.stage_files import model_file
from shelfgap_flows.stages import release_manifest
from shelfgap_flows.workspace import Workspace

_ORIGIN = (
    "champion-origin.json"  # not beside the bundle: stages depend on that folder, and are not run again for a word
)


def keep_champion(workspace: Workspace, registry: ModelRegistry, base: str | None = None) -> None:
    """Put the bundle aside that the candidate of the workspace is to be compared with.

    The champion of the registry; before the first promotion the bundle that was released here before. Not when that is
    the candidate itself: then what it was compared with stays, and nothing is judged again. The same bytes are not
    put aside again, so that the stages which depend on them are not run again.

    Args:
        workspace: whose candidate.
        registry: with the champion.
        base: commit on which the candidate is built, where its repository knows: before the first promotion the bundle
            that was released there counts, since the one that lies here may have been pulled with the candidate.

    Raises:
        ShelfgapError: MLflow cannot be reached, what it holds is not what was promoted, or the base cannot be had.
    """
    workspace.compared.parent.mkdir(parents=True, exist_ok=True)
    champion = champion_version(registry)
    if champion is not None:
        if champion.identity != candidate_of(workspace).identity:
            origin = f"champion of the registry, version {champion.version}"
            _put_aside(workspace, champion.bundle_sha256, origin, lambda path: registry.fetch(champion, path))
        return
    where = "here before" if base is None else f"at commit {base[:12]}"
    released = workspace.bundle.with_suffix(".tar") if base is None else fetch_released(workspace, base)
    if released is None or not released.is_file():
        return
    if load_entrant(released).identity != candidate_of(workspace).identity:
        origin = f"released {where}; the registry has no champion"
        _put_aside(workspace, file_hash(released), origin, lambda path: shutil.copyfile(released, path))


def _put_aside(workspace: Workspace, sha256: str, origin: str, write: Callable[[Path], object]) -> None:
    workspace.scratch.mkdir(parents=True, exist_ok=True)
    write_text_atomic(workspace.scratch / _ORIGIN, json.dumps({"sha256": sha256, "origin": origin}) + "\n")
    if workspace.compared.is_file() and file_hash(workspace.compared) == sha256:
        return
    partial = workspace.scratch / "champion.tar"
    write(partial)
    partial.replace(workspace.compared)


def candidate_of(workspace: Workspace) -> Entrant:
    """Return the models of a workspace as they would be released.

    Raises:
        StageError: an earlier stage has not run.
    """
    files = {name: model_file(workspace, name).read_bytes() for name in MODEL_FILES.values()}
    return entrant_of(release_manifest(workspace), files, str(workspace.models))


def champion_of(workspace: Workspace) -> Entrant | None:
    """Return what the candidate of a workspace is compared with; None before the first release."""
    if not workspace.compared.is_file():
        return None
    entrant, origin = load_entrant(workspace.compared), workspace.scratch / _ORIGIN
    told = json.loads(origin.read_text(encoding="utf-8")) if origin.is_file() else {}
    is_told = told.get("sha256") == file_hash(workspace.compared)
    return replace(entrant, origin=told["origin"] if is_told else None)
