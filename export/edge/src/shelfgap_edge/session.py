"""A model that is ready to run: what a runtime offers, and the check that its model keeps the contract."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shelfgap_edge.contract import INPUT_NAME, OUTPUT_BOXES, OUTPUT_CLASSES, OUTPUT_SCORES, RUNTIMES, WHOLE_FRAMES_KEY
from shelfgap_edge.errors import BundleError

OUTPUTS = {OUTPUT_BOXES: ("float32", 2), OUTPUT_SCORES: ("float32", 1), OUTPUT_CLASSES: ("int64", 1)}
"""The outputs of a model by name: type and rank."""


@dataclass(frozen=True)
class Tensor:
    """Name, type ("uint8", "float32", ...) and shape of an input or output; None where a length is free."""

    name: str
    type: str
    shape: tuple[int | None, ...]


class Session(Protocol):
    """One model in one runtime."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    whole_frames: frozenset[tuple[int, int]]  # (height, width), see `contract.WHOLE_FRAMES_KEY`

    def run(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Return boxes (K, 4), scores (K,) and class ids (K,) for a frame uint8 (height, width, 3) of any size.

        Raises:
            Exception: whatever the runtime raises when the model fails.
        """
        ...


def open_session(runtime: str, model: bytes, threads: int) -> Session:
    """Load a model into a runtime; the module of a runtime is imported only when it is asked for.

    Args:
        runtime: one of `RUNTIMES`.
        model: ONNX bytes.
        threads: threads within one operator, 1 or more; operators run one after another.

    Raises:
        ValueError: another runtime or number of threads.
        MissingRuntimeError: the runtime is not installed.
        BundleError: the runtime cannot load the model, or its inputs and outputs are not those of the contract.
    """
    if threads < 1:
        raise ValueError(f"threads must be 1 or more, got {threads}")
    session: Session
    if runtime == "onnxruntime":
        from shelfgap_edge.session_onnxruntime import OnnxRuntimeSession

        session = OnnxRuntimeSession(model, threads)
    elif runtime == "openvino":
        from shelfgap_edge.session_openvino import OpenVinoSession

        session = OpenVinoSession(model, threads)
    else:
        raise ValueError(f"runtime must be {' or '.join(RUNTIMES)}, got {runtime!r}")
    _check_signature(session)
    return session


def parse_sizes(text: str) -> frozenset[tuple[int, int]]:
    """Return the sizes (height, width) that a model's metadata list.

    Raises:
        BundleError: something else stands there.

    >>> sorted(parse_sizes("480x640 960x1280"))
    [(480, 640), (960, 1280)]
    """
    if not re.fullmatch(r"(\d{1,5}x\d{1,5}( |$))*", text):
        raise BundleError(f"the model's {WHOLE_FRAMES_KEY} must be sizes like 480x640, got {text[:80]!r}")
    return frozenset((int(height), int(width)) for height, width in (size.split("x") for size in text.split()))


def first_line(error: Exception) -> str:
    """Return what an error says, in one line of at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _check_signature(session: Session) -> None:
    names = [tensor.name for tensor in session.inputs]
    if names != [INPUT_NAME]:
        raise BundleError(f"the model must have one input {INPUT_NAME!r}, got {names}")
    frame = session.inputs[0]
    if frame.type != "uint8" or frame.shape != (None, None, 3):
        raise BundleError(
            f"the input {INPUT_NAME!r} must be uint8 (height, width, 3) with free height and width, "
            f"got {frame.type} {list(frame.shape)}"
        )
    outputs = {tensor.name: tensor for tensor in session.outputs}
    for name, (kind, rank) in OUTPUTS.items():
        if name not in outputs:
            raise BundleError(f"the model has no output {name!r}, it has {sorted(outputs)}")
        output = outputs[name]
        if output.type != kind or len(output.shape) != rank:
            raise BundleError(
                f"the output {name!r} must be {kind} of rank {rank}, got {output.type} {list(output.shape)}"
            )
