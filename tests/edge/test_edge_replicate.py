"""One process of a comparison prints what it measured, and one line when it cannot."""

from __future__ import annotations

import json
import subprocess
import sys


def replicate(*arguments):
    command = [sys.executable, "-m", "shelfgap_edge.bench.replicate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_process_prints_its_frames_and_percentiles_that_it_has_samples_for(bundle, bright_square, to_jpeg, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(to_jpeg(bright_square()))
    done = replicate(bundle, "--frames", folder, "--min-seconds", "0", "--min-count", "24")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert len(said["latency_ms"]) == 24
    assert 0 < said["p25_ms"] <= said["p50_ms"] <= max(said["latency_ms"])
    assert len(said["cpu_ms"]) == 24
    assert min(said["cpu_ms"]) <= said["cpu_p25_ms"] <= max(said["cpu_ms"])
    assert said["p90_ms"] is None  # of 24 frames
    assert said["peak_memory_mb"] > 1


def test_what_is_no_bundle_is_one_line(tmp_path):
    done = replicate(tmp_path / "none", "--frames", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no such bundle" in done.stderr
    assert done.stderr.count("\n") == 1
