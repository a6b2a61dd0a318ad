"""What a bundle promises to a device: classes, model signature and manifest.

Everything above the edge runtime (training, evaluation, export) imports these names, so there is no second
copy that could drift.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shelfgap_edge.errors import BundleError
from shelfgap_edge.monitor.params import MonitorParams
from shelfgap_edge.toml_table import ConfigError

FORMAT_VERSION = "1.4"
"""Version of the bundle format. A device refuses a major version it does not know.

1.1 added `device_class`, 1.2 `provenance`, 1.3 `monitor`, 1.4 least scores in `monitor`.
"""

POSTPROCESS_VERSION = 1
"""Version of the rule that turns model outputs into detections (see `postprocess`)."""

CLASSES = ("gap", "low", "occluder")
"""All classes, in the order of their ids: nothing left in a facing; front emptied; view blocked."""

PRECISIONS = ("int8", "fp32")
AUTO = "auto"
"""In place of a precision: INT8 unless float is faster on the device."""
MODEL_FILES: Mapping[str, str] = {"int8": "model.int8.onnx", "fp32": "model.fp32.onnx"}
RUNTIMES = ("onnxruntime", "openvino")
"""What can run a model, the default first; the others are extras of the distribution."""

# Model signature. Input: one frame, uint8, (height, width, 3), RGB, any size. Outputs, best score first:
INPUT_NAME = "frame"
OUTPUT_BOXES = "boxes_xyxy_norm"  # float32 (K, 4), x1 y1 x2 y2 as fractions of the frame
OUTPUT_SCORES = "scores"  # float32 (K,), in [0, 1], descending
OUTPUT_CLASSES = "class_ids"  # int64 (K,), index into Manifest.classes
WHOLE_FRAMES_KEY = "whole_frames"
"""Metadata of a model: sizes of frames ("480x640 960x1280", height first) that it takes as they are, however large.

A runtime that does not know it averages large frames down first, which the model takes too.
"""

MANIFEST_FILE = "manifest.json"
SUMS_FILE = "SHA256SUMS"
SIGNATURE_FILE = "signature"
GOLDEN_DIR = "golden"
GOLDEN_FILE = "golden/expected.json"


_ADDED_LATER = {"device_class", "provenance", "monitor"}  # keys that an older bundle of this major version lacks


@dataclass(frozen=True)
class Manifest:
    """The facts a device needs to run a model, and where the model came from.

    Attributes:
        format_version: bundle format, "major.minor".
        name: name of the detector.
        version: version of this build, unique per content.
        created_at: ISO 8601 time in UTC.
        classes: class names by class id of the model; a subset of `CLASSES`, "gap" always in it.
        input_size: (height, width) in pixels that the network sees after the resize in the graph.
        score_thresholds: operating point by class name, in [0, 1].
        default_precision: "int8" or "fp32", the variant to run unless told otherwise.
        hashes: SHA-256 (hex) of the data, the parameters and the code that made the model.
        metrics: the evaluation by precision, as measured before the bundle was written.
        colour_order, resize, normalisation, postprocess_version: fixed in this format version.
        device_class: processors that the INT8 model was made for ("x86", "arm"); it runs on others too, slower.
            None in bundles before format 1.1.
        provenance: what a rebuild needs: `params` (the values of params.yaml), and with which commit, libraries and
            arithmetic `training` and `release` ran. None in bundles before format 1.2.
        monitor: when frames become an alert (see `monitor.params.MonitorParams`). None in bundles before format 1.3.
    """

    format_version: str
    name: str
    version: str
    created_at: str
    classes: tuple[str, ...]
    input_size: tuple[int, int]
    score_thresholds: Mapping[str, float]
    default_precision: str
    hashes: Mapping[str, str]
    metrics: Mapping[str, Any]
    colour_order: str = "RGB"
    resize: str = "stretch"  # bilinear, in the graph; the aspect ratio is not kept
    normalisation: str = "in-graph"  # frames go in as uint8
    postprocess_version: int = POSTPROCESS_VERSION
    device_class: str | None = None
    provenance: Mapping[str, Any] | None = None
    monitor: Mapping[str, Any] | None = None

    def to_json(self) -> str:
        """Return the manifest as indented JSON with sorted keys."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"


def parse_manifest(text: str, where: str = MANIFEST_FILE) -> Manifest:
    """Parse and check a manifest.

    Args:
        text: JSON text.
        where: name used in error messages.

    Raises:
        BundleError: not JSON, a key missing or unknown, a value out of range, or a format, resize rule or
            post-processing version that this runtime does not know.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not valid JSON ({error})") from None
    if not isinstance(raw, dict):
        raise BundleError(f"{where}: expected a JSON object, got {type(raw).__name__}")
    version = raw.get("format_version")
    known_major = FORMAT_VERSION.partition(".")[0]
    if not isinstance(version, str) or version.partition(".")[0] != known_major:
        raise BundleError(
            f"{where}: format_version {version!r} is not known here (expected {known_major}.x); upgrade shelfgap-edge"
        )
    fields = Manifest.__dataclass_fields__
    missing = sorted(fields.keys() - raw.keys() - _ADDED_LATER)
    if missing:
        raise BundleError(f"{where}: missing {', '.join(missing)}")
    # A newer minor version may add keys; they are ignored.
    values: dict[str, Any] = {name: raw.get(name) for name in fields}

    def expect(condition: bool, key: str, expected: str) -> None:
        if not condition:
            raise BundleError(f"{where}: {key} must be {expected}, got {values[key]!r}")

    for key in ("name", "version", "created_at"):
        expect(isinstance(values[key], str) and bool(values[key]), key, "a non-empty string")
    classes = values["classes"]
    expect(
        isinstance(classes, list)
        and all(name in CLASSES for name in classes)
        and len(set(classes)) == len(classes)
        and "gap" in classes,
        "classes",
        f"a list of distinct names out of {', '.join(CLASSES)} with gap in it",
    )
    size = values["input_size"]
    expect(
        isinstance(size, list) and len(size) == 2 and all(type(n) is int and 32 <= n <= 4096 for n in size),
        "input_size",
        "[height, width], each 32 to 4096",
    )
    thresholds = values["score_thresholds"]
    expect(
        isinstance(thresholds, dict)
        and set(thresholds) == set(classes)
        and all(
            isinstance(t, (int, float)) and not isinstance(t, bool) and 0 <= t <= 1  # no NaN, which is in no range
            for t in thresholds.values()
        ),
        "score_thresholds",
        "one number in [0, 1] for each class",
    )
    expect(values["default_precision"] in PRECISIONS, "default_precision", " or ".join(PRECISIONS))
    for key in ("hashes", "metrics"):
        expect(isinstance(values[key], dict), key, "an object")
    device_class = values["device_class"]
    expect(device_class is None or isinstance(device_class, str), "device_class", "a string or null")
    expect(values["provenance"] is None or isinstance(values["provenance"], dict), "provenance", "an object or null")
    expect(values["monitor"] is None or isinstance(values["monitor"], dict), "monitor", "an object or null")
    try:
        MonitorParams.from_bundle(values["monitor"])
    except ConfigError as error:
        raise BundleError(f"{where}: {error}") from None
    for key, known in (
        ("colour_order", "RGB"),
        ("resize", "stretch"),
        ("normalisation", "in-graph"),
        ("postprocess_version", POSTPROCESS_VERSION),
    ):
        expect(values[key] == known, key, f"{known!r} (the only one this runtime knows)")
    values["classes"] = tuple(classes)
    values["input_size"] = tuple(size)
    return Manifest(**values)


def read_manifest(bundle: Path) -> Manifest:
    """Read the manifest of a bundle directory.

    Raises:
        BundleError: the file is missing, unreadable or wrong (see `parse_manifest`).
    """
    path = bundle / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: cannot be read ({error})") from None
    return parse_manifest(text, where=str(path))
