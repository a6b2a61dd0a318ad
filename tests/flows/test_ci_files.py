"""The workflows for GitHub and the include for GitLab: what the linters of `make check` do not look at."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from shelfgap_flows.settings import Settings

REPOSITORY = Path(__file__).parents[2]
WORKFLOWS = sorted([*(REPOSITORY / ".github/workflows").glob("*.yml"), *(REPOSITORY / "ci/github").glob("*.yml")])
GATE = yaml.safe_load((REPOSITORY / ".github/workflows/gate.yml").read_text())
GITLAB = yaml.safe_load((REPOSITORY / "ci/gitlab/gate.yml").read_text())


def run_blocks():
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for step in job.get("steps", []):
                if "run" in step:
                    yield step["run"]
    yield "\n".join([*GITLAB[".shelfgap-gate"]["before_script"], *GITLAB[".shelfgap-gate"]["script"]])


def gate_step(name):
    (step,) = (step for step in GATE["jobs"]["gate"]["steps"] if step.get("name") == name)
    return step


def test_every_action_is_pinned_by_a_whole_commit_with_its_version_beside_it():
    lines = [line.strip() for path in WORKFLOWS for line in path.read_text().splitlines() if "uses: " in line]
    assert len(lines) >= 7
    for line in lines:
        assert re.search(r"uses: [\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+$", line), line
    by_name = {}
    for line in lines:
        name, pin = line.split("uses: ")[1].split("@", 1)
        by_name.setdefault(name, set()).add(pin)
    assert all(len(pins) == 1 for pins in by_name.values())


def test_the_linter_of_make_check_reads_every_workflow():
    listed = re.search(r"^WORKFLOWS := (.*)$", (REPOSITORY / "Makefile").read_text(), re.M)[1].split()
    assert sorted(REPOSITORY / name for name in listed) == WORKFLOWS


def test_no_shell_holds_an_expression_and_shellcheck_finds_nothing():
    shellcheck = Path(sys.executable).with_name("shellcheck")
    for block in run_blocks():
        assert "${{" not in block  # a branch may be called $(curl ...)
        done = subprocess.run([shellcheck, "--shell=bash", "-"], input=block, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    spoilt = subprocess.run([shellcheck, "--shell=bash", "-"], input="cat $1", capture_output=True, text=True)
    assert spoilt.returncode == 1


def test_each_variable_that_is_set_is_one_that_is_read():
    step = gate_step("Release and gate")
    named = {*step["env"], *re.findall(r"SHELFGAP_[A-Z_]+", (REPOSITORY / "docs/ci.md").read_text())}
    known = {f"SHELFGAP_{name.upper()}" for name in Settings.model_fields}
    given_out = {"SHELFGAP_VERDICT", "SHELFGAP_BUNDLE"}
    assert {name for name in named if name.startswith("SHELFGAP_")} - given_out - known == {"SHELFGAP_WORKSPACE"}


def test_each_secret_and_input_is_declared_and_used():
    text = (REPOSITORY / ".github/workflows/gate.yml").read_text()
    called = GATE[True]["workflow_call"]  # YAML reads `on` as a truth value
    for kind in ("secrets", "inputs"):
        assert set(re.findall(rf"\b{kind}\.([\w-]+)", text)) == set(called[kind])
    caller = yaml.safe_load((REPOSITORY / "ci/github/gate.yml").read_text())["jobs"]["gate"]
    assert set(caller["secrets"]) <= set(called["secrets"])
    assert set(caller["with"]) <= set(called["inputs"])


@pytest.mark.parametrize(
    ("code", "environment", "job"),
    [(0, "", 0), (1, "", 1), (3, "", 3), (0, "review", 0), (1, "review", 1), (3, "review", 0), (2, "review", 2)],
)
def test_the_step_of_github_keeps_the_exit_codes_apart(tmp_path, code, environment, job):
    step = gate_step("Release and gate")
    command = tmp_path / "shelfgap"
    command.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\nexit {code}\n')
    command.chmod(0o755)
    given = {"WORKSPACE": "stores/12 a", "PRESET": "", "DECIDED_IN": environment}
    variables = {**os.environ, **given, "GITHUB_OUTPUT": str(tmp_path / "output")}
    variables["PATH"] = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], env=variables)
    assert done.returncode == job
    assert (tmp_path / "output").read_text() == f"exit-code={code}\n"
    assert (tmp_path / "arguments").read_text() == "ci --workspace stores/12 a\n"
    decided = GATE["jobs"]["decide"]["if"]
    assert decided == "needs.gate.outputs.exit-code == '3' && inputs.inconclusive-environment != ''"


def test_gitlab_lets_exit_code_3_alone_pass_as_a_warning_and_keeps_what_ci_writes():
    job = GITLAB[".shelfgap-gate"]
    assert job["allow_failure"] == {"exit_codes": 3}
    assert job["script"] == ['shelfgap ci --workspace "$SHELFGAP_WORKSPACE"']
    artefacts = job["artifacts"]
    assert (artefacts["when"], artefacts["paths"]) == ("always", ["$SHELFGAP_WORKSPACE/gate"])
    assert {Path(path).name for path in artefacts["reports"].values()} == {"gate.xml", "ci.env"}


def test_secrets_that_are_files_are_readable_by_the_job_alone(tmp_path):
    step = gate_step("Secrets that are files")
    (tmp_path / ".dvc").mkdir()
    base = {**os.environ, "RUNNER_TEMP": str(tmp_path), "WORKSPACE": str(tmp_path)}
    run = ["bash", "-eo", "pipefail", "-c", step["run"]]
    subprocess.run(run, env={**base, "SIGNING_KEY": "", "DVC_CONFIG_LOCAL": ""}, check=True)
    assert [path.name for path in tmp_path.iterdir()] == [".dvc"]
    subprocess.run(run, env={**base, "SIGNING_KEY": "-----\nkey\n-----", "DVC_CONFIG_LOCAL": "[core]"}, check=True)
    for path, content in (
        (tmp_path / "signing-key", "-----\nkey\n-----\n"),
        (tmp_path / ".dvc/config.local", "[core]\n"),
    ):
        assert path.read_text() == content
        assert path.stat().st_mode & 0o777 == 0o600
