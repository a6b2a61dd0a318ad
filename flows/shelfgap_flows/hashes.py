"""What artefacts are known by: hashes of files, of the dataset and of the code."""

from __future__ import annotations

import hashlib
from pathlib import Path

from shelfgap_datasets.coco import annotations_hash

from shelfgap_flows.stage_files import StageError
from shelfgap_flows.workspace import Workspace

CODE_OF_A_TRAINING = ("datasets", "training")  # packages whose code decides the weights
CODE_OF_A_BUNDLE = ("datasets", "training", "export", "edge")  # packages whose code decides its bytes


def file_hash(path: Path) -> str:
    """Return the SHA-256 (hex) of a file.

    Raises:
        StageError: there is none.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise StageError(f"{path}: no such file; params.yaml names it as a trained detector") from None


def dataset_hash(workspace: Workspace) -> str:
    """Return the SHA-256 (hex) of the annotations that are trained on."""
    return annotations_hash(workspace.dataset)


def code_hash(*areas: str) -> str:
    """Return the SHA-256 (hex) of the Python sources of packages (`datasets` for `shelfgap_datasets`)."""
    from importlib import resources

    digest = hashlib.sha256()
    for area in areas:
        root = Path(str(resources.files(f"shelfgap_{area}")))
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
