"""`shelfgap evaluate --timeline`: what is detected is kept, days are read, reports written, wrong usage refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from shelfgap_datasets.schema import DatasetError
from shelfgap_edge.monitor.params import MonitorParams
from shelfgap_edge.runtime import Detector
from shelfgap_flows.params import ParamsError, load_params
from shelfgap_training.temporal.days import read_days
from shelfgap_training.temporal.seen import read_all
from shelfgap_training.temporal.sweep import measure
from written_days import PARAMS, write_day

DEFAULTS = load_params(Path(__file__).parents[2] / "params.yaml")


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
