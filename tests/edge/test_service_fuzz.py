"""What two fuzzers make of the service: atheris of its pictures, schemathesis of its requests.

SHELFGAP_FUZZ_JPEGS and SHELFGAP_FUZZ_REQUESTS set how many (1,000, and 100 for each of three turns).
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from running_service import edge_toml, start, token_of
from test_service_bad_input import HTTP, LIMITS, seeds

JPEGS = int(os.environ.get("SHELFGAP_FUZZ_JPEGS", "1000"))
REQUESTS = int(os.environ.get("SHELFGAP_FUZZ_REQUESTS", "100"))
BIN = Path(sys.executable).parent
OPENAPI = files("shelfgap_edge.service") / "openapi.json"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
CHECKS += "negative_data_rejection,missing_required_header,unsupported_method,allow_header_conformance"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600 + (JPEGS + REQUESTS) // 10)]


@pytest.fixture
def running(tmp_path, bundle):
    config = edge_toml(tmp_path, bundle, ["c0", "c1"], LIMITS, HTTP)
    service = start(config, tmp_path / "log", command=(str(BIN / "shelfgap-edge"), "serve", "--config")).wait_ready()
    yield service
    assert service.stop() == 0
    assert [line for line in service.lines() if line.get("level") == "error"] == []


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no package for this machine")
def test_pictures_of_a_fuzzer_are_judged_or_refused(running, tmp_path, to_jpeg, bright_square):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, jpeg in enumerate(seeds(to_jpeg)):
        (corpus / f"{number}.jpg").write_bytes(jpeg)
    command = [sys.executable, str(Path(__file__).with_name("fuzz_jpeg.py"))]
    command += [running.frames, "c0", token_of("c0"), str(corpus), f"-runs={JPEGS}", "-seed=7", "-max_len=20000"]
    done = subprocess.run([*command, f"-artifact_prefix={tmp_path}/"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    statuses = done.stdout.rpartition("statuses ")[2].splitlines()[0]
    print(statuses)
    assert "200:" in statuses, "no picture was whole: the fuzzer has looked at the doorstep only"
    assert "422:" in statuses
    assert running.post("c1", to_jpeg(bright_square())).status == 200


@pytest.mark.parametrize("turn", ["a camera of the service", "any camera", "operators"])
def test_requests_of_a_fuzzer_get_what_the_description_says(running, tmp_path, to_jpeg, bright_square, turn):
    config = tmp_path / "schemathesis.toml"
    config.write_text('[parameters]\n"path.camera_id" = "c0"\n' if turn.startswith("a camera") else "")
    address, tag = (running.admin, "operators") if turn == "operators" else (running.frames, "cameras")
    command = [str(BIN / "schemathesis"), "--config-file", str(config), "run", str(OPENAPI), "--url", address]
    command += ["--include-tag", tag, "--header", f"Authorization: Bearer {token_of('c0')}", "--checks", CHECKS]
    command += ["--phases", "coverage,fuzzing", "--max-examples", str(REQUESTS), "--continue-on-failure"]
    command += ["--seed", "7", "--generation-database", "none", "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    print([line for line in done.stdout.splitlines() if "generated" in line])
    assert running.post("c1", to_jpeg(bright_square())).status == 200


def test_the_description_names_every_reason_to_refuse_that_a_camera_meets(running, to_jpeg, bright_square):
    documented = json.loads(OPENAPI.read_text())["paths"]["/v1/cameras/{camera_id}/frames"]["post"]["responses"]
    good = to_jpeg(bright_square())
    answers = [
        running.post("c0", good),
        running.post("c0", good, wait=False),
        running.post("c0", good, token="wrong"),
        running.post("c0", b"no picture"),
        running.post("c0", good, Content_Type="image/png"),
        running.post("c0", b"\xff" * 300_000),
    ]
    assert [answer.status for answer in answers] == [200, 202, 401, 422, 415, 413]
    assert {str(answer.status) for answer in answers} <= set(documented)
