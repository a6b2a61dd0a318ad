"""Zones and quiet hours: what edge.toml may say, areas against a raster, and the two nights when clocks change."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shelfgap_edge.monitor.params import MonitorParams
from shelfgap_edge.monitor.zones import Zone, zones_from_tables
from shelfgap_edge.toml_table import ConfigError, Table

FRACTION = st.integers(0, 40).map(lambda n: n / 40)
BOX = st.tuples(FRACTION, FRACTION, FRACTION, FRACTION).map(
    lambda v: (min(v[0], v[2]), min(v[1], v[3]), max(v[0], v[2]), max(v[1], v[3]))
)
L_SHAPE = Zone("l", ((0.1, 0.1), (0.9, 0.1), (0.9, 0.4), (0.5, 0.4), (0.5, 0.9), (0.1, 0.9)))


def table(text):
    return Table(tomllib.loads(text), "edge.toml: zone")


def in_l_shape(x, y):
    upper = (x > 0.1) & (x < 0.9) & (y > 0.1) & (y < 0.4)
    lower = (x > 0.1) & (x < 0.5) & (y > 0.1) & (y < 0.9)
    return upper | lower


@settings(deadline=None)
@given(BOX)
def test_the_area_shared_with_a_polygon_is_that_of_a_raster(box):
    centres = (np.arange(400) + 0.5) / 400
    x, y = np.meshgrid(centres, centres)
    inside = in_l_shape(x, y) & (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])
    assert L_SHAPE.shared_area(box) == pytest.approx(float(inside.mean()), abs=1e-9)


def test_a_box_is_about_a_zone_that_it_covers_or_that_it_lies_in():
    zone = Zone.from_box("z", (0.2, 0.2, 0.3, 0.8))
    assert zone.holds((0.22, 0.3, 0.28, 0.5), 0.5)  # lies in it
    assert zone.holds((0.0, 0.0, 1.0, 1.0), 0.5)  # a gap of many facings
    assert not zone.holds((0.28, 0.3, 0.6, 0.5), 0.5)  # the neighbour's, which reaches over a little
    assert not zone.holds((0.3, 0.2, 0.4, 0.8), 0.01)  # only touches


def test_a_zone_is_read_from_its_table():
    zone = Zone.from_table(
        table('name = "milk"\nshelf = "cold"\nweight = 2\npolygon = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]')
    )
    assert zone == Zone("milk", ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)), "cold", 2.0)
    assert zone.area == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        ("[[0, 0], [1, 1]]", r"zone: polygon: expected 3 to 64 corners, got '2'"),
        ("[[0, 0], [1, 0], [1, 1.2]]", r"each number from 0 to 1, got \[1, 1.2\]"),
        ("[[0, 0], [1, 0], [1]]", r"corners \[x, y\]"),
        ('[[0, 0], [1, 0], [1, "1"]]', r"corners \[x, y\]"),
        ("[[0, 0], [1, 0], [1, nan]]", r"corners \[x, y\]"),
        ("[[0, 0], [1, 0], [1, true]]", r"corners \[x, y\]"),
        (f"[[0, 0], [1, 0], [1, {10**400}]]", r"corners \[x, y\]"),
        ("[[0, 0], [0.5, 0.5], [1, 1]]", r"around an area"),
        ("[[0, 0], [1, 1], [1, 0], [0, 1.0], [0.5, 1]]", r"no edge crossing another"),
        ("[1, 2, 3]", r"polygon: expected a list of list"),
    ],
)
def test_corners_that_make_no_zone_are_refused(polygon, message):
    with pytest.raises(ConfigError, match=message):
        Zone.from_table(table(f'name = "milk"\npolygon = {polygon}'))


def test_two_zones_of_one_name_are_refused():
    tables = [table('name = "milk"\npolygon = [[0, 0], [1, 0], [1, 1]]') for _ in range(2)]
    with pytest.raises(ConfigError, match=r"another name for each zone of a camera, got 'milk' twice"):
        zones_from_tables(tables)


def quiet(start, end, zone="Europe/Paris"):
    text = f'[quiet_hours]\nfrom = "{start}"\nto = "{end}"\ntime_zone = "{zone}"'
    return MonitorParams.from_table(table(text)).quiet_hours


def at(zone, *moment, fold=0):
    return datetime(*moment, tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("hour", "expected"), [(20, False), (21, True), (23, True), (3, True), (6, False), (12, False)]
)
def test_quiet_hours_reach_past_midnight(hour, expected):
    assert quiet("21:00", "06:00").covers(at("Europe/Paris", 2026, 6, 1, hour)) == expected


@pytest.mark.parametrize(("hour", "expected"), [(12, False), (13, True), (14, True), (15, False)])
def test_quiet_hours_within_a_day(hour, expected):
    assert quiet("13:00", "15:00").covers(at("Europe/Paris", 2026, 6, 1, hour)) == expected
    assert not quiet("13:00", "13:00").covers(at("Europe/Paris", 2026, 6, 1, 13))


def test_the_nights_when_clocks_change_have_an_hour_less_and_one_more():
    def quiet_minutes(first):
        hours = quiet("22:00", "06:00")
        return sum(hours.covers(first + 60 * minute) for minute in range(24 * 60))

    assert quiet_minutes(at("Europe/Paris", 2026, 3, 28, 12)) == 7 * 60
    assert quiet_minutes(at("Europe/Paris", 2026, 10, 24, 12)) == 9 * 60
    # 02:30 comes twice in October, and is told apart by nobody: both are before 03:00
    twice = [at("Europe/Paris", 2026, 10, 25, 2, 30, fold=fold) for fold in (0, 1)]
    assert twice[1] - twice[0] == 3600
    assert all(quiet("02:00", "03:00").covers(moment) for moment in twice)
    # and never in March
    spring = [quiet("02:00", "03:00").covers(at("Europe/Paris", 2026, 3, 28, 12) + 60 * m) for m in range(24 * 60)]
    assert not any(spring)


def test_another_time_zone_is_quiet_at_another_moment():
    moment = datetime(2026, 6, 1, 20, tzinfo=UTC).timestamp()
    assert quiet("21:00", "23:00", "Europe/Paris").covers(moment)
    assert not quiet("21:00", "23:00", "America/Montreal").covers(moment)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[quiet_hours]\nfrom = "21:00"\nto = "06:00"', r"quiet_hours: time_zone: expected a value beside"),
        (
            '[quiet_hours]\nfrom = "9 pm"\nto = "06:00"\ntime_zone = "UTC"',
            r'from: expected a time of day such as "21:30"',
        ),
        (
            '[quiet_hours]\nfrom = "21:00"\nto = "06:00"\ntime_zone = "Mars/Base"',
            r"time_zone: expected a name of the IANA",
        ),
        ('[quiet_hours]\nfrom = "21:00"\nto = "06:00"\ntime_zone = "../../etc/passwd"', r"time_zone: expected a name"),
        ("open_frames = 0", r"open_frames: expected an integer from 1 to 100, got 0"),
        ("open_frames = 2.5", r"open_frames: expected an integer"),
        ("open_minutes = -1", r"open_minutes: expected a number from 0 to 1440"),
        ("open_hours = 1", r"unknown open_hours; known here: accept|unknown open_hours"),
    ],
)
def test_what_the_table_of_the_monitor_may_not_say(text, message):
    with pytest.raises(ConfigError, match=message):
        MonitorParams.from_table(table(text))


def test_a_table_changes_what_it_names_and_keeps_the_rest_of_the_bundle():
    bundle = MonitorParams.from_bundle({"open_frames": 7, "of_a_later_version": 1})
    assert bundle == MonitorParams(open_frames=7)
    assert MonitorParams.from_table(table("open_minutes = 3"), bundle) == MonitorParams(open_frames=7, open_minutes=3.0)
    assert MonitorParams.from_bundle(None) == MonitorParams()
    assert MonitorParams.from_bundle(bundle.to_bundle()) == bundle
    with pytest.raises(ConfigError, match=r"monitor: open_frames: expected an integer"):
        MonitorParams.from_bundle({"open_frames": "7"})
