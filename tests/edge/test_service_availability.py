"""Availability on the status page: the same as by definition, computed once for many pages, beside judging."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shelfgap_edge.monitor.availability import HOUR_S, ObservedHour, share
from shelfgap_edge.service.availability import RecentAvailability, availability_of
from shelfgap_edge.service.cameras import Cameras
from shelfgap_edge.service.clock import Clock
from shelfgap_edge.service.metrics import Metrics
from stand_in_parts import SqliteOutbox, StandInPlan

NOW = 1764079500.0
FIRST = int(NOW // HOUR_S) - 23
SHELF_OF = {"z1": "dairy", "z2": "dairy", "z3": None}


@st.composite
def observed_hours(draw):
    seen = draw(st.sets(st.tuples(st.sampled_from(["c1", "c2"]), st.sampled_from(list(SHELF_OF)), st.integers(-3, 23))))
    store = draw(st.sampled_from([None, "lyon"]))
    seconds = st.integers(0, 3600)
    hours = []
    for camera, zone, number in sorted(seen):
        observed = draw(seconds)
        available = draw(st.integers(0, observed))
        weight = 2.0 if zone == "z2" else 1.0
        at = (FIRST + number) * HOUR_S
        hours.append(ObservedHour(store, SHELF_OF[zone], camera, zone, weight, at, float(available), float(observed)))
    return hours


@settings(deadline=None)
@given(observed_hours())
def test_rows_are_the_shares_by_definition(hours):
    recent = [hour for hour in hours if hour.hour_at >= FIRST * HOUR_S]
    rows = availability_of(hours, NOW)
    groups = {("zone", h.zone, h.camera_id) for h in recent}
    groups |= {("shelf", h.shelf, None) for h in recent if h.shelf}
    groups |= {("store", h.store, None) for h in recent if h.store}
    assert {(row.level, row.name, row.camera_id) for row in rows} == groups
    assert len(rows) == len(groups)
    for row in rows:
        of_row = [
            h
            for h in recent
            if row.level == "store"
            or (row.level == "shelf" and h.shelf == row.name)
            or (row.level == "zone" and (h.camera_id, h.zone) == (row.camera_id, row.name))
        ]
        assert row.share == (None if share(of_row) is None else pytest.approx(share(of_row)))
        for number, hourly in enumerate(row.hourly):
            expected = share(h for h in of_row if h.hour_at == (FIRST + number) * HOUR_S)
            assert hourly == (None if expected is None else pytest.approx(expected))
        assert row.shelf == (SHELF_OF[row.name] if row.level == "zone" else None)


def test_many_pages_cost_no_more_than_one():
    asked, at = [], [0.0]

    def hours():
        asked.append(at[0])
        return [ObservedHour(None, None, "c1", "z1", 1.0, FIRST * HOUR_S, 60.0 * len(asked), 3600.0)]

    recent = RecentAvailability(hours, lambda: at[0])
    first = recent.rows(NOW)
    at[0] = 29.0
    assert recent.rows(NOW) is first
    at[0] = 30.0
    assert recent.rows(NOW)[0].share == pytest.approx(2 * first[0].share)
    assert asked == [0.0, 30.0]


def test_cameras_are_not_kept_waiting_while_hours_are_gathered(tmp_path, a_manifest):
    outbox = SqliteOutbox(tmp_path / "outbox.sqlite")
    cameras = Cameras(outbox, Metrics(), Clock())
    cameras.use(StandInPlan({f"c{number}": None for number in range(1000)}, []), a_manifest())
    done, between = threading.Event(), 0
    gathering = threading.Thread(target=lambda: (cameras.observed_hours(), done.set()))
    gathering.start()
    while not done.is_set():
        cameras.last_frames()  # waits for the same lock as a verdict does
        between += 1
    gathering.join()
    outbox.close()
    assert between > 10
