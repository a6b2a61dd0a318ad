"""Latency of all models in turns: one sample each, over and over, so that what slows the machine slows them all.

Four rows: the network alone on a prepared input, a decoded frame to boxes (of a small camera, and four times as large),
the bytes of a JPEG to boxes. With one thread the models simply take turns. With more, each turn waits until the threads
of the model before have stopped spinning, and an untimed frame wakes its own: else two thread pools would fight for the
same cores.

The floor is what no detector of these multiplications can beat: the fastest decode alone, and the multiplications at
the rate that the same core reaches in a chain of dense INT8 convolutions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
import simplejpeg
from numpy.typing import NDArray
from shelfgap_datasets.synthetic.stills import render_still
from shelfgap_edge.image import decode_jpeg
from shelfgap_edge.runtime import Detector

from versus_yolo.convolutions import int8_convolutions
from versus_yolo.yolo_detector import YoloDetector

FRAME_SIZE = (960, 1280)
SMALL_FRAME_SIZE = (480, 640)
ROWS = ("model", "small frame", "frame", "jpeg")
CONVOLUTIONS = "int8 convolutions"
_FRAMES, _SEED = 8, 4242
_SPIN_S = 0.05  # ONNX Runtime's threads spin for some ten milliseconds after a run

Work = Callable[[int], object]


@dataclass(frozen=True)
class Subject:
    """A model to time."""

    name: str
    is_ours: bool
    precision: str
    path: Path  # the bundle folder of ours, the ONNX file of the peer
    rows: tuple[str, ...] = ROWS

    @property
    def key(self) -> str:
        """How it is called in the samples."""
        return f"{self.name} {self.precision}"


def frames() -> list[bytes]:
    """Return JPEGs of synthetic shelves, 1280x960, whose decode costs what that of a photograph does."""
    return [render_still(_SEED, number, 0, FRAME_SIZE).jpeg for number in range(_FRAMES)]


def measure(subjects: Sequence[Subject], jpegs: Sequence[bytes], threads: int, turns: int) -> dict[str, Any]:
    """Time all subjects; made for a process of its own.

    Args:
        subjects: the models.
        jpegs: frames of `FRAME_SIZE`, taken in turn.
        threads: threads within an operator.
        turns: timed samples of each subject in each row.

    Returns:
        By row and subject (`Subject.key`) the milliseconds of each turn; in the row `jpeg` the decodes and the
        convolutions of the floor too.
    """
    cv2.setNumThreads(threads)
    pixels = [np.ascontiguousarray(simplejpeg.decode_jpeg(jpeg, "RGB")) for jpeg in jpegs]
    work: dict[str, dict[str, Work]] = {row: {} for row in ROWS}
    for subject in subjects:
        rows = _ours(subject, jpegs, pixels, threads) if subject.is_ours else _peer(subject, jpegs, pixels, threads)
        for row in subject.rows:
            work[row][subject.key] = rows[row]
    sizes = {
        Detector.load(s.path, precision=s.precision, verify=False).manifest.input_size for s in subjects if s.is_ours
    }
    floor: dict[str, Work] = {}
    for size in sorted(sizes):
        floor |= _decodes(jpegs, size)
    floor[CONVOLUTIONS] = _convolutions(threads)
    work["jpeg"] |= floor
    pause_s = _SPIN_S if threads > 1 else 0.0
    return {row: {name: t.round(4).tolist() for name, t in in_turns(work[row], turns, pause_s).items()} for row in ROWS}


def in_turns(
    work: Mapping[str, Work],
    turns: int,
    pause_s: float = 0.0,
    *,
    warmup: int = 5,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, NDArray[np.float64]]:
    """Time functions in turns, forwards and backwards by turns; each gets the number of its turn.

    Args:
        work: what to time, by name.
        turns: timed calls of each.
        pause_s: before each timed call; with a pause comes an untimed call.
        warmup: untimed turns before.
        clock_ns: nanoseconds, monotonic.

    Returns:
        Milliseconds of each turn, float64 (turns,), by name: entries of one index belong to one turn.
    """
    taken_ms: dict[str, list[float]] = {name: [] for name in work}
    names = list(work)
    for turn in range(-warmup, turns):
        for name in names:
            if pause_s:
                time.sleep(pause_s)
                work[name](turn)
            started = clock_ns()
            work[name](turn)
            ended = clock_ns()
            if turn >= 0:
                taken_ms[name].append((ended - started) / 1e6)
        names.reverse()
    return {name: np.array(values) for name, values in taken_ms.items()}


def decode_name(size: Sequence[int], how: str) -> str:
    """Return the name of a decode for an input of (height, width).

    >>> decode_name((320, 320), "fast")
    'fast decode for 320x320'
    """
    return f"{how} decode for {size[0]}x{size[1]}"


DECODES = {"exact": {}, "fast": {"fastdct": True, "fastupsample": True}}


def _ours(
    subject: Subject, jpegs: Sequence[bytes], pixels: Sequence[NDArray[np.uint8]], threads: int
) -> dict[str, Work]:
    detector = Detector.load(subject.path, precision=subject.precision, threads=threads, verify=False)
    size = detector.manifest.input_size
    inputs = [detector.decode(_resized(p, size)) for p in pixels]
    small = [_resized(p, SMALL_FRAME_SIZE) for p in pixels]
    return {
        "model": lambda turn: detector.infer(inputs[turn % len(inputs)]),
        "small frame": lambda turn: detector.detect(small[turn % len(small)]),
        "frame": lambda turn: detector.detect(pixels[turn % len(pixels)]),
        "jpeg": lambda turn: detector.detect(jpegs[turn % len(jpegs)]),
    }


def _peer(
    subject: Subject, jpegs: Sequence[bytes], pixels: Sequence[NDArray[np.uint8]], threads: int
) -> dict[str, Work]:
    detector = YoloDetector(subject.path, threads=threads)
    inputs = [detector.prepare(p)[0] for p in pixels]
    small = [_resized(p, SMALL_FRAME_SIZE) for p in pixels]
    return {
        "model": lambda turn: detector.infer(inputs[turn % len(inputs)]),
        "small frame": lambda turn: detector.detect(small[turn % len(small)]),
        "frame": lambda turn: detector.detect(pixels[turn % len(pixels)]),
        "jpeg": lambda turn: detector.detect_file(jpegs[turn % len(jpegs)]),
    }


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def _decodes(jpegs: Sequence[bytes], size: tuple[int, int]) -> dict[str, Work]:
    """Return the decode at the smallest fraction that the runtime takes for an input size, in two qualities."""
    height, width = decode_jpeg(jpegs[0], size).pixels.shape[:2]

    def decode(options: Mapping[str, bool]) -> Work:
        smallest = {"min_height": height, "min_width": width, **options}
        return lambda turn: simplejpeg.decode_jpeg(jpegs[turn % len(jpegs)], "RGB", **smallest)

    return {decode_name(size, how): decode(options) for how, options in DECODES.items()}


def _convolutions(threads: int) -> Work:
    model, _ = int8_convolutions()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return lambda turn: session.run(None, {"x": pixels})
