"""The retrain flow: when the data changed, two candidates, a choice, and the stages of a release.

A candidate is what DVC's stage `train` makes of a params.yaml in which `initial_weights` of the preset names the
champion's weights, or what the recipe itself starts from. The one that is chosen stands in params.yaml when the release
stages run, so that `dvc repro` and a later `shelfgap release` agree with what was shipped. Trainings go on from their
last epochs, and what is trained is kept, so a retraining that was killed goes on too.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.types.entrypoint import EntrypointType
from shelfgap_datasets.coco import write_text_atomic
from shelfgap_edge.durable import write_durably
from shelfgap_edge.errors import ShelfgapError
from shelfgap_export.promotion_log import read_log
from shelfgap_training.checkpoint import TrainedDetector, load_detector
from shelfgap_training.report import figure_text, markdown_table

from shelfgap_flows.candidates import (
    CHAMPION,
    Champion,
    Comparison,
    Start,
    choose,
    compare_candidates,
    find_champion,
)
from shelfgap_flows.hashes import CODE_OF_A_BUNDLE, code_hash, dataset_hash
from shelfgap_flows.one_line import one_line_errors
from shelfgap_flows.params import Params, params_hash
from shelfgap_flows.params_file import save_params
from shelfgap_flows.prefect_server import lasting_server, start_server
from shelfgap_flows.release import data_stages, release_flow, reproduce
from shelfgap_flows.settings import Settings, registry_for, tracker_for
from shelfgap_flows.versions import current_version, versions_folder
from shelfgap_flows.workspace import Workspace, only_release, run_dvc, source_name

Verdict = Literal["up to date", "pass", "fail", "inconclusive"]

_CHAMPIONS = "models/champions"  # weights that a recipe starts from, named by their hash
_STARTS = f"{_CHAMPIONS}/recipe_starts.json"
_REPORT = "retrain.json"


class RetrainError(ShelfgapError):
    """A retraining cannot begin or go on."""


@dataclass(frozen=True)
class Retraining:
    """What a retraining brought; `release` is None where it came to none."""

    verdict: Verdict
    reason: str
    key: str  # of data, champions, parameters and code
    source: str
    champion: str | None  # version of the bundle that was there before
    chosen: Start | None
    comparison: dict[str, Any] | None
    release: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Return it for machines."""
        return asdict(self)


def point_at_data(workspace: Workspace, dataset: Path | None) -> Params:
    """Make params.yaml name the data: a given folder, else the newest version, else what it names already.

    Raises:
        RetrainError: the newest version is tracked, and not here; or there is no such folder.
    """
    params = workspace.params()
    if dataset is None and (version := current_version(workspace)) is not None:
        dataset = versions_folder(workspace) / version
        if not dataset.is_dir():
            raise RetrainError(f"{dataset}: not here; get it there with: dvc pull data/versions/{version}.dvc")
    elif dataset is not None and not dataset.is_dir():
        raise RetrainError(f"{dataset}: no such folder; --dataset takes a folder of photographs with labels")
    if dataset is not None:
        source = params.dataset.model_copy(update={"source": source_name(workspace, dataset)})
        if source != params.dataset:
            params = params.model_copy(update={"dataset": source})
            save_params(workspace.params_file, params)
    return params


def recipe_start(workspace: Workspace, params: Params) -> str | None:
    """Return what the recipe starts from by itself, also where an earlier retraining put a champion in its place.

    Raises:
        RetrainError: a champion is in its place, and what was there before is not noted.
    """
    start = params.train.initial_weights
    if start is None or not start.startswith(f"{_CHAMPIONS}/"):
        return start
    noted = _noted_starts(workspace)
    if params.preset not in noted:
        raise RetrainError(
            f"presets.{params.preset}.train.initial_weights is {start}, the weights of a champion, and {_STARTS} does "
            "not say what the recipe itself starts from: set it to null or to other weights in params.yaml"
        )
    return noted[params.preset]


def with_start(params: Params, start: str | None) -> Params:
    """Return parameters whose preset starts from other weights."""
    preset = params.presets[params.preset]
    train = preset.train.model_copy(update={"initial_weights": start})
    presets = {**params.presets, params.preset: preset.model_copy(update={"train": train})}
    return params.model_copy(update={"presets": presets})


def champion_start(workspace: Workspace, champion: Champion, preset: str, start: str | None) -> str:
    """Put the champion's weights where a recipe can name them, tracked by DVC; note what the preset itself starts from.

    Other presets keep their notes.
    """
    name = f"{_CHAMPIONS}/{str(champion.weights_sha256)[:16]}.pt"
    path = workspace.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(workspace.root / _STARTS, json.dumps(_noted_starts(workspace) | {preset: start}) + "\n")
    write_durably(path, workspace.champion.read_bytes())
    run_dvc(workspace, "add", "--quiet", name)
    return name


def _noted_starts(workspace: Workspace) -> dict[str, str | None]:
    """Return what presets start from by themselves, by preset; nothing where nothing of it can be read."""
    try:
        noted = json.loads((workspace.root / _STARTS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def retrain_markdown(result: Retraining) -> str:
    """Return the result as Markdown."""
    lines = [f"# Retraining: {result.verdict}", "", result.reason, "", f"Data: {result.source}"]
    if result.comparison is not None:
        ap50, minus = result.comparison["ap50"], result.comparison["minus_champion"]
        rows = [
            [name, figure_text(ap50[name], 4), figure_text(minus[name], 4) if name in minus else ""] for name in ap50
        ]
        images, groups = result.comparison["images"], result.comparison["groups"]
        lines += ["", f"On {images} validation images of {groups} groups, in float:", ""]
        lines += [markdown_table(["", "AP50", "minus champion"], rows)]
    if result.release is not None:
        figures = result.release["evaluation"]
        lines += ["", f"On test images, INT8: AP50 {figure_text(figures['ap50'], 4)}."]
    return "\n".join(lines) + "\n"


@task(task_run_name="train-{start}")
def train_candidate(workspace: Workspace, params: Params, start: Start, place: Path) -> None:
    """Train a candidate by the stage of DVC, and keep a copy of its detector."""
    kept = place / f"{start}.pt"
    if not kept.is_file():
        _save(workspace, params)
        run_dvc(workspace, "repro", "--single-item", "train")
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_durably(kept, (workspace.models / "detector.pt").read_bytes())


@task
def compare(workspace: Workspace, champion: Champion | None, starts: list[Start], place: Path) -> Comparison:
    """Score champion and candidates on the validation images, and record that with their trainings."""
    candidates: dict[str, TrainedDetector] = {name: load_detector(place / f"{name}.pt") for name in starts}
    known = {} if champion is None or champion.detector is None else {CHAMPION: champion.detector}
    comparison = compare_candidates(workspace.dataset, {**known, **candidates}, workspace.params().evaluation)
    tracker = tracker_for(workspace, Settings())
    for name, trained in candidates.items():
        if trained.mlflow_run_id is not None:
            tags = {"shelfgap.start": name, "shelfgap.retraining": place.name}
            tracker.log(trained.mlflow_run_id, {"val/fp32/ap50": comparison.ap50[name].value}, tags=tags)
            tracker.finish(trained.mlflow_run_id)  # a release takes up the one that is chosen
    return comparison


@flow(name="retrain")
def retrain_flow(workspace_root: str, dataset: str | None = None) -> Retraining:
    """Compare data and champion; where they differ, train two candidates, choose one, and release it.

    Nothing is released that finds less than the champion beyond doubt, on the validation images.
    """
    workspace = Workspace(Path(workspace_root))
    with only_release(workspace):
        params = point_at_data(workspace, None if dataset is None else Path(dataset))
        for stage in data_stages(params):
            reproduce(workspace, stage)
        result = _retrain(workspace, params, find_champion(workspace))
    get_run_logger().info("%s: %s", result.verdict, result.reason)
    return result


def attempt_key(workspace: Workspace, params: Params, version: str | None) -> str:
    """Return what stands for all that decides how an attempt ends; with the same, one that came to nothing is over.

    Args:
        workspace: its data, and the champion of its registry, which the gate compares with.
        params: with the preset starting from what the recipe itself does.
        version: of the released bundle, which candidates start from; None before the first.
    """
    settings = Settings()
    judge = read_log(registry_for(workspace, settings)).champion
    identity = [
        dataset_hash(workspace),
        version,
        None if judge is None else judge.identity,
        params_hash(params),
        code_hash(*CODE_OF_A_BUNDLE),
        settings.device_class,
    ]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def _retrain(workspace: Workspace, params: Params, champion: Champion | None) -> Retraining:
    own_start, data = recipe_start(workspace, params), dataset_hash(workspace)
    version = None if champion is None else champion.version
    key = attempt_key(workspace, with_start(params, own_start), version)

    def result(
        verdict: Verdict,
        reason: str,
        chosen: Start | None = None,
        comparison: Comparison | None = None,
        release: dict[str, Any] | None = None,
    ) -> Retraining:
        compared = None if comparison is None else comparison.to_dict()
        return Retraining(verdict, reason, key, params.dataset.source, version, chosen, compared, release)

    if champion is not None and champion.dataset_sha256 == data:
        return result("up to date", f"the released bundle {version} was trained on this data")
    earlier = _earlier(workspace)
    if earlier is not None and earlier.key == key and earlier.verdict != "pass":
        return earlier  # it would not pass another time; the bundle of one that did is gone
    problem = "there is no champion yet" if champion is None else champion.problem_as_start(params.model)
    starts: dict[Start, str | None] = {"from-scratch": own_start}
    if champion is not None and problem is None:
        starts["from-champion"] = champion_start(workspace, champion, params.preset, own_start)
    else:
        get_run_logger().info("from scratch only: %s", problem)
    place = workspace.scratch / f"retrain-{key}"
    for name, start in starts.items():
        train_candidate(workspace, with_start(params, start), name, place)
    comparison = compare(workspace, champion, list(starts), place)
    chosen, reason = choose(comparison)
    over = comparison.over_champion.get(chosen)
    if over is not None and over.high < 0:
        by = f"{over.value:+.4f} AP50 [{over.low:+.4f}, {over.high:+.4f}]"
        outcome = result("fail", f"{reason}; it finds less than the champion ({by}), which stays", chosen, comparison)
    else:
        _save(workspace, with_start(params, starts[chosen]))
        reproduce(workspace, "train")  # from DVC's cache, where the other one was trained after it
        _require_same(place / f"{chosen}.pt", workspace.models / "detector.pt")
        release = release_flow(str(workspace.root))
        passed = release.bundle is not None
        reason += "; released" if passed else f"; the gate did not pass ({release.reason}), the old bundle stays"
        outcome = result(release.verdict, reason, chosen, comparison, release.to_dict())
    text = retrain_markdown(outcome)
    create_markdown_artifact(text, key="retraining")
    write_text_atomic(workspace.reports / "retrain.md", text)
    write_text_atomic(workspace.reports / _REPORT, json.dumps(outcome.to_dict(), indent=2) + "\n")
    shutil.rmtree(place, ignore_errors=True)
    return outcome


def run_retrain(workspace: Workspace, dataset: Path | None) -> Retraining:
    """Run the retrain flow; a failure of the domain is logged as one line, without a traceback.

    Raises:
        ShelfgapError: the data cannot be used, or a stage failed.
    """
    with one_line_errors():
        start_server(workspace.prefect_home)
        result: Retraining = retrain_flow(str(workspace.root), _text(dataset))
        return result


def serve_retrain(workspace: Workspace, dataset: Path | None, cron: str) -> None:
    """Serve the retrain flow as a Prefect deployment of this process, until it is ended; each run checks the data."""
    with lasting_server(workspace.prefect_home):
        retrain_flow.serve(
            name=workspace.root.name or "workspace",
            cron=cron,
            parameters={"workspace_root": str(workspace.root), "dataset": _text(dataset)},
            limit=1,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )


def _text(dataset: Path | None) -> str | None:
    return None if dataset is None else str(dataset.resolve())


def _save(workspace: Workspace, params: Params) -> None:
    """Write into params.yaml what the preset starts from, if that changes it.

    Raises:
        RetrainError: something else in it was changed since the retraining began, and would be lost.
    """
    there = workspace.params()
    if with_start(there, params.train.initial_weights) != params:
        raise RetrainError(
            f"{workspace.params_file}: changed while the retraining ran; run it again to retrain with what it says "
            "now; trainings that this leaves as they were are kept"
        )
    if there != params:
        save_params(workspace.params_file, params)


def _earlier(workspace: Workspace) -> Retraining | None:
    """Return what the last retraining brought, if it is known."""
    try:
        return Retraining(**json.loads((workspace.reports / _REPORT).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _require_same(compared: Path, made: Path) -> None:
    """Say so if training again gave other weights than those that were compared.

    Raises:
        RetrainError: it did.
    """
    ours, theirs = (load_detector(path).model.state_dict() for path in (compared, made))
    if any(not torch.equal(value, theirs[name]) for name, value in ours.items()):
        raise RetrainError(f"{made}: not the weights that were compared; remove {compared.parent} and run again")
