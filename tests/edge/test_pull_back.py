"""A release that fails its self-test on the device, or cannot be switched to: the bundle before it runs on."""

from __future__ import annotations

import os
import resource
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from published import PowerCut, pass_gate, running_version, skew_golden
from shelfgap_edge.cli import main
from shelfgap_edge.contract import MODEL_FILES
from shelfgap_edge.errors import PullError
from shelfgap_edge.pull.self_test import run_check


def _crash(root):
    (root / MODEL_FILES["int8"]).write_bytes(b"no model")
    pass_gate(root)  # judged where it did load


@pytest.mark.parametrize("spoil", [skew_golden, _crash])
def test_a_bad_canary_is_back_within_one_self_test_and_all_never_see_it(shop, spoil):
    canary, all_ = shop.device("canary", "canary"), shop.device("all")
    shop.release("1")
    shop.pull(canary)
    shop.pull(all_)
    shop.publish("2", spoil)
    outcome = shop.pull(canary, self_test=None)  # the real one, in a process
    assert (outcome.status, outcome.release) == ("rejected", 1)
    assert running_version(canary) == "1"
    assert shop.pull(all_).status == "current"
    again = shop.pull(canary)
    assert (again.status, again.fetched_bytes, again.reason) == ("rejected", 0, outcome.reason)
    assert shop.pull(canary, retry_failed=True).status == "rejected"
    shop.publish("3")
    assert shop.pull(canary).release == 3


@pytest.mark.parametrize(("number", "name"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGRTMIN + 3, "signal 37")])
def test_a_model_that_takes_the_process_down_is_gone_back_from(shop, number, name):
    device = shop.device("device")
    shop.release("1")
    shop.pull(device)
    shop.release("2")

    def crash(bundle):
        return run_check([sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(number)})"], 60)

    outcome = shop.pull(device, self_test=crash)
    assert outcome.status == "rejected"
    assert f"crashed ({name})" in outcome.reason
    assert running_version(device) == "1"


def test_a_self_test_that_takes_the_device_down_is_given_up(shop):
    device = shop.device("device")
    shop.release("1")
    shop.pull(device)
    shop.release("2")

    def cut(bundle):
        raise PowerCut

    for _ in range(3):
        with pytest.raises(PowerCut):
            shop.pull(device, self_test=cut)
        assert running_version(device) == "2"  # on trial, whole and verified
    outcome = shop.pull(device, self_test=cut)
    assert (outcome.status, outcome.release) == ("rejected", 1)
    assert "started 3 times" in outcome.reason
    assert running_version(device) == "1"


def test_a_first_release_that_fails_leaves_nothing(shop):
    device = shop.device("device")
    shop.publish("1", skew_golden)
    shop.promote(1)
    assert shop.pull(device).status == "rejected"
    assert running_version(device) is None


def test_a_restart_command_that_fails_brings_the_old_bundle_back(shop):
    log = shop.folder / "log"
    script = shop.folder / "restart.sh"
    services = shop.folder / "services"
    script.write_text(
        f"readlink {shop.folder}/device/current >> {log}; sleep 600 & echo $! >> {services}\n"
        f"grep -q a {log} && ! grep -q b {log}\n"
    )
    device = replace(shop.device("device"), restart=("sh", str(script)))
    shop.release("1")
    try:
        assert shop.pull(device).status == "updated"
        os.kill(int(services.read_text()), 0)  # a service that holds its end of a pipe was not waited for: it runs
        shop.release("2")
        outcome = shop.pull(device)
    finally:
        for service in services.read_text().split():
            os.kill(int(service), signal.SIGKILL)
    assert outcome.status == "rejected"
    assert log.read_text().split() == ["slots/a", "slots/b", "slots/a"]


@pytest.mark.parametrize(
    ("restart", "message"),
    [("sh -c 'true", "is no command line: No closing quotation"), (" ", "expected a command line, got an empty one")],
)
def test_a_restart_command_that_is_none_is_refused_before_anything_is_switched(shop, capsys, restart, message):
    shop.release("1")
    device = shop.device("device")
    command = ["pull", str(shop.root), "--state", str(device.state), "--keys", str(device.keys), "--once"]
    with pytest.raises(SystemExit) as caught:
        main([*command, "--restart", restart])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not device.state.exists()
    assert main([*command, "--restart", "sh -c 'exit 0'"]) == 0


def test_a_release_that_failed_does_not_run_on_where_the_disk_is_too_full_to_note_it(shop):
    device = shop.device("device")
    shop.release("1")
    shop.pull(device)
    shop.release("2")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fail_as_the_disk_fills(bundle: Path) -> str:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
        return "it is off"

    try:
        with pytest.raises(PullError, match="File too large; what is installed runs on"):
            shop.pull(device, self_test=fail_as_the_disk_fills)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert running_version(device) == "1"
    assert shop.pull(device).release == 2  # what could not be noted is tried again
