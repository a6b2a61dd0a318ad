"""Prefect's servers: one that somebody else keeps has to answer."""

from __future__ import annotations

from socket import socket

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from shelfgap_flows.prefect_server import start_server
from shelfgap_flows.workspace import WorkspaceError


def test_a_server_that_does_not_answer_is_told_in_one_line_before_the_work(tmp_path):
    with socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/api"
        message = rf"^{address}: no Prefect server that can be used \(.*\); start it, or unset PREFECT_API_URL$"
        settings = {PREFECT_API_URL: address, PREFECT_CLIENT_MAX_RETRIES: 0}
        with temporary_settings(settings), pytest.raises(WorkspaceError, match=message):
            start_server(tmp_path)
