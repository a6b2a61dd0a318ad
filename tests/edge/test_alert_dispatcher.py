"""Threads that send: retries with backoff, order kept in each zone, one bad step holds up nobody else."""

from __future__ import annotations

import logging
import random
import threading
import time
from contextlib import contextmanager

import pytest
from alert_events import everything, step
from hypothesis import given
from hypothesis import strategies as st
from shelfgap_edge.alerts.backoff import Backoff
from shelfgap_edge.alerts.dispatcher import Dispatcher
from shelfgap_edge.alerts.outbox import Outbox
from shelfgap_edge.alerts.sinks.sink import LaterError, RefusedError
from shelfgap_edge.service.log import JsonFormatter
from shelfgap_edge.toml_table import ConfigError, Table

FAST = Backoff(0.001, 0.01)


class Scripted:
    """A sink that does to each step what a test says."""

    def __init__(self, fate=lambda event, tries: None, name="web", backoff=FAST):
        self.name, self.backoff, self._fate = name, backoff, fate
        self.tried, self.taken, self.closed = [], [], threading.Event()

    def send(self, event):
        self.tried.append(event.key)
        self._fate(event, self.tried.count(event.key))
        self.taken.append(event.key)

    def close(self):
        self.closed.set()


@contextmanager
def running(tmp_path, *sinks, **options):
    outbox = Outbox(tmp_path / "outbox.db", {sink.name: everything for sink in sinks})
    dispatcher = Dispatcher(outbox, sinks, **options)
    dispatcher.start()
    try:
        yield outbox, dispatcher
    finally:
        dispatcher.stop(60)
        outbox.close()


def until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def all_done(outbox):
    return not any(outbox.figures().waiting.values())


def test_each_sink_gets_everything_in_order(tmp_path):
    web, bus = Scripted(), Scripted(name="bus")
    events = [step(1), step(2), step(2, 2, "resolved")]
    with running(tmp_path, web, bus) as (outbox, dispatcher):
        for event in events:
            outbox.put([event])
        until(lambda: all_done(outbox))
        assert web.taken == bus.taken == [event.key for event in events]
        assert dispatcher.figures()["web"].delivered == 3
    assert web.closed.is_set()


def test_a_step_is_tried_until_it_is_taken_and_its_zone_waits_for_it(tmp_path):
    def fate(event, tries):
        if event == step(1) and tries < 4:
            raise LaterError("answered 500", whole_sink=False)

    sink = Scripted(fate)
    with running(tmp_path, sink) as (outbox, dispatcher):
        outbox.put([step(1), step(1, 2, "resolved"), step(2, zone="right")])
        until(lambda: all_done(outbox))
        assert sink.tried.count(step(1).key) == 4
        assert sink.taken.index(step(1).key) < sink.taken.index(step(1, 2).key)
        figures = dispatcher.figures()["web"]
        assert (figures.attempts, figures.failed, figures.delivered, figures.trouble) == (6, 3, 3, None)


@pytest.mark.parametrize("whole_sink", [True, False])
def test_a_step_that_never_goes_through_holds_up_no_other_zone(tmp_path, whole_sink):
    def fate(event, tries):
        if event == step(1):
            raise LaterError("no answer within 10 s", whole_sink=whole_sink)

    sink = Scripted(fate)
    with running(tmp_path, sink) as (outbox, _):
        outbox.put([step(1), step(1, 2, "resolved")])
        outbox.put([step(alert, zone=f"zone {alert}") for alert in range(2, 12)])
        until(lambda: len(sink.taken) == 10)
        assert step(1, 2).key not in sink.tried
        assert outbox.figures().waiting == {"web": 2}


def test_a_sink_that_is_down_is_asked_once_for_each_pause_and_not_once_for_each_zone(tmp_path):
    down = threading.Event()
    down.set()

    def fate(event, tries):
        if down.is_set():
            raise LaterError("connection refused")

    sink = Scripted(fate, backoff=Backoff(0.05, 0.05))
    with running(tmp_path, sink) as (outbox, dispatcher):
        outbox.put([step(alert, zone=f"zone {alert}") for alert in range(100)])
        until(lambda: dispatcher.figures()["web"].failures_in_a_row >= 5)
        assert sink.tried[:5] == [step(alert).key for alert in range(5)], "the zone that waited longest is next"
        down.clear()
        until(lambda: all_done(outbox))
        assert dispatcher.figures()["web"].failures_in_a_row == 0
        assert len(sink.taken) == 100


def test_trouble_is_said_once_and_its_end_too(tmp_path, caplog):
    def fate(event, tries):
        if tries < 6:
            raise LaterError("connection refused")

    with running(tmp_path, Scripted(fate)) as (outbox, _), caplog.at_level(logging.WARNING):
        outbox.put([step(1)])
        until(lambda: all_done(outbox))
    said = [record.getMessage() for record in caplog.records]
    assert said == ["sink 'web' does not take alerts, they wait: connection refused", "sink 'web' takes alerts again"]


def test_a_refused_step_is_set_aside_and_reported(tmp_path, caplog):
    def fate(event, tries):
        if event == step(1):
            raise RefusedError("answered 422")

    sink = Scripted(fate)
    with running(tmp_path, sink) as (outbox, dispatcher):
        outbox.put([step(1), step(1, 2, "resolved")])
        until(lambda: all_done(outbox))
        assert sink.tried == [step(1).key, step(1, 2).key]
        assert [one.event for one in outbox.refused()] == [step(1)]
        assert dispatcher.figures()["web"].refused == 1
    assert f"refuses alert step {step(1).key}, which is set aside: answered 422" in caplog.text
    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert any("set aside: answered 422" in line for line in lines), "the service's own log says less"


def test_a_sink_that_asks_for_time_gets_it(tmp_path):
    times = []

    def fate(event, tries):
        times.append(time.monotonic())
        if tries == 1:
            raise LaterError("answered 429", after_s=0.3)

    with running(tmp_path, Scripted(fate)) as (outbox, _):
        outbox.put([step(1)])
        until(lambda: all_done(outbox))
    assert times[1] - times[0] >= 0.3


def test_a_defect_of_a_sink_ends_nothing(tmp_path, caplog):
    def fate(event, tries):
        if tries == 1:
            raise KeyError("oops")

    with running(tmp_path, Scripted(fate)) as (outbox, dispatcher):
        outbox.put([step(1)])
        until(lambda: all_done(outbox))
        assert dispatcher.figures()["web"].failed == 1
    assert "sink 'web' failed" in caplog.text


def test_a_stop_lets_what_is_under_way_end_and_sends_nothing_more(tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    def fate(event, tries):
        begun.set()
        go_on.wait(60)

    sink = Scripted(fate)
    with running(tmp_path, sink) as (outbox, dispatcher):
        outbox.put([step(1), step(2)])
        begun.wait(60)
        threading.Timer(0.1, go_on.set).start()
        assert dispatcher.stop(60)
        assert sink.taken == [step(1).key]
        assert outbox.figures().waiting == {"web": 1}


def test_a_stop_waits_no_longer_than_its_grace(tmp_path):
    begun, sink = threading.Event(), None

    def fate(event, tries):
        begun.set()
        sink.closed.wait(60)
        raise LaterError("closed")

    sink = Scripted(fate)
    with running(tmp_path, sink) as (outbox, dispatcher):
        outbox.put([step(1)])
        begun.wait(60)
        assert not dispatcher.stop(0.05), "closing the sink broke it off"


@given(st.integers(1, 2000), st.floats(0.01, 10), st.floats(10, 1000), st.integers())
def test_waits_are_within_their_bounds_and_repeat_with_the_same_generator(attempts, base_s, max_s, seed):
    backoff = Backoff(base_s, max_s)
    wait_s = backoff.wait_s(attempts, random.Random(seed))
    assert 0 <= wait_s <= min(max_s, base_s * 2 ** min(attempts - 1, 60))
    assert wait_s == backoff.wait_s(attempts, random.Random(seed))


def test_waits_spread_over_the_whole_range():
    chance = random.Random(0)
    waits = [Backoff(1, 30).wait_s(4, chance) for _ in range(2000)]
    assert min(waits) < 0.1
    assert max(waits) > 7.9
    assert 3.8 < sum(waits) / len(waits) < 4.2


def test_backoff_is_read_from_a_table():
    assert Backoff.from_table(Table({}, "t")) == Backoff(1, 30)
    assert Backoff.from_table(Table({"retry_base_s": 60}, "t")) == Backoff(60, 60)
    with pytest.raises(ConfigError, match="retry_max_s: expected a number from 5"):
        Backoff.from_table(Table({"retry_base_s": 5, "retry_max_s": 2}, "t"))
