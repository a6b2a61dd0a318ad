"""With what something was made: the commit, the library versions and the arithmetic that decide whether bits repeat."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = (
    "shelfgap",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "albumentations",
    "torch",
    "pytorch-lightning",
    "onnx",
    "onnxscript",
    "onnxruntime",
)
"""Those whose version can change the bytes of a model."""


def made_with() -> dict[str, Any]:
    """Return commit, whether files differ from it, Python, libraries and machine; None for what is not known.

    The commit is that of this package's own repository; an installed package has none.
    """
    commit, dirty = commit_of(Path(__file__))
    return {
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "machine": platform.machine(),
    }


def arithmetic() -> dict[str, Any]:
    """Return what decides in which order torch adds up in this process: threads and instruction set."""
    import torch

    return {"threads": torch.get_num_threads(), "instruction_set": torch.backends.cpu.get_cpu_capability()}


def commit_of(source: Path) -> tuple[str | None, bool | None]:
    """Return the commit that is checked out where a source file is tracked, and whether tracked files differ from it.

    Both are None without git or for a file that no repository tracks: a package installed below somebody's repository
    is no part of it.
    """
    if _git(source.parent, "ls-files", "--error-unmatch", source.name) is None:
        return None, None
    commit = _git(source.parent, "rev-parse", "HEAD")
    changed = _git(source.parent, "status", "--porcelain", "--untracked-files=no")
    return commit, None if changed is None else bool(changed)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git here, or no repository
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
