"""The load benchmark of the service, on a small scale: every phase comes, and nothing is dropped in an ordinary one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "edge_load.py"

pytestmark = pytest.mark.slow


def run(bundle, *arguments):
    command = [sys.executable, str(BENCHMARK), "--bundle", str(bundle), "--cameras", "8", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_all_phases_are_measured(bundle):
    phases = run(bundle, "--every", "1", "--minutes", "0.1", "--overload-seconds", "1")
    assert [phase["phase"] for phase in phases] == ["warm-up", "normal", "10 times the load", "recovery", "after"]
    normal = phases[1]
    assert normal["outcomes"] == {"200": normal["frames"]}
    assert 40 <= normal["frames"] <= 48
    assert normal["resident_MB"] > 10


def test_memory_is_looked_at_on_the_way(bundle):
    looks = run(bundle, "--memory-frames", "5001")
    assert [look["frames"] for look in looks] == [5000, 5001]
    assert looks[0]["resident_MB"] > 10
    assert looks[1]["outcomes"] == {"200": 5001}
