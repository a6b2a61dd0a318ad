"""Can this bundle be made again? Train, export and quantize from what it records, and compare with what it holds."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError
from shelfgap_datasets.coco import load_dataset
from shelfgap_datasets.pictures import read_picture
from shelfgap_edge.admission import admit_bundle
from shelfgap_edge.bundle import Files, leads_out
from shelfgap_edge.contract import MODEL_FILES, Manifest
from shelfgap_edge.errors import ShelfgapError
from shelfgap_edge.golden import parse_golden, replay
from shelfgap_edge.runtime import Detector, manifest_of, precisions_of
from shelfgap_training.train import is_main_process

from shelfgap_flows.hashes import CODE_OF_A_BUNDLE, CODE_OF_A_TRAINING, code_hash, dataset_hash
from shelfgap_flows.params import Params, params_hash
from shelfgap_flows.provenance import made_with
from shelfgap_flows.settings import Settings
from shelfgap_flows.stages import export_stage, quantize_stage, train_stage
from shelfgap_flows.workspace import Workspace

logger = logging.getLogger(__name__)

Verdict = Literal["bit-equal", "within tolerance", "differs"]
_DECIDING = ("parameters", "code", "training code")  # what has to be the same, if nobody says otherwise
_WORST_LAST: tuple[Verdict, ...] = ("bit-equal", "within tolerance", "differs")


class RebuildError(ShelfgapError):
    """A bundle cannot be rebuilt here."""


@dataclass(frozen=True)
class Circumstance:
    """Something that a rebuild depends on: as recorded, as it is here; None where it is not known."""

    name: str
    recorded: str | None
    here: str | None

    @property
    def same(self) -> bool:
        """Whether it is known to be the same."""
        return self.recorded is not None and self.recorded == self.here


@dataclass(frozen=True)
class Comparison:
    """A rebuilt artefact beside that of the bundle, and in words by how much it is off."""

    name: str
    verdict: Verdict
    told: str


@dataclass(frozen=True)
class RebuildReport:
    """What a rebuild started from, and what came out."""

    bundle: str
    circumstances: tuple[Circumstance, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all models; weights that differ show in models that differ."""
        return max((c.verdict for c in self.comparisons if c.name in MODEL_FILES), key=_WORST_LAST.index)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-ready dict."""
        return {
            "bundle": self.bundle,
            "verdict": self.verdict,
            "circumstances": [{**asdict(one), "same": one.same} for one in self.circumstances],
            "comparisons": [asdict(one) for one in self.comparisons],
        }


def rebuild(
    bundle: Path, workspace: Workspace, settings: Settings, *, dataset: Path | None = None, other_code: bool = False
) -> RebuildReport | None:
    """Make the models of a bundle anew and compare them.

    It works below the scratch folder of a workspace, which is left as it was; run again, it goes on after an
    interruption.

    Args:
        bundle: directory or `.tar`; its checksums are verified.
        workspace: initial weights and a teacher are looked for in it, and the dataset unless given.
        settings: processes that train together; nothing is tracked on a server.
        dataset: dataset directory.
        other_code: go on where the code or its reading of the parameters is not that of the bundle.

    Returns:
        What came out; None in a process that only trained together with the main one.

    Raises:
        BundleError: the bundle cannot be used.
        RebuildError: it does not record enough, or data, code or initial weights are others.
    """
    files = admit_bundle(bundle).files
    manifest = manifest_of(files, str(bundle))
    params, trained_with = _recorded(manifest, bundle)
    draft = _prepare(manifest, params, workspace, dataset or workspace.dataset)
    circumstances = _circumstances(manifest, params, trained_with, draft)
    others = [one.name for one in circumstances if one.name in _DECIDING and not one.same]
    if others and not other_code:
        raise RebuildError(
            f"{bundle}: not the same {' and '.join(others)} here; check out commit {_commit(trained_with)} and run it "
            "there, or compare all the same with --other-code"
        )
    _require_weights(trained_with, params, workspace, draft)
    for one in circumstances:
        if not one.same and one.name != "commit":  # other commits may hold the same code
            logger.warning("%s: recorded %s, here %s: bits may differ", one.name, one.recorded, one.here)
    local = settings.model_copy(update={"mlflow_tracking_uri": None, "flow_pid": None})
    report_file = draft.reports / "training.json"  # written last
    training = json.loads(report_file.read_text()) if report_file.is_file() else train_stage(draft, local)
    if not training:
        return None
    export_stage(draft)
    quantize_stage(draft)
    made = training["made_with"]
    circumstances += [
        Circumstance(name, _text(trained_with.get(name)), _text(made.get(name)))
        for name in ("device", "threads", "instruction_set")
    ]
    comparisons = [_compare_weights(manifest, training["weights_sha256"])]
    comparisons += [_compare_model(files, manifest, p, draft.models / MODEL_FILES[p]) for p in precisions_of(files)]
    shutil.rmtree(draft.root)
    return RebuildReport(str(bundle), tuple(circumstances), tuple(comparisons))


def _recorded(manifest: Manifest, bundle: Path) -> tuple[Params, Mapping[str, Any]]:
    provenance = manifest.provenance or {}
    if not isinstance(provenance.get("params"), dict) or not isinstance(provenance.get("training"), dict):
        raise RebuildError(
            f"{bundle}: does not record the parameters and libraries of its training (format "
            f"{manifest.format_version}, recorded since 1.2); train and release anew to have them in it"
        )
    try:
        return Params.model_validate(provenance["params"]), provenance["training"]
    except ValidationError as error:
        first = error.errors()[0]
        raise RebuildError(
            f"{bundle}: its parameters are not those of this version of shelfgap ({'.'.join(map(str, first['loc']))}: "
            f"{first['msg']}); check out commit {_commit(provenance['training'])}"
        ) from None


def _prepare(manifest: Manifest, params: Params, workspace: Workspace, dataset: Path) -> Workspace:
    """Return a workspace with the recorded parameters and, by a link, the data, which are proven to be the same."""
    if not dataset.is_dir():
        raise RebuildError(f"{dataset}: no such dataset; name the one that the bundle was trained on with --dataset")
    code = code_hash(*CODE_OF_A_BUNDLE)
    started_from = json.dumps([manifest.version, params.model_dump(mode="json"), code, made_with()["libraries"]])
    draft = Workspace(workspace.scratch / f"rebuild-{hashlib.sha256(started_from.encode()).hexdigest()[:16]}")
    _link(draft.dataset, dataset)
    if is_main_process():
        draft.params_file.write_text(yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False))
    images = load_dataset(draft.dataset).images
    recorded, found = manifest.hashes.get("data"), dataset_hash(draft)
    if found != recorded:
        raise RebuildError(
            f"{dataset}: other data than the bundle was trained on: expected annotations with SHA-256 {recorded}, got "
            f"{found}; check out that version (dvc checkout), or give --dataset"
        )
    for record in images:
        try:
            digest = hashlib.sha256(read_picture(draft.dataset, record.file_name)).hexdigest()
        except OSError as error:
            raise RebuildError(f"{dataset}: {record.file_name}: cannot be read ({error.strerror})") from None
        if digest != record.sha256:
            raise RebuildError(f"{dataset}: {record.file_name} was changed: its SHA-256 is not the recorded one")
    return draft


def _circumstances(
    manifest: Manifest, params: Params, trained_with: Mapping[str, Any], draft: Workspace
) -> list[Circumstance]:
    here = made_with()
    versions = trained_with.get("libraries") or {}
    changed = [name for name, version in here["libraries"].items() if versions.get(name) != version]
    # a bundle may be made anew by later code than its weights; trainings of older versions do not record theirs
    code = trained_with.get("code")
    of_training = [] if code is None else [Circumstance(_DECIDING[2], str(code), code_hash(*CODE_OF_A_TRAINING))]
    return [
        Circumstance("data", manifest.hashes.get("data"), dataset_hash(draft)),
        Circumstance("parameters", manifest.hashes.get("params"), params_hash(params)),
        Circumstance("code", manifest.hashes.get("code"), code_hash(*CODE_OF_A_BUNDLE)),
        *of_training,
        Circumstance("commit", _state(trained_with), _state(here)),
        Circumstance("python", _text(trained_with.get("python")), here["python"]),
        Circumstance("libraries", _versions(versions, changed), _versions(here["libraries"], changed)),
        Circumstance("machine", _text(trained_with.get("machine")), here["machine"]),
    ]


def _require_weights(trained_with: Mapping[str, Any], params: Params, workspace: Workspace, draft: Workspace) -> None:
    """Link the detectors that the training started from or learned from into the draft, if they are the same."""
    for key, name in (
        ("initial_weights", params.train.initial_weights),
        ("teacher", params.train.distillation.teacher),
    ):
        if name is None:
            continue
        path, expected = workspace.root / name, trained_with.get(f"{key}_sha256")
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no such file"
        if expected is None or found != expected:
            raise RebuildError(
                f"{path}: expected the {key.replace('_', ' ')} of the training, SHA-256 "
                f"{expected or '(not recorded)'}, got {found}; put that file there"
            )
        if Path(name).is_absolute():
            continue
        if leads_out(name):
            raise RebuildError(f"{name}: leads out of the workspace; {key} has to lie inside")
        _link(draft.root / name, path)


def _link(link: Path, target: Path) -> None:
    """Make a link anew; who trains with the main process finds its link, since that one waits with the training."""
    if is_main_process():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target.resolve(), target_is_directory=target.is_dir())


def _compare_weights(manifest: Manifest, rebuilt: str) -> Comparison:
    recorded = manifest.hashes.get("weights")
    if recorded == rebuilt:
        return Comparison("weights", "bit-equal", "every tensor of detector.pt")
    return Comparison("weights", "differs", f"recorded {_text(recorded)}, rebuilt {rebuilt}")


def _compare_model(files: Files, manifest: Manifest, precision: str, model: Path) -> Comparison:
    if model.read_bytes() == files[MODEL_FILES[precision]]:
        return Comparison(precision, "bit-equal", f"{model.stat().st_size:,} bytes")
    detector = Detector(manifest, model, threads=1)
    frames = [frame for frame in parse_golden(files, "bundle") if frame.precision == precision]
    results = [replay(frame, files[frame.file], detector) for frame in frames]
    box_px, score = (max(getattr(r, key) for r in results) for key in ("max_box_error_px", "max_score_error"))
    missing, unexpected = (sum(getattr(r, key) for r in results) for key in ("missing", "unexpected"))
    allowed = results[0].tolerance
    told = (
        f"on {len(results)} golden frames: box off by up to {box_px:.2f} px (allowed {allowed.box_px:g}), score by "
        f"{score:.4f} (allowed {allowed.score:g}), {missing} missing, {unexpected} unexpected"
    )
    return Comparison(precision, "within tolerance" if all(r.passed for r in results) else "differs", told)


def _commit(made: Mapping[str, Any]) -> str:
    return made.get("commit") or "(not recorded)"


def _state(made: Mapping[str, Any]) -> str | None:
    commit = made.get("commit")
    return None if commit is None else f"{commit}{' with changes' if made.get('dirty') else ''}"


def _versions(versions: Mapping[str, Any], changed: list[str]) -> str:
    return ", ".join(f"{name} {versions.get(name)}" for name in changed) or f"{len(versions)} versions"


def _text(value: object) -> str | None:
    return None if value is None else str(value)
