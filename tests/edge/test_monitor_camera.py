"""The monitor of a camera, told frame by frame what happens before a shelf."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import time
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from monitor_readings import (
    BLURRED,
    FIVE_MINUTES,
    FLAT,
    FULL,
    GAP,
    LEFT,
    LOW,
    NOON,
    ON_LEFT,
    ON_RIGHT,
    OTHER,
    PARAMS,
    monitor,
    reading,
    watch,
)
from shelfgap_edge.monitor.availability import share, shares_by
from shelfgap_edge.monitor.memory import MonitorStateError
from shelfgap_edge.monitor.quiet import QuietHours
from shelfgap_edge.monitor.reading import FrameReading, glance
from shelfgap_edge.monitor.zones import Zone
from shelfgap_edge.postprocess import Detections

HIDDEN = {"occluder": [(0.0, 0.0, 0.2, 1.0)]}


def test_a_gap_that_stays_is_told_once_and_again_when_it_is_filled():
    told = watch(monitor(), FULL, *[GAP] * 9, *[FULL] * 4)
    assert told == [(3, "opened", "gap", "left"), (11, "resolved", "gap", "left")]


def test_what_is_told_of_a_gap():
    watched = monitor()
    events = [e for n in range(4) for e in watched.observe(reading(NOON + 300 * n, gap=[ON_LEFT, ON_RIGHT]))]
    left, right = events
    assert (left.at, left.since, left.sequence, left.action) == (NOON + 600, NOON, 1, "opened")
    assert (left.camera_id, left.zone, left.shelf, left.store) == ("aisle-3", "left", "upper", "lyon-3")
    assert left.gap_width_norm == pytest.approx(0.1, abs=1e-3)
    assert right.shelf == "lower"
    assert (left.priority, right.priority) == (3, 2)  # as wide, but of twice the weight
    assert left.alert_id != right.alert_id
    assert len(left.alert_id) == 32
    assert int(left.alert_id, 16) >= 0


def test_a_gap_of_a_moment_is_not_told():
    assert watch(monitor(), FULL, GAP, GAP, FULL, FULL, FULL, GAP, GAP, FULL, FULL) == []


def test_a_frame_in_which_the_gap_was_missed_costs_little():
    told = watch(monitor(), FULL, GAP, GAP, FULL, GAP, GAP)
    assert told == [(5, "opened", "gap", "left")]


def test_low_stock_comes_before_the_gap_and_becomes_it():
    told = watch(monitor(), FULL, LOW, LOW, LOW, GAP, GAP, GAP, GAP, FULL, FULL, FULL)
    assert told == [
        (2, "opened", "low", "left"),
        (6, "escalated", "gap", "left"),
        (9, "resolved", "gap", "left"),
    ]


def test_a_gap_that_was_filled_a_little_is_not_told_as_low():
    told = watch(monitor(), FULL, *[GAP] * 4, *[LOW] * 12, *[FULL] * 3, *[LOW] * 3)
    assert told[:2] == [(3, "opened", "gap", "left"), (8, "resolved", "gap", "left")]
    assert told[2:] == [(21, "opened", "low", "left")]  # only after it was full


def test_a_burst_of_frames_is_one_moment():
    assert watch(monitor(), *[GAP] * 50, every=1.0) == []
    assert watch(monitor(), FULL, *[GAP] * 700, every=1.0) == [(600, "opened", "gap", "left")]


def test_frames_that_come_rarely_are_counted_one_by_one():
    assert watch(monitor(), GAP, GAP, GAP, GAP, every=7200.0) == [(2, "opened", "gap", "left")]


def test_a_hidden_zone_is_held_back_and_the_other_is_not():
    frames = [{"gap": [ON_LEFT, ON_RIGHT], **HIDDEN}] * 4
    assert watch(monitor(), FULL, *frames) == [(3, "opened", "gap", "right")]


def test_a_shopper_in_front_resolves_nothing():
    assert watch(monitor(), *[GAP] * 4, *[HIDDEN] * 8, *[GAP] * 3) == [(2, "opened", "gap", "left")]


def test_without_the_hold_a_shopper_in_front_resolves_the_gap():
    told = watch(monitor(replace(PARAMS, max_occluded_share=1.0)), *[GAP] * 4, *[HIDDEN] * 4, *[GAP] * 3)
    assert [step[1] for step in told] == ["opened", "resolved", "reopened"]


def test_a_frame_that_counts_for_no_zone_is_said_to_be_held_back():
    watched = monitor()
    seen = []
    for number, frame in enumerate(({}, {}, {}, {"glance": OTHER}, {"glance": FLAT}, {}, {"occluder": [ON_LEFT]})):
        watched.observe(reading(NOON + 300 * number, **frame))
        seen.append(watched.is_held_back)
    assert seen == [False, False, False, True, True, False, False], "the right zone is still seen"
    watched.observe(reading(NOON + 3000, occluder=[(0.0, 0.0, 0.8, 1.0)]))
    assert watched.is_held_back


def test_a_trolley_that_never_leaves_does_not_silence_its_zone():
    seen = {"gap": [ON_LEFT], **HIDDEN}
    told = watch(monitor(), FULL, *[seen] * 20)
    assert told == [(1 + 60 // 5 + 2, "opened", "gap", "left")]
    assert watch(monitor(), *[GAP] * 4, *[HIDDEN] * 40) == [(2, "opened", "gap", "left")]  # unseen is not filled


def test_a_sudden_change_of_the_whole_view_is_held_back():
    shopper_unseen = {"gap": [ON_RIGHT], "glance": OTHER}
    told = watch(monitor(), *[GAP] * 5, *[shopper_unseen] * 2, *[GAP] * 3)
    assert told == [(2, "opened", "gap", "left")]
    counted = watch(monitor(replace(PARAMS, min_likeness=-1.0)), *[GAP] * 5, *[shopper_unseen] * 3)
    assert (7, "opened", "gap", "right") in counted


@pytest.mark.parametrize(
    ("seen", "kind"), [(OTHER, "camera-moved"), (FLAT, "camera-blinded"), (BLURRED, "camera-blinded")]
)
def test_a_camera_that_sees_something_else_is_told(seen, kind):
    told = watch(monitor(), *[FULL] * 4, *[{"glance": seen}] * 5, *[FULL] * 4)
    assert told == [(6, "opened", kind, None), (11, "resolved", kind, None)]


def test_an_alert_outlives_a_blinded_camera():
    told = watch(monitor(), *[GAP] * 4, *[{"glance": FLAT}] * 30, *[GAP] * 4)
    assert [step[1:3] for step in told] == [
        ("opened", "gap"),
        ("opened", "camera-blinded"),
        ("resolved", "camera-blinded"),
    ]


def test_to_acknowledge_a_moved_camera_accepts_its_view():
    watched = monitor()
    watch(watched, *[FULL] * 4, *[{"glance": OTHER}] * 4)
    (alert,) = watched.open_alerts()
    steps = watched.acknowledge(alert.alert_id, NOON + 3000)
    assert [(step.action, step.sequence) for step in steps] == [("acknowledged", 2), ("resolved", 3)]
    assert watch(watched, *[{"glance": OTHER, "gap": [ON_LEFT]}] * 4, start=NOON + 3000) == [
        (2, "opened", "gap", "left")
    ]


def test_an_acknowledged_alert_is_not_escalated_by_time_and_an_open_one_is_once():
    params = replace(PARAMS, escalate_minutes=30)
    steps = watch(monitor(params), *[GAP] * 40)
    assert steps == [(2, "opened", "gap", "left"), (8, "escalated", "gap", "left")]
    watched = monitor(params)
    watch(watched, *[GAP] * 4)
    (alert,) = watched.open_alerts()
    (step,) = watched.acknowledge(alert.alert_id, NOON + 1000)
    assert (step.action, step.sequence) == ("acknowledged", 2)
    assert watched.acknowledge(alert.alert_id, NOON + 1001) == []
    assert watched.acknowledge("0" * 32, NOON + 1001) == []
    assert watch(watched, *[GAP] * 40, start=NOON + 1200) == []


def test_an_alert_is_escalated_by_ticks_while_no_frame_comes():
    watched = monitor(replace(PARAMS, escalate_minutes=30))
    watch(watched, *[GAP] * 4)
    steps = [event for minute in range(15, 60) for event in watched.tick(NOON + 60 * minute)]
    assert [(step.action, step.at) for step in steps if step.kind == "gap"] == [("escalated", NOON + 2400)]


def test_a_gap_that_grows_is_raised():
    zone = Zone.from_box("wide", (0.0, 0.0, 1.0, 1.0))
    narrow, wide = {"gap": [(0.1, 0.2, 0.15, 0.8)]}, {"gap": [(0.1, 0.2, 0.6, 0.8)]}
    watched = monitor(zones=[zone])
    first = [e for n in range(4) for e in watched.observe(reading(NOON + 300 * n, **narrow))]
    later = [e for n in range(4, 12) for e in watched.observe(reading(NOON + 300 * n, **wide))]
    assert [(e.action, e.priority) for e in first] == [("opened", 4)]
    assert [e.action for e in later] == ["escalated"]
    assert later[-1].priority == 1


def test_a_gap_that_grows_after_somebody_came_waits_anew():
    zone = Zone.from_box("wide", (0.0, 0.0, 1.0, 1.0))
    narrow, wide = {"gap": [(0.1, 0.2, 0.15, 0.8)]}, {"gap": [(0.1, 0.2, 0.2, 0.8)]}
    watched = monitor(replace(PARAMS, escalate_minutes=30), zones=[zone])
    watch(watched, *[narrow] * 4)
    (alert,) = watched.open_alerts()
    watched.acknowledge(alert.alert_id, NOON + 1000)
    watch(watched, *[narrow] * 20, start=NOON + 1200)
    grown = NOON + 1200 + 20 * 300
    told = [event for n in range(12) for event in watched.observe(reading(grown + 300 * n, **wide))]
    assert [(event.action, event.priority) for event in told] == [("escalated", 3), ("escalated", 2)]
    assert told[1].at - told[0].at >= 1800


def test_the_same_gap_that_returns_soon_is_the_same_alert_again():
    watched = monitor()
    assert [s[1] for s in watch(watched, *[GAP] * 4, *[FULL] * 3, *[GAP] * 4)] == ["opened", "resolved", "reopened"]
    (reopened,) = watched.open_alerts()
    assert (reopened.number, reopened.sequence) == (1, 3)
    watched = monitor()
    assert [s[1] for s in watch(watched, *[GAP] * 4, *[FULL] * 20, *[GAP] * 4)] == ["opened", "resolved", "opened"]
    assert watched.open_alerts()[0].number == 2


def quiet_until_one():
    return replace(PARAMS, quiet_hours=QuietHours(time(11), time(14), ZoneInfo("Europe/Paris")))  # to 13:00 UTC


def test_what_is_found_in_quiet_hours_is_told_when_they_end_if_it_is_still_true():
    told = watch(monitor(quiet_until_one()), *[GAP] * 15)
    assert told == [(12, "opened", "gap", "left")]
    assert watch(monitor(quiet_until_one()), *[GAP] * 8, *[FULL] * 8) == []


def test_quiet_hours_end_without_a_frame_too():
    watched = monitor(quiet_until_one())
    assert watch(watched, *[GAP] * 11) == []
    assert watched.tick(NOON + 3540) == []
    (step,) = watched.tick(NOON + 3600)
    assert (step.action, step.since, step.at) == ("opened", NOON, NOON + 3600)


def test_an_alert_from_before_is_resolved_in_quiet_hours_and_not_escalated():
    params = replace(quiet_until_one(), escalate_minutes=20)
    told = watch(monitor(params), *[GAP] * 7, *[GAP] * 4, *[FULL] * 3, start=NOON - 7200 - 1500)
    assert told == [(2, "opened", "gap", "left"), (12, "resolved", "gap", "left")]


def test_an_alert_that_a_tick_opened_while_the_camera_rested_waits_from_then_on():
    watched = monitor(replace(quiet_until_one(), escalate_minutes=60))
    watch(watched, *[GAP] * 4)
    told = [event for minute in range(15, 90) for event in watched.tick(NOON + 60 * minute)]
    told += [e for n in range(40) for e in watched.observe(reading(NOON + 5400 + 300 * n, gap=[ON_LEFT]))]
    assert [(e.action, e.at) for e in told if e.kind == "gap"] == [
        ("opened", NOON + 3600),
        ("escalated", NOON + 7500),
    ]


def test_availability_counts_a_gap_from_its_first_frame():
    watched = monitor()
    watch(watched, *[FULL] * 6, *[GAP] * 6, FULL, FULL, FULL)
    hours = watched.availability()
    left = share(hour for hour in hours if hour.zone == "left")
    assert left == pytest.approx(1 - 6 / 14)  # 12:30 to 13:00, of 12:00 to 13:10
    assert share(hour for hour in hours if hour.zone == "right") == 1.0
    assert shares_by(hours, lambda hour: hour.shelf) == {"upper": pytest.approx(1 - 6 / 14), "lower": 1.0}
    assert share(hours) == pytest.approx((8 + 2 * 14) / (3 * 14))  # the right zone counts twice
    over_time = shares_by((h for h in hours if h.zone == "left"), lambda hour: hour.hour_at - NOON)
    assert over_time == {0.0: pytest.approx(0.5), 3600.0: 1.0}
    assert watched.availability(since=NOON + 3600) == [hour for hour in hours if hour.hour_at >= NOON + 3600]
    assert share([]) is None


def test_a_time_without_frames_is_not_available_and_not_empty():
    watched = monitor()
    watch(watched, *[FULL] * 4)
    watch(watched, *[FULL] * 4, start=NOON + 5 * 3600)
    assert sum(hour.observed_s for hour in watched.availability() if hour.zone == "left") == 6 * FIVE_MINUTES


def test_a_zone_that_was_taken_out_has_its_alert_resolved():
    before = monitor()
    watch(before, *[{"gap": [ON_LEFT, ON_RIGHT]}] * 4)
    after = monitor(zones=[LEFT])
    after.restore(json.loads(json.dumps(before.state())))
    told = watch(after, *[GAP] * 3, start=NOON + 1200)
    assert told == [(0, "resolved", "gap", "right")]


def test_zones_that_are_drawn_anew_make_no_camera_seem_moved():
    pixels = np.random.default_rng(1).integers(0, 255, (6, 6, 3), np.uint8).repeat(20, 0).repeat(20, 1)
    upper = [Zone.from_box(f"zone-{n}", (n / 6, 0.0, (n + 1) / 6, 0.5)) for n in range(6)]
    lower = [Zone.from_box(f"zone-{n}", (n / 6, 0.5, (n + 1) / 6, 1.0)) for n in range(6)]
    before, same, redrawn = monitor(zones=upper), monitor(zones=upper), monitor(zones=lower)
    watch(before, *[{"glance": glance(pixels, upper)}] * 4)
    for after in (same, redrawn):
        after.restore(json.loads(json.dumps(before.state())))
    assert watch(redrawn, *[{"glance": glance(pixels, lower)}] * 6, start=NOON + 1200) == []
    assert not redrawn.is_held_back
    watch(same, {"glance": glance(pixels, lower)}, start=NOON + 1200)
    assert same.is_held_back, "the usual view is remembered"
    older = before.state()
    del older["areas"]
    same.restore(older)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, r"has version None, expected 1"),
        ({"version": 2}, r"has version 2, expected 1"),
        ({"version": 1}, r"damaged \(KeyError"),
        ([], r"has version None"),
    ],
)
def test_a_state_that_is_none_is_refused_and_changes_nothing(state, message):
    watched = monitor()
    before = watched.state()
    with pytest.raises(MonitorStateError, match=message):
        watched.restore(state)
    assert watched.state() == before


def test_a_glance_is_the_few_numbers_of_a_frame():
    pixels = np.zeros((120, 160, 3), np.uint8)
    pixels[:, 80:] = (100, 200, 40)
    seen = glance(pixels, ())
    assert seen.whole.luma == pytest.approx(135 / 2)
    assert len(seen.areas) == 12
    assert [area.luma for area in seen.areas[:4]] == [0, 0, 135, 135]
    assert seen.areas[0].spread == seen.areas[0].sharpness == 0
    zones = [Zone.from_box(str(n), (n / 8, 0.0, (n + 1) / 8, 1.0)) for n in range(8)]
    assert [area.luma for area in glance(pixels, zones).areas] == [0] * 4 + [135] * 4
    assert len(glance(pixels[:1, :1], zones).areas) == 8  # one pixel


def test_a_reading_knows_the_classes_of_its_bundle():
    found = Detections(np.array([[0, 0, 100, 100]], np.float32), np.ones(1, np.float32), np.array([1]))
    seen = FrameReading("c", NOON, found, (200, 400), glance(np.zeros((4, 4, 3), np.uint8), ()), ("gap", "occluder"))
    assert seen.boxes_norm() == {"gap": [], "low": [], "occluder": [(0.0, 0.0, 0.25, 0.5)]}
