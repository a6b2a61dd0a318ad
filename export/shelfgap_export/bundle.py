"""Write the bundle: models, manifest, golden frames, gate, card and checksums, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shelfgap_datasets.synthetic.stills import render_still
from shelfgap_edge.bundle import compute_sums
from shelfgap_edge.contract import (
    FORMAT_VERSION,
    GOLDEN_DIR,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILES,
    PRECISIONS,
    SUMS_FILE,
    Manifest,
)
from shelfgap_edge.errors import BundleError
from shelfgap_edge.golden import GoldenFrame, Tolerance, golden_frame, golden_json
from shelfgap_edge.runtime import Detector
from shelfgap_edge.verify import verify_bundle

from shelfgap_export.model_card import model_card
from shelfgap_export.params import BundleParams

GATE_FILE = "gate.json"
CARD_FILE = "MODEL_CARD.md"
GOLDEN_SIZE = (480, 640)  # (height, width) in pixels
# other instruction sets round INT8 sums differently; a float model only sums in another order
TOLERANCES = {"int8": Tolerance(box_px=4.0, score=0.06), "fp32": Tolerance(box_px=0.5, score=0.01)}


def make_manifest(
    *,
    name: str,
    classes: tuple[str, ...],
    input_size: tuple[int, int],
    models: Mapping[str, Path] | None = None,
    score_thresholds: Mapping[str, float] | None = None,
    hashes: Mapping[str, str] | None = None,
    metrics: Mapping[str, Any] | None = None,
    default_precision: str | None = None,
    device_class: str | None = None,
) -> Manifest:
    """Return the manifest of models (precision -> ONNX file); its version is a hash of their bytes.

    Thresholds that are not chosen yet are 0.5. Without a `default_precision` that is INT8, where there is such a model.
    """
    digest, models = hashlib.sha256(), models or {}
    for precision in sorted(models):
        digest.update(models[precision].read_bytes())
    return Manifest(
        format_version=FORMAT_VERSION,
        name=name,
        version=digest.hexdigest()[:12],
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        classes=classes,
        input_size=input_size,
        score_thresholds=dict(score_thresholds or dict.fromkeys(classes, 0.5)),
        default_precision=default_precision or ("int8" if "int8" in models else "fp32"),
        hashes=dict(hashes or {}),
        metrics=dict(metrics or {}),
        device_class=device_class,
    )


def precision_by_latency(latency: Mapping[str, Any]) -> str:
    """Return "fp32" if a latency report (see `bench.report`) shows INT8 to be no faster, else "int8".

    What counts is the median of the inference alone; too few samples show nothing.
    """
    for entry in latency["ratios"]:
        if (entry["name"], entry["reference"]) == ("int8", "fp32"):
            ratio = entry["p50"]["inference"]
            return "fp32" if ratio is not None and ratio >= 1 else "int8"
    return "int8"


def write_bundle(
    target: Path,
    manifest: Manifest,
    models: Mapping[str, Path],
    gate: Mapping[str, Any],
    params: BundleParams,
    rights: Mapping[tuple[str, str], int] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Write a bundle directory and, beside it, the same as `.tar`; an earlier one is replaced at the end.

    Everything is written and verified under a temporary name first, so that an error or a full disk leaves the old
    bundle, and nobody ever sees half of one. The directory gives way by two renames and the `.tar` by a third: a kill
    between them leaves no directory, or the new one beside the old `.tar`, until the bundle is written again.

    Args:
        target: directory to write.
        manifest: see `make_manifest`.
        models: precision -> ONNX file.
        gate: what `gate.json` shall hold; its verdict must be "pass".
        params: golden frames.
        rights: pictures of the dataset by (licence, consent basis), for the model card.
        origin: how the detector was trained, for the model card (see `model_card`).

    Raises:
        BundleError: the gate did not pass, the disk is full, or the bundle does not verify.
    """
    if gate.get("verdict") != "pass":
        raise BundleError(f"the gate says {gate.get('verdict')!r}: {gate.get('reason')}; no bundle is written")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    draft_tar = draft.with_suffix(".tar")
    shutil.rmtree(draft, ignore_errors=True)  # left by a process of this number that was killed, as in containers
    try:
        _write_files(draft, manifest, models, gate, params, rights or {}, origin or {})
        report = verify_bundle(draft)
        if not report.passed:
            raise BundleError(f"{target}: the golden frames do not replay on this machine; nothing is written")
        write_tar(draft, draft_tar)
        _replace_directory(draft, target)
        draft_tar.replace(target.with_name(f"{target.name}.tar"))
    except OSError as error:
        raise BundleError(f"{target}: cannot be written ({error.strerror or error}); nothing was left") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        with suppress(OSError):
            draft_tar.unlink(missing_ok=True)


def _write_files(
    draft: Path,
    manifest: Manifest,
    models: Mapping[str, Path],
    gate: Mapping[str, Any],
    params: BundleParams,
    rights: Mapping[tuple[str, str], int],
    origin: Mapping[str, Any],
) -> None:
    (draft / GOLDEN_DIR).mkdir(parents=True)
    for precision, path in models.items():
        shutil.copyfile(path, draft / MODEL_FILES[precision])
    (draft / MANIFEST_FILE).write_text(manifest.to_json())
    (draft / GATE_FILE).write_text(json.dumps(gate, indent=2) + "\n")
    (draft / CARD_FILE).write_text(model_card(manifest, gate, rights, origin))
    detectors = {p: Detector(manifest, draft / MODEL_FILES[p], threads=1) for p in PRECISIONS if p in models}
    golden: list[GoldenFrame] = []
    for index, jpeg in enumerate(_golden_stills(detectors[manifest.default_precision], params)):
        file = f"{GOLDEN_DIR}/shelf-{index + 1}.jpg"
        (draft / file).write_bytes(jpeg)
        golden += [
            golden_frame(detector, jpeg, file=file, precision=precision, tolerance=TOLERANCES[precision])
            for precision, detector in detectors.items()
        ]
    (draft / GOLDEN_FILE).write_text(golden_json(golden))
    (draft / SUMS_FILE).write_text(compute_sums(draft))
    for path in draft.rglob("*"):
        if path.is_file():
            with path.open("rb") as file_:
                os.fsync(file_.fileno())


def _golden_stills(detector: Detector, params: BundleParams) -> list[bytes]:
    """Render three times the frames that are wanted and keep those with most detections: an empty one proves little."""
    stills = [render_still(params.golden_seed, scene, 0, GOLDEN_SIZE).jpeg for scene in range(3 * params.golden_frames)]
    return sorted(stills, key=lambda jpeg: -len(detector.detect(jpeg)))[: params.golden_frames]


def write_tar(source: Path, target: Path) -> None:
    """Pack a directory so that the same files give the same bytes."""
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            data = path.read_bytes()
            info = tarfile.TarInfo(path.relative_to(source).as_posix())
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))


def _replace_directory(draft: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    try:
        draft.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
