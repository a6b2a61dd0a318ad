"""A full disk, a spoilt file, a file that vanishes: the outbox goes on, says so, and loses nothing it can hold."""

from __future__ import annotations

import json
import logging
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress

import pytest
from alert_events import everything, step
from shelfgap_edge.alerts.limits import OutboxLimits
from shelfgap_edge.alerts.outbox import Outbox

SINKS = {"web": everything}
BALLAST = "ballast"


def unpackable(count):
    """Return a text that takes so many bytes when it is packed."""
    return random.Random(count).randbytes(count).hex()


class Clock:
    """Seconds that a test moves on."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True)
    if mount.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk):
    with (disk / BALLAST).open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def waiting(outbox):
    """Take all that waits, in order, without delivering it on the way."""
    sent = []
    while (entry := outbox.next_due("web", 0)) is not None:
        sent.append(entry.event.key)
        outbox.delivered("web", entry.event.key)
    return sent


def test_a_full_disk_loses_nothing_and_is_written_when_there_is_room(small_disk, clock, caplog):
    outbox = Outbox(small_disk / "outbox.db", SINKS, clock=clock)
    outbox.put([step(1)], [("cam-1", "1")])
    fill(small_disk)
    alert = 1
    while outbox.figures().trouble is None:
        alert += 1
        clock.now += 2
        outbox.put([step(alert, camera_id="c" * 300)], [("cam-1", str(alert))])
        assert alert < 1000
    assert "full" in outbox.figures().trouble
    assert "cannot be written" in caplog.text
    outbox.put([step(alert + 1)])
    assert outbox.figures().held == 2
    assert outbox.next_due("web", 0).event == step(1), "alerts are sent on"
    outbox.delivered("web", step(1).key)
    assert len(caplog.records) == 1, "it is said once"
    (small_disk / BALLAST).unlink()
    assert outbox.figures().held == 2, "nobody tried yet"
    clock.now += 2
    outbox.next_due("web", 0)
    assert (outbox.figures().held, outbox.figures().trouble) == (0, None)
    assert "written again, 2 held alert steps" in caplog.text
    outbox.close()
    outbox = Outbox(small_disk / "outbox.db", SINKS)
    assert outbox.states() == {"cam-1": str(alert)}
    assert waiting(outbox) == [step(number).key for number in range(2, alert + 2)]
    outbox.close()


def test_a_disk_that_is_full_at_the_first_start_is_no_reason_to_stand_still(small_disk, clock):
    fill(small_disk)
    outbox = Outbox(small_disk / "outbox.db", SINKS, clock=clock)
    outbox.put([step(1)], [("cam-1", "1")])
    assert outbox.figures().held == 1
    (small_disk / BALLAST).unlink()
    clock.now += 2
    outbox.put([step(2)])
    assert outbox.figures().held == 0
    outbox.close()
    outbox = Outbox(small_disk / "outbox.db", SINKS)
    assert waiting(outbox) == [step(1).key, step(2).key]
    assert outbox.states() == {"cam-1": "1"}
    outbox.close()


def full_by_states(path, clock, **limits):
    """An outbox on a small disk that cannot take what a camera remembers, so that nothing can be written."""
    outbox = Outbox(path, SINKS, OutboxLimits(**limits), clock=clock)
    outbox.put([step(1)], [("cam-1", "1")])
    outbox.put([step(2)], [("cam-1", unpackable(300_000))])
    assert "full" in outbox.figures().trouble
    return outbox


def test_what_is_held_in_memory_is_bounded_and_the_least_loss_goes_first(small_disk, clock, caplog):
    outbox = full_by_states(small_disk / "outbox.db", clock, max_held=5)
    outbox.put([step(3), step(3, 2, "resolved"), step(4)])
    assert outbox.figures().held == 4
    with caplog.at_level(logging.ERROR):
        outbox.put([step(5), step(6)])
    assert outbox.figures().held == 5
    assert outbox.figures().dropped == 2, "the alert that was over before anybody could be told"
    assert f"{step(3, 2).key} will not reach sink 'web': the disk takes nothing" in caplog.text
    outbox.delivered("web", step(1).key)
    outbox.delivered("web", step(2).key)
    outbox.put([step(7), step(8)])
    assert outbox.figures().dropped == 2, "what was sent from memory goes without loss"
    assert waiting(outbox) == [step(number).key for number in (4, 5, 6, 7, 8)]
    outbox.put([], [("cam-1", "small")])
    assert outbox.flush()
    outbox.close()
    outbox = Outbox(small_disk / "outbox.db", SINKS)
    assert waiting(outbox) == []
    assert outbox.states() == {"cam-1": "small"}
    outbox.close()


def test_deliveries_are_not_repeated_while_the_disk_cannot_note_them(small_disk, clock):
    outbox = full_by_states(small_disk / "outbox.db", clock)
    assert waiting(outbox) == [step(1).key, step(2).key]
    assert outbox.next_due("web", 1e9) is None
    outbox.close()


def test_what_cannot_be_saved_at_the_end_is_said(small_disk, clock, caplog):
    full_by_states(small_disk / "outbox.db", clock).close()
    assert "1 alert steps could not be saved" in caplog.text


def written(path, count=300):
    outbox = Outbox(path, SINKS)
    outbox.put([step(alert) for alert in range(count)], [("cam-1", "1")])
    outbox.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"SQLite format 4" + content[15:],
        lambda content: bytes(len(content)),
        lambda content: content[: len(content) // 3],
        lambda content: content[:4096] + b"\xff" * (len(content) - 4096),
        lambda content: b"",
    ],
    ids=["header", "zeros", "cut", "pages", "empty"],
)
def test_a_spoilt_file_is_set_aside_and_the_service_goes_on(tmp_path, caplog, spoil):
    path = tmp_path / "outbox.db"
    written(path)
    content = spoil(path.read_bytes())
    path.write_bytes(content)
    outbox = Outbox(path, SINKS)
    outbox.put([step(1000, zone="new")])
    assert step(1000).key in waiting(outbox)
    outbox.close()
    if content:
        assert "it is set aside as outbox.db.spoilt-1, and a new one is made" in caplog.text
        assert (tmp_path / "outbox.db.spoilt-1").read_bytes() == content
    outbox = Outbox(path, SINKS)
    assert waiting(outbox) == []
    outbox.close()


def test_what_can_still_be_read_of_a_spoilt_file_is_saved(tmp_path):
    path = tmp_path / "outbox.db"
    written(path)
    content = path.read_bytes()
    index = content.rfind(step(299).key.encode())  # a page of the index, or of steps: the others are whole
    start = index // 4096 * 4096
    path.write_bytes(content[:start] + b"\xff" * 4096 + content[start + 4096 :])
    outbox = Outbox(path, SINKS)
    saved = waiting(outbox)
    assert len(saved) > 100
    assert saved == [step(alert).key for alert in range(len(saved))]
    outbox.close()


def test_a_step_that_is_no_text_any_more_costs_no_other(tmp_path):
    path = tmp_path / "outbox.db"
    written(path, count=10)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("UPDATE events SET body = CAST(x'ff' || body AS TEXT) WHERE key = ?", (step(3).key,))
    db.close()
    outbox = Outbox(path, SINKS)
    assert waiting(outbox) == [step(alert).key for alert in range(10) if alert != 3]
    assert outbox.states() == {"cam-1": "1"}
    outbox.close()


def test_a_file_of_another_version_is_set_aside(tmp_path, caplog):
    path = tmp_path / "outbox.db"
    written(path)
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 9")
    db.close()
    outbox = Outbox(path, SINKS)
    assert "is of version 9, this program writes version 1" in caplog.text
    outbox.close()


def test_a_file_that_is_deleted_or_replaced_while_the_service_runs_is_made_again_from_memory(tmp_path, caplog):
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, {"web": everything, "bus": everything})
    outbox.put([step(1), step(2)], [("cam-1", "1")])
    outbox.delivered("bus", step(1).key)
    outbox.refuse("bus", step(2).key, "no")
    path.unlink()
    outbox.put([step(3)])
    assert "was deleted or replaced while the service ran; a new one is made" in caplog.text
    shutil.copy(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    outbox.put([step(4)])
    assert "set aside as outbox.db.spoilt-1" in caplog.text
    outbox.close()
    outbox = Outbox(path, {"web": everything, "bus": everything})
    assert outbox.states() == {"cam-1": "1"}
    assert len(outbox.open_alerts()) == 4
    assert [one.reason for one in outbox.refused()] == ["no"]
    assert waiting(outbox) == [step(number).key for number in (1, 2, 3, 4)]
    assert outbox.next_due("bus", 0).event == step(3)
    outbox.close()


def test_only_the_last_spoilt_files_are_kept(tmp_path):
    for _ in range(5):
        (tmp_path / "outbox.db").write_bytes(b"nonsense" * 1000)
        Outbox(tmp_path / "outbox.db", SINKS).close()
    assert sorted(path.name for path in tmp_path.glob("*spoilt*")) == [f"outbox.db.spoilt-{n}" for n in (3, 4, 5)]


def test_what_cameras_remember_drives_no_alert_out(tmp_path, clock):
    limits = OutboxLimits(max_bytes=1024 * 1024, state_interval_s=0)
    outbox = Outbox(tmp_path / "outbox.db", SINKS, limits, clock=clock)
    for camera in range(60):
        outbox.put([], [(f"cam-{camera}", unpackable(50_000))])
    outbox.put([step(1)])
    assert outbox.figures().trouble is None
    outbox.close()
    again = Outbox(tmp_path / "outbox.db", SINKS, limits, clock=clock)
    assert len(again.states()) == 60
    again.put([step(2)], [("cam-0", unpackable(60_000))])
    assert (again.figures().trouble, waiting(again)) == (None, [step(1).key, step(2).key])
    again.close()


def test_alerts_that_come_and_go_while_the_disk_is_full_leave_nothing_in_memory(small_disk, clock):
    outbox = full_by_states(small_disk / "outbox.db", clock)
    for alert in range(3, 60):
        outbox.put([step(alert)])
        outbox.put([step(alert, 2, "resolved")])
    outbox.put([step(1, 2, "resolved")])
    assert set(outbox._journal.unsaved.open_alerts) == {step(1).alert_id, step(2).alert_id}
    outbox.put([], [("cam-1", "small")])
    assert outbox.flush()
    outbox.close()
    again = Outbox(small_disk / "outbox.db", SINKS, clock=clock)
    assert [event.alert_id for event in again.open_alerts()] == [step(2).alert_id]
    again.close()


def plain_file(path, **states):
    """A file as it was before states were packed."""
    Outbox(path, SINKS).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE states")
        db.execute("CREATE TABLE states (camera_id TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID")
        db.executemany("INSERT INTO states VALUES (?, ?)", states.items())


def test_a_file_of_before_states_were_packed_is_taken_up(tmp_path):
    plain_file(tmp_path / "outbox.db", old='{"frames": 7}', other="2")
    outbox = Outbox(tmp_path / "outbox.db", SINKS)
    assert outbox.states() == {"old": '{"frames": 7}', "other": "2"}
    outbox.put([step(1)], [("other", "3")])
    outbox.close()
    again = Outbox(tmp_path / "outbox.db", SINKS)
    assert again.states() == {"old": '{"frames": 7}', "other": "3"}
    again.close()


@pytest.mark.parametrize("rotten", ["x'789c00'", "x'ff'", "7", "2.5"])
def test_a_state_that_cannot_be_unpacked_is_empty_and_hinders_nothing(tmp_path, rotten):
    outbox = Outbox(tmp_path / "outbox.db", SINKS)
    outbox.put([step(1)], [("cam-1", "1"), ("cam-2", "2")])
    outbox.close()
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db, db:
        db.execute(f"UPDATE states SET state = {rotten} WHERE camera_id = 'cam-1'")
    again = Outbox(tmp_path / "outbox.db", SINKS)
    assert again.states() == {"cam-1": "", "cam-2": "2"}
    assert waiting(again) == [step(1).key]
    again.close()


def test_states_take_a_fraction_of_their_length_in_the_file(tmp_path):
    state = json.dumps({f"facing-{number}": {"on": False, "since": None, "progress": 0.0} for number in range(100)})
    outbox = Outbox(tmp_path / "outbox.db", SINKS)
    outbox.put([step(1)], ((f"cam-{number}", state) for number in range(200)))
    assert outbox.states()["cam-7"] == state
    outbox.close()
    assert (tmp_path / "outbox.db").stat().st_size < 200 * len(state) / 4


def test_a_step_whose_text_rots_is_set_aside_without_a_traceback(tmp_path):
    outbox = Outbox(tmp_path / "outbox.db", SINKS)
    outbox.put([step(1), step(2)], [("cam-1", "1")])
    outbox.close()
    content = bytearray((tmp_path / "outbox.db").read_bytes())
    content[content.index(b'"action":"opened"')] ^= 2
    (tmp_path / "outbox.db").write_bytes(content)
    code = (
        "import sys, pathlib; from shelfgap_edge.alerts.outbox import Outbox; Outbox(pathlib.Path(sys.argv[1])).close()"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "outbox.db"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    again = Outbox(tmp_path / "outbox.db", SINKS)
    assert len(waiting(again)) == 1
    assert again.states() == {"cam-1": "1"}
    again.close()
