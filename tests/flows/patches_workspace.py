"""A workspace whose detector trains in seconds, on dark patches, and the commands that run in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml
from small_network import MODEL, TRAIN

OPEN_GATE = {  # what a network trained for seconds passes
    **dict.fromkeys(("min_ap50", "min_recall", "min_precision", "min_slice_ap50", "min_slice_recall"), 0),
    "max_int8_ap50_loss": 1,
    "resamples": 100,
    "min_groups": 2,
    "margins": {"ap50": 2, "recall_at_p90": 2, "latency": 99, "model_size": 9, "memory": 9},
    "latency": {"pairs": [2], "min_seconds": 0.05, "min_count": 64, "threads": 1, "budgets_ms": {"camera": 5000}},
}
REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def patches_params(path: Path, source: Path | None = None, epochs: int = 3, **sections: Mapping[str, Any]) -> Path:
    """Write params.yaml with the small network, floors that it passes, and some sections changed."""
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    values["presets"] = {"fast": {"model": MODEL.model_dump(mode="json"), "train": TRAIN.model_dump(mode="json")}}
    values["presets"]["fast"]["train"].update(epochs=epochs)
    values["sweep"].update(trials=3, random_trials=1, epochs=4, imitation_epochs=0, validate_every_epochs=1)
    values["dataset"]["split"].update(val_fraction=0.25, test_fraction=0.25)
    values["quantize"].update(calibration_images=4)
    values["evaluation"].update(resamples=100)
    values["bench"].update(min_seconds=0.1, min_count=10)
    values["gate"].update(OPEN_GATE)
    values["bundle"].update(golden_frames=1)
    if source is not None:
        values["dataset"]["source"] = str(source)
    for name, section in sections.items():
        values[name].update(section)
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def start(*arguments: object, log: Path | None = None) -> subprocess.Popen[str]:
    """Start `shelfgap`; what it says goes to a log, or can be asked for."""
    command = [str(BIN / "shelfgap"), *map(str, arguments)]
    with Path(os.devnull if log is None else log).open("w") as stream:
        to = subprocess.PIPE if log is None else stream
        return subprocess.Popen(command, stdout=to, stderr=to, text=True, start_new_session=True)


def shelfgap(*arguments: object) -> tuple[int, dict[str, Any], str]:
    """Run `shelfgap ... --json`: exit code, result, what it said."""
    with start(*arguments, "--json") as process:
        out, err = process.communicate(timeout=900)
    return process.returncode, json.loads(out.splitlines()[-1]) if out.strip() else {}, err


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[Any] | None = None, seconds: float = 400) -> None:
    """Wait until something holds, while a process runs; one that takes too long is ended."""
    end = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, "the command ended early"
        if time.monotonic() > end:
            if process is not None:
                process.kill()
            raise AssertionError("waited too long")
        time.sleep(0.05)


def processes_below(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes that a command started, but Prefect's server, which the next flow ends."""
    below = psutil.Process(process.pid).children(recursive=True)
    return [one for one in below if "prefect.server.api.server:create_app" not in one.cmdline()]
