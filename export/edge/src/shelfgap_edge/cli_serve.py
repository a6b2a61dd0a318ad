"""`shelfgap-edge serve` and `token`: run the service, make a token for a camera."""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from shelfgap_edge.errors import MissingRuntimeError

if TYPE_CHECKING:
    from shelfgap_edge.service.parts import Assembly

_NEEDED = ("starlette", "uvicorn", "prometheus_client")


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `serve`."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="edge.toml")
    parser.add_argument(
        "--check",
        action="store_true",
        help="load configuration, certificates and bundle, and end",
    )


def add_token_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `token`."""
    parser.add_argument("cameras", nargs="*", metavar="CAMERA", help="one token each; without any, one token")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each")


def serve_command(arguments: argparse.Namespace) -> int:
    """Run the service until it is told to stop."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingRuntimeError(f"serve needs {', '.join(missing)}: pip install 'shelfgap-edge[serve]'")
    from shelfgap_edge.service.assemble import EdgeAssembly

    return serve(arguments.config, EdgeAssembly(), check=arguments.check)


def serve(path: Path, assembly: Assembly, *, check: bool = False) -> int:
    """Run the service of an `edge.toml` and return its exit code.

    Args:
        path: the file.
        assembly: what it is put together from.
        check: end before anything is listened on.

    Raises:
        ShelfgapError: something that is configured is not there, wrong, or not fit to run.
    """
    from shelfgap_edge.service.hardening import harden_process
    from shelfgap_edge.service.log import log_end_of_thread, log_to_stderr

    log_to_stderr("info")
    harden_process()
    os.umask(0o077)
    import asyncio
    import threading

    from shelfgap_edge.service.bundles import load_tested
    from shelfgap_edge.service.config import read_config
    from shelfgap_edge.service.listener import tls_context
    from shelfgap_edge.service.service import Service

    config = read_config(path)
    log_to_stderr(config.log_level)
    if check:
        assembly.plan(config)
        tls_context(config.http.tls)
        manifest = load_tested(config.bundle, config.detector).manifest
        print(f"{path}: good; {len(config.cameras)} cameras, bundle {manifest.name} {manifest.version}")
        return 0
    threading.excepthook = log_end_of_thread
    return asyncio.run(Service(config, assembly).run())


def token_command(arguments: argparse.Namespace) -> int:
    """Print new tokens with the lines that edge.toml wants of them."""
    from shelfgap_edge.service.tokens import hash_token, new_token

    for camera in arguments.cameras or [None]:
        token = new_token()
        if arguments.json:
            print(json.dumps({"camera": camera, "token": token, "hash": hash_token(token)}))
            continue
        print(f"token for the camera (shown once): {token}")
        print(f'edge.toml: tokens = ["{hash_token(token)}"]')
        if camera is not None:
            print(f"tokens_file: {camera} {hash_token(token)}")
    sys.stdout.flush()
    return 0
