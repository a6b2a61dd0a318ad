"""The threads around the service, where the system allows no more of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
from alert_events import everything, step
from refused_threads import RefusedThreads
from shelfgap_edge.alerts.backoff import Backoff as SinkBackoff
from shelfgap_edge.alerts.dispatcher import Dispatcher
from shelfgap_edge.alerts.outbox import Outbox
from shelfgap_edge.service.couriers import Couriers
from shelfgap_edge.sources.source import Backoff, Source
from taken import Taken, wait_until


class Sink:
    backoff = SinkBackoff()

    def __init__(self, name: str) -> None:
        self.name, self.sent, self.closed = name, [], False

    def send(self, event) -> None:
        self.sent.append(event.key)

    def close(self) -> None:
        self.closed = True


@dataclass
class Plan:
    sinks: list[Sink]
    count: int = 2

    def sources(self) -> list[Source]:
        def read(session) -> None:
            session.deliver("a1", bytearray(b"frame"))
            session.wait(600)

        return [Source("mjpeg", f"http://{n}", "a1", read, backoff=Backoff(0.01, 0.05)) for n in range(self.count)]

    def dispatchers(self, outbox: Outbox) -> list[Dispatcher]:
        outbox.address({sink.name: everything for sink in self.sinks})
        return [Dispatcher(outbox, self.sinks)]


@pytest.fixture
def threads(monkeypatch) -> RefusedThreads:
    return RefusedThreads(monkeypatch)


@pytest.fixture
def outbox(tmp_path):
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    outbox.close()


def test_a_source_without_a_thread_costs_no_other_and_is_started_later(threads, outbox, caplog):
    taken, sink = Taken(), Sink("web")
    couriers = Couriers(Plan([sink]), outbox, taken)
    threads.names = ("source-1",)
    couriers.start()
    assert threads.started[:2] == ["sink-web", "source-0"], "alerts go out whatever comes in"
    assert "the system allows no threads for 0 dispatchers and 1 sources" in caplog.text
    taken.wait_for(1)
    couriers.start_missing()
    assert [dict(state.failures) for state in couriers.source_states()] == [{}, {"no-thread": 2}]
    threads.names = ()
    couriers.start_missing()
    taken.wait_for(2)
    couriers.start_missing()
    assert threads.started.count("source-1") == 1
    assert couriers.delivers
    couriers.stop(10)
    assert sink.closed


def test_after_a_reload_alerts_are_sent_as_soon_as_there_are_threads(threads, outbox):
    couriers = Couriers(Plan([Sink("web")]), outbox, Taken())
    couriers.start()
    assert couriers.delivers
    new = [Sink("web"), Sink("bus")]
    threads.names = ("sink-bus",)
    couriers.use(Plan(new))
    assert not couriers.delivers
    outbox.put([step(1)])
    wait_until(lambda: new[0].sent == [step(1).key], "the sink that has a thread")
    threads.names = ()
    couriers.start_missing()
    assert couriers.delivers
    wait_until(lambda: new[1].sent == [step(1).key], "the other sink")
    assert threads.started.count("sink-web") == 2, "once a plan"
    couriers.stop(10)
    assert new[0].sent == [step(1).key]


@pytest.mark.parametrize("at_start", [(), ("sink-",)])
def test_what_runs_is_stopped_also_where_no_thread_is_left_to_do_it(threads, outbox, at_start):
    sink = Sink("web")
    couriers = Couriers(Plan([sink]), outbox, Taken())
    threads.names = at_start
    couriers.start()
    threads.names = ("",)
    couriers.stop(10)
    assert sink.closed
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("source-", "sink-"))]
