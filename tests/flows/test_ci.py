"""`shelfgap ci` as CI runs it: a repository of git and DVC with a remote, cloned, released, judged, commented."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from patches_workspace import patches_params
from review_server import TOKEN, review_server
from shelfgap_edge.errors import ShelfgapError
from shelfgap_edge.verify import verify_bundle
from shelfgap_flows.base_bundle import fetch_released
from shelfgap_flows.ci import run_ci
from shelfgap_flows.ci_job import CiJob
from shelfgap_flows.workspace import Workspace, WorkspaceError
from shelfgap_training.tracking import TrackingError
from small_network import dark_patches

GIT = {f"GIT_{who}_{what}": "anna@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
IGNORED = ".prefect/\nmlflow/\ngate/\nreports/\n.scratch/\nrelease/champion/\n"


def run(folder: Path, *command: object) -> None:
    environment = {**os.environ, **GIT, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run([*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def ci(folder: Path) -> tuple[int, dict, str]:
    """Run `shelfgap ci` there, as a job does: exit code, result, what it said."""
    command = [Path(sys.executable).with_name("shelfgap"), "ci", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}, done.stderr


def registered(folder: Path) -> int:
    """Return how many versions the registry of a workspace holds."""
    command = [Path(sys.executable).with_name("shelfgap"), "registry", "list", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return len(json.loads(done.stdout)["versions"])


def dvc(folder: Path, *arguments: object) -> None:
    run(folder, sys.executable, "-m", "dvc", *arguments)


def change_params(root: Path, *keys: str, value: object) -> None:
    values = section = yaml.safe_load((root / "params.yaml").read_text())
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


@pytest.fixture
def on_github(monkeypatch, tmp_path):
    """The environment of GitHub's job for a pull request, with files for its summary and its outputs."""
    for name in (
        "GITLAB_CI",
        "SHELFGAP_MLFLOW_TRACKING_URI",
        "SHELFGAP_SIGNING_KEY",
        "PREFECT_HOME",
        "GITHUB_EVENT_NAME",
    ):
        monkeypatch.delenv(name, raising=False)
    with review_server() as review:
        event = {"pull_request": {"number": 7, "head": {"sha": "a" * 40, "repo": {"full_name": "acme/shelves"}}}}
        (tmp_path / "event.json").write_text(json.dumps(event))
        for name, value in {
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": review.address,
            "GITHUB_REPOSITORY": "acme/shelves",
            "GITHUB_RUN_ID": "99",
            "GITHUB_EVENT_PATH": tmp_path / "event.json",
            "GITHUB_STEP_SUMMARY": tmp_path / "summary.md",
            "GITHUB_OUTPUT": tmp_path / "output",
            "GITHUB_TOKEN": TOKEN,
        }.items():
            monkeypatch.setenv(name, str(value))
        yield review


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository whose data lies in a DVC remote, and nothing else yet."""
    root = tmp_path_factory.mktemp("origin") / "repository"
    dark_patches(root / "data" / "shelves")
    patches_params(root / "params.yaml", Path("data/shelves"), bundle={"name": "shelf"})
    (root / "dvc.yaml").write_text((Path(__file__).parents[2] / "dvc.yaml").read_text())
    (root / ".gitignore").write_text(IGNORED)
    run(root, "git", "init", "--quiet")
    dvc(root, "init", "--quiet")
    dvc(root, "remote", "add", "--default", "store", root.parent / "store")
    dvc(root, "add", "--quiet", "data/shelves")
    dvc(root, "push", "--quiet")
    return commit(root)


def head(root: Path) -> str:
    """Return the commit of a clone."""
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True).stdout.strip()


def starts_from(event: Path, base: str) -> None:
    """Say in an event of GitHub which commit the pull request starts from."""
    content = json.loads(event.read_text())
    content["pull_request"]["base"] = {"sha": base}
    event.write_text(json.dumps(content))


def commit(root: Path) -> Path:
    run(root, "git", "add", "--all")
    run(root, "git", "commit", "--quiet", "--message", "Change")
    return root


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_db")
def test_from_a_clone_to_a_verdict_of_each_kind(repository, on_github, tmp_path, monkeypatch):
    """One story: the first release, then a candidate that passes, one that fails and one that stays open."""
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", repository, clone)
    assert not (clone / "data" / "shelves").exists()
    code, result, err = ci(clone)
    assert (code, result["verdict"], result["comment"]) == (0, "pass", "created"), err[-4000:]
    assert verify_bundle(Path(result["bundle"])).passed
    (body,) = on_github.bodies.values()
    assert body.endswith(Path(result["report"]).read_text())
    assert "## ✅ Gate: pass" in body
    assert "against nothing: there was no champion" in body
    assert registered(clone) == 0  # nobody has merged it yet
    assert "Commit aaaaaaaaaaaa, [job](https://github.com/acme/shelves/actions/runs/99)" in body
    assert (tmp_path / "summary.md").read_text() == Path(result["report"]).read_text()
    assert (tmp_path / "output").read_text() == f"SHELFGAP_VERDICT=pass\nSHELFGAP_BUNDLE={result['bundle']}\n"
    with monkeypatch.context() as merged:
        for name in ("GITHUB_EVENT_PATH", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"):
            merged.delenv(name)
        code, result, err = ci(clone)
    assert (code, result["verdict"], registered(clone)) == (0, "pass", 1), err[-4000:]
    dvc(clone, "push", "--quiet")
    main = head(commit(clone))
    champion = json.loads((clone / "reports" / "gate.json").read_text())["candidate"]

    candidate = tmp_path / "candidate"
    run(tmp_path, "git", "clone", "--quiet", clone, candidate)
    change_params(candidate, "presets", "fast", "train", "epochs", value=30)
    starts_from(tmp_path / "event.json", main)
    code, result, err = ci(candidate)
    assert (code, result["verdict"], result["comment"]) == (0, "pass", "updated"), err[-4000:]
    gate = json.loads((candidate / "reports" / "gate.json").read_text())
    assert gate["champion"].pop("origin").startswith(f"released at commit {main[:12]}")
    assert gate["champion"] == champion != gate["candidate"]
    assert (candidate / "gate" / "gate.xml").is_file()

    # what its author released and pushed is judged, though this clone has neither run nor champion of it
    dvc(candidate, "push", "--quiet")
    pushed = tmp_path / "pushed"
    run(tmp_path, "git", "clone", "--quiet", commit(candidate), pushed)
    code, result, err = ci(pushed)
    assert (code, result.get("verdict")) == (0, "pass"), err[-4000:]
    assert "Running stage 'train'" not in err
    judged = json.loads((pushed / "reports" / "gate.json").read_text())
    assert judged["champion"].pop("origin").startswith(f"released at commit {main[:12]}")
    assert (judged["champion"], judged["candidate"]) == (champion, gate["candidate"])

    for changes, expected, sign in (
        ([("presets", "fast", "train", "epochs", 1), ("gate", "min_ap50", 1.0)], (1, "fail"), "❌"),
        ([("presets", "fast", "train", "epochs", 20), ("gate", "min_groups", 50)], (3, "inconclusive"), "❔"),
    ):
        before = (candidate / "params.yaml").read_text()
        for *keys, value in changes:
            change_params(candidate, *keys, value=value)
        code, result, err = ci(candidate)
        assert (code, result["verdict"], result["bundle"]) == (*expected, None), err[-4000:]
        assert not (candidate / "gate" / "bundle.tar").exists()
        (body,) = on_github.bodies.values()
        assert f"## {sign} Gate: {expected[1]}" in body
        kind = {1: "error", 3: "warning"}[code]
        noted = result["reason"].replace("%", "%25")
        assert f"::{kind} title=shelfgap gate: {expected[1]}::{noted}\n" in err
        assert (tmp_path / "output").read_text().endswith(f"SHELFGAP_VERDICT={expected[1]}\nSHELFGAP_BUNDLE=\n")
        (candidate / "params.yaml").write_text(before)


def test_a_base_that_is_not_in_the_clone_or_not_in_the_remote_is_an_error_and_no_pass(repository, tmp_path):
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", repository, clone)
    workspace = Workspace(clone)
    with pytest.raises(WorkspaceError, match=r"commit aaaaaaaaaaaa, on which .*fetch-depth: 0 on GitHub, GIT_DEPTH: 0"):
        fetch_released(workspace, "a" * 40)
    assert fetch_released(workspace, head(clone)) is None
    lock = {"bundle": {"cmd": "x", "outs": [{"path": "release/bundle.tar", "hash": "md5", "md5": "0" * 32, "size": 3}]}}
    (clone / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock}))
    with pytest.raises(WorkspaceError, match=r"dvc get .* ended with exit code"):
        fetch_released(workspace, head(commit(clone)))


def test_data_that_nobody_pushed_is_an_error_that_the_comment_tells(repository, on_github, tmp_path):
    on_github.add("<!-- shelfgap ci . -->\n## ✅ Gate: pass")  # what an earlier push had
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", repository, clone)
    (clone / "data" / "shelves.dvc").unlink()
    (clone / "gate").mkdir()
    for name in ("gate.xml", "bundle.tar"):  # of an earlier run: they would be kept as those of this one
        (clone / "gate" / name).touch()
    code, result, err = ci(clone)
    assert (code, result) == (1, {})
    assert "dvc pull did not bring it; track it (dvc add), push it" in err
    assert "::error title=shelfgap gate: error::" in err
    assert "Traceback" not in err
    (body,) = on_github.bodies.values()
    assert "## ⚠️ Gate: no verdict" in body
    assert "pass" not in body
    assert {path.name for path in (clone / "gate").iterdir()} == {"ci.md", "ci.env"}
    assert (tmp_path / "output").read_text() == "SHELFGAP_VERDICT=error\nSHELFGAP_BUNDLE=\n"


def test_a_fork_that_cannot_have_the_data_is_inconclusive_and_others_an_error(repository, tmp_path):
    clone = tmp_path / "clone"
    run(tmp_path, "git", "clone", "--quiet", repository, clone)
    dvc(clone, "remote", "modify", "store", "url", tmp_path / "file" / "store")
    (tmp_path / "file").write_text("no folder, so that nothing can be read there")
    told = run_ci(clone, None, None, CiJob(is_fork=True))
    assert (told.verdict, told.bundle, told.comment) == ("inconclusive", None, "none")
    assert "a pull request from a fork does not get" in Path(told.report).read_text()
    with pytest.raises(WorkspaceError, match="dvc pull"):
        run_ci(clone, None, None, CiJob())


@pytest.mark.parametrize("kept", ["params.yaml", ".dvc", None])
def test_what_is_no_workspace_yet_is_an_error_and_no_pass_on_drawn_shelves(tmp_path, on_github, kept):
    from shelfgap_flows.ci_job import this_job

    root = tmp_path / "shevles"  # mistyped
    if kept == ".dvc":
        (root / ".dvc").mkdir(parents=True)
    elif kept == "params.yaml":
        root.mkdir()
        patches_params(root / "params.yaml")
    with pytest.raises(WorkspaceError, match=r"no (params\.yaml|\.dvc).* there; --workspace takes the folder"):
        run_ci(root, None, None, this_job())
    assert not (root / "dvc.yaml").exists()
    assert (root / "gate" / "ci.env").read_text() == "SHELFGAP_VERDICT=error\nSHELFGAP_BUNDLE=\n"
    (body,) = on_github.bodies.values()
    assert "## ⚠️ Gate: no verdict" in body


def test_a_broken_configuration_of_dvc_is_told_and_rewrites_an_old_pass(tmp_path, on_github):
    on_github.add("<!-- shelfgap ci . -->\n## ✅ Gate: pass")
    patches_params(tmp_path / "params.yaml")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core\n")
    code, result, err = ci(tmp_path)
    assert (code, result) == (1, {})
    assert ".dvc/config: " in err
    assert "Traceback" not in err
    (body,) = on_github.bodies.values()
    assert "## ⚠️ Gate: no verdict" in body


def test_what_nobody_thought_of_is_told_before_it_ends_the_run(tmp_path, monkeypatch, on_github):
    from shelfgap_flows.ci_job import this_job

    patches_params(tmp_path / "params.yaml")
    (tmp_path / ".dvc").mkdir()
    monkeypatch.setattr("shelfgap_flows.ci.run_release", lambda *_, **__: {}["a key that is not there"])
    with pytest.raises(KeyError):
        run_ci(tmp_path, None, None, this_job())
    (body,) = on_github.bodies.values()
    assert "## ⚠️ Gate: no verdict" in body


def test_a_comment_that_cannot_be_written_changes_no_verdict(tmp_path, on_github, caplog):
    from shelfgap_flows.ci_job import this_job

    on_github.token = "another"
    (tmp_path / "params.yaml").write_text("not: parameters\n")
    (tmp_path / ".dvc").mkdir()
    with pytest.raises(ShelfgapError, match=r"params\.yaml"):
        run_ci(tmp_path, None, None, this_job())
    assert "the token was refused (401)" in caplog.text
    assert "Gate: no verdict" in (tmp_path / "gate" / "ci.md").read_text()


def test_a_password_in_an_address_is_not_told(tmp_path, monkeypatch, on_github):
    from shelfgap_flows.ci_job import this_job

    def unreachable(*_, **__):
        raise TrackingError("https://ci:hunter2@mlflow.example.com: MLflow cannot be used")

    patches_params(tmp_path / "params.yaml")  # its data is made by a stage
    (tmp_path / ".dvc").mkdir()
    monkeypatch.setattr("shelfgap_flows.ci.run_release", unreachable)
    with pytest.raises(TrackingError):
        run_ci(tmp_path, None, None, this_job())
    for text in (*on_github.bodies.values(), (tmp_path / "summary.md").read_text()):
        assert "https://***@mlflow.example.com: MLflow cannot be used" in text
        assert "hunter2" not in text


def test_a_long_report_is_cut_between_lines():
    from shelfgap_flows.ci import _shortened

    text = "| a row of a table |\n" * 5000
    short = _shortened(text)
    assert len(short) < 65_000
    assert set(short.splitlines()[:-2]) == {"| a row of a table |"}
    assert short.endswith("the whole report is `gate.md` of the artefact.\n")
