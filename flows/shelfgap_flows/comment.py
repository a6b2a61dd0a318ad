"""One comment on a pull or merge request, made once and rewritten from then on; GitHub and GitLab alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
from shelfgap_edge.errors import ShelfgapError

_PAGE = 100
_TRIES = 4
_WAIT_SECONDS = 120.0  # for all tries together


class CommentError(ShelfgapError):
    """A comment cannot be written."""


@dataclass(frozen=True)
class Thread:
    """The comments of one request.

    Attributes:
        what: names it in messages.
        all_comments: address that lists them and takes new ones.
        one_comment: address to which the id of a comment is added.
        edit: HTTP verb that rewrites one.
        headers: what lets us in.
        remedy: what to do where that is not enough.
    """

    what: str
    all_comments: str
    one_comment: str
    edit: Literal["PATCH", "PUT"]
    headers: Mapping[str, str] = field(repr=False)
    remedy: str


class _BusyError(Exception):
    """The server wants to be asked again, in so many seconds (None: it does not say when)."""

    def __init__(self, said: str, seconds: float | None) -> None:
        super().__init__(said)
        self.seconds = seconds


def write_comment(
    thread: Thread, marker: str, text: str, *, sleep: Callable[[float], None] = time.sleep
) -> Literal["created", "updated"]:
    """Write the comment that begins with a marker, in place of the one that does already.

    Args:
        thread: where.
        marker: first line of the comment, which says whose it is.
        text: Markdown.
        sleep: waits, in seconds, where the server is busy.

    Raises:
        CommentError: the token was refused, there is no such request, or the server stays busy.
    """
    waited, pause = 0.0, 2.0
    for attempt in range(1, _TRIES + 1):
        try:
            with httpx.Client(headers=dict(thread.headers), timeout=20) as client:
                return _write(client, thread, marker, f"{marker}\n{text}")
        except (httpx.HTTPError, _BusyError) as error:
            asked = error.seconds if isinstance(error, _BusyError) else None
            seconds = pause if asked is None else asked
            if attempt == _TRIES or waited + seconds > _WAIT_SECONDS:
                wish = "" if asked is None else f"; it asks to wait {asked:.0f} s"
                raise CommentError(f"{thread.what}: no comment after {attempt} tries ({error}{wish})") from None
        sleep(seconds)
        waited, pause = waited + seconds, 2 * pause
    raise AssertionError


def _write(client: httpx.Client, thread: Thread, marker: str, body: str) -> Literal["created", "updated"]:
    for number in _comments_with(client, thread, marker):
        answer = _asked(client, thread, thread.edit, f"{thread.one_comment}/{number}", json={"body": body})
        if answer.is_success:
            return "updated"
        # deleted meanwhile, or somebody else's with our marker
    answer = _asked(client, thread, "POST", thread.all_comments, json={"body": body})
    _require_success(thread, answer)
    return "created"


def _comments_with(client: httpx.Client, thread: Thread, marker: str) -> list[int]:
    """Return the ids of the comments that begin with the marker."""
    found, page = [], 1
    while True:
        answer = _asked(client, thread, "GET", thread.all_comments, params={"per_page": _PAGE, "page": page})
        _require_success(thread, answer)
        try:
            comments = [(int(one["id"]), str(one["body"] or "")) for one in answer.json()]
        except (ValueError, KeyError, TypeError):
            raise CommentError(f"{thread.what}: {answer.url.host} answered what is no list of comments") from None
        found += [number for number, body in comments if body.startswith(marker)]
        if len(comments) < _PAGE:
            return found
        page += 1


def _asked(client: httpx.Client, thread: Thread, verb: str, address: str, **content: Any) -> httpx.Response:
    """Return an answer that is final.

    Raises:
        CommentError: the token was refused.
        _BusyError: ask again later.
    """
    answer = client.request(verb, address, **content)
    limited = answer.status_code == 403 and (
        "retry-after" in answer.headers or answer.headers.get("x-ratelimit-remaining") == "0"
    )
    if limited or answer.status_code == 429 or answer.is_server_error:
        raise _BusyError(f"{answer.url.host} answered {answer.status_code}", _wanted_seconds(answer.headers))
    if answer.status_code == 401:
        raise CommentError(f"{thread.what}: the token was refused (401); {thread.remedy}")
    return answer


def _wanted_seconds(headers: httpx.Headers) -> float | None:
    """Return how long a server wants us to wait; None where it does not say."""
    after = headers.get("retry-after", "")
    reset = headers.get("x-ratelimit-reset", "")  # GitHub: seconds since 1970
    if after.isdecimal():
        return float(after)
    return max(float(reset) - time.time(), 1.0) if reset.isdecimal() else None


def _require_success(thread: Thread, answer: httpx.Response) -> None:
    if answer.is_success:
        return
    means = {403: "it may not write here", 404: "no such request, or it may not see it"}.get(answer.status_code)
    said = f"the token was let in, but {means}" if means else f"{answer.url.host} did not take it"
    raise CommentError(f"{thread.what}: {said} ({answer.status_code}); {thread.remedy}")
