"""The comments of one pull request on GitHub and one merge request on GitLab, served on loopback from memory."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "token-of-the-job"
GITHUB = re.compile(r"/repos/acme/shelves/issues/(?:(?P<request>7)/comments|comments/(?P<one>\d+))")
GITLAB = re.compile(r"/api/v4/projects/42/merge_requests/(?P<request>7)/notes(?:/(?P<one>\d+))?")


class Review:
    """What the server keeps, and what it is told to do before it works.

    Attributes:
        bodies: comments by id.
        calls: verb and status of each request.
        first: answers (status, headers) to give before any other, in turn.
        foreign: ids that the token may not edit.
        address: of the server.
    """

    def __init__(self) -> None:
        self.bodies: dict[int, str] = {}
        self.calls: list[tuple[str, int]] = []
        self.first: list[tuple[int, dict[str, str]]] = []
        self.foreign: set[int] = set()
        self.token = TOKEN
        self.address = ""

    def add(self, body: str) -> int:
        """Keep a comment; returns its id."""
        number = max(self.bodies, default=100) + 1
        self.bodies[number] = body
        return number


@contextmanager
def review_server() -> Iterator[Review]:
    """Yield what is kept, while it is served."""
    review = Review()

    class Handler(BaseHTTPRequestHandler):
        def work(self) -> tuple[int, dict[str, str], Any]:
            url = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            github, gitlab = GITHUB.fullmatch(url.path), GITLAB.fullmatch(url.path)
            if review.first:
                return (*review.first.pop(0), {"message": "not now"})
            gitlabs = url.path.startswith("/api/v4")
            given = self.headers.get("PRIVATE-TOKEN") if gitlabs else self.headers.get("Authorization", "")[7:]
            if given != review.token:
                return 401, {}, {"message": "Bad credentials"}
            match = github or gitlab
            if match is None:
                return 404, {}, {"message": "Not Found"}
            one = match["one"] and int(match["one"])
            if self.command == "GET":
                query = {key: int(value[0]) for key, value in parse_qs(url.query).items()}
                start = (query["page"] - 1) * query["per_page"]
                chosen = sorted(review.bodies.items())[start : start + query["per_page"]]
                return 200, {}, [{"id": number, "body": body} for number, body in chosen]
            body = json.loads(content)["body"]
            if self.command == "POST" and match["request"] and not one:
                return 201, {}, {"id": review.add(body)}
            if self.command == ("PUT" if gitlab else "PATCH") and one in review.bodies:
                if one in review.foreign:
                    return 403, {}, {"message": "Forbidden"}
                review.bodies[one] = body
                return 200, {}, {"id": one}
            return 404, {}, {"message": "Not Found"}

        def answer(self) -> None:
            status, headers, content = self.work()
            review.calls.append((self.command, status))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        do_GET = do_POST = do_PATCH = do_PUT = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    review.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield review
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
