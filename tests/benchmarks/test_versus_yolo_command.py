"""The command keeps what is done, refuses what cannot be, and says what a result is not."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from shelfgap_datasets.coco import load_dataset
from shelfgap_datasets.schema import DatasetError
from shelfgap_flows.params import default_params
from small_network import dark_patches
from versus_yolo.accuracy import better_run
from versus_yolo.command import main
from versus_yolo.isolated import isolated
from versus_yolo.neighbours import OTHERS, CpuTimes, alone, cores_of_others
from versus_yolo.outcome import notes
from versus_yolo.peer import best_variant, write_layout
from versus_yolo.plan import Fold, Plan
from versus_yolo.report import render
from versus_yolo.work import BenchmarkError, cached, locked

PROJECT = Path(__file__).resolve().parents[2]


def test_what_is_done_is_not_done_again(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"size": (1, 2)}

    path = tmp_path / "new" / "result.json"
    for identity in ({"of": (1,)}, {"of": [1]}, {"of": [2]}):
        assert cached(path, identity, make) == {"size": [1, 2]}
    assert len(made) == 2  # a tuple is a list on the disk
    path.write_text("{")  # what a full disk leaves
    cached(path, {"of": [2]}, make)
    assert len(made) == 3


def test_two_commands_do_not_share_a_work_folder(tmp_path):
    with locked(tmp_path), pytest.raises(BenchmarkError, match="another command works here"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_other_photographs_are_not_those_of_an_earlier_command(tmp_path, monkeypatch):
    params = default_params()
    plan = Plan(
        source=tmp_path / "a", work=tmp_path / "work", folds=2, presets=("fast",), peer_epochs=1, peer_python=None,
        params=params, params_root=tmp_path, turns=1, epochs_cap=None, steps=(),
    )  # fmt: skip
    for name, pictures in (("a", 30), ("b", 40)):
        dark_patches(tmp_path / name, pictures, 0, 0)
    first = plan.prepare()
    other = replace(plan, source=tmp_path / "b")
    assert [len(folds[0].dataset.images) for folds in (first, other.prepare())] == [30, 40]
    monkeypatch.setattr("versus_yolo.plan.import_source", None)
    assert len(other.prepare()[0].dataset.images) == 40  # not imported again
    resplit = params.dataset.model_copy(update={"split": params.dataset.split.model_copy(update={"salt": "other"})})
    with pytest.raises(TypeError):  # but for another split
        replace(other, params=params.model_copy(update={"dataset": resplit})).prepare()


def test_the_peer_gets_the_same_pictures_and_boxes(tmp_path):
    dataset = dark_patches(tmp_path / "data")
    fold = Fold(0, 1, tmp_path / "data", load_dataset(tmp_path / "data"))
    data = write_layout(tmp_path / "work", fold)
    folder = data.parent
    for side in ("train", "val", "test"):
        records = dataset.of_split(side)
        links = sorted((folder / "images" / side).iterdir())
        assert {link.resolve() for link in links} == {tmp_path / "data" / "images" / r.file_name for r in records}
        labels = [
            line for link in links for line in (folder / "labels" / side / f"{link.stem}.txt").read_text().splitlines()
        ]
        assert len(labels) == sum(len(record.boxes) for record in records)
        assert all(line.startswith("0 ") for line in labels)
    assert write_layout(tmp_path / "work", fold) == data


def test_the_hardest_run_to_beat_is_chosen_for_each_figure():
    table = {
        "a": {"int8": {"ap50": {"value": 0.6}, "ap50_95": {"value": 0.3}}},
        "b": {"int8": {"ap50": {"value": 0.5}, "ap50_95": {"value": 0.4}}},
    }
    assert better_run(table, table, "int8", "ap50") == "a"
    assert better_run(table, table, "int8", "ap50_95") == "b"


def test_the_peer_gets_the_fastest_int8_of_those_that_find_most():
    ap50 = {"whole graph": 0.02, "decode in float": 0.659, "weighted operators only": 0.661}
    taken_ms = {"whole graph": 5.0, "decode in float": 6.0, "weighted operators only": 7.0}
    assert best_variant(ap50, taken_ms) == "decode in float"
    assert best_variant(ap50 | {"decode in float": 0.64}, taken_ms) == "weighted operators only"
    with pytest.raises(BenchmarkError, match="no INT8 variant"):
        best_variant({}, {})


def test_work_of_others_is_told_from_our_own():
    assert cores_of_others(CpuTimes(0, 100, 50), CpuTimes(10, 125, 70)) == 0.5
    assert cores_of_others(CpuTimes(0, 100, 50), CpuTimes(10, 120, 70.1)) == 0  # clocks tick coarsely
    assert alone(lambda: {"a": 1, "b": sum(range(10**6))})[OTHERS] >= 0


def interval(value, spread=0.01):
    return {"value": value, "low": value - spread, "high": value + spread}


def result(**changes):
    """A result as `command.assemble` returns it."""
    accuracy = {p: {f: interval(0.7) for f in ("ap50", "ap50_95")} for p in ("fp32", "int8")}
    network = {"parameters": 600_000, "macs": 380_000_000, "seconds": 900.0}
    ours = {
        "name": "fast",
        "timed_as": "fast",
        "accuracy": accuracy,
        "trainings": [network, network | {"seconds": 960.0}],
    }
    tried = {"int8_val_ap50": {"whole graph": None, "decode in float": 0.61}, "int8_ms": {"decode in float": 6.6}}
    tried["int8_chosen"] = "decode in float"
    peer = {"name": "YOLO11n, 100 epochs", "timed_as": "YOLO11n", "accuracy": accuracy, "trainings": [network | tried]}
    latency = [
        {"row": "model", "model": "fast int8", "p50_ms": 1.2, "ratio": interval(0.18)},
        {"row": "jpeg", "model": "fast int8", "p50_ms": 4.0, "ratio": interval(0.4)},
        {"row": "model", "model": "YOLO11n int8", "p50_ms": 6.6, "ratio": interval(1.0, 0)},
    ]
    floor = {"decode": "fast decode for 320x320", "decode_ms": 2.0, "convolutions_ms": 0.8, "ratio": interval(1.3)}
    latency[1]["floor"] = floor
    return {
        "smoke_epochs": None,
        "data": {"folds": 2, "classes": ["gap"], "test_images": 156, "test_boxes": 900, "test_groups": 130},
        "device": {
            "cpu_model": "A processor",
            "cores": 2,
            "architecture": "x86_64",
            "cpu_flags": ["avx512_vnni"],
            "load_average_1min": 0.1,
        },
        "versions": {"onnxruntime": "1.32.0", "ultralytics": "8.4.190"},
        "runs": [ours, peer],
        "differences": [
            {"of": ["fast", "int8"], "minus": ["YOLO11n, 100 epochs", "int8"], "figure": "ap50", **interval(0.041)},
            {
                "of": ["fast", "int8"],
                "minus": ["fast", "fp32"],
                "figure": "ap50",
                "value": None,
                "low": None,
                "high": None,
            },
        ],
        "reference": "YOLO11n int8",
        "latency": {"1": {"turns": 300, "rate_gmac_s": 470.0, "rows": latency}},
        "peak_memory_mb": {"fast": 120.4, "YOLO11n": 150.0},
        "agreement": [
            {"run": "YOLO11n, 100 epochs", "fold": 1, "ours": 0.66, "ultralytics": 0.67, "agrees": False},
            {"run": "YOLO11n, 100 epochs", "fold": 2, "ours": 0.66, "ultralytics": 0.661, "agrees": True},
        ],
        "agreement_limit": 0.005,
        "notes": ["accurate is not trained yet"],
        **changes,
    }


def cells(text, start):
    """The cells of the first table row that starts so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_holds_every_run():
    text = render(json.loads(json.dumps(result())))
    assert cells(text, "fast ") == [
        *("fast", "0.700", "0.700", "0.700", "0.700", "0.60", "0.38", "15.0 / 16.0", "1.20", "", "", "4.00", "120"),
    ]
    assert cells(text, "YOLO11n, 100 epochs")[8] == "6.60"
    assert cells(text, "fast int8 ") == [
        *("fast int8", "YOLO11n, 100 epochs int8", "AP50", "+0.0410 [+0.0310, +0.0510]", "2.0"),
    ]
    assert "not defined" in text
    assert cells(text, "JPEG 1280x960 to boxes") == [
        *(
            "JPEG 1280x960 to boxes",
            "fast int8",
            "4.00",
            "0.400 [0.390, 0.410]",
            "1.300 [1.290, 1.310] of 2.00 + 0.80 ms",
        ),
    ]
    assert "A processor, 2 cores, x86_64, avx512_vnni" in text


def test_checks_are_told_either_way():
    text = render(result())
    assert "0.6600, by Ultralytics' val 0.6700: DIFFERS by more than 0.5 point" in text
    assert "0.6600, by Ultralytics' val 0.6610: agrees" in text
    assert "whole graph failed, decode in float 0.610 in 6.60 ms; chosen: decode in float" in text
    assert "- accurate is not trained yet." in text


def test_a_smoke_run_says_so_and_a_run_without_latency_is_a_result():
    assert "SMOKE" not in render(result())
    assert "**SMOKE RUN, NOT A RESULT: trained for at most 2 epochs.**" in render(result(smoke_epochs=2))
    text = render(result(latency={}, peak_memory_mb={}, differences=[], agreement=[], notes=[]))
    assert "thread" not in text
    assert cells(text, "fast ")[-1] == ""


def test_a_reader_learns_what_is_missing_stale_or_disturbed():
    runs = [
        {"name": "fast", "trainings": [{OTHERS: 0.02}, {OTHERS: 1.5}]},
        {"name": "accurate", "trainings": [{OTHERS: 0.01, "learns_from": ["the teacher a.pt"]}]},
    ]
    timed = {"1": {OTHERS: 0.0}, "2": {OTHERS: 0.8}}
    found = " ".join(notes(runs, 3, timed, ["YOLO11n, time of fast"], ["accurate"]))
    assert "YOLO11n, time of fast is not trained yet" in found
    assert "accurate was trained by other code than the present" in found
    assert "fast: other processes used 1.5 cores during a training" in found
    assert "accurate: other processes" not in found
    assert "Other processes used 0.8 cores during the latency on 2 thread(s)" in found
    assert "on 1 thread(s)" not in found
    assert "accurate learns from the teacher a.pt, where YOLO11n starts from random weights" in found
    assert "fast learns" not in found
    assert "tuned on" in found
    assert "tuned on" not in " ".join(notes(runs, 1, {}, [], []))


def test_bad_arguments_end_in_one_line(tmp_path, capsys):
    common = [str(tmp_path), "--work", str(tmp_path / "work"), "--params", str(PROJECT / "params.yaml")]
    assert main([*common, "--presets", "enormous"]) == 1
    assert "error: no preset 'enormous'" in capsys.readouterr().out
    assert main([str(tmp_path / "nowhere"), *common[1:]]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("error: ")
    with pytest.raises(SystemExit, match="2"):
        main([*common, "--folds", "0"])
    assert "--folds must be 1 or more, got 0" in capsys.readouterr().err


def test_ultralytics_stays_in_the_scripts_of_its_environment():
    """It is AGPL: no file of the product imports it, and no requirement names it."""
    importing = [
        path.relative_to(PROJECT).as_posix()
        for area in ("datasets", "training", "export", "flows", "benchmarks", "notebooks")
        for path in (PROJECT / area).rglob("*.py")
        if any(
            line.split()[:2] in (["import", "ultralytics"], ["from", "ultralytics"])
            for line in path.read_text().splitlines()
        )
    ]
    assert sorted(importing) == [
        "benchmarks/versus_yolo/peer_scripts/export_yolo.py",
        "benchmarks/versus_yolo/peer_scripts/train_yolo.py",
    ]
    for project in ("pyproject.toml", "export/edge/pyproject.toml"):
        assert "ultralytics" not in (PROJECT / project).read_text()


def test_work_in_another_process_answers_fails_or_dies():
    assert isolated(divmod, 7, 2) == (3, 1)
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        isolated(load_dataset, Path("nowhere"))
    with pytest.raises(BenchmarkError, match="_exit: its process ended with 9"):
        isolated(os._exit, 9)
