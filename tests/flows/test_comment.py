"""One comment on a pull or merge request, through the API of GitHub and GitLab as a server on loopback plays it."""

from __future__ import annotations

import json
import time

import pytest
from review_server import TOKEN, review_server
from shelfgap_flows.ci_job import CiJob, this_job
from shelfgap_flows.comment import CommentError, write_comment

MARKER = "<!-- shelfgap ci . -->"
HOSTS = ("github", "gitlab")


@pytest.fixture
def review():
    with review_server() as served:
        yield served


@pytest.fixture
def job_on(monkeypatch, review, tmp_path):
    """Set the environment of a job for request 7 and return the job."""
    for name in (
        "GITHUB_ACTIONS",
        "GITLAB_CI",
        "GITHUB_TOKEN",
        "GITLAB_TOKEN",
        "GITHUB_EVENT_PATH",
        "GITHUB_EVENT_NAME",
    ):
        monkeypatch.delenv(name, raising=False)

    def job(host: str, token: str = TOKEN, origin: str | None = "acme/shelves", number: int = 7) -> CiJob:
        if host == "github":
            event = {"pull_request": {"number": number, "head": {"sha": "a" * 40}}}
            event["pull_request"]["head"]["repo"] = origin and {"full_name": origin}
            (tmp_path / "event.json").write_text(json.dumps(event))
            values = {
                "GITHUB_ACTIONS": "true",
                "GITHUB_API_URL": review.address,
                "GITHUB_REPOSITORY": "acme/shelves",
                "GITHUB_RUN_ID": "99",
                "GITHUB_SHA": "b" * 40,  # of the merge, which nobody has seen
                "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
                "GITHUB_TOKEN": token,
            }
        else:
            values = {
                "GITLAB_CI": "true",
                "CI_API_V4_URL": f"{review.address}/api/v4",
                "CI_COMMIT_SHA": "a" * 40,
                "CI_JOB_URL": "https://gitlab.example.com/jobs/99",
                "CI_MERGE_REQUEST_IID": str(number),
                "CI_MERGE_REQUEST_PROJECT_ID": "42",
                "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "42" if origin == "acme/shelves" else "43",
                "GITLAB_TOKEN": token,
            }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return this_job()

    return job


@pytest.mark.parametrize("host", HOSTS)
def test_a_comment_is_made_once_and_rewritten_from_then_on(review, job_on, host):
    others = [review.add(f"comment {number}, which quotes\n{MARKER}") for number in range(250)]  # three pages
    thread = job_on(host).thread
    assert write_comment(thread, MARKER, "first") == "created"
    assert write_comment(thread, MARKER, "second, with ✅") == "updated"
    written = {number: body for number, body in review.bodies.items() if number not in others}
    assert list(written.values()) == [f"{MARKER}\nsecond, with ✅"]
    assert [verb for verb, _ in review.calls if verb != "GET"] == ["POST", "PATCH" if host == "github" else "PUT"]
    assert write_comment(thread, "<!-- shelfgap ci stores/12 -->", "of another workspace") == "created"


@pytest.mark.parametrize("host", HOSTS)
def test_a_comment_of_somebody_else_with_our_marker_is_left_alone(review, job_on, host):
    foreign = review.add(f"{MARKER}\npass!")
    review.foreign.add(foreign)
    thread = job_on(host).thread
    assert write_comment(thread, MARKER, "ours") == "created"
    assert write_comment(thread, MARKER, "ours again") == "updated"
    assert list(review.bodies.values()) == [f"{MARKER}\npass!", f"{MARKER}\nours again"]


@pytest.mark.parametrize("host", HOSTS)
def test_a_token_that_is_refused_is_told_with_the_remedy_and_without_the_token(review, job_on, host):
    with pytest.raises(CommentError, match=r"7 of .*the token was refused \(401\); G\w+_TOKEN needs") as told:
        write_comment(job_on(host, token="a-wrong-one").thread, MARKER, "text")
    assert "a-wrong-one" not in str(told.value)
    assert "a-wrong-one" not in repr(job_on(host, token="a-wrong-one"))
    assert review.calls == [("GET", 401)]


@pytest.mark.parametrize("host", HOSTS)
def test_a_request_that_is_not_there_is_told(review, job_on, host):
    with pytest.raises(CommentError, match=r"request 8 of .*no such request, or it may not see it \(404\)"):
        write_comment(job_on(host, number=8).thread, MARKER, "text")
    assert review.bodies == {}


def test_a_token_that_may_only_read_is_told(review, job_on):
    review.first = [(403, {})]
    with pytest.raises(CommentError, match=r"may not write here \(403\); GITHUB_TOKEN needs `pull-requests: write`"):
        write_comment(job_on("github").thread, MARKER, "text")


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"Retry-After": "7"}, 7),
        (403, {"Retry-After": "9"}, 9),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "in 31 s"}, 31),
        (502, {}, 2),
        (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 2),
    ],
)
@pytest.mark.parametrize("host", HOSTS)
def test_a_busy_server_is_asked_again_when_it_wants(review, job_on, host, status, headers, wait):
    slept: list[float] = []
    headers = {name: str(int(time.time()) + 31) if value == "in 31 s" else value for name, value in headers.items()}
    review.first = [(status, headers)]
    assert write_comment(job_on(host).thread, MARKER, "text", sleep=slept.append) == "created"
    assert len(slept) == 1
    assert slept[0] == wait or 1 <= slept[0] <= wait == 31  # less what has passed since
    assert list(review.bodies.values()) == [f"{MARKER}\ntext"]


def test_a_server_that_stays_busy_is_given_up(review, job_on):
    slept: list[float] = []
    review.first = [(503, {})] * 9
    with pytest.raises(CommentError, match=r"no comment after 4 tries \(127.0.0.1 answered 503\)"):
        write_comment(job_on("github").thread, MARKER, "text", sleep=slept.append)
    assert slept == [2, 4, 8]
    review.first = [(429, {"Retry-After": "3600"})]
    with pytest.raises(CommentError, match=r"after 1 tries \(127.0.0.1 answered 429; it asks to wait 3600 s\)"):
        write_comment(job_on("github").thread, MARKER, "text", sleep=slept.append)
    assert len(slept) == 3


def test_a_server_that_is_not_there_and_one_that_is_something_else(review, job_on):
    thread = job_on("gitlab").thread
    review.first = [(200, {})]
    with pytest.raises(CommentError, match="answered what is no list of comments"):
        write_comment(thread, MARKER, "text")
    review.address = "http://127.0.0.1:9"
    with pytest.raises(CommentError, match=r"after 4 tries \(.*refused"):
        write_comment(job_on("github").thread, MARKER, "text", sleep=lambda seconds: None)


@pytest.mark.parametrize("host", HOSTS)
def test_a_job_knows_its_commit_and_whether_it_works_for_a_fork(job_on, host):
    assert (job_on(host).commit, job_on(host).is_fork) == ("a" * 40, False)
    assert job_on(host).url.endswith("99")
    assert job_on(host).is_request
    for origin in ("stranger/shelves", None):
        assert job_on(host, origin=origin).is_fork
    assert job_on(host, token="").thread is None  # as with a secret that is not there


@pytest.mark.parametrize(
    ("event", "base"),
    [
        ({"pull_request": {"number": 7, "base": {"sha": "c" * 40}}, "before": "d" * 40}, "c" * 40),
        ({"merge_group": {"base_sha": "c" * 40}}, "c" * 40),
        ({"before": "d" * 40}, "d" * 40),
        ({"before": "0" * 40}, None),  # the first push of a branch
        ({"pull_request": {"number": 7, "base": None}}, None),
        ({"merge_group": "c" * 40}, None),
        ({}, None),
    ],
)
def test_the_commit_that_a_job_of_github_starts_from(job_on, tmp_path, event, base):
    job_on("github")
    (tmp_path / "event.json").write_text(json.dumps(event))
    assert this_job().base == base


def test_the_commit_that_a_job_of_gitlab_starts_from(job_on, monkeypatch):
    job_on("gitlab")
    monkeypatch.setenv("CI_COMMIT_BEFORE_SHA", "0" * 40)
    assert this_job().base is None
    monkeypatch.setenv("CI_COMMIT_BEFORE_SHA", "d" * 40)
    assert this_job().base == "d" * 40
    monkeypatch.setenv("CI_MERGE_REQUEST_DIFF_BASE_SHA", "c" * 40)
    assert this_job().base == "c" * 40


def test_a_push_has_no_request_and_a_machine_without_ci_nothing(job_on, monkeypatch, tmp_path):
    job_on("github")
    for content in ('{"ref": "refs/heads/main"}', "[]", "not JSON", '{"pull_request": {"number": "7"}}'):
        (tmp_path / "event.json").write_text(content)
        job = this_job()
        assert (job.thread, job.is_request, job.is_fork, job.commit) == (None, False, False, "b" * 40)
    monkeypatch.setenv("GITHUB_EVENT_NAME", "merge_group")  # of a merge queue: about to be merged, and not yet
    assert this_job().is_request
    monkeypatch.delenv("GITHUB_EVENT_PATH")
    assert this_job().thread is None
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert this_job() == CiJob()
