"""Mutated JPEGs and malformed requests: no crash, no 5xx, each counted by reason, the next good frame served.

SHELFGAP_BAD_JPEGS and SHELFGAP_BAD_REQUESTS set how many (300 each).
"""

from __future__ import annotations

import os
import random
import socket
from collections import Counter
from urllib.parse import urlsplit

import numpy as np
import pytest
from running_service import edge_toml, start, token_of

JPEGS, REQUESTS = (int(os.environ.get(f"SHELFGAP_BAD_{kind}", "300")) for kind in ("JPEGS", "REQUESTS"))
LIMITS = "[limits]\nframes_per_minute = 600000\nburst = 100000\nfailed_logins_per_minute = 1000000\n"
HTTP = "max_body_bytes = 262144\nmax_megapixels = 1\nbody_seconds = 60\n"
MARKERS = bytes((0xC0, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD, 0xE1, 0xFE, 0xD9, 0xD0, 0x00))


def seeds(to_jpeg) -> list[bytes]:
    """Return real JPEGs of several kinds: baseline, progressive, grey, turned by EXIF, with restart markers."""
    chance = np.random.default_rng(3)
    small = chance.integers(0, 256, (48, 64, 3), np.uint8)
    smooth = np.linspace(0, 255, 160 * 120 * 3).reshape(120, 160, 3).astype(np.uint8)
    return [
        to_jpeg(smooth),
        to_jpeg(smooth, progressive=True),
        to_jpeg(small, quality=30),
        to_jpeg(smooth[..., 0]),
        to_jpeg(smooth, orientation=6),
        to_jpeg(smooth, restart_marker_blocks=4),
    ]


def mutated(jpeg: bytes, chance: random.Random) -> bytes:
    """Return a JPEG with a few faults: flipped, cut, repeated, inserted or other markers, other lengths and sizes."""
    data = bytearray(jpeg)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        at = chance.randrange(len(data)) if data else 0
        kind = chance.randrange(8)
        if not data:
            break
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = data[at : at + chance.randrange(1, 200)]
        elif kind == 3:
            data[at : at + 1] = bytes((0xFF, chance.choice(MARKERS)))
        elif kind == 4:
            data[at : at + chance.randrange(1, 50)] = b""
        elif kind == 5:
            data[at : at + 4] = chance.randbytes(4)
        elif kind == 6 and len(data) > 300:  # within the headers, where lengths and sizes are
            data[chance.randrange(2, 300)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif (frame := max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))) >= 0 and frame + 9 < len(data):
            data[frame + 5 : frame + 9] = chance.choice(
                (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\1\xff\xff", b"\3\0\3\0")
            )
    return bytes(data)


def malformed(chance: random.Random, jpeg: bytes) -> bytes:
    """Return a request with something wrong in its line, its head, its length or its body."""
    line, path = "POST", "/v1/cameras/c0/frames"
    headers = {
        "Host": "edge",
        "Authorization": f"Bearer {token_of('c0')}",
        "Content-Type": "image/jpeg",
        "Content-Length": str(len(jpeg)),
        "Connection": "close",
    }
    body, junk = jpeg, chance.randbytes(chance.randrange(1, 40)).decode("latin-1")
    kind = chance.randrange(14)
    if kind == 0:
        line = chance.choice(("PUT", "get", "P\0ST", "", "TRACE", junk))
    elif kind == 1:
        path = chance.choice(("/", "*", "/v1/cameras//frames", "/v1/cameras/../../etc/passwd/frames", "/%00", junk))
    elif kind == 2:
        path = f"/v1/cameras/{junk}/frames"
    elif kind == 3:
        path += chance.choice(("?wait=2", "?wait=1&wait=1", "?" + junk, "?wait", "#x", "?path=/etc/passwd"))
    elif kind == 4:
        headers["Content-Length"] = chance.choice(("-1", "x", "1e3", "99999999999", "4294967296", "1, 2", "", "0x10"))
    elif kind == 5:
        headers["Content-Type"] = chance.choice(("", "text/html", "image/jpeg/../png", junk, "multipart/form-data"))
    elif kind == 6:
        headers["Authorization"] = chance.choice(("", "Bearer", "Bearer  ", "Basic ===", "Bearer " + junk, "\0"))
    elif kind == 7:
        headers[junk] = junk
    elif kind == 8:
        headers["Transfer-Encoding"] = chance.choice(("chunked", "gzip", "chunked, chunked", "identity"))
    elif kind == 9:
        headers["Content-Encoding"] = chance.choice(("gzip", "br", junk))
    elif kind == 10:
        headers["X-Long"] = "a" * 30_000
    elif kind == 11:
        headers["Expect"] = chance.choice(("100-continue", junk))
        headers["Upgrade"], headers["Connection"] = "websocket", "Upgrade"
    elif kind == 12:
        del headers[chance.choice(list(headers))]
    else:
        body = body[: chance.randrange(len(body))]  # shorter than it says, then closed
    version = chance.choice(("HTTP/1.1",) * 8 + ("HTTP/1.0", "HTTP/2", "HTTP/1.1x", ""))
    head = f"{line} {path} {version}\r\n" + "".join(f"{key}: {value}\r\n" for key, value in headers.items()) + "\r\n"
    request = head.encode("latin-1") + body
    return request if chance.random() < 0.9 else chance.randbytes(chance.randrange(1, 300))


def exchange(address: str, request: bytes) -> bytes:
    host, port = urlsplit(address).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as channel:
        received = b""
        try:
            channel.sendall(request)
            channel.shutdown(socket.SHUT_WR)
            while chunk := channel.recv(65536):
                received += chunk
                if b"\r\n\r\n" in received:
                    break
        except ConnectionError:  # closed while the rest was on its way
            pass
        return received


def bombard(running, to_jpeg, good: bytes, jpegs: int, requests: int) -> tuple[Counter, Counter]:
    """Send all of it, a good frame now and then; returns the statuses of both kinds."""
    chance, pictures, answers = random.Random(7), Counter(), Counter()
    originals = seeds(to_jpeg)
    for number in range(jpegs):
        answer = running.post("c0", mutated(chance.choice(originals), chance))
        pictures[answer.status] += 1
        assert answer.status in (200, 413, 422), answer
        assert answer.status == 200 or (answer.body["error"] and answer.body["detail"])
        if number % 100 == 0:
            assert running.post("c1", good).status == 200
    for number in range(requests):
        answer = exchange(running.frames, malformed(chance, good))
        status = answer[9:12].decode()
        answers[status] += 1
        assert not status.startswith("5"), answer[:500]
        if number % 100 == 0:
            assert running.post("c1", good).status == 200
    assert running.post("c1", good).status == 200
    return pictures, answers


@pytest.mark.timeout(600 + (JPEGS + REQUESTS) // 10)
def test_bad_pictures_and_requests(tmp_path, bundle, to_jpeg, bright_square):
    good = to_jpeg(bright_square())
    running = start(edge_toml(tmp_path, bundle, ["c0", "c1"], LIMITS, HTTP), tmp_path / "log").wait_ready()
    running.post("c1", good)
    pictures, answers = bombard(running, to_jpeg, good, JPEGS, REQUESTS)
    assert pictures[422] > JPEGS / 20
    assert sum(answers.values()) == REQUESTS
    text = running.request("GET", f"{running.admin}/metrics").body["text"]
    print(f"pictures {dict(pictures)}, requests {dict(answers)}")
    print("\n".join(line for line in text.splitlines() if line.startswith(("shelfgap_refused_t", "shelfgap_frames_t"))))
    refused = running.metric("shelfgap_refused_total")
    without_answer = answers[""]
    expected = pictures[422] + pictures[413] + sum(count for status, count in answers.items() if status[:1] == "4")
    assert expected <= refused <= expected + without_answer + answers["200"] + answers["202"]
    assert running.stop() == 0
    errors = [line for line in running.lines() if line.get("level") == "error"]
    assert errors == []
