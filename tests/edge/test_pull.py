"""`shelfgap-edge pull`: what a device takes, and what it refuses."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from published import PADDING_BYTES, PowerCut, running_version, skew_golden
from shelfgap_edge.cli import main
from shelfgap_edge.errors import BundleError, PullError, SignatureError
from shelfgap_edge.pull.index import SIGNED_INDEX
from shelfgap_edge.pull.lock import hold
from shelfgap_edge.runtime import Detector
from shelfgap_export import index_edits
from shelfgap_export.publish import change_index, publish_bundle
from signing_keys import Signer, keys_file, sign_folder


def test_a_device_follows_its_ring(shop):
    canary, all_ = shop.device("canary", "canary"), shop.device("all")
    shop.publish("1")
    assert shop.pull(canary).status == "updated"
    assert shop.pull(all_).status == "kept"
    assert (running_version(canary), running_version(all_)) == ("1", None)
    shop.promote(1)
    assert shop.pull(all_).status == "updated"
    assert shop.pull(all_).status == "current"
    shop.publish("2")
    assert shop.pull(canary).release == 2
    assert shop.pull(all_).release == 1
    assert Detector.load(canary.state / "current").manifest.version == "2"


def test_what_is_here_is_not_fetched_again(shop):
    device = shop.device("device")
    shop.release("1")
    first = shop.pull(device).fetched_bytes
    shop.release("2")
    second = shop.pull(device)
    assert first > 2 * PADDING_BYTES
    assert PADDING_BYTES < second.fetched_bytes < PADDING_BYTES + 20_000  # own.bin and small texts
    assert running_version(device) == "2"
    assert not (device.state / "store").exists()


def test_a_month_offline_then_the_newest_release(shop):
    device = shop.device("device")
    shop.valid_for(days=7)
    shop.release("1")
    shop.pull(device)
    with pytest.raises(PullError, match="expired at"):
        shop.pull(device, days=30)
    assert running_version(device) == "1"
    assert shop.pull(device, days=6).status == "current"
    for version in ("2", "3", "4"):
        shop.release(version)
    outcome = shop.pull(device)
    assert (outcome.status, outcome.version) == ("updated", "4")


def test_an_expired_key_stops_updates_but_not_what_runs(shop):
    entry = shop.signer.entry(not_after=(datetime.now(UTC) + timedelta(days=10)).isoformat())
    device = replace(shop.device("device"), keys=keys_file(shop.folder / "keys.json", entry))
    shop.release("1")
    shop.pull(device)
    shop.release("2")
    with pytest.raises(SignatureError, match="expired"):
        shop.pull(device, days=11)
    assert Detector.load(device.state / "current").manifest.version == "1"


def test_a_clock_that_fell_back_revives_no_expired_index(shop):
    device = shop.device("device")
    shop.release("1")
    shop.pull(device)
    shop.valid_for(seconds=-1)  # expires before it is issued
    shop.release("2")
    with pytest.raises(PullError, match="expired at"):
        shop.pull(device, days=-10_000)
    assert running_version(device) == "1"


def test_an_old_index_is_refused_even_where_it_is_signed(shop):
    device = shop.device("device")
    shop.release("1")
    old = (shop.root / SIGNED_INDEX).read_bytes()
    shop.release("2")
    shop.pull(device)
    (shop.root / SIGNED_INDEX).write_bytes(old)
    with pytest.raises(PullError, match="a stale copy, or a replay"):
        shop.pull(device)
    assert running_version(device) == "2"


def test_two_indexes_of_one_number_are_refused(shop):
    device = shop.device("device")
    shop.release("1")
    shop.pull(device)
    before = (shop.root / SIGNED_INDEX).read_bytes()
    shop.publish("2")
    (shop.root / SIGNED_INDEX).write_bytes(before)
    shop.publish("3")
    shop.pull(device)
    (shop.root / SIGNED_INDEX).write_bytes(before)
    shop.publish("4")
    with pytest.raises(PullError, match="two indexes of number 3"):
        shop.pull(device)


def test_only_an_allowed_release_is_gone_back_to(shop):
    device = shop.device("device")
    shop.release("1")
    shop.release("2")
    shop.pull(device)
    with pytest.raises(index_edits.PublishError, match="--allow-rollback 1"):
        shop.promote(1)
    # An index that offers the older one and allows nothing, as no publisher of ours would sign it:
    change_index(shop.publisher, lambda index, at: replace(index, rings={"canary": 1, "all": 1}))
    outcome = shop.pull(device)
    assert (outcome.status, outcome.release) == ("kept", 2)
    assert "does not allow to go back" in outcome.reason
    change_index(shop.publisher, lambda index, at: index_edits.allow_rollback(index, 1, "all", at))
    assert shop.pull(device).release == 1
    shop.release("3")
    assert shop.pull(device).release == 3


@pytest.mark.parametrize("rollback", [False, True])
def test_a_withdrawn_release(shop, rollback):
    device = shop.device("device")
    shop.release("1")
    shop.release("2")
    shop.pull(device)
    change_index(shop.publisher, lambda index, at: index_edits.withdraw(index, 2, 1 if rollback else None, at))
    outcome = shop.pull(device)
    assert outcome.release == (1 if rollback else 2)
    assert bool(outcome.warnings) is not rollback


def test_an_unsigned_index_or_one_of_another_key_is_refused(shop):
    device = shop.device("device")
    shop.release("1")
    stranger = replace(device, keys=Signer(shop.folder / "other").public)
    with pytest.raises(SignatureError, match=r"not trusted|no trusted"):
        shop.pull(stranger)
    path = shop.root / SIGNED_INDEX
    sealed = json.loads(path.read_text())
    sealed["index"] = sealed["index"].replace('"version": "1"', '"version": "7"')
    path.write_text(json.dumps(sealed))
    with pytest.raises(PullError, match="altered after it was signed"):
        shop.pull(device)
    assert running_version(device) is None


def test_a_bundle_that_a_stranger_signed_is_refused_though_the_index_lists_it(shop, monkeypatch):
    canary, all_ = shop.device("canary", "canary"), shop.device("all")
    shop.release("1")
    shop.pull(canary)
    monkeypatch.setattr("shelfgap_export.publish.check_signed", lambda *args, **options: "")
    stranger = Signer(shop.folder / "other")
    publish_bundle(shop.publisher, sign_folder(shop.bundle("2"), stranger))
    with pytest.raises(SignatureError, match="release 2"):
        shop.pull(canary)
    assert running_version(canary) == "1"
    assert shop.pull(all_).release == 1


def test_a_spoilt_file_at_the_source_is_refused(shop):
    device = shop.device("device")
    shop.release("1")
    blob = max((shop.root / "blobs").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    content = bytearray(blob.read_bytes())
    content[7] ^= 1
    blob.write_bytes(content)
    with pytest.raises(PullError, match="arrived with the SHA-256"):
        shop.pull(device)
    blob.unlink()
    with pytest.raises(PullError, match="publish again"):
        shop.pull(device)
    assert running_version(device) is None


def test_a_spoilt_slot_is_installed_anew(shop):
    device = shop.device("device")
    shop.release("1")
    shop.pull(device)
    (device.state / "current" / "own.bin").write_bytes(b"")
    with pytest.raises(BundleError, match=r"own\.bin"):
        running_version(device)
    assert shop.pull(device).status == "updated"
    assert running_version(device) == "1"


def test_a_spoilt_file_that_was_gathered_is_fetched_again(shop):
    device = shop.device("device")
    shop.release("1")

    def cut(done, total):
        if done == total:
            raise PowerCut

    with pytest.raises(PowerCut):
        shop.pull(device, on_progress=cut)
    gathered = max((device.state / "store").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(gathered.read_bytes())
    content[7] ^= 1
    gathered.write_bytes(content)
    outcome = shop.pull(device)
    assert outcome.status == "updated"
    assert len(content) <= outcome.fetched_bytes < 2 * PADDING_BYTES
    assert running_version(device) == "1"


def test_a_slot_that_the_disk_does_not_give_any_more_is_fetched_again(shop, monkeypatch):
    device = shop.device("device")
    shop.release("1")
    shop.pull(device)
    broken = (device.state / "current" / "shared.bin").resolve()
    shop.release("2")
    read_bytes = Path.read_bytes

    def read(path):
        if path.name == broken.name and path.samefile(broken):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read_bytes(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", read)
        outcome = shop.pull(device)
    assert (outcome.status, outcome.release) == ("updated", 2)
    assert outcome.fetched_bytes > 2 * PADDING_BYTES
    assert running_version(device) == "2"


def test_a_full_disk_keeps_the_old_slot(shop, monkeypatch):
    device = shop.device("device")
    shop.release("1")
    shop.pull(device)
    shop.release("2")
    with monkeypatch.context() as patched:
        usage = shutil.disk_usage(shop.folder)
        patched.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4 * 2**20 + 100))
        with pytest.raises(PullError, match="make room"):
            shop.pull(device)
    # The disk fills up while files come: no file may be larger than 100 blocks of 512 bytes.
    command = f"ulimit -f 100; {sys.executable} -m shelfgap_edge.cli pull {shop.root} --once "
    command += f"--state {device.state} --keys {device.keys}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1
    assert "File too large; what is installed runs on" in done.stderr
    assert running_version(device) == "1"
    assert shop.pull(device).release == 2


def test_two_pulls_at_once(shop, capsys):
    device = shop.device("device")
    shop.release("1")
    device.state.mkdir()
    with hold(device.state):
        with pytest.raises(PullError, match="another pull is at work"):
            shop.pull(device)
        command = ["pull", str(shop.root), "--state", str(device.state), "--keys", str(device.keys), "--once"]
        assert main(command) == 1
    assert "another pull is at work" in capsys.readouterr().err


def test_another_product_is_refused(shop):
    device = replace(shop.device("device"), product="other")
    shop.release("1")
    with pytest.raises(PullError, match="is for 'bright-square', this device runs 'other'"):
        shop.pull(device)


def test_the_command_and_its_status(shop, capsys):
    device = shop.device("device", "canary")
    common = ["pull", "--state", str(device.state)]
    assert main([*common, "--status"]) == 1
    assert "nothing was pulled there yet" in capsys.readouterr().err
    shop.publish("1")
    command = [*common, str(shop.root), "--keys", str(device.keys), "--ring", "canary", "--once"]
    assert main([*command, "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert (outcome["status"], outcome["release"]) == ("updated", 1)
    shop.publish("2", skew_golden)
    assert main(command) == 3
    assert "release 1 (1) runs" in capsys.readouterr().out
    assert main([*common, "--status", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["release"], status["intact"], list(status["failed"])) == (1, True, ["2"])
    assert main([*common, "--status"]) == 0
    assert "release 2 (2) failed here" in capsys.readouterr().out
    assert main([*common, str(shop.root)]) == 2


def test_the_status_may_be_asked_while_a_pull_gathers_files(shop, capsys):
    device = shop.device("device")
    shop.release("1")
    shop.pull(device)
    (device.state / "store").mkdir()
    (device.state / "store" / "ab.part").symlink_to("ab")  # as one that was renamed since the folder was listed
    (device.state / "store" / "cd").write_bytes(b"gathered")
    assert main(["pull", "--state", str(device.state), "--status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gathered_bytes"] == 8


def test_a_state_that_cannot_be_read_is_told_in_one_line(shop, capsys):
    device = shop.device("device")
    shop.release("1")
    shop.pull(device)
    (device.state / "state.json").unlink()
    (device.state / "state.json").mkdir()  # as one that this user may not read
    assert main(["pull", "--state", str(device.state), "--status"]) == 1
    assert capsys.readouterr().err == f"shelfgap-edge: error: {device.state / 'state.json'}: Is a directory\n"


def state(**changes):
    """A state that parses, and is none."""
    plain = {"schema": "shelfgap-device/1", "highest_release": 1, "slots": {}, "trial": None, "failed": {}}
    return json.dumps(plain | changes).encode()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("state.json", b"{", "not JSON; delete it to start over"),
        ("state.json", b"[" * 100_000, "not JSON; delete it to start over"),
        ("state.json", b'{"schema": "x"}', "not of its schema"),
        ("state.json", state(trial={"slot": "a", "previous": None}), "slot 'a' is on trial and holds nothing"),
        ("state.json", state(slots={"a": {"release": "x", "version": "1"}}), "not of its schema .*; delete it"),
        ("state.json", state(slots={"a": {"release": 1, "version": "1"}}, trial={"slot": "a"}), "not of its schema"),
        (SIGNED_INDEX, b"\0", "delete this file"),
    ],
)
def test_a_spoilt_memory_is_told_with_the_remedy(shop, name, content, message):
    device = shop.device("device")
    shop.release("1")
    shop.pull(device)
    (device.state / name).write_bytes(content)
    with pytest.raises(PullError, match=message):
        shop.pull(device)
    (device.state / name).unlink()
    assert shop.pull(device).version == "1"
