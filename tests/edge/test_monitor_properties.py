"""What holds for any stream of frames, ticks and acknowledgements, however its clock behaves."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import time
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from monitor_readings import FLAT, LEFT, NOON, ON_LEFT, ON_RIGHT, OTHER, RIGHT, USUAL, reading
from shelfgap_edge.alerts.event import ACTIONS, KINDS
from shelfgap_edge.monitor.camera import CameraMonitor
from shelfgap_edge.monitor.params import MonitorParams
from shelfgap_edge.monitor.quiet import QuietHours

LOOSE = MonitorParams(
    open_frames=2, open_minutes=3, low_frames=2, low_minutes=2, close_frames=1, close_minutes=1, camera_frames=2,
    camera_minutes=3, silent_minutes=8, reopen_minutes=20, escalate_minutes=15, max_hold_minutes=15,
)  # fmt: skip
NEXT = {  # which steps may follow a step
    None: {"opened"},
    "opened": {"escalated", "acknowledged", "resolved"},
    "escalated": {"escalated", "acknowledged", "resolved"},
    "acknowledged": {"escalated", "resolved"},
    "resolved": {"reopened"},
    "reopened": {"escalated", "acknowledged", "resolved"},
}

BOXES = st.lists(st.sampled_from([ON_LEFT, ON_RIGHT, (0.0, 0.1, 0.9, 0.9), (0.3, 0.3, 0.4, 0.6)]), max_size=2)
FRAME = st.fixed_dictionaries(
    {
        "gap": BOXES,
        "low": BOXES,
        "occluder": st.one_of(st.just([]), BOXES),
        "glance": st.sampled_from([USUAL, USUAL, USUAL, USUAL, OTHER, FLAT]),
    }
)
STEP_S = st.one_of(st.integers(1, 900), st.sampled_from([300, 300, 300, -600, -5, 0, 86_400, -86_400, 4_000_000]))
HAPPENING = st.one_of(
    st.tuples(st.just("frame"), STEP_S, FRAME),
    st.tuples(st.just("same"), st.integers(2, 6), FRAME),  # so many frames alike: what makes alerts
    st.tuples(st.just("tick"), STEP_S, st.none()),
    st.tuples(st.just("acknowledge"), st.integers(0, 3), st.none()),
)
STREAM = st.lists(HAPPENING, max_size=30)
PARAMS = st.builds(
    lambda quiet, learn: replace(LOOSE, quiet_hours=quiet, learn_facings=learn),
    st.sampled_from([None, QuietHours(time(13), time(14, 30), ZoneInfo("Europe/Paris"))]),
    st.booleans(),
)
ZONES = st.sampled_from([(), (LEFT, RIGHT)])


def calls(stream):
    """Return a stream as calls: name of the method, its argument."""
    at, made = NOON, []
    for what, amount, frame in stream:
        if what == "acknowledge":
            made.append((what, (amount, at)))
            continue
        for _ in range(amount if what == "same" else 1):
            at = max(0.0, at + (300 if what == "same" else amount))
            made.append(("tick", at) if what == "tick" else ("observe", reading(at, **frame)))
    return made


def play(monitor, made):
    """Return what each call told."""
    told = []
    for what, argument in made:
        if what == "acknowledge":
            which, at = argument
            alerts = monitor.open_alerts()
            told.append(monitor.acknowledge(alerts[which % len(alerts)].alert_id, at) if alerts else [])
        else:
            told.append(getattr(monitor, what)(argument))
    return told


def fresh(zones, params):
    return CameraMonitor("aisle-3", zones, params, shelf="lower", store="lyon-3")


def accept_view(monitor):
    """A moved camera waits for somebody who accepts its view."""
    for alert in monitor.open_alerts():
        if alert.kind == "camera-moved":
            monitor.acknowledge(alert.alert_id, NOON)


@settings(max_examples=100, deadline=None)
@given(STREAM, ZONES, PARAMS)
def test_every_alert_lives_a_legal_life_and_none_is_open_twice(stream, zones, params):
    last, sequence, place, is_open = {}, {}, {}, {}
    for events in play(fresh(zones, params), calls(stream)):
        for event in events:
            before = last.get(event.alert_id)
            assert event.action in NEXT[before], (before, event)
            assert event.sequence == sequence.get(event.alert_id, 0) + 1
            assert event.kind in KINDS
            assert event.action in ACTIONS
            assert 1 <= event.priority <= 5
            assert (event.zone is None) == event.kind.startswith("camera")
            assert event.gap_width_norm is None or 0 <= event.gap_width_norm <= 1
            assert place.setdefault(event.alert_id, event.zone) == event.zone
            last[event.alert_id], sequence[event.alert_id] = event.action, event.sequence
            is_open[event.alert_id] = (event.zone, event.kind) if event.action != "resolved" else None
            opened = [slot for slot in is_open.values() if slot is not None]
            assert len(opened) == len(set(opened))
            zones_told = [zone for zone, _ in opened if zone is not None]
            assert len(zones_told) == len(set(zones_told))  # low and gap are one alert


@settings(max_examples=60, deadline=None)
@given(STREAM, ZONES, PARAMS, st.data())
def test_a_stream_that_is_cut_and_restored_tells_the_same(stream, zones, params, data):
    made = calls(stream)
    cut = data.draw(st.integers(0, len(made)))
    whole = fresh(zones, params)
    expected = play(whole, made)
    first, second = fresh(zones, params), fresh(zones, params)
    told = play(first, made[:cut])
    second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    assert told + play(second, made[cut:]) == expected
    assert second.state() == whole.state()
    assert second.availability() == whole.availability()


@settings(max_examples=60, deadline=None)
@given(STREAM, ZONES, PARAMS)
def test_a_frame_that_comes_twice_changes_nothing(stream, zones, params):
    monitor = fresh(zones, params)
    for what, argument in calls(stream):
        play(monitor, [(what, argument)])
        if what == "observe":
            before = json.dumps(monitor.state())
            assert monitor.observe(argument) == []
            assert json.dumps(monitor.state()) == before


@settings(max_examples=60, deadline=None)
@given(STREAM, ZONES, PARAMS)
def test_observed_hours_are_no_longer_than_hours_and_numbers_stay_few(stream, zones, params):
    monitor = fresh(zones, params)
    play(monitor, calls(stream))
    for hour in monitor.availability():
        assert 0 <= hour.available_s <= hour.observed_s <= 3600 + 1e-6
    assert len(json.dumps(monitor.state())) < 80_000


@settings(max_examples=60, deadline=None)
@given(STREAM, ZONES)
def test_nothing_new_is_told_in_quiet_hours(stream, zones):
    quiet = QuietHours(time(0), time(23, 59), ZoneInfo("Europe/Paris"))
    monitor = fresh(zones, replace(LOOSE, quiet_hours=quiet))
    for events in play(monitor, calls(stream)):
        for event in events:
            assert event.action in ("resolved", "acknowledged") or not quiet.covers(event.at)


@settings(max_examples=30, deadline=None)
@given(STREAM, ZONES, PARAMS)
def test_after_any_stream_a_gap_that_stays_is_told_and_a_full_shelf_resolves_it(stream, zones, params):
    """Whatever happened, clocks set wrong and cameras turned away: nothing silences a zone for good."""
    params = replace(params, quiet_hours=None)
    monitor = fresh(zones, params)
    made = calls(stream)
    play(monitor, made)
    accept_view(monitor)
    start = max([NOON, *(m.at for w, m in made if w == "observe")]) + 100_000.0
    for number in range(40):
        monitor.observe(reading(start + 300 * number, gap=[ON_LEFT]))
    assert "gap" in [alert.kind for alert in monitor.open_alerts()]
    accept_view(monitor)
    for number in range(40, 60):
        monitor.observe(reading(start + 300 * number))
    assert [alert.kind for alert in monitor.open_alerts() if alert.zone is not None] == []
