"""The judgement of alerts over time, on days whose truth and detections are written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_flows.params import load_params
from shelfgap_training.temporal.chart import draw_day
from shelfgap_training.temporal.days import Span
from shelfgap_training.temporal.figures import TEMPORAL_TITLES, _quantile, temporal_figures
from shelfgap_training.temporal.replay import DayOutcome, replay, without_holds
from shelfgap_training.temporal.widths import by_width
from written_days import PARAMS, seen, truth, write_day

DEFAULTS = load_params(Path(__file__).parents[2] / "params.yaml")


def test_a_day_is_read_with_its_gaps(day):
    assert [zone.name for zone in day.zones] == ["facing-0", "facing-1"]
    assert day.zones[0].bounds_norm == (0.1, 0.1, 0.2, 0.6)
    assert [(name, span.minutes) for name, span in day.gaps(30)] == [("facing-0", 120.0)]
    assert len(day.gaps(0)) == 2
    assert day.frame_s == 300
    assert day.availability() == pytest.approx(1 - 135 / (2 * 295))


def test_a_perfect_detector_is_late_by_the_persistence_alone(day):
    outcome = replay(day, seen(day, truth), PARAMS, 30)
    assert outcome.delays_minutes == (5.0,)  # the second frame that shows it
    assert (len(outcome.missed), outcome.false_gaps, outcome.false_lows, outcome.repeats) == (0, 0, 0, 0)
    assert outcome.availability == pytest.approx(outcome.true_availability, abs=0.01)


def test_a_blind_detector_misses_and_a_seer_of_ghosts_is_wrong(day):
    assert replay(day, seen(day, lambda minute: []), PARAMS, 30).missed == (("facing-0", day.gaps(30)[0][1]),)
    ghosts = replay(
        day, seen(day, lambda minute: [*truth(minute), ("gap", 1)] if minute < 100 else truth(minute)), PARAMS, 30
    )
    assert (ghosts.false_gaps, len(ghosts.missed), ghosts.false_gaps_on_low) == (1, 0, 0)
    lows = replay(day, seen(day, lambda minute: [*truth(minute), ("low", 1)]), PARAMS, 30)
    assert (lows.false_gaps, lows.false_lows) == (0, 1)


def test_low_stock_that_is_called_a_gap_is_a_false_gap(tmp_path):
    low = write_day(tmp_path, {0: [(0, "full"), (60, "low")]})
    found = replay(low, seen(low, lambda minute: [("gap", 0)] if minute >= 60 else []), PARAMS, 30)
    assert (found.false_gaps, found.false_lows, found.false_gaps_on_low) == (1, 0, 1)
    as_low = replay(low, seen(low, lambda minute: [("low", 0)] if minute >= 60 else []), PARAMS, 30)
    assert (as_low.false_gaps, as_low.false_lows) == (0, 0)


def test_low_stock_is_told_by_an_alert_of_it_or_of_a_gap(tmp_path):
    stock = [(0, "full"), (60, "low"), (100, "full"), (150, "low"), (170, "full"), (200, "low")]
    low = write_day(tmp_path, {0: stock, 1: [(0, "full")]})
    assert len(low.times_of("low", 30)) == 2  # the second lasts 20 minutes

    def told(shown):
        outcome = replay(low, seen(low, shown), PARAMS, 30)
        return outcome.lows_told, outcome.lows

    assert told(lambda minute: []) == (0, 2)
    assert told(lambda minute: [("low", 0)] if 60 <= minute < 100 or 150 <= minute < 170 else []) == (1, 2)
    assert told(lambda minute: [("gap", 0)] if 60 <= minute < 100 else [("low", 0)] if minute >= 200 else []) == (2, 2)
    assert told(lambda minute: [("low", 1)]) == (0, 2)


def test_low_stock_that_stays_hidden_may_be_called_a_gap_while_it_is(tmp_path):
    hidden = write_day(tmp_path, {0: [(0, "full"), (60, "low")], 1: [(0, "low")]}, looks_empty={0: [(60, 100)]})
    found = replay(hidden, seen(hidden, lambda minute: [("gap", 0)] if 60 <= minute < 100 else []), PARAMS, 30)
    assert (found.false_gaps, found.false_lows, found.missed) == (0, 0, ()), "nor need anybody be told of a gap"
    after = replay(hidden, seen(hidden, lambda minute: [("gap", 0)] if minute >= 120 else []), PARAMS, 30)
    other = replay(hidden, seen(hidden, lambda minute: [("gap", 1)] if 60 <= minute < 100 else []), PARAMS, 30)
    assert (after.false_gaps, other.false_gaps) == (1, 1)


def test_low_stock_that_runs_out_is_alerted_when_it_is_a_gap(tmp_path):
    emptied = write_day(tmp_path, {0: [(0, "full"), (30, "low"), (100, "gap")]})

    def shown(minute):
        return [] if minute < 30 else [("low", 0)] if minute < 100 else [("gap", 0)]

    outcome = replay(emptied, seen(emptied, shown), PARAMS, 30)
    assert outcome.delays_minutes == (5.0,)
    assert (outcome.false_gaps, outcome.false_lows) == (0, 0)


def test_what_the_occlusion_logic_brings(day):
    """A shopper stands before the gap for half an hour, and on another place something is taken for a gap."""

    def shown(minute):
        if 100 <= minute < 130:
            return [("occluder", (0, 0, 200, 100)), ("gap", 1)]
        return truth(minute)

    held, counted = (replay(day, seen(day, shown), params, 30) for params in (PARAMS, without_holds(PARAMS)))
    assert (held.false_gaps, held.repeats) == (0, 0)
    assert (counted.false_gaps, counted.repeats) == (1, 1)


FALSE_GAP = AlertEvent("a", 1, "opened", "gap", "c", "z", None, None, 60.0, 0.0, 3, None)


def outcome(name="d", delays=(5.0,), missed=0, lows_told=0, false_gaps=0, error=0.0):
    """Return an outcome; of four times of low stock one is told."""
    gaps = (("z", Span(0.0, 3600.0, "gap")),) * missed
    return DayOutcome(
        name,
        tuple(("z", delay) for delay in delays),
        gaps,
        4 * lows_told,
        lows_told,
        (FALSE_GAP,) * false_gaps,
        0,
        {},
        0,
        0,
        0.9 + error,
        0.9,
    )


def test_figures_are_of_all_days_together_with_intervals():
    evaluation = DEFAULTS.evaluation
    figures = temporal_figures(
        [
            outcome(delays=(5.0, 10.0)),
            outcome(delays=(20.0,), missed=1, lows_told=2),
            outcome(delays=(), false_gaps=3, error=0.03),
        ],
        evaluation,
    )
    assert list(figures) == list(TEMPORAL_TITLES)
    assert figures["alerted_share"]["value"] == 0.75
    assert figures["missed_gaps_per_day"]["value"] == pytest.approx(1 / 3)
    assert figures["lows_told_share"]["value"] == 0.25
    assert figures["untold_lows_per_day"]["value"] == 2.0
    assert figures["delay_p50_minutes"]["value"] == 10.0
    assert figures["delay_p90_minutes"]["value"] == 20.0
    assert figures["false_alerts_per_day"]["value"] == 1.0
    assert figures["availability_error"]["value"] == pytest.approx(0.01)
    low, high = figures["false_alerts_per_day"]["low"], figures["false_alerts_per_day"]["high"]
    assert low == 0.0
    assert 1 < high <= 3
    nothing = temporal_figures([outcome(delays=())], evaluation)
    assert nothing["alerted_share"] == nothing["lows_told_share"] == {"value": None, "low": None, "high": None}
    assert nothing["delay_p50_minutes"]["value"] is None


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 4)), min_size=1, max_size=20), st.sampled_from([0.5, 0.9]))
def test_the_weighted_quantile_is_that_of_repeated_values(pairs, share):
    values = np.array([value for value, _ in pairs], np.float64)
    weights = np.array([[weight for _, weight in pairs]], np.int64)
    repeated = np.repeat(values, weights[0])
    found = _quantile(values, weights, share)[0]
    if not len(repeated):
        assert np.isnan(found)
    else:
        assert found == np.quantile(repeated, share, method="inverted_cdf")


def test_a_day_is_drawn_with_a_row_for_each_facing_at_which_something_happened(day, tmp_path):
    heights = []
    for shown in (lambda minute: [], lambda minute: [*truth(minute), ("gap", 1)]):
        draw_day(tmp_path / "d.png", day, replay(day, seen(day, shown), PARAMS, 30))
        with Image.open(tmp_path / "d.png") as picture:
            heights.append(picture.height)
            colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
        assert (0xD9, 0x70, 0x5F) in colours  # the gap that was there
    assert heights[0] == heights[1]  # one row and two, and room for four


def test_wide_and_narrow_facings_are_told_apart(tmp_path):
    """Facing 0 is narrow, never empty and taken for a gap; facing 1 is wide, empty, and half of its gaps are missed."""
    boxes = {0: (20, 10, 30, 60), 1: (100, 10, 140, 60)}
    empty = [(0, "full"), (60, "gap"), (120, "full"), (180, "gap"), (240, "full")]
    day = write_day(tmp_path, {0: [(0, "full")], 1: empty}, box_xyxy=boxes)

    def shown(minute):
        return [("gap", boxes[0])] if minute < 30 else [("gap", boxes[1])] if 60 <= minute < 120 else []

    outcomes = [replay(day, seen(day, shown), PARAMS, 30)]
    narrow, wide = by_width([day], outcomes, (8, 12), 30, DEFAULTS.evaluation)
    assert (narrow["from_percent"], narrow["to_percent"], narrow["facings"], narrow["gaps"]) == (0.0, 8, 1, 0)
    assert narrow["alerted_share"]["value"] is None
    assert (narrow["false_gaps"]["value"], narrow["false_alerts"]["value"]) == (100, 100)
    assert (wide["from_percent"], wide["to_percent"], wide["facings"], wide["gaps"]) == (12, None, 1, 2)
    assert (wide["alerted_share"]["value"], wide["false_alerts"]["value"]) == (0.5, 0)
    twice = by_width([day, day], outcomes * 2, (8, 12), 30, DEFAULTS.evaluation)
    assert twice[1]["alerted_share"] == {"value": 0.5, "low": 0.5, "high": 0.5}
