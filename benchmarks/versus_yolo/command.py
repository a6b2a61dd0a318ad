"""Compare our presets with Ultralytics YOLO11n: accuracy, latency and memory, in one table.

    python benchmarks/versus_yolo PHOTOGRAPHS --work DIR [--folds 3]

Trains each preset of params.yaml, and YOLO11n from scratch with the defaults of Ultralytics at 320 pixels: once for
100 epochs, and once for as long as each preset took. All see the same group-disjoint folds and are scored by the same
code. Takes hours; whatever is done is kept in the work folder, and a killed command goes on where it stood. What was
measured is not measured again: remove `latency-*.json` and `memory.json` there to do so. Ultralytics (AGPL-3.0) lives
in an environment of its own in the work folder.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from shelfgap_datasets.coco import write_text_atomic
from shelfgap_edge.bench.device import device_facts
from shelfgap_edge.errors import ShelfgapError
from shelfgap_flows.hashes import code_hash
from shelfgap_flows.params import load_params

from versus_yolo import accuracy, latency, memory, ours, outcome, peer
from versus_yolo.isolated import isolated
from versus_yolo.neighbours import OTHERS, alone
from versus_yolo.peer_environment import PeerEnvironment
from versus_yolo.plan import STEPS, Fold, Plan, Run, model_identity
from versus_yolo.report import render
from versus_yolo.work import NotYetError, locked
from versus_yolo.yolo_quantize import VARIANTS

PEER = "YOLO11n"
Networks = dict[str, list[dict[str, Any]]]  # by run, what is in the models of each fold


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 for done, 1 for a failure of the matter, 130 when stopped."""
    try:
        plan = _plan(argv)
        with locked(plan.work):
            compare(plan)
    except ShelfgapError as error:
        print(f"error: {error}", flush=True)
        return 1
    except KeyboardInterrupt:
        print("stopped; run the same command to go on", flush=True)
        return 130
    return 0


def compare(plan: Plan) -> None:
    """Take every step that was asked for, with what earlier commands left."""
    folds = plan.prepare()
    environment = PeerEnvironment(plan.work, plan.peer_python)
    if {"peer", "export"} & set(plan.steps):
        environment.install()
    runs = ours.train_presets(plan, folds) + peer.train_peer(plan, folds, environment)
    if not set(plan.steps) - {"ours", "peer"}:
        return
    if not runs:
        raise NotYetError("nothing is trained yet; run with --steps ours peer, or without --steps")
    networks: Networks = {
        run.name: ours.export_run(plan, run, folds) if run.is_ours else peer.export_peer(plan, run, folds, environment)
        for run in runs
    }
    if {"score", "report"} & set(plan.steps):
        found = accuracy.score_runs(plan, runs, folds)
    timed: dict[int, dict[str, Any]] = {}
    peaks_mb: dict[str, float] = {}
    if {"latency", "report"} & set(plan.steps):
        try:
            timed, peaks_mb = time_runs(plan, runs)
        except NotYetError as error:
            print(f"latency: left out: {error}", flush=True)
    if "report" not in plan.steps:
        return
    result = assemble(plan, folds, runs, networks, found, timed, peaks_mb)
    write_text_atomic(plan.work / "result.json", json.dumps(result, indent=1) + "\n")
    write_text_atomic(plan.work / "result.md", render(result))
    print(render(result))


def time_runs(plan: Plan, runs: Sequence[Run]) -> tuple[dict[int, dict[str, Any]], dict[str, float]]:
    """Measure latency by number of threads, and the peak of memory, of the first fold's models.

    All runs of the peer are one network: the first of them is timed, with every variant of its INT8.
    """
    subjects: list[latency.Subject] = []
    arguments: dict[str, list[str]] = {}
    for run in runs:
        if run.is_ours:
            bundle = run.folders[0] / ours.BUNDLE_DIR
            subjects += [latency.Subject(run.name, True, precision, bundle) for precision in ("int8", "fp32")]
            arguments[run.name] = ["ours", str(bundle), "int8"]
    for run in [run for run in runs if not run.is_ours][:1]:
        files = {precision: accuracy.model_file(run, run.folders[0], precision) for precision in ("int8", "fp32")}
        subjects += [latency.Subject(PEER, False, precision, path) for precision, path in files.items()]
        for number, variant in enumerate(VARIANTS):
            path = peer.int8_variant(run.folders[0], number)
            if path.is_file():
                subjects.append(latency.Subject(PEER, False, f"int8, {variant}", path, ("model",)))
        arguments[PEER] = ["peer", str(files["int8"])]
    models = {s.key: model_identity(accuracy.onnx_file(s.path, s.precision))["model"] for s in subjects}
    identity = {"models": models, "turns": plan.turns, "code": code_hash("edge")[:16]}
    timed = {}
    for threads in sorted({1, min(2, len(os.sched_getaffinity(0)))}):

        def measure(threads: int = threads) -> dict[str, Any]:
            print(f"latency, {threads} thread(s): {plan.turns} turns", flush=True)
            device = device_facts()
            jpegs = latency.frames()
            measured = alone(lambda: {"samples": isolated(latency.measure, subjects, jpegs, threads, plan.turns)})
            return {"device": device, **measured}

        timed[threads] = plan.step("latency", plan.work / f"latency-{threads}.json", identity, measure)

    def peaks() -> dict[str, Any]:
        print("peak memory", flush=True)
        folder = plan.work / "frames"
        folder.mkdir(exist_ok=True)
        for number, jpeg in enumerate(latency.frames()):
            (folder / f"{number}.jpg").write_bytes(jpeg)
        return {name: memory.peak_memory_mb(given, folder) for name, given in arguments.items()}

    return timed, plan.step("latency", plan.work / "memory.json", identity, peaks)


def assemble(
    plan: Plan,
    folds: Sequence[Fold],
    runs: Sequence[Run],
    networks: Networks,
    found: accuracy.Found,
    timed: dict[int, dict[str, Any]],
    peaks_mb: dict[str, float],
) -> dict[str, Any]:
    """Return the result, JSON-ready."""
    print("figures and their intervals", flush=True)
    table = accuracy.accuracy(runs, folds, found)
    entries: list[dict[str, Any]] = [
        {
            "name": run.name,
            "is_ours": run.is_ours,
            "timed_as": run.name if run.is_ours else PEER,
            "accuracy": table[run.name],
            "trainings": [
                training | network
                for training, network in zip(map(_training, run.folders), networks[run.name], strict=True)
            ],
        }
        for run in runs
    ]
    sizes = {f"{run.name} int8": networks[run.name][0] for run in runs if run.is_ours}
    reference = f"{PEER} int8"
    tests = [image for fold in folds for image in fold.dataset.of_split("test")]
    classes = folds[0].dataset.detector_classes
    peers = [entry for entry in entries if not entry["is_ours"]]
    stale = [run.name for run in runs if run.is_ours and any(map(ours.trained_with_other_code, run.folders))]
    latencies = {
        str(threads): {
            "turns": plan.turns,
            OTHERS: measured[OTHERS],
            "rate_gmac_s": outcome.convolution_rate(measured["samples"]),
            "rows": outcome.summarise_latency(measured["samples"], reference, sizes),
        }
        for threads, measured in timed.items()
    }
    missing = [name for name in (*plan.presets, *peer.run_names(plan)) if name not in networks]
    return {
        "smoke_epochs": plan.epochs_cap,
        "data": {
            "folds": len(folds),
            "classes": list(classes),
            "train_images": [len(fold.dataset.of_split("train")) for fold in folds],
            "test_images": len(tests),
            "test_boxes": sum(len(image.of_classes(classes).boxes) for image in tests),
            "test_groups": len({image.group for image in tests}),
        },
        "device": timed[1]["device"] if timed else device_facts(),
        "versions": {"onnxruntime": version("onnxruntime"), **(peers[0]["trainings"][0]["versions"] if peers else {})},
        "runs": entries,
        "differences": accuracy.differences(runs, folds, found, table),
        "reference": reference,
        "latency": latencies,
        "peak_memory_mb": peaks_mb,
        "agreement": outcome.agreement(entries),
        "agreement_limit": outcome.AGREEMENT,
        "notes": outcome.notes(entries, len(folds), latencies, missing, stale),
    }


def _training(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "run.json").read_text())["result"]
    return result


def _plan(argv: Sequence[str] | None) -> Plan:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/versus_yolo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photographs", type=Path, help="a labelled folder, in any format that shelfgap imports")
    parser.add_argument("--work", type=Path, required=True, help="folder of everything that is made")
    parser.add_argument("--folds", type=int, default=1, help="test parts to pool; 1 is the project's own split")
    parser.add_argument("--presets", nargs="+", default=["fast", "accurate"])
    parser.add_argument("--peer-epochs", type=int, default=100)
    parser.add_argument(
        "--peer-python", type=Path, help="Python of an environment with Ultralytics, instead of a new one"
    )
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--turns", type=int, default=300, help="timed samples of each model (default 300)")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS), help="default: all")
    parser.add_argument("--epochs-cap", type=int, help="try the command out: no training is longer; not a result")
    given = parser.parse_args(argv)
    for name in ("folds", "peer_epochs", "turns", "epochs_cap"):
        if getattr(given, name) is not None and getattr(given, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(given, name)}")
    params = load_params(given.params)
    for preset in given.presets:
        ours.our_recipe(params, preset)  # refuse an unknown name before anything is done
    return Plan(
        source=given.photographs,
        work=given.work.resolve(),
        folds=given.folds,
        presets=tuple(dict.fromkeys(given.presets)),
        peer_epochs=given.peer_epochs,
        peer_python=given.peer_python and given.peer_python.absolute(),  # not resolved: it is a link in an environment
        params=params,
        params_root=given.params.resolve().parent,
        turns=given.turns,
        epochs_cap=given.epochs_cap,
        steps=tuple(given.steps),
    )
