"""Alerts raised by a process that is killed again and again, while sinks, broker and disk fail: is anything lost?

    python tests/edge/alerts_under_fire.py --alerts 500 --kills 200

Needs mosquitto; a disk that is really full needs root (a small tmpfs), else a limit of file sizes stands in for it.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent))

from alert_events import everything, step
from broker import Broker, Subscriber
from receiver import SECRET, Receiver
from shelfgap_edge.alerts.backoff import Backoff
from shelfgap_edge.alerts.dispatcher import Dispatcher
from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.alerts.outbox import Outbox
from shelfgap_edge.alerts.sinks.mqtt import Mqtt
from shelfgap_edge.alerts.sinks.secret import Secret
from shelfgap_edge.alerts.sinks.signing import signing_keys
from shelfgap_edge.alerts.sinks.webhook import Webhook

ZONES = 25
RETRY = Backoff(0.02, 0.2)
DISK_BYTES = 2 * 1024 * 1024


def plan(alerts: int) -> list[AlertEvent]:
    """Return the steps of a replay in their order: two or three of each alert, alerts of many zones mixed."""
    chance = random.Random(0)
    waves: list[AlertEvent] = []
    for first in range(0, alerts, ZONES):
        lives = []
        for alert in range(first, min(first + ZONES, alerts)):
            place = {"camera_id": f"cam-{alert % ZONES // 5}", "zone": f"zone {alert % 5}" if alert % 5 else None}
            actions = ["opened", "resolved"] if alert % 2 else ["opened", "escalated", "resolved"]
            lives.append([step(alert, number, action, **place) for number, action in enumerate(actions, 1)])
        while lives:
            life = chance.choice(lives)
            waves.append(life.pop(0))
            lives = [one for one in lives if one]
    return waves


def replay(
    folder: Path, log: Path, url: str, mqtt_port: int, events: list[AlertEvent], raised: Any, whole: bool
) -> None:
    """Raise what is left of some events, as the service does; then wait for the kill, or until all is delivered.

    Args:
        folder: of the outbox.
        log: file of what is logged.
        url: of the webhook.
        mqtt_port: of the broker.
        events: to have been raised in the end.
        raised: shared integer, set to how many were.
        whole: whether to end when every sink has everything.
    """
    logging.basicConfig(filename=log, level=logging.WARNING, format="%(message)s")
    sinks = [
        Webhook("web", urlsplit(url), signing_keys(Secret(SECRET), "test"), timeout_s=5, backoff=RETRY),
        Mqtt("bus", "127.0.0.1", mqtt_port, "shelfgap/alerts", "replay", timeout_s=5, backoff=RETRY),
    ]
    outbox = Outbox(folder / "outbox.db", {sink.name: everything for sink in sinks})
    dispatcher = Dispatcher(outbox, sinks)
    dispatcher.start()
    for done in range(int(outbox.states().get("replay", 0)), len(events)):
        outbox.put([events[done]], [("replay", str(done + 1))])
        raised.value = done + 1
        time.sleep(0.005)
    while not whole or any(outbox.figures().waiting.values()) or not outbox.flush():
        time.sleep(0.05)
    dispatcher.stop(10)
    outbox.close()


class SmallDisk:
    """A state folder whose disk can be filled: a tmpfs, or a limit of the size of files where that needs root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder]
        self.real = subprocess.run(command, capture_output=True).returncode == 0
        self.full = False

    def fill(self) -> None:
        self.full = True
        if self.real:
            with (self.folder / "ballast").open("ab", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(1024))

    def free(self) -> None:
        self.full = False
        if self.real:
            (self.folder / "ballast").unlink(missing_ok=True)

    def limit(self, pid: int) -> None:
        """Bring the limit of file sizes of a process to where the disk stands."""
        if not self.real:
            size = max((path.stat().st_size for path in self.folder.iterdir()), default=0)
            with suppress(ProcessLookupError):
                limits = (size if self.full else resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)

    def close(self) -> None:
        if self.real:
            subprocess.run(["umount", "--lazy", self.folder], check=True)


def trouble(over: threading.Event, receiver: Receiver, broker: Broker, chance: random.Random, seconds: Counter) -> None:
    """Take webhook and broker down in turns, each for half the time, until the event; then leave both up."""
    state = {"web": True, "bus": True}

    def switch(name: str, up: bool) -> None:
        if name == "bus":
            broker.start() if up else broker.stop()
        elif up:
            receiver.mode = "up"
            if not receiver_up[0]:
                receiver.start()
                receiver_up[0] = True
        else:
            receiver.mode = chance.choice(["refused", "vanish", 503, 500])
            if receiver.mode == "refused":
                receiver.stop()
                receiver_up[0] = False
        state[name] = up

    receiver_up = [True]
    while True:
        begun = time.monotonic()
        stopped = over.wait(chance.uniform(0.1, 1.0))
        for name, up in state.items():
            seconds[name, up] += time.monotonic() - begun
        if stopped:
            break
        for name in state:
            behind = seconds[name, True] > seconds[name, False]
            if behind == state[name]:
                switch(name, not state[name])
    for name, up in state.items():
        if not up:
            switch(name, True)


def run(work: Path, alerts: int, kills: int, life_s: float, say: Callable[[str], None] = lambda line: None) -> dict:
    """Run it and return what came of it.

    Args:
        work: an empty folder.
        alerts: to raise.
        kills: of the process, each at a random moment; all but the last life raise their share of the alerts.
        life_s: how long the first process lives at most; later ones longer or shorter, as their share demands.
        say: told how far it is.
    """
    chance = random.Random(1)
    broker = Broker(work / "broker")
    broker.start()
    subscriber = Subscriber(broker.port)
    receiver = Receiver()
    receiver.start()
    disk = SmallDisk(work / "state")
    log = work / "replay.log"
    events = plan(alerts)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["alerts_under_fire"])
    raised = context.RawValue("i", 0)
    url = f"http://127.0.0.1:{receiver.port}/alerts?from=test"

    def start(count: int, whole: bool) -> Any:
        arguments = (disk.folder, log, url, broker.port, events[:count], raised, whole)
        child = context.Process(target=replay, args=arguments, daemon=True)
        child.start()
        return child

    over, seconds = threading.Event(), Counter()
    begun = time.monotonic()
    troubles = threading.Thread(target=trouble, args=(over, receiver, broker, chance, seconds))
    troubles.start()
    full_kills = killed = 0
    try:
        while killed < kills:
            if killed == kills * 3 // 10:
                disk.fill()
            if killed == kills * 5 // 10:
                disk.free()
            share = len(events) * (killed + 1) // kills
            child = start(share, whole=False)
            disk.limit(child.pid)
            child.join(chance.uniform(0, life_s))
            if child.exitcode is not None:
                raise AssertionError(f"the replay ended after {killed} kills ({child.exitcode}): {log.read_text()}")
            child.kill()
            child.join()
            killed += 1
            full_kills += disk.full
            life_s = min(max(life_s * (1.1 if raised.value < share else 0.9), 0.05), 10.0)
            if killed % 20 == 0:
                say(f"{killed} kills, {raised.value} steps raised, {len(receiver.taken)} webhooks taken")
        raised_while_killed = raised.value
        over.set()
        troubles.join()
        child = start(len(events), whole=True)
        child.join(300)
        if child.exitcode != 0:
            child.kill()
            raise AssertionError(f"the last replay did not end: {log.read_text()[-3000:]}")
        deadline = time.monotonic() + 60
        while len({body for _, body in subscriber.messages}) < len(events) and time.monotonic() < deadline:
            time.sleep(0.1)
        left = Outbox(disk.folder / "outbox.db", {"web": everything, "bus": everything})
        waiting = left.figures()
        left.close()
    finally:
        over.set()
        troubles.join()
        subscriber.close()
        broker.stop()
        receiver.stop()
        disk.close()
    sinks = {"web": receiver.taken, "bus": [body for _, body in subscriber.messages]}
    return {
        "alerts": alerts,
        "steps": len(events),
        "kills": killed,
        "steps_raised_before_the_last_kill": raised_while_killed,
        "kills_while_the_disk_was_full": full_kills,
        "times_that_writing_failed": log.read_text().count("cannot be written"),
        "disk": "tmpfs" if disk.real else "RLIMIT_FSIZE",
        "seconds": round(time.monotonic() - begun, 1),
        "down": {n: round(seconds[n, False] / (seconds[n, False] + seconds[n, True]), 2) for n in ("web", "bus")},
        "forged": receiver.forged,
        "still_waiting": sum(waiting.waiting.values()) + sum(waiting.refused.values()) + waiting.dropped,
        **{name: judge(events, bodies) for name, bodies in sinks.items()},
    }


def judge(events: list[AlertEvent], bodies: list[bytes]) -> dict:
    """Compare what a sink got with what was raised: counts of steps lost, repeats, and whether order and keys held."""
    seen: dict[str, bytes] = {}
    first: list[str] = []
    changed = 0
    for body in bodies:
        key = json.loads(body)["id"]
        if key not in seen:
            seen[key] = body
            first.append(key)
        changed += seen[key] != body
    zones = {event.key: (event.camera_id, event.zone) for event in events}
    disordered = 0
    for zone in set(zones.values()):
        got = [key for key in first if zones.get(key) == zone]
        expected = [event.key for event in events if zones[event.key] == zone and event.key in seen]
        disordered += got != expected
    return {
        "lost": len(zones.keys() - seen.keys()),
        "unknown": len(seen.keys() - zones.keys()),
        "repeats": len(bodies) - len(first),
        "repeats_with_another_body": changed,
        "zones_out_of_order": disordered,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alerts", type=int, default=500)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--life", type=float, default=0.8, help="longest life of the process, seconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:
        figures = run(
            Path(work), options.alerts, options.kills, options.life, lambda line: print(line, file=sys.stderr)
        )
    print(json.dumps(figures, indent=1))
    sinks = (figures["web"], figures["bus"])
    keys = ("lost", "unknown", "repeats_with_another_body", "zones_out_of_order")
    bad = figures["forged"] + figures["still_waiting"] + sum(sink[key] for sink in sinks for key in keys)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    main()
