"""The monitors of all cameras with a real outbox: clocks that differ from the wall's, and cameras that go."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from alert_events import everything
from monitor_readings import LEFT, NOON, ON_LEFT, reading
from shelfgap_edge.alerts.outbox import Outbox
from shelfgap_edge.monitor.camera import CameraMonitor
from shelfgap_edge.monitor.params import MonitorParams
from shelfgap_edge.service.cameras import Cameras
from shelfgap_edge.service.clock import Clock
from shelfgap_edge.service.metrics import Metrics

PARAMS = MonitorParams(open_frames=2, open_minutes=5, escalate_minutes=60)
MONTHS_S = 8_000_000.0


@dataclass
class Plan:
    names: tuple[str, ...] = ("aisle-3",)

    def monitors(self, manifest):
        return {name: CameraMonitor(name, (LEFT,), PARAMS) for name in self.names}

    def reading(self, monitor, seen):
        return seen.frame


class Times:
    """A wall clock and a steady one that a test moves on."""

    def __init__(self, wall):
        self.wall, self.steady = wall, 0.0

    def pass_(self, seconds):
        self.wall, self.steady = self.wall + seconds, self.steady + seconds


@pytest.fixture
def outbox(tmp_path):
    outbox = Outbox(tmp_path / "outbox.sqlite", {"web": everything})
    yield outbox
    outbox.close()


def watching(outbox, times, monkeypatch):
    monkeypatch.setattr("shelfgap_edge.service.cameras.time.monotonic", lambda: times.steady)
    cameras = Cameras(outbox, Metrics(), Clock(lambda: times.wall, lambda: times.steady))
    cameras.use(Plan(), None)
    return cameras


def show_gap(cameras, times, taken_at):
    """Show an empty shelf three times, five minutes apart; `taken_at` is the camera's clock at the first."""
    events = []
    for number in range(3):
        frame = reading(taken_at + 300 * number, gap=[ON_LEFT])
        events += cameras.observe(SimpleNamespace(camera_id="aisle-3", at=frame.at, frame=frame))
        times.pass_(300)
    return events


@pytest.mark.parametrize("ahead_s", [0.0, MONTHS_S], ids=["of now", "of a recording"])
def test_nobody_has_waited_longer_than_time_passed(outbox, monkeypatch, ahead_s):
    times = Times(NOON + ahead_s)
    cameras = watching(outbox, times, monkeypatch)
    (opened,) = show_gap(cameras, times, NOON)
    assert opened.action == "opened"
    cameras.tick()
    assert [event.action for event in outbox.open_alerts()] == ["opened"]
    times.pass_(3600)
    cameras.tick()
    (told,) = outbox.open_alerts()
    assert told.action == "escalated"
    assert NOON + 3600 <= told.at <= NOON + 3600 + 900


def test_a_clock_that_is_set_forward_makes_nobody_late(outbox, monkeypatch):
    times = Times(NOON)
    cameras = watching(outbox, times, monkeypatch)
    show_gap(cameras, times, NOON)
    times.wall += 7200
    cameras.tick()
    assert [event.action for event in outbox.open_alerts()] == ["opened"]
    frame = reading(times.wall, gap=[ON_LEFT])
    assert cameras.observe(SimpleNamespace(camera_id="aisle-3", at=frame.at, frame=frame)) == []


def test_the_alerts_of_a_camera_that_is_taken_out_are_resolved(outbox, monkeypatch):
    times = Times(NOON)
    cameras = watching(outbox, times, monkeypatch)
    (opened,) = show_gap(cameras, times, NOON)
    cameras.use(Plan(("another",)), None)
    assert outbox.open_alerts() == []
    told = outbox.next_due("web", 0.0).event
    assert told.key == opened.key
    outbox.delivered("web", told.key)
    last = outbox.next_due("web", 0.0).event
    assert (last.alert_id, last.action, last.sequence) == (opened.alert_id, "resolved", opened.sequence + 1)
    assert last.at == NOON + 900
    cameras.use(Plan(), None)  # it comes back, and knows of nothing
    (again,) = show_gap(cameras, times, NOON + 86_400)
    assert again.action == "opened"
    assert again.alert_id != opened.alert_id


def test_a_camera_that_is_taken_out_is_forgotten_without_an_open_alert_too(outbox, monkeypatch):
    times = Times(NOON)
    cameras = watching(outbox, times, monkeypatch)
    frame = reading(NOON)
    cameras.observe(SimpleNamespace(camera_id="aisle-3", at=frame.at, frame=frame))
    cameras.save()
    cameras.use(Plan(("another",)), None)
    assert outbox.states()["aisle-3"] == "null"
    watching(outbox, times, monkeypatch)
    assert outbox.open_alerts() == []


@pytest.mark.parametrize("first", ["tick", "frame"])
def test_while_the_device_was_off_nobody_waited_and_no_camera_was_silent(outbox, monkeypatch, first):
    times = Times(NOON)
    cameras = watching(outbox, times, monkeypatch)
    show_gap(cameras, times, NOON)
    for _ in range(2):
        times.pass_(600)
        cameras.tick()
    cameras.save()
    times.pass_(9 * 3600)
    cameras = watching(outbox, times, monkeypatch)
    started = times.wall

    def show():
        frame = reading(times.wall, gap=[ON_LEFT])
        return cameras.observe(SimpleNamespace(camera_id="aisle-3", at=frame.at, frame=frame))

    if first == "frame":
        show()
    told = []
    for second in range(0, 3 * 3600, 10):
        times.pass_(10)
        cameras.tick()
        if second >= 1000 and second % 1200 == 1000:  # a frame each twenty minutes, the first one late
            show()
        told += [(e.kind, e.action, e.key) for e in outbox.open_alerts() if e.key not in {key for *_, key in told}]
        if (told[-1][0], told[-1][1]) == ("gap", "escalated"):
            break
    assert [(kind, action) for kind, action, _ in told] == [("gap", "opened"), ("gap", "escalated")]
    waited = times.wall - started
    assert 1800 <= waited <= 1820, "an hour, less the half in which it was open before"


def test_what_a_camera_remembered_cannot_be_read_and_its_alert_is_resolved(outbox, monkeypatch):
    times = Times(NOON)
    (opened,) = show_gap(watching(outbox, times, monkeypatch), times, NOON)
    outbox.put([], [("aisle-3", '{"version": 1, "clo')])
    cameras = watching(outbox, times, monkeypatch)  # the service starts again
    assert outbox.open_alerts() == [], "nobody could ever resolve or acknowledge it"
    outbox.delivered("web", opened.key)
    last = outbox.next_due("web", 0.0).event
    assert (last.alert_id, last.action, last.sequence) == (opened.alert_id, "resolved", 2)
    (again,) = show_gap(cameras, times, NOON + 3600)
    assert again.action == "opened"
    watching(outbox, times, monkeypatch)
    assert [event.alert_id for event in outbox.open_alerts()] == [again.alert_id]


def test_a_camera_whose_tick_fails_costs_no_other_its_alert(outbox, monkeypatch):
    times = Times(NOON)
    cameras = watching(outbox, times, monkeypatch)
    cameras.use(Plan(("aisle-3", "broken")), None)
    cameras.use(Plan(("aisle-3", "broken", "aisle-4")), None)

    def fail(now):
        raise TypeError

    monkeypatch.setattr(cameras._monitors["broken"], "tick", fail)
    for _ in range(4):
        times.pass_(900)
        cameras.tick()
    told = {(event.camera_id, event.kind) for event in outbox.open_alerts()}
    assert told == {("aisle-3", "camera-silent"), ("aisle-4", "camera-silent")}


def test_the_silence_of_a_camera_counts_from_when_it_was_configured(outbox, monkeypatch):
    times = Times(NOON)
    cameras = watching(outbox, times, monkeypatch)
    times.pass_(86_400)
    cameras.use(Plan(("aisle-3", "new")), None)
    times.pass_(60)
    assert cameras.silence_seconds() == {"aisle-3": 86_460, "new": 60}


def test_what_cameras_remember_is_handed_over_every_ten_seconds_and_with_an_alert(outbox, monkeypatch):
    times = Times(NOON)
    cameras = watching(outbox, times, monkeypatch)
    frame = reading(NOON)
    cameras.observe(SimpleNamespace(camera_id="aisle-3", at=frame.at, frame=frame))
    times.pass_(9)
    cameras.tick()
    assert outbox.states() == {}
    times.pass_(1)
    cameras.tick()
    saved = outbox.states()["aisle-3"]
    (opened,) = show_gap(cameras, times, NOON + 10)
    assert opened.alert_id in outbox.states()["aisle-3"]
    assert opened.alert_id not in saved


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_restart_of_seconds_takes_nothing_off_the_wait_of_a_camera_that_is_silent(outbox, monkeypatch, is_killed):
    times = Times(NOON)
    cameras = watching(outbox, times, monkeypatch)
    (opened,) = show_gap(cameras, times, NOON)
    for _ in range(40 * 6):
        times.pass_(10)
        cameras.tick()
    if not is_killed:
        cameras.save()
    times.pass_(5)
    again = watching(outbox, times, monkeypatch)
    while times.wall < opened.at + 3600 + 180:
        times.pass_(10)
        again.tick()
    gap = next(event for event in outbox.open_alerts() if event.kind == "gap")
    assert gap.action == "escalated"
    assert gap.at == pytest.approx(opened.at + 3600, abs=90)
