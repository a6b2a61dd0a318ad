"""How settings of a monitor are tried on shelf-days, and one of them chosen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from PIL import Image
from shelfgap_flows.params import load_params
from shelfgap_training.temporal.figures import TEMPORAL_TITLES
from shelfgap_training.temporal.report import timeline_lines, timeline_markdown
from shelfgap_training.temporal.sweep import Point, choose, sweep
from shelfgap_training.temporal.trade_off import draw_trade_off
from shelfgap_training.temporal.widths import by_width
from written_days import PARAMS, seen, truth

DEFAULTS = load_params(Path(__file__).parents[2] / "params.yaml")


def test_a_sweep_shows_the_trade_off_and_chooses_a_point(day, tmp_path):
    params = DEFAULTS
    grid = {
        "min_gap_scores": (0.0, 0.95),
        "min_low_scores": (0.0, 1.0),
        "open_frames": (1, 3),
        "open_minutes": (0.0, 20.0),
    }
    timeline = params.timeline.model_copy(update=grid)
    readings = {day.name: tuple(seen(day, lambda m: [*truth(m), ("gap", 1)] if m == 20 else truth(m)))}
    told = []
    tried = sweep([day], readings, PARAMS, timeline, params.evaluation, lambda done, total: told.append((done, total)))
    assert told == [(number, 8) for number in range(1, 9)]
    by_score = {(p.params.min_gap_score, p.params.min_low_score): p for p in tried.scores}
    assert by_score[0.0, 0.0].value("alerted_share") == 1
    assert by_score[0.95, 0.0].value("alerted_share") == 0  # what is detected here scores less
    by_setting = {(p.params.open_frames, p.params.open_minutes): p for p in tried.persistence}
    assert {p.params.min_gap_score for p in tried.persistence} == {0.0}
    assert by_setting[1, 0.0].value("false_alerts_per_day") == 1
    assert by_setting[3, 20.0].value("false_alerts_per_day") == 0
    assert by_setting[1, 0.0].value("delay_p50_minutes") < by_setting[3, 20.0].value("delay_p50_minutes")
    chosen = tried.chosen
    assert (chosen.params.open_frames, chosen.params.open_minutes) == (
        2,
        5,
    )  # right, and the soonest of these: as given
    draw_trade_off(tmp_path / "t.png", tried, timeline)
    with Image.open(tmp_path / "t.png") as picture:
        assert picture.size == (1500, 440)
    report = {"days": 1, "frames": 60, "facings": 2, "gaps": 1, **chosen.to_dict()}
    report["by_width"] = by_width([day], chosen.outcomes, (5, 9, 12), 30, params.evaluation)
    report |= {name: [point.to_dict() for point in getattr(tried, name)] for name in ("scores", "persistence")}
    report["chosen"] = chosen.to_dict()
    assert json.loads(json.dumps(report, allow_nan=False))
    page = timeline_markdown(report)
    assert "| 0.95 | 1 | 0.000" in page
    assert "## Persistence, with min_gap_score 0 and min_low_score 0" in page
    assert "| 1 | 20 | 1.000" in page
    assert "| 9 to 12 % | 2 | 1 | 1.00 | 0.00 | 0.00 |" in page
    assert "Chosen: min_gap_score 0, min_low_score 0, open_frames 2, open_minutes 5." in page
    assert timeline_lines(report)[0].endswith(
        "open after 2 frames and 5 minutes, gaps from a score of 0, low stock from 0"
    )


def test_the_soonest_point_within_the_limits_is_chosen_else_the_cheapest():
    timeline = DEFAULTS.timeline.model_copy(update={"missed_gap_cost": 5.0, "missed_low_cost": 1.0})

    def point(frames, alerted, false, delay=10.0, untold=0.0):
        figures = {name: {"value": 0.0, "low": None, "high": None} for name in TEMPORAL_TITLES} | {
            "alerted_share": {"value": alerted},
            "missed_gaps_per_day": {"value": 10 * (1 - alerted)},
            "untold_lows_per_day": {"value": untold},
            "false_alerts_per_day": {"value": false},
            "delay_p50_minutes": {"value": delay},
        }
        return Point(replace(PARAMS, open_frames=frames), figures, figures)

    loud, fair, silent = point(1, 0.9, 30.0), point(2, 0.7, 10.0), point(3, 0.0, 0.0)  # they cost 35, 25 and 50
    assert choose([loud, fair, silent], timeline).params.open_frames == 2
    dear = timeline.model_copy(update={"missed_gap_cost": 20.0})  # 50, 70 and 200
    assert choose([loud, fair, silent], dear).params.open_frames == 1
    mute = point(6, 0.7, 9.0, untold=5.0)
    assert choose([mute, fair], timeline).params.open_frames == 2
    assert choose([mute, fair], timeline.model_copy(update={"missed_low_cost": 0.0})).params.open_frames == 6
    late, soon = point(4, 1.0, 0.0), point(5, 0.98, 0.1, delay=9.0)
    assert choose([loud, late, soon], timeline).params.open_frames == 5
    quiet = timeline.model_copy(update={"min_alerted_share": 0.0})
    never = point(6, 0.0, 0.0, delay=None)  # alerts nothing: no delay
    assert choose([never, late, soon], quiet).params.open_frames == 5
