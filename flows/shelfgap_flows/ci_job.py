"""The CI job that this runs in, GitHub's or GitLab's, as its environment tells."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from shelfgap_flows.comment import Thread

logger = logging.getLogger(__name__)

_UNMERGED = ("pull_request", "pull_request_target", "merge_group")  # events of GitHub


class _GitHub(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="GITHUB_", frozen=True, env_ignore_empty=True)

    actions: bool = False
    api_url: str = "https://api.github.com"
    server_url: str = "https://github.com"
    repository: str = ""
    run_id: str = ""
    event_name: str = ""
    sha: str | None = None
    event_path: Path | None = None
    step_summary: Path | None = None
    output: Path | None = None
    token: SecretStr | None = None  # a workflow has to hand it on: ${{ github.token }}


class _GitLab(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="GITLAB_", frozen=True, env_ignore_empty=True)

    ci: bool = False
    token: SecretStr | None = None  # a job's own may not write comments


class _GitLabJob(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="CI_", frozen=True, env_ignore_empty=True)

    api_v4_url: str = "https://gitlab.com/api/v4"
    commit_sha: str | None = None
    commit_before_sha: str | None = None
    merge_request_diff_base_sha: str | None = None
    job_url: str | None = None
    merge_request_iid: int | None = None
    merge_request_project_id: str | None = None  # where the merge request lies
    merge_request_source_project_id: str | None = None


@dataclass(frozen=True)
class CiJob:
    """A job; on a machine without CI all of it is empty.

    Attributes:
        commit: that is judged, its SHA.
        base: commit that it starts from, its SHA: of the branch that it asks to be merged into, or pushed before it.
        url: page of the job.
        is_request: whether it works for a pull or merge request: nobody has merged yet what it releases.
        is_fork: whether that comes from another repository, and so gets no secrets.
        thread: comments of the pull or merge request; None where there is none, or no token for it.
        summary: file of GitHub whose Markdown the page of the job shows.
        output: file of GitHub for what other steps may read.
    """

    commit: str | None = None
    base: str | None = None
    url: str | None = None
    is_request: bool = False
    is_fork: bool = False
    thread: Thread | None = None
    summary: Path | None = None
    output: Path | None = None


def this_job() -> CiJob:
    """Return the job that this process runs in."""
    github, gitlab = _GitHub(), _GitLab()
    if github.actions:
        return _github_job(github)
    return _gitlab_job(_GitLabJob(), gitlab.token) if gitlab.ci else CiJob()


def _github_job(env: _GitHub) -> CiJob:
    event = _event(env.event_path)
    request = _pull_request(event)
    head: Mapping[str, Any] = request.get("head") or {}
    came_from = (head.get("repo") or {}).get("full_name")  # no repository: the fork was deleted
    thread = None
    if request and env.token is not None:
        issues = f"{env.api_url}/repos/{env.repository}/issues"
        thread = Thread(
            what=f"pull request {request['number']} of {env.repository}",
            all_comments=f"{issues}/{request['number']}/comments",
            one_comment=f"{issues}/comments",
            edit="PATCH",
            headers={
                "Authorization": f"Bearer {env.token.get_secret_value()}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
            remedy="GITHUB_TOKEN needs `pull-requests: write`, which pull requests from forks never get",
        )
    elif request:
        logger.warning("no comment on pull request %s: GITHUB_TOKEN is not set", request["number"])
    return CiJob(
        commit=head.get("sha") or env.sha,
        base=_base_of_event(event),
        url=f"{env.server_url}/{env.repository}/actions/runs/{env.run_id}",
        is_request=bool(request) or env.event_name in _UNMERGED,
        is_fork=bool(request) and came_from != env.repository,
        thread=thread,
        summary=env.step_summary,
        output=env.output,
    )


def _event(path: Path | None) -> Mapping[str, Any]:
    """Return the event that GitHub describes in a file; empty where there is none, or none that can be read."""
    try:
        content = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _pull_request(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the pull request of an event; empty for other events, and for one without a number."""
    request = event.get("pull_request")
    return request if isinstance(request, dict) and isinstance(request.get("number"), int) else {}


def _base_of_event(event: Mapping[str, Any]) -> str | None:
    """Return the commit that a pull request, a merge queue or a push starts from."""
    base, group = _pull_request(event).get("base"), event.get("merge_group")
    if isinstance(base, dict):
        return _commit(base.get("sha"))
    return _commit(group.get("base_sha") if isinstance(group, dict) else event.get("before"))


def _commit(sha: object) -> str | None:
    """Return a SHA; None for none, and for zeros, which stand for a branch that is new."""
    return sha if isinstance(sha, str) and sha.strip("0") else None


def _gitlab_job(env: _GitLabJob, token: SecretStr | None) -> CiJob:
    thread, project, iid = None, env.merge_request_project_id, env.merge_request_iid
    if iid is not None and token is not None:
        notes = f"{env.api_v4_url}/projects/{project}/merge_requests/{iid}/notes"
        thread = Thread(
            what=f"merge request {iid} of project {project}",
            all_comments=notes,
            one_comment=notes,
            edit="PUT",
            headers={"PRIVATE-TOKEN": token.get_secret_value()},
            remedy="GITLAB_TOKEN needs the scope `api` and the role Reporter in that project",
        )
    elif iid is not None:
        logger.warning("no comment on merge request %s: GITLAB_TOKEN is not set", iid)
    return CiJob(
        commit=env.commit_sha,
        base=_commit(env.merge_request_diff_base_sha) or _commit(env.commit_before_sha),
        url=env.job_url,
        is_request=iid is not None,
        is_fork=iid is not None and env.merge_request_source_project_id != project,
        thread=thread,
    )
