"""No picture outlives its verdict, seen from outside: system calls, files, logs, answers, memory, a crash.

Every frame carries a canary, in its pixels and in a comment of the JPEG. It is looked for raw, as the JPEG has it, in
hexadecimal and in base64. SHELFGAP_PRIVACY_FRAMES sets how many frames are sent (300).
"""

from __future__ import annotations

import base64
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from running_service import edge_toml, start
from shelfgap_edge.image import decode_jpeg

FRAMES = int(os.environ.get("SHELFGAP_PRIVACY_FRAMES", "300"))
LIMITS = "[limits]\nframes_per_minute = 600000\nburst = 100000\nfailed_logins_per_minute = 1000000\n"
WRITES = "write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,sendmmsg"
TRACE = f"open,openat,openat2,creat,memfd_create,rename,renameat,renameat2,link,linkat,truncate,mknod,{WRITES}"
OUTBOX = {"outbox.sqlite", "outbox.sqlite-wal", "outbox.sqlite-shm", "outbox.sqlite-journal"}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")]


class Canary:
    """A frame, and what must be found nowhere."""

    def __init__(self, to_jpeg, bright_square) -> None:
        chance = np.random.default_rng(20)
        pixels = bright_square((96, 128))
        pixels[80:, :, :] = np.repeat(chance.integers(30, 120, 16), 8)[None, :, None]  # 16 grey blocks, kept by JPEG
        self.comment = chance.bytes(48)
        jpeg = to_jpeg(pixels, quality=100, subsampling=0)
        self.jpeg = jpeg[:2] + b"\xff\xfe" + (50).to_bytes(2, "big") + self.comment + jpeg[2:]
        decoded = decode_jpeg(self.jpeg, (64, 64)).pixels
        self.raw = [decoded[row].tobytes()[:192] for row in (82, 86, 90)]
        encoded = [self.jpeg[at : at + 48] for at in range(700, len(self.jpeg) - 48, 97)] + [self.comment]
        assert len(set(self.raw[0])) > 4
        self.needles = {text for needle in self.raw + encoded for text in _forms(needle)}

    def found_in(self, content: bytes) -> bool:
        return any(needle in content for needle in self.needles)


def _forms(needle: bytes) -> set[bytes]:
    base64s = {base64.b64encode(bytes(shift) + needle)[4:-4] for shift in range(3)}
    hexadecimal = needle.hex().encode()
    escaped = "".join(f"\\x{byte:02x}" for byte in needle).encode()  # as strace -xx writes it
    return {needle, hexadecimal, hexadecimal.upper(), escaped, *base64s}


@pytest.fixture
def canary(to_jpeg, bright_square):
    return Canary(to_jpeg, bright_square)


def test_the_canary_is_found_where_it_is(canary, tmp_path):
    # Else the searches below could not fail.
    assert canary.found_in(canary.jpeg)
    assert canary.found_in(base64.b64encode(b"x" + canary.jpeg))
    assert canary.found_in(canary.jpeg.hex().encode())
    assert canary.found_in(decode_jpeg(canary.jpeg, (64, 64)).pixels.tobytes())


def send(running, canary, count: int) -> None:
    """Send good frames, waited for or not, and bad ones between them."""
    for number in range(count):
        camera = f"c{number % 5}"
        if number % 10 == 7:
            assert running.post(camera, canary.jpeg[:-200]).status == 422
        elif number % 10 == 8:
            assert running.post(camera, canary.jpeg, token="wrong").status == 401
        elif number % 10 == 9:
            assert running.post(camera, canary.jpeg, wait=False).status == 202
        else:
            answer = running.post(camera, canary.jpeg)
            assert answer.status == 200
            assert not canary.found_in(repr(answer.body).encode())


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("read_only", [False, True], ids=["", "read-only"])
def test_nothing_is_opened_or_written_but_the_outbox(tmp_path, bundle, canary, read_only):
    config = edge_toml(tmp_path, bundle, [f"c{number}" for number in range(5)], LIMITS)
    state, trace = tmp_path / "state", tmp_path / "trace"
    state.mkdir(mode=0o700)
    prefix = ["strace", "-f", "-qq", "-xx", "-s", "8192", "-e", f"trace={TRACE}", "-o", str(trace)]
    if read_only:
        if subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode != 0:
            pytest.skip("no user namespaces here")
        script = Path(__file__).with_name("read_only_root.py")
        prefix += ["unshare", "-Urm", sys.executable, str(script), str(state)]
    running = start(config, tmp_path / "log", prefix=prefix).wait_ready()
    send(running, canary, FRAMES)
    metrics = running.request("GET", f"{running.admin}/metrics").body["text"]
    service = _service_pid(running.process.pid)
    os.kill(service, signal.SIGTERM)
    assert running.process.wait(120) == 0

    begun, opened = False, set()
    for line in trace.read_text().splitlines():
        begun = begun or _is_service_script(line)
        if not begun:  # unshare and read_only_root.py
            continue
        assert not canary.found_in(line.encode()), line[:200]
        opened |= _opened_for_writing(line)
    assert {Path(path).name for path in opened if Path(path).parent == state} <= OUTBOX
    assert {path for path in opened if Path(path).parent != state} <= {"/dev/null", "/dev/tty"}
    assert "outbox.sqlite" in {path.name for path in map(Path, opened)}, "the trace has seen nothing"
    assert metrics.count("canary") == 0
    assert not canary.found_in(metrics.encode())
    for path in (tmp_path / "log", *state.iterdir()):
        assert not canary.found_in(path.read_bytes()), path


def _service_pid(parent: int) -> int:
    """Return the process below strace that is the service: the last in the line of children."""
    while children := Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        parent = int(children[0])
    return parent


def _is_service_script(line: str) -> bool:
    return "".join(f"\\x{byte:02x}" for byte in b"stand_in_parts.py") in line


def _opened_for_writing(line: str) -> set[str]:
    match = re.search(r'(?:open|openat|openat2|creat|memfd_create)\((?:AT_FDCWD, )?"([^"]*)"(.*)', line)
    if match is None or not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|creat\(|memfd_create", line):
        return set()
    if "= -1 " in match[2]:
        return set()
    return {bytes.fromhex(match[1].replace("\\x", "")).decode()}


def test_a_crash_leaves_no_core_file(tmp_path, bundle, canary):
    cores = tmp_path / "cores"
    cores.mkdir()

    def crash(command: list[str], ready) -> bool:
        allowed = ["sh", "-c", f'ulimit -c unlimited; cd {cores}; exec "$@"', "sh"]
        process = ready([*allowed, *command])
        process.send_signal(signal.SIGSEGV)
        assert process.wait(300) == -signal.SIGSEGV
        return bool(list(cores.iterdir()))

    def serve(command: list[str]):
        running = start(
            edge_toml(tmp_path, bundle, ["c0", "c1", "c2", "c3", "c4"], LIMITS), tmp_path / "log", prefix=command
        ).wait_ready()
        send(running, canary, 20)
        limits = Path(f"/proc/{running.process.pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits)
        return running.process

    assert not crash([], serve)
    for path in (tmp_path / "log", *(tmp_path / "state").iterdir()):
        assert not canary.found_in(path.read_bytes()), path
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != 0:
        left = crash([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"], _sleeper)
        if not left:
            pytest.skip("this machine leaves no core file of any process, so its absence proves the limit only")


def _sleeper(command: list[str]) -> subprocess.Popen:
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    return process


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may read its memory")
def test_memory_holds_no_picture_after_the_verdict(tmp_path, bundle, canary, to_jpeg, bright_square):
    config = edge_toml(tmp_path, bundle, [f"c{n}" for n in range(5)], LIMITS)
    running = start(config, tmp_path / "log", GLIBC_TUNABLES="glibc.malloc.tcache_count=0").wait_ready()
    send(running, canary, 50)
    # A frame of another view takes what buffers of the model are kept for the next one.
    assert running.post("c0", to_jpeg(bright_square())).status == 200
    found = {needle for needle in (*canary.raw, canary.comment) if _is_in_memory(running.process.pid, needle)}
    assert found == set()
    assert _is_in_memory(running.process.pid, b"shelfgap_frame_latency_seconds"), "the search finds nothing at all"
    assert running.stop() == 0


def _is_in_memory(pid: int, needle: bytes) -> bool:
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            bounds, mode = line.split()[:2]
            begin, end = (int(bound, 16) for bound in bounds.split("-"))
            if "r" not in mode or "w" not in mode:
                continue
            try:
                memory.seek(begin)
                if needle in memory.read(end - begin):
                    return True
            except (OSError, OverflowError):
                continue
    return False
