"""Which model is this? One digest of all that decides what a bundle answers to a frame."""

from __future__ import annotations

import hashlib
import json

from shelfgap_edge.bundle import Files
from shelfgap_edge.contract import MODEL_FILES, Manifest

_DECIDING = (
    "classes",
    "input_size",
    "score_thresholds",
    "default_precision",
    "colour_order",
    "resize",
    "normalisation",
    "postprocess_version",
)


def model_identity(manifest: Manifest, files: Files) -> str:
    """Return the identity of a bundle's model: a gate judges it, a registry and a promotion name it.

    It covers the bytes of the models and what the manifest adds to them (classes, operating points, default precision,
    rules before and after the network), not the reports, the card, the golden frames and the time of the build.

    Args:
        manifest: of the bundle.
        files: its content; other files than the models are left out.

    Returns:
        A SHA-256 in hex.
    """
    facts = {name: getattr(manifest, name) for name in _DECIDING}
    models = {
        precision: hashlib.sha256(files[name]).hexdigest() for precision, name in MODEL_FILES.items() if name in files
    }
    canonical = json.dumps({**facts, "models": models}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
