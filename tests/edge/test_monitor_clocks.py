"""Clocks that jump, cameras that fall silent: the monitor of a camera when time does not pass as it should."""

from __future__ import annotations

from dataclasses import replace

import pytest
from monitor_readings import FULL, GAP, NOON, ON_LEFT, PARAMS, monitor, reading, watch


def test_a_silent_camera_is_told_until_it_speaks():
    watched = monitor()
    events = []
    for minute in range(0, 60):
        events += watched.tick(NOON + 60 * minute)
    assert [(e.action, e.kind, e.since, e.at) for e in events] == [("opened", "camera-silent", NOON, NOON + 1800)]
    (step,) = watched.observe(reading(NOON + 3600))
    assert (step.action, step.alert_id) == ("resolved", events[0].alert_id)


def test_a_jump_of_the_clock_makes_no_camera_silent():
    watched = monitor()
    watched.observe(reading(NOON))
    assert watched.tick(NOON + 60) == []
    assert watched.tick(NOON + 365 * 86_400) == []
    watched.observe(reading(NOON + 300))
    assert watched.tick(NOON) == []


@pytest.mark.parametrize("out_minutes", [35, 45, 55, 70])
def test_a_camera_that_drops_out_holds_no_escalation_back(out_minutes):
    watched = monitor(replace(PARAMS, escalate_minutes=60))
    told = []
    for minute in range(120):
        if minute % 5 == 0 and not 20 < minute < 20 + out_minutes:
            told += watched.observe(reading(NOON + 60 * minute, gap=[ON_LEFT]))
        told += watched.tick(NOON + 60 * minute)
    steps = [(event.action, (event.at - NOON) / 60) for event in told if event.kind == "gap"]
    assert steps == [("opened", 10), ("escalated", pytest.approx(70, abs=1))]


@pytest.mark.parametrize("every_minutes", [5, 10, 12, 15])
def test_a_camera_whose_clock_is_set_back_is_not_silent_while_it_sends(every_minutes):
    watched, told = monitor(), []
    for minute in range(180):
        now = NOON + 60 * minute - (3600 if minute >= 60 else 0)
        if minute % every_minutes == 0:
            told += watched.observe(reading(now))
        told += watched.tick(now)
    assert told == []


def test_a_frame_that_comes_again_and_again_is_no_sign_of_life():
    watched, told = monitor(), []
    for minute in range(60):
        told += watched.observe(reading(NOON)) + watched.tick(NOON + 60 * minute)
    assert [(event.action, event.kind) for event in told] == [("opened", "camera-silent")]


@pytest.mark.parametrize("jump", [86_400.0 * 400, -86_400.0 * 400, 3600.0, -3600.0])
def test_a_camera_whose_clock_jumps_and_comes_back_goes_on(jump):
    watched = monitor()
    told = watch(watched, *[GAP] * 6)
    told += watch(watched, *[GAP] * 6, start=NOON + jump)
    told += watch(watched, *[GAP] * 6, start=NOON + 1800)
    assert told == [(2, "opened", "gap", "left")]
    told = watch(watched, *[FULL] * 8, start=NOON + 3600)
    assert [step[1] for step in told] == ["resolved"]
    hours = watched.availability()
    assert all(0 <= hour.available_s <= hour.observed_s <= 3600 for hour in hours)


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_time_that_is_none_changes_nothing(at):
    watched = monitor()
    watch(watched, *[GAP] * 2)
    before = watched.state()
    assert watched.observe(reading(at, gap=[ON_LEFT])) == []
    assert watched.tick(at) == []
    assert watched.observe(reading(NOON + 900, gap=[ON_LEFT], camera="another")) == []
    assert watched.state() == before
