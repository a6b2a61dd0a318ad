"""A pull that is killed at any moment leaves a whole, verified bundle, and the next one goes on from there."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time

import pytest
from file_server import serve
from published import running_version
from shelfgap_edge.pull.index import SIGNED_INDEX
from shelfgap_edge.pull.source import open_source
from shelfgap_export.publish import publish_bundle

KILLS = 50


def gathered(device, sha256):
    """Return how much of a file the device has."""
    whole, part = device.state / "store" / sha256, device.state / "store" / f"{sha256}.part"
    return next((path.stat().st_size for path in (whole, part) if path.exists()), 0)


@pytest.mark.slow
def test_fifty_kills(shop):
    device = shop.device("device")
    shop.release("0")
    shop.pull(device)
    seconds, complete, partial = 0.0, 0, 0
    chance = random.Random(0)
    with serve(shop.root) as server:
        command = [sys.executable, "-m", "shelfgap_edge.cli", "pull", server.url, "--once"]
        command += ["--state", str(device.state), "--keys", str(device.keys)]
        for kill in range(1 + KILLS):  # the first is left to end, to know how long that takes
            version = str(kill + 1)
            known = set(shop.root.glob("blobs/*/*"))
            shop.release(version)
            new = {path.name: path.stat().st_size for path in set(shop.root.glob("blobs/*/*")) - known}
            server.sent.clear()
            reached = threading.Event()
            # Every other kill falls into the transfer, the rest on any moment from its end to that of the process.
            point = chance.randrange(sum(new.values())) if kill % 2 else sum(new.values())
            begun = []

            def on_chunk(total, point=point, reached=reached, begun=begun):
                if server.sent_blobs() >= point:
                    begun.append(time.monotonic())
                    reached.set()

            server.on_chunk = on_chunk
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            assert reached.wait(60)
            if kill == 0:
                process.wait(60)
                seconds = time.monotonic() - begun[0]
            elif kill % 2 == 0:
                time.sleep(chance.uniform(0, seconds))
            process.kill()
            complete += process.wait(60) == 0
            server.wait_quiet()
            now = running_version(device)
            assert now in (str(kill), version)
            missing = 0 if now == version else sum(size - gathered(device, name) for name, size in new.items())
            before = server.sent_blobs()
            outcome = shop.pull(device, open_source(server.url))
            assert running_version(device) == version
            assert outcome.status in ("updated", "current")
            assert outcome.fetched_bytes == server.sent_blobs() - before == missing
            partial += 0 < missing < sum(new.values())
    assert partial >= 5, "hardly a kill fell into the transfer"
    assert complete < KILLS / 2


@pytest.mark.slow
def test_a_killed_publisher_leaves_the_old_index_or_the_new_one(shop):
    shop.release("1")
    device = shop.device("device", "canary")
    chance = random.Random(1)
    code = (
        "import sys; from pathlib import Path; from shelfgap_export.destination import DirectoryDestination\n"
        "from shelfgap_export.publish import Publisher, publish_bundle\n"
        "to, key, keys, bundle = map(Path, sys.argv[1:]); print('ready', flush=True)\n"
        "publish_bundle(Publisher(DirectoryDestination(to), key, keys), bundle)"
    )
    started = time.monotonic()
    shop.publish("2")
    seconds = time.monotonic() - started
    for version in range(3, 11):
        before = (shop.root / SIGNED_INDEX).read_bytes()
        bundle = shop.bundle(str(version))
        command = [sys.executable, "-c", code, *map(str, (shop.root, shop.signer.private, shop.signer.public, bundle))]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(chance.uniform(0, 2 * seconds))
            process.kill()
        old = (shop.root / SIGNED_INDEX).read_bytes() == before
        assert shop.pull(device).version == (str(version - 1) if old else str(version))
        publish_bundle(shop.publisher, bundle)
        assert shop.pull(device).version == str(version)
