"""The command: tallies of simulated and of real gate runs, as tables and JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shelfgap_edge.bench.device import device_facts
from shelfgap_export.params import GateParams
from shelfgap_flows.params import load_params
from shelfgap_training.params import ModelParams

from gate_characteristics.accuracy import run_many
from gate_characteristics.latency import entrant, layers_for, run_latency, untrained, with_more_layers
from gate_characteristics.simulated import drop_of

REPOSITORY = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    given = _parser().parse_args(argv)
    params = load_params(given.params)
    report: dict[str, Any] = {"gate": params.gate.model_dump(mode="json"), "device": device_facts()}
    if given.runs:
        report["accuracy"] = _accuracy(params.gate, given.groups, given.runs, given.drop)
    if given.latency_runs:
        report["latency"] = _latency(params.gate, params.model, given.latency_runs, given.slower)
    if given.out is not None:
        given.out.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _accuracy(params: GateParams, sizes: Sequence[int], count: int, drop: float) -> dict[str, Any]:
    logits, base = drop_of(drop)
    print(f"simulated detectors of AP50 {base:.3f}; {count} gate runs a row; a drop of {drop:g} AP50")
    tallies: dict[str, Any] = {"ap50": base, "drop": drop}
    for title, weaker in (("equal", 0.0), ("weaker", logits)):
        rows = []
        for groups in sizes:
            for runs in run_many(params, groups, count, weaker, seed=1):
                _progress(f"{title}, {groups} groups: {runs.verdicts.total()}/{count}")
            rows.append(runs.row())
            _row(title, rows[-1])
        tallies[title] = rows
    return tallies


def _latency(params: GateParams, model: ModelParams, count: int, slower: float) -> list[dict[str, Any]]:
    champion = untrained(model)
    layers = layers_for(champion, model.input_size, slower, seconds=20)
    print(f"latency: {layers} more layers make {slower:.0%}, {count} runs a row")
    entrants = [entrant(champion, model.input_size, "champion"), entrant(champion, model.input_size, "equal")]
    entrants.append(entrant(with_more_layers(champion, layers), model.input_size, f"{slower:.0%} slower"))
    rows = []
    for candidate in entrants[1:]:
        name = candidate.manifest.name
        for runs in run_latency(candidate, entrants[0], params, count, name):
            _progress(f"{name}: {runs.verdicts.total()}/{count}")
        rows.append(runs.row())
        _row(name, rows[-1])
    return rows


def _row(title: str, row: dict[str, Any]) -> None:
    print(f"{title:>12}  " + "  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}   ", end="", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/gate_characteristics",
        description="How often the gate passes equal models, catches a drop, and tells a slower one on this machine.",
        epilog="example: python benchmarks/gate_characteristics --latency-runs 20 --out characteristics.json",
    )
    parser.add_argument("--params", type=Path, default=REPOSITORY / "params.yaml", help="values of the gate")
    parser.add_argument("--runs", type=int, default=200, help="simulated gate runs a row (200); 0 leaves them out")
    parser.add_argument(
        "--groups", type=int, nargs="+", default=[50, 100, 200, 400, 600], help="sizes, 3 pictures each"
    )
    parser.add_argument("--drop", type=float, default=0.03, help="AP50 that the weaker detector lacks (0.03)")
    parser.add_argument("--latency-runs", type=int, default=0, help="real runs a row (0); 20 take about an hour")
    parser.add_argument("--slower", type=float, default=0.15, help="share by which the slower model is slower (0.15)")
    parser.add_argument("--out", type=Path, help="write a JSON file")
    return parser
