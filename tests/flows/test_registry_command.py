"""`shelfgap registry` on a real store: list, history, register, fetch, promote and rollback with a real Prefect."""

from __future__ import annotations

import json
from functools import partial

import pytest
from patches_workspace import patches_params
from plain_bundles import plain_bundle
from shelfgap_export.gate_record import PromotionError
from shelfgap_export.promotion import register_bundle
from shelfgap_export.promotion_log import read_log
from shelfgap_flows.prefect_server import lasting_server
from shelfgap_flows.promote import run_promote, run_rollback
from shelfgap_flows.settings import Settings, registry_for
from shelfgap_flows.workspace import Workspace
from webhook import webhook

pytestmark = [
    # MLflow declares its tables in a way that SQLAlchemy 2.1 deprecates
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),  # Apprise imports it
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("ws")
    patches_params(root / "params.yaml", bundle={"name": "shelf"})
    return Workspace(root)


@pytest.fixture
def run(run_command, monkeypatch, workspace):
    """`shelfgap registry`, in the workspace."""
    monkeypatch.chdir(workspace.root)
    return partial(run_command, "registry")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    first, identity = plain_bundle(folder / "a", "shelf", "A")
    return first, plain_bundle(folder / "b", "shelf", "B", identity)[0]


def test_from_nothing_to_a_rollback(run, bundles, workspace, tmp_path, monkeypatch):
    """One story, since each part rests on the one before."""
    assert run("list")[:2] == (0, "shelf: nothing is registered; run: shelfgap release\n")
    assert run("history", "--at", "2026-11-01")[:2] == (0, "shelf: no champion at 2026-11-01\n")
    for number, bundle in enumerate(bundles, start=1):
        code, out, _ = run("register", bundle, "--json")
        assert (code, json.loads(out)["version"]) == (0, number)
    assert run("register", bundles[0])[1].startswith("version 1: A, model ")
    code, out, _ = run("list")
    assert [line.split()[:2] for line in out.splitlines()] == [["2", "challenger"], ["1", "A"]]

    code, out, err = run("promote", 1)
    assert (code, out) == (1, "")
    assert "somebody has to approve this: run it at a terminal, or with PREFECT_API_URL" in err
    with pytest.raises(PromotionError, match="not approved; nothing was changed"):
        run_promote(workspace, 1, None, None, approved=False, confirm=lambda _: False)
    assert "champion" not in run("list")[1]

    monkeypatch.setenv("SHELFGAP_USER", "anna")
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    monkeypatch.setenv("PREFECT_HOME", str(workspace.prefect_home))
    with lasting_server(workspace.prefect_home), webhook() as (address, came):
        monkeypatch.setenv("SHELFGAP_NOTIFY_URL", address)
        code, out, err = run("promote", 1, "--approve", "--reason", "the first", "--json")
        first = json.loads(out.splitlines()[-1])
        assert (code, first["version"], first["approved_by"], first["reason"]) == (0, 1, "anna", "the first"), err
        code, out, _ = run("promote", 1, "--approve")
        assert "approved by anna: the first" in out
        code, out, _ = run("promote", "--approve")
        assert (code, "version 2 (B), promote" in out) == (0, True)
        assert run("promote", 9, "--approve")[0] == 1
        code, out, _ = run("rollback", "--approve", "--reason", "misses gaps")
        assert (code, "version 1 (A), rollback" in out, "approved by anna: misses gaps" in out) == (0, True, True)
    titles = [message["title"] for message in came]
    assert titles == [
        "Done: shelf: promote version 1 (A) in place of nothing",
        "Done: shelf: promote version 2 (B) in place of version 1 (A)",
        "Done: shelf: rollback version 1 (A) in place of version 2 (B)",
    ]

    assert run("history", "--at", "9999-12-31")[0] == 2  # no day follows it
    code, out, _ = run("history", "--json")
    champions = json.loads(out)["champions"]
    assert [(c["version"], c["action"]) for c in champions] == [(1, "promote"), (2, "promote"), (1, "rollback")]
    assert [c["until"] for c in champions] == [champions[1]["at"], champions[2]["at"], None]
    assert champions[0]["gate"]["reason"] == "all 2 checks hold"
    code, out, _ = run("history", "--at", champions[1]["at"])
    assert (out.count("version"), "version 2 (B), promote" in out) == (1, True)
    assert len(json.loads(run("history", "--at", champions[0]["at"][:10], "--json")[1])["champions"]) >= 1
    target = tmp_path / "champion.tar"
    code, out, _ = run("fetch", "champion", "--to", target)
    assert (code, out) == (0, f"{target}: version 1 (A)\n")
    assert target.read_bytes() == bundles[0].read_bytes()
    code, _, err = run("fetch", "challenger", "--to", target)
    assert "no version 'challenger'; expected a number, champion or challenger (champion is version 1)" in err


def test_a_rollback_without_a_champion_before_is_refused_before_anybody_is_asked(workspace, tmp_path):
    root = tmp_path / "other"
    root.mkdir()
    patches_params(root / "params.yaml", bundle={"name": "others"})

    def asked(_):
        raise AssertionError("somebody was asked")

    (root / "mlflow").symlink_to(workspace.mlflow)
    with pytest.raises(PromotionError, match="others: there was no champion before"):
        run_rollback(Workspace(root), None, "why", approved=False, confirm=asked)


def test_an_answer_counts_for_what_was_shown_alone(workspace, tmp_path, monkeypatch):
    """A release registers another version while the question stands."""
    root = tmp_path / "third"
    root.mkdir()
    patches_params(root / "params.yaml", bundle={"name": "third"})
    (root / "mlflow").symlink_to(workspace.mlflow)
    registry = registry_for(Workspace(root), Settings())
    monkeypatch.setenv("PREFECT_HOME", str(workspace.prefect_home))
    register_bundle(registry, plain_bundle(tmp_path / "a", "third", "A")[0])
    shown = []

    def confirm(text):
        shown.append(text)
        register_bundle(registry, plain_bundle(tmp_path / "b", "third", "B")[0])
        return True

    with pytest.raises(PromotionError, match=r"what was approved is not what would be done now \(promote version 2"):
        run_promote(Workspace(root), None, None, None, approved=False, confirm=confirm)
    assert shown[0].startswith("promote version 1 (A)")
    assert read_log(registry).entries == ()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("history", "--at", "yesterday"), 2, "--at takes 2026-11-01"),
        (("rollback",), 2, "--reason"),
        (("list", "--workspace", "none"), 1, "no workspace; name one with --workspace"),
        (("promote", "--approve", "--workspace", "none"), 1, "no workspace"),
    ],
)
def test_wrong_usage_is_one_line_without_traceback(run, workspace, arguments, code, message):
    found, out, err = run(*arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
    assert not (workspace.root / "none").exists()
