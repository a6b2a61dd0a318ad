"""Load of the edge service over real HTTP: simulated cameras, ten times as many frames, recovery, memory.

    python benchmarks/edge_load.py --bundle release/bundle --cameras 1500 --minutes 20

Latency is the service's own, from the head of a request to its verdict; the client's is printed beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from shelfgap_edge.service.tokens import hash_token

RECOVERED_SECONDS = 1.0
OVERLOAD = 10
MEMORY_LOOK, AT_ONCE = 5000, 4  # frames between two looks at the memory; requests under way


@dataclass
class Phase:
    """What came of the frames of one phase."""

    name: str
    latency_ms: list[float] = field(default_factory=list)
    client_ms: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)

    def report(self) -> dict[str, object]:
        """Return the figures."""
        return {
            "phase": self.name,
            "frames": sum(self.statuses.values()),
            "outcomes": dict(self.statuses),
            "latency_ms": {f"p{share}": percentile(self.latency_ms, share) for share in (50, 90, 99)},
            "client_p99_ms": percentile(self.client_ms, 99),
        }


def percentile(values: list[float], share: float) -> float | None:
    """Return a percentile of at least a hundred values, by nearest rank."""
    if len(values) < 100:
        return None
    return round(sorted(values)[min(len(values) - 1, int(len(values) * share / 100))], 1)


class Fleet:
    """Cameras that post frames to one service."""

    def __init__(self, frames: str, admin: str, names: list[str], jpegs: list[bytes]) -> None:
        self._frames, self._admin, self.names = urlsplit(frames), urlsplit(admin), names
        self._jpegs = {name: jpegs[number % len(jpegs)] for number, name in enumerate(names)}  # each before its shelf
        self._chance = random.Random(1)

    async def post(self, camera: str, phase: Phase) -> None:
        """Post a frame on a connection of its own and note what came of it."""
        jpeg = self._jpegs[camera]
        head = (
            f"POST /v1/cameras/{camera}/frames?wait=1 HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n"
            f"Authorization: Bearer {camera}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        )
        began = time.monotonic()
        try:
            status, body = await self._exchange(self._frames, head.encode() + jpeg)
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            phase.statuses[type(error).__name__] += 1
            return
        phase.statuses[str(status)] += 1
        if status == 200:
            phase.client_ms.append(1000 * (time.monotonic() - began))
            phase.latency_ms.append(json.loads(body)["latency_ms"])

    async def drive(self, phase: Phase, every_seconds: float, seconds: float) -> None:
        """Let each camera post at its interval, with jitter, for so long; waits for the last answers."""
        posts: set[asyncio.Task[None]] = set()
        due = [(self._chance.random() * every_seconds, camera) for camera in self.names]
        due.sort()
        began, at = time.monotonic(), 0
        while due[at][0] < seconds:
            moment, camera = due[at]
            await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
            task = asyncio.create_task(self.post(camera, phase))
            posts.add(task)
            task.add_done_callback(posts.discard)
            due.append((due[at][0] + every_seconds, camera))  # stays sorted: all have one interval
            at += 1
        await asyncio.gather(*posts)

    async def metrics(self) -> dict[str, float]:
        """Return the samples of the service."""
        _, body = await self._exchange(
            self._admin, b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        )
        lines = [line.rpartition(" ") for line in body.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    async def _exchange(self, address: object, request: bytes) -> tuple[int, bytes]:
        host, port = address.netloc.split(":")  # type: ignore[attr-defined]
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(request)
            answer = await reader.read()
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body


async def measure_memory(fleet: Fleet, frames: int) -> None:
    """Post frames as fast as they are judged and print how much memory the service has on the way."""
    phase, left = Phase("memory"), iter(range(frames))

    async def post_on() -> None:
        for number in left:
            await fleet.post(fleet.names[number % len(fleet.names)], phase)
            if (number + 1) % MEMORY_LOOK == 0:
                resident = (await fleet.metrics())["process_resident_memory_bytes"] / 2**20
                print(json.dumps({"phase": "memory", "frames": number + 1, "resident_MB": resident}), flush=True)

    await asyncio.gather(*[post_on() for _ in range(AT_ONCE)])
    print(json.dumps(phase.report()), flush=True)


async def measure(fleet: Fleet, arguments: argparse.Namespace) -> None:
    """Run the phases and print their reports."""
    every = arguments.every

    def say(report: dict[str, object]) -> None:
        print(json.dumps(report), flush=True)

    async def steady(name: str, seconds: float) -> dict[str, float]:
        phase = Phase(name)
        await fleet.drive(phase, every, seconds)
        samples = await fleet.metrics()
        say({**phase.report(), "resident_MB": samples["process_resident_memory_bytes"] / 2**20})
        return samples

    await steady("warm-up", min(every, 60))
    before = await steady("normal", 60 * arguments.minutes)
    overload = Phase(f"{OVERLOAD} times the load")
    await fleet.drive(overload, every / OVERLOAD, arguments.overload_seconds)
    ended = time.monotonic()
    after = await fleet.metrics()
    shed = {
        name: value - before.get(name, 0.0)
        for name, value in after.items()
        if name.startswith("shelfgap_shed_total") and value > before.get(name, 0.0)
    }
    say({**overload.report(), "shed": shed})
    recovered = None
    while time.monotonic() - ended < 60:
        probe = Phase("probe")
        await fleet.drive(probe, every, 1.0)
        good = probe.latency_ms and max(probe.latency_ms) < 1000 * RECOVERED_SECONDS
        if good and set(probe.statuses) == {"200"}:
            recovered = time.monotonic() - ended
            break
    say({"phase": "recovery", "seconds_to_normal_latency": recovered and round(recovered, 1)})
    await steady("after", 60 * arguments.minutes / 4)


def configuration(folder: Path, bundle: Path, names: list[str]) -> Path:
    """Write an edge.toml that does not limit the cameras themselves."""
    lines = [f'bundle = "{bundle.resolve()}"', f'state = "{folder / "state"}"', "[http]", "port = 0"]
    lines += ["[admin]", "port = 0", "[limits]", "frames_per_minute = 100000", "burst = 10000"]
    for name in names:
        lines += [f"[cameras.{name}]", f'tokens = ["{hash_token(name)}"]']
    path = folder / "edge.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def main() -> int:
    """Start a service and measure it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--frames", type=Path, nargs="+", metavar="JPEG", help="default: the bundle's golden frames")
    parser.add_argument("--cameras", type=int, default=1500)
    parser.add_argument("--every", type=float, default=60.0, metavar="S", help="seconds between frames of a camera")
    parser.add_argument("--minutes", type=float, default=20.0, help="of normal load")
    parser.add_argument("--overload-seconds", type=float, default=60.0)
    parser.add_argument("--memory-frames", type=int, metavar="N", help="instead, how memory grows over so many frames")
    parser.add_argument(
        "--command",
        default=f"{sys.executable} -m shelfgap_edge.cli serve --config",
        help="what starts the service; the configuration is added",
    )
    arguments = parser.parse_args()
    jpegs = [path.read_bytes() for path in arguments.frames or sorted(arguments.bundle.glob("golden/*.jpg"))]
    names = [f"camera-{number}" for number in range(arguments.cameras)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        config, log = configuration(folder, arguments.bundle, names), folder / "log"
        with log.open("wb") as errors:
            service = subprocess.Popen([*shlex.split(arguments.command), str(config)], stderr=errors)
        try:
            ready = None
            while ready is None:
                if service.poll() is not None:
                    print(log.read_text(), file=sys.stderr)
                    return 1
                time.sleep(0.1)
                lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
                ready = next((line for line in lines if line.get("message") == "ready"), None)
            fleet = Fleet(ready["frames"], ready["admin"], names, jpegs)
            count = arguments.memory_frames
            asyncio.run(measure(fleet, arguments) if count is None else measure_memory(fleet, count))
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)
    return 0


if __name__ == "__main__":
    sys.exit(main())
