"""How sure a box must be: what is less sure speaks neither for a gap nor against it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from monitor_readings import FULL, GAP, LOW, NOON, ON_LEFT, PARAMS, monitor, watch
from shelfgap_edge.monitor.params import MonitorParams
from shelfgap_edge.toml_table import ConfigError, Table

SURE = replace(PARAMS, min_gap_score=0.5, min_low_score=0.6)
UNSURE_GAP, UNSURE_LOW = GAP | {"score": 0.45}, LOW | {"score": 0.55}
OPENED = ("opened", "gap", "left")


def test_a_gap_that_is_not_sure_is_no_alert():
    assert watch(monitor(SURE), *[UNSURE_GAP] * 20) == []
    assert watch(monitor(SURE), *[GAP | {"score": 0.5}] * 3) == [(2, *OPENED)]
    assert watch(monitor(PARAMS), *[UNSURE_GAP] * 3) == [(2, *OPENED)]


def test_unsure_frames_take_nothing_away_where_full_ones_do():
    assert watch(monitor(SURE), GAP, GAP, *[UNSURE_GAP] * 4, GAP) == [(6, *OPENED)]
    assert watch(monitor(SURE), GAP, GAP, *[FULL] * 4, GAP) == []


def test_an_alert_stays_open_until_nothing_at_all_is_found():
    stays = monitor(SURE)
    assert watch(stays, *[GAP] * 3, *[UNSURE_GAP] * 20) == [(2, *OPENED)]
    assert watch(stays, *[FULL] * 2, start=NOON + 23 * 300) == [(1, "resolved", "gap", "left")]


def test_low_stock_has_a_score_of_its_own():
    assert watch(monitor(SURE), *[UNSURE_LOW] * 10) == []
    assert watch(monitor(SURE), *[LOW | {"score": 0.6}] * 2) == [(1, "opened", "low", "left")]
    never = replace(PARAMS, min_low_score=1.0)
    assert watch(monitor(never), *[LOW] * 10, *[GAP] * 3) == [(12, *OPENED)]


def test_sure_low_stock_beside_an_unsure_gap_is_low():
    both = replace(PARAMS, min_gap_score=0.7)
    assert watch(monitor(both), *[{"gap": [ON_LEFT], "low": [ON_LEFT], "score": 0.65}] * 2) == [
        (1, "opened", "low", "left")
    ]


def test_what_is_not_sure_is_no_facing_to_learn():
    learns = monitor(SURE, zones=())
    watch(learns, *[UNSURE_GAP] * 5)
    assert learns.zones == ()
    assert watch(learns, *[GAP] * 3, start=NOON + 1500)[-1][1:] == ("opened", "gap", "facing-1")


def test_time_in_which_nothing_is_sure_counts_as_before():
    watched = monitor(SURE)
    watch(watched, *[FULL] * 3, *[UNSURE_GAP] * 9)
    hours = [hour for hour in watched.availability() if hour.zone == "left"]
    assert sum(hour.available_s for hour in hours) == sum(hour.observed_s for hour in hours) == 11 * 300


def test_a_score_outside_its_range_is_refused():
    with pytest.raises(ConfigError, match=r"min_gap_score: expected a number from 0 to 1, got 1.5"):
        MonitorParams.from_table(Table({"min_gap_score": 1.5}, "monitor"))
