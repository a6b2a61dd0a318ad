"""Promotion on a real MLflow store in SQLite: what may become champion, the log, kills between any two steps, races."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from plain_bundles import gate_report, plain_bundle
from shelfgap_edge.errors import BundleError
from shelfgap_export.aliases import align_aliases, champion_version
from shelfgap_export.gate_record import PromotionError
from shelfgap_export.promotion import (
    carry_out,
    plan_promotion,
    plan_rollback,
    register_bundle,
)
from shelfgap_export.promotion_log import champions_during, read_log
from shelfgap_training.registry import ModelRegistry, RegistryError
from shelfgap_training.registry_log import LogError
from shelfgap_training.tracking import TrackingError, mlflow_client

# MLflow declares its tables in a way that SQLAlchemy 2.1 deprecates
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
numbers = count(1)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def registry(store):
    """An empty registry of a model of its own, in the one store."""
    return ModelRegistry(
        f"sqlite:///{store}/mlflow.db", (store / "artifacts").as_uri(), "registry", f"m{next(numbers)}"
    )


@pytest.fixture
def registered(registry, tmp_path):
    """Register version A, and B and C that were gated against it: their identities."""
    made = {}
    for version in "ABC":
        tar, made[version] = plain_bundle(tmp_path / version, registry.model, version, made.get("A"))
        register_bundle(registry, tar)
    return made


def promote(registry, version, at=NOON, who="anna", **options):
    plan = plan_promotion(registry, version, **options)
    return carry_out(registry, plan, requested_by="ci", approved_by=who, reason=None, now=at)


def roll_back(registry, version=None, at=NOON, reason="misses gaps: «à moitié vide»"):
    plan = plan_rollback(registry, version)
    return carry_out(registry, plan, requested_by="ci", approved_by="anna", reason=reason, now=at)


def test_the_same_bytes_are_one_version_and_the_newest_is_challenger(registry, tmp_path):
    assert registry.versions() == []
    tar, identity = plain_bundle(tmp_path / "a", registry.model, "A")
    first = register_bundle(registry, tar, training_run="f" * 32)
    assert (first.version, first.identity, first.bundle_version, first.training_run) == (1, identity, "A", "f" * 32)
    assert register_bundle(registry, tar) == first
    assert registry.aliases() == {"challenger": 1}
    other, _ = plain_bundle(tmp_path / "b", registry.model, "B")
    assert register_bundle(registry, other).version == 2
    assert register_bundle(registry, tar) == first
    assert registry.aliases() == {"challenger": 2}
    target = tmp_path / "fetched" / "a.tar"
    registry.fetch(first, target)
    assert target.read_bytes() == tar.read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["a.tar"]


def test_what_is_no_bundle_of_the_model_is_not_registered(registry, tmp_path):
    tar, _ = plain_bundle(tmp_path / "a", "other", "A")
    with pytest.raises(PromotionError, match=f"a bundle of 'other', expected one of '{registry.model}'"):
        register_bundle(registry, tar)
    with pytest.raises(PromotionError, match=r"is a directory; .* give its bundle\.tar"):
        register_bundle(registry, tar.with_suffix(""))
    tar.write_bytes(tar.read_bytes().replace(b"model A", b"model X"))
    with pytest.raises(BundleError, match="was altered"):
        register_bundle(registry, tar)
    assert registry.versions() == []


def test_the_log_says_who_was_champion_when_on_which_gate(registry, registered, store):
    first = promote(registry, 1, NOON - timedelta(days=2))
    assert registry.aliases() == {"champion": 1, "challenger": 3}
    second = promote(registry, None, NOON, who="ben")
    assert registry.aliases() == {"champion": 3}
    back = roll_back(registry, None, NOON + timedelta(hours=3))
    assert registry.aliases() == {"champion": 1}
    log = read_log(registry)
    assert log.entries == (first, second, back)
    assert (back.version, back.action, back.reason, back.gate) == (
        1,
        "rollback",
        "misses gaps: «à moitié vide»",
        first.gate,
    )
    assert (second.approved_by, second.requested_by, second.gate.champion) == ("ben", "ci", registered["A"])
    assert second.gate.sha256 != first.gate.sha256

    day = datetime(2026, 11, 1, tzinfo=UTC)
    found = champions_during(log, day, day + timedelta(days=1))
    assert [(entry.version, until) for entry, until in found] == [(1, second.at), (3, back.at), (1, None)]
    for moment, version in ((NOON - timedelta(days=3), None), (NOON, 3), (NOON + timedelta(days=90), 1)):
        assert [entry.version for entry, _ in champions_during(log, moment, moment)] == [version] * (
            version is not None
        )

    run_id = mlflow_client(registry.uri).get_registered_model(registry.model).tags["shelfgap.registry_run"]
    kept = mlflow_client(registry.uri).download_artifacts(run_id, f"gates/{second.gate.sha256}/gate.json")
    with open(kept) as file:  # noqa: PTH123
        assert json.load(file)["candidate"]["identity"] == registered["C"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidate": None}, r"\(shelfgap-gate/2\) does not say which model it judged.* shelfgap gate"),
        ({"candidate": {"identity": "0" * 64}}, r"judged another model \(000000000000\.\.\.\) than this one"),
        (
            {"verdict": "inconclusive", "reason": "too few"},
            "the gate says inconclusive, only a pass is promoted or published: too few",
        ),
        ({"verdict": "fail"}, "the gate says fail"),
        ({"verdict": None}, "is not the report of a gate"),
        ({"checks": ["AP50"]}, "is not the report of a gate"),
    ],
)
def test_no_promotion_without_a_passing_gate_for_exactly_this_model(registry, tmp_path, change, message):
    register_bundle(registry, plain_bundle(tmp_path / "a", registry.model, "A", gate=change)[0])
    with pytest.raises(PromotionError, match=message):
        plan_promotion(registry)
    assert "champion" not in registry.aliases()


def test_a_gate_against_another_than_the_champion_does_not_count_and_a_new_one_does(registry, registered, tmp_path):
    promote(registry, 1)
    promote(registry, 2)
    with pytest.raises(
        PromotionError, match=rf"compared with model {registered['A'][:12]}.* is model {registered['B'][:12]}"
    ):
        plan_promotion(registry, 3)
    again = tmp_path / "gate.json"
    again.write_text(json.dumps(gate_report("C", registered["C"], registered["B"])))
    assert promote(registry, 3, gate_file=again).gate.champion == registered["B"]
    again.write_text(json.dumps(gate_report("C", registered["C"], registered["B"], "fail")))
    with pytest.raises(PromotionError, match=r"gate\.json: the gate says fail"):
        plan_promotion(registry, 3, again)
    with pytest.raises(PromotionError, match="absent: cannot be read"):
        plan_promotion(registry, 3, tmp_path / "absent")


def test_a_bundle_that_was_altered_in_the_store_is_not_promoted(registry, registered, store):
    version = registry.version(2)
    (stored,) = store.rglob(f"{version.bundle_sha256}/bundle.tar")
    stored.write_bytes(stored.read_bytes().replace(b"model B", b"model X"))
    with pytest.raises(RegistryError, match="version 2: the artifact store holds other bytes"):
        plan_promotion(registry, 2)


def test_rollback_goes_only_to_a_champion_of_before_with_a_reason(registry, registered):
    with pytest.raises(PromotionError, match="no champion before"):
        plan_rollback(registry)
    promote(registry, 1)
    promote(registry, 2)
    with pytest.raises(PromotionError, match=r"version 3 never was champion.*champions so far: 1, 2"):
        plan_rollback(registry, 3)
    with pytest.raises(PromotionError, match="needs a reason"):
        roll_back(registry, reason=None)
    roll_back(registry)
    with pytest.raises(PromotionError, match="was a rollback already, to version 1"):
        plan_rollback(registry)
    assert roll_back(registry, 1).number == 3  # done already
    with pytest.raises(RegistryError, match="no version 9 in the registry; it has 3, 2, 1"):
        plan_promotion(registry, 9)


def test_a_version_whose_tags_name_other_bytes_than_the_log_is_not_gone_back_to(registry, registered):
    promote(registry, 1)
    promote(registry, 2)
    other = registry.version(3)
    for name in ("bundle_sha256", "identity"):
        mlflow_client(registry.uri).set_model_version_tag(registry.model, "1", f"shelfgap.{name}", getattr(other, name))
    for plan in (plan_rollback, plan_promotion):
        with pytest.raises(
            PromotionError, match=r"version 1: its tags name the bytes \w{12}, the log says that \w{12}"
        ):
            plan(registry, 1)
    assert read_log(registry).champion.version == 2


def test_of_two_promotions_of_the_same_state_one_is_refused(registry, registered):
    promote(registry, 1)
    plans = {version: plan_promotion(registry, version) for version in (2, 3)}
    same = plan_promotion(registry, 2)
    barrier, outcomes = threading.Barrier(2), {}

    def carry(version):
        barrier.wait()
        try:
            carry_out(registry, plans[version], requested_by="x", approved_by=f"p{version}", reason=None, now=NOON)
            outcomes[version] = "done"
        except PromotionError as error:
            outcomes[version] = str(error)

    threads = [threading.Thread(target=carry, args=(version,)) for version in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [version for version, outcome in outcomes.items() if outcome == "done"]
    (loser,) = set(outcomes) - {winner}
    assert "somebody else promoted since" in outcomes[loser]
    assert registry.aliases()["champion"] == winner
    assert [entry.version for entry in read_log(registry).entries] == [1, winner]
    if winner == 2:  # the same promotion once more, planned before
        assert carry_out(registry, same, requested_by="x", approved_by="y", reason=None, now=NOON).approved_by == "p2"


def test_two_machines_that_register_the_same_bytes_make_one_version(registry, tmp_path):
    tar, _ = plain_bundle(tmp_path / "a", registry.model, "A")
    barrier, versions = threading.Barrier(3), []

    def register():
        barrier.wait()
        versions.append(register_bundle(registry, tar).version)

    threads = [threading.Thread(target=register) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(versions)) == 1
    assert [version.version for version in registry.versions()] == versions[:1]


def test_an_alias_that_another_machine_makes_at_the_same_moment_is_set_all_the_same(registry, registered, monkeypatch):
    made = []

    def set_alias(self, name, alias, version, of=SqlAlchemyStore.set_registered_model_alias):
        made.append(version)
        if len(made) == 1:  # what the database answers to the second of two inserts
            raise MlflowException("UNIQUE constraint failed", error_code=BAD_REQUEST)
        return of(self, name, alias, version)

    monkeypatch.setattr(SqlAlchemyStore, "set_registered_model_alias", set_alias)
    registry.point("champion", 1)
    assert (registry.aliases()["champion"], made) == (1, ["1", "1"])
    monkeypatch.setattr(SqlAlchemyStore, "set_registered_model_alias", lambda *_: made.clear() or set_alias(*_))
    with pytest.raises(TrackingError, match="UNIQUE constraint failed"):
        registry.point("champion", 2)


def test_a_clock_that_is_behind_does_not_turn_the_log_around(registry, registered):
    first = promote(registry, 1, NOON)
    assert promote(registry, 2, NOON - timedelta(hours=1)).at == first.at


KILLED = """
import os, signal, sys
from pathlib import Path
from datetime import UTC, datetime
from shelfgap_export import promotion
from shelfgap_training import registry as module

uri, root, model, point, *arguments = sys.argv[1:]
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
registry = module.ModelRegistry(uri, root, "registry", model)
if point == "upload":
    upload = module._upload
    module._upload = lambda *a: (upload(*a), die())
else:
    module.ModelRegistry.point = die
if point in ("upload", "register"):
    promotion.register_bundle(registry, Path(arguments[0]))
else:
    plan = promotion.plan_promotion(registry, int(arguments[0]))
    now = datetime.now(UTC)
    promotion.carry_out(registry, plan, requested_by="ci", approved_by="killed", reason=None, now=now)
"""


def kill_at(registry, point, argument):
    command = [sys.executable, "-c", KILLED, registry.uri, registry.artifact_root, registry.model, point, str(argument)]
    assert subprocess.run(command, check=False).returncode == -9


def test_a_kill_between_any_two_steps_is_put_right_by_a_rerun(registry, tmp_path):
    tar, _ = plain_bundle(tmp_path / "a", registry.model, "A")
    kill_at(registry, "upload", tar)
    assert registry.versions() == []
    kill_at(registry, "register", tar)
    assert ([version.version for version in registry.versions()], registry.aliases()) == ([1], {})
    assert register_bundle(registry, tar).version == 1
    assert ([version.version for version in registry.versions()], registry.aliases()) == ([1], {"challenger": 1})
    kill_at(registry, "promote", 1)
    assert registry.aliases() == {"challenger": 1}
    entry = promote(registry, 1)
    assert (entry.number, entry.approved_by) == (1, "killed")
    assert len(read_log(registry).entries) == 1
    assert registry.aliases() == {"champion": 1}


def test_an_alias_that_somebody_moved_is_put_back(registry, registered):
    promote(registry, 1)
    registry.point("champion", 3)
    registry.point("shadow", 2)
    align_aliases(registry)
    assert registry.aliases() == {"champion": 1, "challenger": 3, "shadow": 2}


def test_a_champion_that_was_deleted_in_mlflow_can_be_followed_by_another(registry, registered, tmp_path):
    promote(registry, 1)
    promote(registry, 2)
    mlflow_client(registry.uri).delete_model_version(registry.model, "2")
    align_aliases(registry)
    assert registry.aliases() == {"challenger": 3}
    with pytest.raises(RegistryError, match="version 2 is champion by the log and was deleted in MLflow; go back with"):
        champion_version(registry)
    register_bundle(registry, plain_bundle(tmp_path / "D", registry.model, "D")[0])
    plan = plan_rollback(registry)
    carry_out(registry, plan, requested_by="ci", approved_by="anna", reason="deleted", now=NOON)
    assert registry.aliases() == {"champion": 1, "challenger": 4}


def test_mlflow_lets_nobody_change_the_log_and_a_changed_database_is_found(registry, registered, store):
    import sqlite3

    promote(registry, 1)
    promote(registry, 2)
    assert registry.append(1, registry.log()[0])
    assert not registry.append(1, "{}")
    with pytest.raises(LogError, match="at most 6000 characters, got 6001"):
        registry.append(3, "x" * 6001)
    run_id = mlflow_client(registry.uri).get_registered_model(registry.model).tags["shelfgap.registry_run"]

    def execute(statement):
        with sqlite3.connect(store / "mlflow.db") as database:
            database.execute(f"{statement} AND run_uuid = ?", (run_id,))
        database.close()

    execute("UPDATE params SET value = replace(value, 'anna', 'eve') WHERE key = 'entry.000001'")
    with pytest.raises(LogError, match="entry 1 of the promotion log is not what entry 2 was written after"):
        read_log(registry)
    execute("DELETE FROM params WHERE key = 'entry.000001'")
    with pytest.raises(LogError, match=r"entry\.000001 of the promotion log is missing"):
        read_log(registry)


def test_an_entry_of_the_log_that_is_none_is_told_in_one_line(registry, registered):
    registry.append(1, "7")
    with pytest.raises(LogError, match="entry 1 of the promotion log is not readable: '7'"):
        read_log(registry)


def test_a_registered_model_of_another_making_is_left_alone(registry, tmp_path):
    mlflow_client(registry.uri).create_registered_model(registry.model)
    with pytest.raises(RegistryError, match=r"that shelfgap did not make; set another bundle\.name"):
        register_bundle(registry, plain_bundle(tmp_path / "a", registry.model, "A")[0])


def test_a_store_that_cannot_be_used_is_said_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match=r"mlflow\.db: MLflow cannot be used"):
        ModelRegistry(f"sqlite:///{tmp_path}/file/mlflow.db", None, "registry", "m").versions()
