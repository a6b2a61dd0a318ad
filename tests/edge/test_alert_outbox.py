"""The outbox keeps what it is given until each sink has it, in order, within its bounds."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import stat
from dataclasses import replace

import pytest
from alert_events import everything, step
from shelfgap_edge.alerts.limits import OutboxLimits
from shelfgap_edge.alerts.outbox import Outbox
from shelfgap_edge.alerts.records import OutboxError
from shelfgap_edge.toml_table import ConfigError, Table

SMALL = OutboxLimits(max_events=10)


@pytest.fixture
def reopen(tmp_path):
    """Open the outbox, closing the one before: a restart."""
    opened = []

    def reopen(*sinks, limits=None, **options):
        if opened:
            opened.pop().close()
        opened.append(Outbox(tmp_path / "outbox.db", dict.fromkeys(sinks, everything), limits, **options))
        return opened[-1]

    yield reopen
    for outbox in opened:
        outbox.close()


def keys_sent(outbox, sink, now=0.0):
    """Deliver all that is due and return the keys in their order."""
    sent = []
    while (entry := outbox.next_due(sink, now)) is not None:
        sent.append(entry.event.key)
        outbox.delivered(sink, entry.event.key)
    return sent


def test_what_was_put_is_there_after_a_restart_and_what_was_delivered_is_not_sent_again(reopen):
    outbox = reopen("web", "bus")
    first, second, other = step(1), step(1, 2, "escalated"), step(2, zone="right")
    outbox.put([first, second, other], [("cam-1", '{"n": 1}')])
    outbox.delivered("web", first.key)
    outbox = reopen("web", "bus")
    assert outbox.states() == {"cam-1": '{"n": 1}'}
    assert outbox.open_alerts() == [second, other]
    assert keys_sent(outbox, "web") == [second.key, other.key]
    assert keys_sent(outbox, "bus") == [first.key, second.key, other.key]
    assert outbox.timeline(0) == [first, second, other]
    outbox = reopen("web", "bus")
    assert outbox.figures().waiting == {"web": 0, "bus": 0}
    assert outbox.timeline(second.at) == [second, other]
    assert outbox.timeline(0, limit=1) == [other]


def test_a_zone_waits_for_its_first_step_while_other_zones_go_on(reopen):
    outbox = reopen("web")
    outbox.put([step(1), step(1, 2, "resolved"), step(2), step(3, zone="right"), step(4, camera_id="cam-2")])
    outbox.failed("web", step(1).key, due=100.0)
    assert keys_sent(outbox, "web", now=99.0) == [step(3).key, step(4).key]
    assert outbox.next_due("web", 100.0).attempts == 1
    assert keys_sent(outbox, "web", now=100.0) == [step(1).key, step(1, 2).key, step(2).key]


def test_the_camera_itself_is_a_zone_of_its_own(reopen):
    outbox = reopen("web")
    outbox.put([step(1, kind="camera-silent", zone=None), step(2)])
    outbox.failed("web", step(1).key, due=9.0)
    assert keys_sent(outbox, "web") == [step(2).key]


def test_a_step_put_twice_is_sent_once_also_after_a_restart(reopen):
    outbox = reopen("web")
    outbox.put([step(1), step(1)])
    outbox.put([replace(step(1), priority=5)])
    outbox = reopen("web")
    outbox.put([step(1)])
    assert outbox.figures().put == 0
    assert outbox.next_due("web", 0).event.priority == step(1).priority
    assert keys_sent(outbox, "web") == [step(1).key]
    outbox.put([step(1)])
    assert keys_sent(outbox, "web") == []


def test_each_sink_gets_what_it_wants(tmp_path):
    outbox = Outbox(tmp_path / "o.db", {"all": everything, "late": lambda event: event.action == "escalated"})
    outbox.put([step(1), step(1, 2, "escalated")])
    assert keys_sent(outbox, "late") == [step(1, 2).key]
    assert len(keys_sent(outbox, "all")) == 2
    outbox.close()


def test_a_resolved_alert_is_open_no_more_and_may_be_reopened(reopen):
    outbox = reopen()
    outbox.put([step(1), step(2)])
    outbox.put([step(1, 2, "resolved")])
    assert [event.alert_id for event in outbox.open_alerts()] == [step(2).alert_id]
    outbox.put([step(1, 3, "reopened")])
    assert outbox.open_alerts() == [step(1, 3, "reopened"), step(2)]
    assert reopen().open_alerts() == [step(1, 3, "reopened"), step(2)]


def test_what_a_sink_refuses_is_set_aside_and_may_be_tried_again(reopen):
    outbox = reopen("web")
    outbox.put([step(1), step(1, 2, "resolved")])
    outbox.refuse("web", step(1).key, "answered 401")
    assert outbox.next_due("web", 0).event.sequence == 2
    outbox = reopen("web")
    assert [(one.event.key, one.reason) for one in outbox.refused()] == [(step(1).key, "answered 401")]
    assert outbox.figures().refused == {"web": 1}
    assert outbox.retry_refused("web") == 1
    outbox = reopen("web")
    assert outbox.refused() == []
    assert keys_sent(outbox, "web") == [step(1).key, step(1, 2).key], "in their order again"


def test_a_sink_that_comes_back_finds_what_waited_for_it(reopen, caplog):
    reopen("web", "bus").put([step(1)])
    outbox = reopen("bus")
    assert "1 alert steps wait for sink 'web', which is configured no more" in caplog.text
    assert outbox.figures().waiting == {"web": 1, "bus": 1}
    outbox.put([step(2)])
    outbox.address({"web": everything})
    outbox.put([step(3)])
    assert keys_sent(outbox, "web") == [step(1).key, step(3).key]


def test_states_without_steps_are_written_at_their_interval_and_at_the_end(reopen, tmp_path):
    now = [0.0]
    outbox = reopen("web", limits=OutboxLimits(state_interval_s=5), clock=lambda: now[0])
    outbox.put([], [("cam-1", "a")])
    log = tmp_path / "outbox.db-wal"
    before = log.stat().st_mtime_ns, log.read_bytes()
    for number in range(4):
        now[0] += 1
        outbox.put([], [("cam-1", str(number))])
    assert outbox.states() == {"cam-1": "3"}
    assert (log.stat().st_mtime_ns, log.read_bytes()) == before
    now[0] = 5.0
    assert outbox.next_due("web", 0) is None
    assert log.read_bytes() != before[1]
    outbox.put([], [("cam-1", "last")])
    outbox.put([step(1)])
    assert outbox.flush()
    assert reopen().states() == {"cam-1": "last"}


def stored_states(tmp_path):
    """What a kill now would leave, read from a copy."""
    copy = tmp_path / "copy"
    copy.mkdir(exist_ok=True)
    for path in tmp_path.glob("outbox.db*"):
        shutil.copyfile(path, copy / path.name)
    outbox = Outbox(copy / "outbox.db")
    states = outbox.states()
    outbox.close()
    return states


def test_a_step_writes_the_state_of_its_camera_and_leaves_the_others_to_their_interval(reopen, tmp_path):
    now = [0.0]
    outbox = reopen("web", limits=OutboxLimits(state_interval_s=60), clock=lambda: now[0])
    outbox.put([], [("cam-1", "a"), ("cam-2", "a")])
    now[0] = 10.0
    outbox.put([], [("cam-1", "b"), ("cam-2", "b")])
    outbox.put([step(1)], [("cam-1", "c")])
    assert stored_states(tmp_path) == {"cam-1": "c", "cam-2": "a"}
    assert outbox.states() == {"cam-1": "c", "cam-2": "b"}
    now[0] = 60.0
    outbox.next_due("web", 0)
    assert stored_states(tmp_path) == {"cam-1": "c", "cam-2": "b"}


def test_delivered_steps_make_room_oldest_first_and_open_alerts_stay_known(reopen):
    outbox = reopen("web", limits=SMALL)
    outbox.put([step(99, zone="right")])
    for alert in range(20):
        outbox.put([step(alert)])
        keys_sent(outbox, "web")
    figures = outbox.figures()
    assert (figures.events, figures.dropped) == (10, 0)
    assert outbox.timeline(0) == [step(alert) for alert in range(10, 20)]
    assert step(99, zone="right") in outbox.open_alerts()
    assert len(reopen().open_alerts()) == 21


def test_undelivered_steps_are_kept_before_delivered_and_refused_ones(reopen):
    outbox = reopen("web", limits=SMALL)
    outbox.put([step(alert) for alert in range(10)])
    outbox.refuse("web", step(1).key, "no")
    outbox.delivered("web", step(5).key)
    outbox.put([step(10)])
    assert step(5) not in outbox.timeline(0)
    assert len(outbox.refused()) == 1
    outbox.put([step(11)])
    assert outbox.refused() == []
    assert outbox.figures().dropped == 0
    assert len(keys_sent(outbox, "web")) == 10


def test_a_full_outbox_gives_up_alerts_that_are_over_before_any_that_is_open(reopen, caplog):
    outbox = reopen("web", limits=SMALL)
    outbox.put([step(1), step(2), step(2, 2, "escalated"), step(2, 3, "resolved")])
    outbox.put([step(alert) for alert in range(3, 9)])
    with caplog.at_level(logging.ERROR):
        outbox.put([step(9)])
    assert outbox.figures().dropped == 3
    assert f"{step(2, 3).key} will not reach sink 'web': the outbox is full" in caplog.text
    assert keys_sent(outbox, "web") == [step(alert).key for alert in (1, *range(3, 10))]


def test_the_end_of_an_alert_that_a_sink_knows_is_not_given_up_for_its_being_over(reopen):
    outbox = reopen("web", limits=SMALL)
    outbox.put([step(1), step(1, 2, "resolved"), step(2)])
    outbox.delivered("web", step(1).key)
    outbox.put([step(alert) for alert in range(3, 13)])
    sent = keys_sent(outbox, "web")
    assert step(1, 2).key not in sent, "with nothing but open alerts left the oldest step goes"
    assert outbox.figures().dropped == 2
    assert sent == [step(alert).key for alert in range(3, 13)]


def test_sinks_that_are_gone_lose_before_those_that_are_there(reopen, caplog):
    reopen("old").put([step(1)])
    outbox = reopen("web", limits=SMALL)
    outbox.put([step(alert) for alert in range(2, 12)])
    assert len(keys_sent(outbox, "web")) == 10
    assert outbox.figures().dropped == 1
    assert "dropped 1 alert steps of sinks configured no more" in caplog.text


def test_the_text_of_steps_is_bounded_in_bytes(reopen, tmp_path):
    outbox = reopen("web", limits=OutboxLimits(max_bytes=256 * 1024))
    for alert in range(400):
        outbox.put([step(alert, action="resolved", camera_id="c" * 400)])
        keys_sent(outbox, "web")
    figures = outbox.figures()
    assert figures.text_bytes <= 128 * 1024
    assert 50 < figures.events < 400
    assert (figures.dropped, figures.held, figures.trouble) == (0, 0, None)
    assert sum(path.stat().st_size for path in tmp_path.glob("outbox.db")) <= 256 * 1024


def test_one_process_has_the_file_for_itself_without_a_file_of_shared_memory(reopen, tmp_path):
    reopen("web").put([step(1)])
    with pytest.raises(OutboxError, match="another process has it; one service, one state folder"):
        Outbox(tmp_path / "outbox.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outbox.db", "outbox.db-wal"]
    assert stat.S_IMODE((tmp_path / "outbox.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "outbox.db-wal").stat().st_mode) == 0o600


def test_the_file_is_as_durable_as_sqlite_makes_it(reopen, tmp_path):
    reopen("web").put([step(1)])
    reopen().close()
    with sqlite3.connect(tmp_path / "outbox.db") as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_a_folder_that_is_not_there_is_an_error_at_the_start(tmp_path):
    with pytest.raises(OutboxError, match=r"nowhere/outbox\.db: No such file or directory; the outbox needs a folder"):
        Outbox(tmp_path / "nowhere" / "outbox.db")


def test_limits_are_read_from_a_table():
    assert OutboxLimits.from_table(Table({}, "edge.toml: outbox")) == OutboxLimits()
    assert OutboxLimits.from_table(Table({"max_events": 500}, "t")).max_events == 500
    with pytest.raises(ConfigError, match="max_bytes: expected an integer from 1048576"):
        OutboxLimits.from_table(Table({"max_bytes": 5}, "edge.toml: outbox"))
    with pytest.raises(ConfigError, match="unknown max_rows"):
        OutboxLimits.from_table(Table({"max_rows": 5}, "edge.toml: outbox"))
