"""The judgement of alerts over time, on days whose truth and detections are written by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from shelfgap_datasets.schema import DatasetError
from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.contract import CLASSES
from shelfgap_edge.monitor.params import MonitorParams
from shelfgap_edge.monitor.reading import FrameReading, Glance, Look
from shelfgap_edge.postprocess import Detections
from shelfgap_edge.runtime import Detector
from shelfgap_flows.params import ParamsError, load_params
from shelfgap_training.temporal.chart import draw_day
from shelfgap_training.temporal.days import Span, read_days
from shelfgap_training.temporal.figures import TEMPORAL_TITLES, _quantile, temporal_figures
from shelfgap_training.temporal.replay import DayOutcome, replay, without_holds
from shelfgap_training.temporal.report import timeline_lines, timeline_markdown
from shelfgap_training.temporal.seen import read_all
from shelfgap_training.temporal.sweep import Point, choose, draw_trade_off, measure, sweep
from shelfgap_training.temporal.widths import by_width

SIZE = (100, 200)
BOXES = {0: (20, 10, 40, 60), 1: (100, 10, 120, 60)}
CALM = Glance(Look(100.0, 50.0, 6.0), tuple(Look(50.0 + 10 * (i * 5 % 12), 20.0 + i, 6.0) for i in range(12)))
DEFAULTS = load_params(Path(__file__).parents[2] / "params.yaml")
PARAMS = MonitorParams(open_frames=2, open_minutes=5, close_frames=2, close_minutes=5)


def clock(minute):
    return f"2026-01-01T{8 + minute // 60:02d}:{minute % 60:02d}:00"


def write_day(root, changes, frames=60, box_xyxy=BOXES, looks_empty=None):
    """Write a day of a frame every five minutes.

    changes: facing -> (minute, state); looks_empty: facing -> minutes from and to which its low stock is hidden.
    """
    facings = [
        {
            "facing": facing,
            "shelf": 0,
            "article": facing,
            "box_xyxy": box_xyxy.get(facing),
            "changes": [{"time": clock(minute), "state": state, "cause": "sold"} for minute, state in mine],
            "occluded": [],
            "looks_empty": [[clock(start), clock(end)] for start, end in (looks_empty or {}).get(facing, [])],
        }
        for facing, mine in changes.items()
    ]
    names = [{"file_name": f"day-00/{n:04d}.jpg", "time": clock(5 * n)} for n in range(frames)]
    day = {"day": 0, "camera": "c", "frames": names, "visits": [], "facings": facings}
    (root / "images" / "day-00").mkdir(parents=True)
    for name in names:
        picture = np.full((*SIZE, 3), 90, np.uint8)
        (root / "images" / name["file_name"]).write_bytes(simplejpeg.encode_jpeg(picture, colorspace="RGB"))
    (root / "timeline.json").write_text(json.dumps({"days": [day]}))
    return read_days(root)[0]


def seen(day, shown):
    """Return readings of a day; shown(minute) -> list of (class, facing or box)."""
    readings = []
    for at in day.times:
        found = [(name, BOXES.get(box, box)) for name, box in shown((at - day.times[0]) / 60)]
        detections = Detections(
            np.array([box for _, box in found], np.float32).reshape(-1, 4),
            np.full(len(found), 0.9, np.float32),
            np.array([CLASSES.index(name) for name, _ in found], np.int64),
        )
        readings.append(FrameReading(day.name, at, detections, SIZE, CALM))
    return readings


@pytest.fixture
def day(tmp_path):
    """Facing 0 is empty from 60 to 180 min and from 200 to 215, facing 1 never; facing 2 is out of the frame."""
    empty = [(0, "full"), (60, "gap"), (180, "full"), (200, "gap"), (215, "full")]
    return write_day(tmp_path, {0: empty, 1: [(0, "full")], 2: [(0, "gap")]})


def truth(minute):
    return [("gap", 0)] if 60 <= minute < 180 or 200 <= minute < 215 else []


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


class CountingDetector:
    """Stands where a detector stands, and counts what it is asked."""

    def __init__(self, detector):
        self.asked, self.manifest, self._detector = 0, detector.manifest, detector

    def decode(self, frame):
        self.asked += 1
        if self.asked == 8:
            raise KeyboardInterrupt
        return self._detector.decode(frame)

    def __getattr__(self, name):
        return getattr(self._detector, name)


@pytest.mark.parametrize("damage", [b"", b'{"file": "day-00/0007.jpg", "si'])
def test_a_stopped_detection_goes_on_and_finds_the_same(day, tmp_path, patches_bundle, damage):
    small_detector = Detector.load(patches_bundle)
    cache = tmp_path / "kept" / "seen.jsonl"
    with pytest.raises(KeyboardInterrupt):
        read_all(CountingDetector(small_detector), tmp_path, [day], cache)
    assert len(cache.read_bytes().splitlines()) == 7
    with cache.open("ab") as file:
        file.write(damage)
    (tmp_path / "images" / day.files[9]).write_bytes(b"no picture")
    told = []
    again = read_all(small_detector, tmp_path, [day], cache, lambda done, total: told.append((done, total)))
    assert len(again[day.name]) == 59  # one cannot be read
    assert told[-1] == (60, 60)
    kept = cache.read_bytes()
    repeated = read_all(CountingDetector(small_detector), tmp_path, [day], cache)  # would stop at the eighth frame
    assert cache.read_bytes() == kept
    for one, other in zip(again[day.name], repeated[day.name], strict=True):
        assert (one.at, one.glance, one.frame_size) == (other.at, other.glance, other.frame_size)
        assert np.array_equal(one.detections.boxes_xyxy, other.detections.boxes_xyxy)
    assert measure([day], again, PARAMS, 30, DEFAULTS.evaluation).value("alerted_share") in (0.0, 1.0)


def test_a_frame_that_could_not_be_read_is_looked_at_another_time(day, tmp_path, patches_bundle, caplog):
    detector, cache = Detector.load(patches_bundle), tmp_path / "seen.jsonl"
    path = tmp_path / "images" / day.files[9]
    whole = path.read_bytes()
    path.write_bytes(b"no picture")
    for _ in range(2):
        caplog.clear()
        assert len(read_all(detector, tmp_path, [day], cache)[day.name]) == 59
        assert f"{day.files[9]}: left out of the evaluation" in caplog.text
    path.write_bytes(whole)
    assert len(read_all(detector, tmp_path, [day], cache)[day.name]) == 60


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"timeline.json: no such file; shelf-days have one: shelfgap data synth-days"),
        ("{", r"cannot be read as a timeline \(JSONDecodeError"),
        ("{}", r"cannot be read as a timeline \(KeyError: 'days'"),
        ('{"days": []}', r"expected days of two frames and one facing"),
        ('{"days": [{"frames": []}]}', r"cannot be read as a timeline \(IndexError"),
        (
            '{"days": [{"frames": [{"file_name": "x.jpg"}]}]}',
            r"x.jpg, the first frame of a day, cannot be read: .*No such file",
        ),
    ],
)
def test_a_timeline_that_is_none_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "timeline.json").write_text(content)
    with pytest.raises(DatasetError, match=message):
        read_days(tmp_path)


def test_the_command_writes_reports_and_looks_at_no_frame_twice(run_command, day, tmp_path, patches_bundle):
    workspace = tmp_path / "w"
    workspace.mkdir()
    given = ["evaluate", "--timeline", "--sweep", "--bundle", patches_bundle, "--dataset", tmp_path]
    code, out, _ = run_command(*given, "--workspace", workspace, "--json")
    assert code == 0
    report = json.loads(out.splitlines()[-1])
    assert (report["days"], report["frames"], report["facings"], report["gaps"]) == (1, 60, 2, 1)
    assert report["monitor"] == DEFAULTS.monitor.model_dump()
    tried = DEFAULTS.timeline
    assert len(report["scores"]) == len(tried.min_gap_scores) * len(tried.min_low_scores)
    assert len(report["persistence"]) == len(tried.open_frames) * len(tried.open_minutes)
    written = {path.name for path in (workspace / "reports").iterdir()}
    assert written == {"timeline.json", "timeline.md", "timeline.png", "timeline-day.png"}
    for picture in (tmp_path / "images" / "day-00").iterdir():
        if picture.name != "0000.jpg":  # whose size is read
            picture.unlink()
    _, again, _ = run_command(*given[:2], *given[3:], "--workspace", workspace)
    assert "1 camera-days, 60 frames, 2 facings, 1 gaps; open after 3 frames and 10 minutes" in again
    assert "| false alerts per camera-day |" in again


def test_other_pictures_and_other_zones_are_looked_at_anew(run_command, tmp_path, patches_bundle, monkeypatch):
    """Days that are rendered again with other products have the same timeline; another version may see other zones."""
    write_day(tmp_path, {0: [(0, "full")], 1: [(0, "full")]}, box_xyxy={0: (20, 10, 30, 60), 1: (100, 10, 140, 60)})
    caches = []

    def read_all(detector, root, days, cache, progress):
        caches.append(cache)
        raise DatasetError("enough")

    monkeypatch.setattr("shelfgap_training.temporal.seen.read_all", read_all)
    given = ["evaluate", "--timeline", "--bundle", patches_bundle, "--dataset", tmp_path, "--workspace", tmp_path]
    for labels in ("{}", "{}", '{"images": []}'):
        (tmp_path / "annotations.json").write_text(labels)
        assert run_command(*given)[0] == 1
    monkeypatch.setattr("shelfgap_training.temporal.days._LEAST_WIDTH", 0.1)  # facing 0 has half of it
    assert run_command(*given)[0] == 1
    assert caches[0] == caches[1] != caches[2] != caches[3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sweep"], "--sweep goes with --timeline"),
        (["--timeline"], "--timeline needs --bundle and --dataset"),
        (
            ["--timeline", "--bundle", "b", "--dataset", "d", "--split", "all"],
            "--split and --precision go with --bundle",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(run_command, arguments, message):
    code, _, err = run_command("evaluate", *arguments)
    assert code == 2
    assert message in " ".join(err.split())


def test_the_numbers_of_params_yaml_are_those_of_a_device_without_any():
    assert DEFAULTS.monitor.on_device() == MonitorParams()
    assert set(DEFAULTS.monitor.model_dump()) == set(MonitorParams().to_bundle())


def test_a_number_that_no_device_takes_is_refused(tmp_path):
    text = (Path(__file__).parents[2] / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("  open_frames: 3\n", "  open_frames: 0\n"))
    with pytest.raises(ParamsError, match=r"monitor: .*open_frames: expected an integer from 1 to 100, got 0"):
        load_params(tmp_path / "params.yaml")
