"""The registry on PostgreSQL, through an MLflow server that hands on the artifacts; real servers, so `slow`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from socket import socket

import httpx
import pytest
from plain_bundles import plain_bundle
from shelfgap_export.gate_record import PromotionError
from shelfgap_export.promotion import carry_out, plan_promotion, plan_rollback, register_bundle
from shelfgap_export.promotion_log import read_log
from shelfgap_training.registry import ModelRegistry

pytestmark = pytest.mark.slow
SERVER_SECONDS = 120


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs; Debian keeps them off the path."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin")) + ([Path(found).resolve().parent] if found else [])
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


def free_port() -> int:
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def database():
    """The address of a cluster of our own; PostgreSQL refuses to be run by root."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed; .ci/run installs it")
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="shelfgap-postgresql-", dir="/tmp"))
    port = free_port()
    server = None
    try:
        if user is not None:
            shutil.chown(folder, user)
        options = {"user": user, "cwd": folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}}
        make = [programs / "initdb", "--pgdata", folder / "data", "--username", "shelfgap", "--auth", "trust"]
        subprocess.run([*make, "--no-sync"], check=True, capture_output=True, **options)
        command = [programs / "postgres", "-D", folder / "data", "-p", str(port), "-k", folder, "-h", "127.0.0.1"]
        with (folder.parent / f"{folder.name}.log").open("w") as log:
            server = subprocess.Popen([*command, "-F"], stdout=log, stderr=log, **options)
        end = time.monotonic() + SERVER_SECONDS
        while subprocess.run(
            [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False
        ).returncode:
            assert server.poll() is None, (folder.parent / f"{folder.name}.log").read_text()
            assert time.monotonic() < end, "PostgreSQL does not answer"
            time.sleep(0.1)
        yield f"postgresql+psycopg://shelfgap@127.0.0.1:{port}/postgres"
    finally:
        if server is not None:
            server.terminate()
            server.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)


@pytest.fixture
def mlflow_server(database, tmp_path):
    """The address of an MLflow server that keeps the artifacts itself."""
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--serve-artifacts"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts"), "--host", "127.0.0.1"]
    command += ["--port", address.rpartition(":")[2], "--workers", "1"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    with (tmp_path / "mlflow.log").open("w") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment, cwd=tmp_path, start_new_session=True
        )
    try:
        end = time.monotonic() + SERVER_SECONDS
        while True:
            try:
                if httpx.get(f"http://{address}/health").is_success:
                    break
            except httpx.HTTPError:
                pass
            assert server.poll() is None and time.monotonic() < end, (tmp_path / "mlflow.log").read_text()  # noqa: PT018
            time.sleep(0.2)
        yield f"http://{address}"
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=60)


def test_two_machines_with_one_server_see_one_truth(mlflow_server, tmp_path):
    here, there = (ModelRegistry(mlflow_server, None, "registry", "shelf") for _ in range(2))
    first, identity = plain_bundle(tmp_path / "a", "shelf", "A")
    others = [plain_bundle(tmp_path / version, "shelf", version, identity)[0] for version in "BC"]
    for bundle in (first, *others, first):
        register_bundle(here, bundle)
    assert [version.version for version in there.versions()] == [3, 2, 1]
    assert there.aliases() == {"challenger": 3}
    by = {"requested_by": "ci", "reason": "it is time", "now": datetime(2026, 11, 1, tzinfo=UTC)}
    carry_out(here, plan_promotion(here, 1), approved_by="anna", **by)
    planned = plan_promotion(there, 3)
    promoted = carry_out(here, plan_promotion(here, 2), approved_by="anna", **by)
    with pytest.raises(PromotionError, match="somebody else promoted since"):
        carry_out(there, planned, approved_by="ben", **by)
    back = carry_out(there, plan_rollback(there), approved_by="ben", **by)
    assert [entry.version for entry in read_log(here).entries] == [1, 2, 1]
    assert read_log(here).entries[1:] == (promoted, back)
    assert here.aliases() == {"champion": 1, "challenger": 3}
    here.fetch(there.version(2), tmp_path / "fetched.tar")
    assert (tmp_path / "fetched.tar").read_bytes() == others[0].read_bytes()
    assert list((tmp_path / "artifacts").rglob(f"gates/{promoted.gate.sha256}/gate.json"))
