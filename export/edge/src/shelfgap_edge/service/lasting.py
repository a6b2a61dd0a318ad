"""What a service keeps from start to end: its state folder and its addresses."""

from __future__ import annotations

from pathlib import Path

from shelfgap_edge.service.config import EdgeConfig
from shelfgap_edge.toml_table import ConfigError


def make_state_folder(folder: Path) -> None:
    """Make the folder of the outbox, closed to others, if it is not there.

    Raises:
        ConfigError: that is not possible.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"state: {folder}: {error.strerror}") from None


def check_lasting(old: EdgeConfig, new: EdgeConfig) -> None:
    """Refuse a configuration that a running service cannot go over to.

    Raises:
        ConfigError: a value of it needs a restart.
    """
    for key, before, after in (
        ("state", old.state, new.state),
        ("http.host", old.http.host, new.http.host),
        ("http.port", old.http.port, new.http.port),
        ("http.tls", old.http.tls is None, new.http.tls is None),
        ("http.tls.client_ca", old.http.tls and old.http.tls.client_ca, new.http.tls and new.http.tls.client_ca),
        ("admin", old.admin, new.admin),
    ):
        if before != after:
            raise ConfigError(f"{new.path.name}: {key} changes with a restart only")
