"""What a service keeps from start to end: its outbox, its addresses, and whom it lets in by certificate."""

from __future__ import annotations

from pathlib import Path

from shelfgap_edge.service.config import EdgeConfig
from shelfgap_edge.service.parts import Plan
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


def check_lasting(old: tuple[EdgeConfig, Plan], new: tuple[EdgeConfig, Plan]) -> None:
    """Refuse a configuration that a running service cannot go over to.

    Raises:
        ConfigError: a value of it needs a restart.
    """
    lasting = _lasting(*old)
    for key, value in _lasting(*new).items():
        if value != lasting[key]:
            raise ConfigError(f"{new[0].path.name}: {key} changes with a restart only")


def _lasting(config: EdgeConfig, plan: Plan) -> dict[str, object]:
    tls = config.http.tls
    return {
        "state": config.state,
        "http.host": config.http.host,
        "http.port": config.http.port,
        "http.tls": tls is None,
        # Its content too: of an authority that is taken out, connections and TLS sessions would live on.
        "http.tls.client_ca": tls and (tls.client_ca, tls.client_ca_content),
        "admin": config.admin,
        "outbox": plan.limits,
    }
