"""Frames over HTTP: verdicts for good ones, a reason and no more for anything else."""

from __future__ import annotations

import http.client
import json
import select
import socket
import time
from collections import Counter
from urllib.parse import urlsplit

import pytest
from running_service import edge_toml, start, token_of
from shelfgap_edge.service.tokens import hash_token

MORE = """
[limits]
frames_per_minute = 600000
burst = 10000
failed_logins_per_minute = 6000
"""
HTTP = """
max_body_bytes = 65536
max_megapixels = 0.05
body_seconds = 5
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory, write_bundle):
    folder = tmp_path_factory.mktemp("service")
    bundle = write_bundle(folder / "bundle")
    config = edge_toml(folder, bundle, ["c1", "c2"], MORE, HTTP)
    config.write_text(config.read_text() + "[cameras.no-token]\n")
    running = start(config, folder / "log").wait_ready()
    yield running
    assert running.stop() == 0


def raw(service, data: bytes, seconds: float = 20) -> bytes:
    """Send bytes as they are and return what comes until the connection is closed."""
    host, port = urlsplit(service.frames).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as channel:
        channel.sendall(data)
        received = b""
        try:
            while chunk := channel.recv(65536):
                received += chunk
        except (TimeoutError, ConnectionResetError):
            pass
        return received


def test_the_verdict_is_given_when_asked_for(service, frame):
    answer = service.post("c1", frame)
    assert answer.status == 200
    assert answer.body["status"] == "seen"
    assert answer.body["detections"] == [{"class": "gap", "score": 0.9412, "box_xyxy": [32.0, 24.0, 64.0, 60.0]}]
    assert answer.body["latency_ms"] > 0


def test_a_frame_is_accepted_at_once_otherwise(service, frame):
    before = service.metric('shelfgap_frames_total{camera="c2",outcome="seen"}')
    answer = service.post("c2", frame, wait=False)
    assert (answer.status, answer.body["status"]) == (202, "accepted")
    assert (answer.body["height"], answer.body["width"]) == (96, 128)
    deadline = time.monotonic() + 30
    while service.metric('shelfgap_frames_total{camera="c2",outcome="seen"}') == before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_chunked_bodies_are_frames_too(service, frame):
    connection = http.client.HTTPConnection(urlsplit(service.frames).netloc, timeout=30)
    headers = {"Content-Type": "image/jpeg", "Authorization": f"Bearer {token_of('c1')}"}
    connection.request("POST", "/v1/cameras/c1/frames?wait=1", iter([frame[:700], frame[700:]]), headers)
    response = connection.getresponse()
    assert response.status == 200
    assert json.loads(response.read())["status"] == "seen"
    connection.close()


def test_an_unknown_camera_and_a_wrong_token_get_the_same_answer(service, frame):
    answers = [
        service.post("c1", frame, token="wrong"),
        service.post("nobody", frame),
        service.post("no-token", frame),
        service.post("c2", frame, token=token_of("c1")),
        service.post("c1", frame, Authorization=""),
        service.post("c1", frame, Authorization=f"Basic {token_of('c1')}"),
    ]
    assert {answer.status for answer in answers} == {401}
    assert len({json.dumps(answer.body) for answer in answers}) == 1
    assert len({tuple(name for name in answer.headers) for answer in answers}) == 1


CASES = {
    "content-type": (415, {"Content_Type": "image/png"}, ""),
    "content-encoding": (415, {"Content_Encoding": "gzip"}, ""),
    "query": (400, {}, "?wait=yes"),
    "no-such-path": (404, {}, "/more"),
}


@pytest.mark.parametrize("reason", CASES)
def test_wrong_requests_are_refused_and_counted_by_reason(service, frame, reason):
    status, headers, tail = CASES[reason]
    counted = service.metric(f'shelfgap_refused_total{{reason="{reason}"}}')
    sent = {"Content-Type": "image/jpeg", "Authorization": f"Bearer {token_of('c1')}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    answer = service.request("POST", f"{service.frames}/v1/cameras/c1/frames{tail}", frame, sent)
    assert (answer.status, answer.body["error"]) == (status, reason)
    assert answer.body["detail"]
    assert service.metric(f'shelfgap_refused_total{{reason="{reason}"}}') == counted + 1


def test_other_methods_are_refused(service):
    answer = service.request("GET", f"{service.frames}/v1/cameras/c1/frames")
    assert (answer.status, answer.body["error"]) == (405, "method")


def test_bad_frames_are_refused_with_their_reason(service, frame, to_jpeg, bright_square):
    cases = {
        b"": (422, "empty"),
        b"GIF89a" + bytes(50): (422, "not-jpeg"),
        frame[:200]: (422, "truncated"),
        to_jpeg(bright_square((300, 300))): (413, "too-many-pixels"),
        frame[:-300]: (422, "truncated"),
        bytes(65537): (413, "too-large"),
    }
    for body, (status, reason) in cases.items():
        answer = service.post("c1", body)
        assert (answer.status, answer.body["error"]) == (status, reason), body[:20]
    assert service.post("c1", frame).status == 200


class SlowCamera:
    """Sends a head, waits for the answer to be there, and only then sends the body: nothing is read in between."""

    def __init__(self, service, token: str, body_bytes: int, *, chunked: bool = False, close: bool = False) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(service.frames).netloc, timeout=30)
        self.pieces = [bytes(20_000)] * (body_bytes // 20_000)
        if chunked:
            self.pieces = [b"4e20\r\n" + piece + b"\r\n" for piece in self.pieces] + [b"0\r\n\r\n"]
        self.connection.putrequest("POST", "/v1/cameras/c1/frames")
        self.connection.putheader("Content-Type", "image/jpeg")
        self.connection.putheader("Authorization", f"Bearer {token}")
        if chunked:
            self.connection.putheader("Transfer-Encoding", "chunked")
        else:
            self.connection.putheader("Content-Length", str(body_bytes))
        if close:
            self.connection.putheader("Connection", "close")
        self.connection.endheaders()

    def send(self, before_the_answer: int) -> int:
        for piece in self.pieces[:before_the_answer]:
            self.connection.send(piece)
        assert select.select([self.connection.sock], [], [], 30)[0], "no answer"
        for piece in self.pieces[before_the_answer:]:
            self.connection.send(piece)
        response = self.connection.getresponse()
        response.read()
        return response.status

    def post(self, frame: bytes) -> int:
        headers = {"Content-Type": "image/jpeg", "Authorization": f"Bearer {token_of('c1')}"}
        self.connection.request("POST", "/v1/cameras/c1/frames?wait=1", frame, headers)
        response = self.connection.getresponse()
        response.read()
        return response.status


@pytest.mark.parametrize(
    ("status", "token", "before_the_answer", "kind"),
    [
        (413, token_of("c1"), 0, {}),
        (413, token_of("c1"), 4, {"chunked": True}),
        (401, "wrong", 0, {}),
        (401, "wrong", 0, {"close": True}),
    ],
    ids=["too-large", "too-large-without-length", "unauthorized", "unauthorized-and-close"],
)
def test_a_refusal_reaches_a_camera_that_sends_all_before_it_reads(
    service, frame, status, token, before_the_answer, kind
):
    camera = SlowCamera(service, token, 4_000_000, **kind)
    assert camera.send(before_the_answer) == status
    camera.connection.close()
    assert service.post("c1", frame).status == 200


def test_a_connection_stays_open_after_a_refused_body(tmp_path, bundle, frame):
    running = start(edge_toml(tmp_path, bundle, ["c1"], http="body_seconds = 3\n"), tmp_path / "log").wait_ready()
    camera = SlowCamera(running, "wrong", 200_000)
    assert camera.send(0) == 401
    time.sleep(5.5)  # more than the time for a body and what is granted on top
    assert camera.post(frame) == 200
    assert running.metric('shelfgap_refused_total{reason="too-slow"}') == 0
    camera.connection.close()
    assert running.stop() == 0


def test_the_reason_reaches_a_camera_that_goes_on_talking_nonsense(service):
    host, port = urlsplit(service.frames).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as channel:
        channel.sendall(b"NONSENSE\r\n\r\n")
        select.select([channel], [], [], 30)
        for _ in range(100):
            channel.sendall(bytes(20_000))
        received = b""
        while chunk := channel.recv(65536):
            received += chunk
    assert received.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"NONSENSE\r\n\r\n",
        b"POST /v1/cameras/c1/frames HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"POST /v1/cameras/c1/frames HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /v1/cameras/c1/frames HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/cameras/\xff\xfe/frames HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["tls", "no-request", "two-lengths", "negative", "long-path", "chunk", "not-ascii"],
)
def test_what_is_not_http_is_refused_and_counted(service, data):
    counted = service.metric("shelfgap_refused_total")
    answer = raw(service, data)
    assert answer.startswith(b"HTTP/1.1 4"), answer[:100]
    assert service.metric("shelfgap_refused_total") > counted
    assert "Exception in ASGI application" not in service.log.read_text()


def test_a_slow_body_is_given_up(service):
    head = (
        f"POST /v1/cameras/c1/frames HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token_of('c1')}\r\n"
        "Content-Type: image/jpeg\r\nContent-Length: 5000\r\n\r\nabc"
    ).encode()
    assert raw(service, head).startswith(b"HTTP/1.1 408")


def test_a_slow_head_and_a_silent_connection_are_closed(service):
    counted = service.metric('shelfgap_refused_total{reason="too-slow"}')
    assert raw(service, b"POST /v1/cam") == b""
    assert raw(service, b"") == b""
    assert service.metric('shelfgap_refused_total{reason="too-slow"}') == counted + 2


def test_admin_routes_are_not_on_the_address_of_frames(service):
    for path in ("/metrics", "/healthz", "/readyz", "/", "/v1/alerts/x/acknowledge"):
        assert service.request("GET", service.frames + path).status == 404


def test_frames_are_not_taken_on_the_admin_address(service, frame):
    answer = service.request("POST", f"{service.admin}/v1/cameras/c1/frames", frame)
    assert answer.status == 404


def test_health_and_readiness(service):
    for path in ("/healthz", "/readyz"):
        answer = service.request("GET", service.admin + path)
        assert (answer.status, answer.body) == (200, {"status": "ok"})


def test_a_foreign_host_name_is_refused_on_the_admin_address(service):
    answer = service.request("GET", f"{service.admin}/metrics", headers={"Host": "evil.example"})
    assert answer.status == 400


def test_an_alert_is_acknowledged_once_it_is_open(service, frame, to_jpeg, bright_square):
    service.post("c2", to_jpeg(bright_square(level=10)))
    alerts = [alert for _ in range(3) for alert in service.post("c2", frame).body["alerts"]]
    assert Counter(alert["action"] for alert in alerts) == {"opened": 1}
    url = f"{service.admin}/v1/alerts/{alerts[0]['alert_id']}/acknowledge"
    assert service.request("POST", url, b"{}").status == 415, "a form of a foreign page could send that"
    done = service.request("POST", url, b"{}", {"Content-Type": "application/json"})
    assert (done.status, done.body["status"]) == (200, "acknowledged")
    for unknown in ("0" * 32, "x", "..%2f..%2fetc"):
        url = f"{service.admin}/v1/alerts/{unknown}/acknowledge"
        assert service.request("POST", url, b"{}", {"Content-Type": "application/json"}).status == 404
    assert service.metric('shelfgap_alert_events_total{action="acknowledged",kind="gap"}') == 1


def test_metrics_name_the_bundle_the_cameras_and_the_queue(service):
    text = service.request("GET", f"{service.admin}/metrics").body["text"]
    for name in (
        'shelfgap_bundle_info{name="bright-square",precision="int8",runtime="onnxruntime",signature="not checked",',
        'shelfgap_camera_silence_seconds{camera="c1"}',
        "shelfgap_frame_latency_seconds_bucket",
        'shelfgap_frame_stage_seconds_count{stage="decode"}',
        "shelfgap_queue_frames",
        "shelfgap_outbox_waiting",
        "shelfgap_alerts_open",
        "process_resident_memory_bytes",
    ):
        assert name in text
    assert "nobody" not in text, "a name from a request became a label"


def test_logs_hold_no_token(service, frame):
    service.post("c1", frame, token="wrong-but-secret")
    log = service.log.read_text()
    for secret in (token_of("c1"), hash_token(token_of("c1")), "wrong-but-secret"):
        assert secret not in log


def test_limits_by_camera_and_failed_logins_by_address(tmp_path, bundle, frame):
    limits = "[limits]\nframes_per_minute = 1\nburst = 2\nfailed_logins_per_minute = 3\n"
    running = start(edge_toml(tmp_path, bundle, ["c1", "c2"], limits), tmp_path / "log").wait_ready()
    assert [running.post("c1", frame).status for _ in range(3)] == [200, 200, 429]
    limited = running.post("c1", frame)
    assert (limited.body["error"], limited.headers["retry-after"]) == ("rate-limit", "60")
    assert running.post("c2", frame).status == 200, "another camera has its own"
    assert [running.post("c2", frame, token="x").status for _ in range(5)] == [401, 401, 401, 429, 429]
    assert running.post("c2", frame).status == 200, "who has the right token is not locked out by others"
    assert running.metric('shelfgap_refused_total{reason="failed-logins"}') == 2
    assert running.stop() == 0
