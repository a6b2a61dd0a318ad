"""Chat, mail and SMS, through Apprise: plain text for people."""

from __future__ import annotations

import logging
from datetime import tzinfo

from shelfgap_edge.alerts.backoff import Backoff
from shelfgap_edge.alerts.event import AlertEvent
from shelfgap_edge.alerts.sinks.secret import Secret, require_secret
from shelfgap_edge.alerts.sinks.sink import LaterError
from shelfgap_edge.alerts.sinks.wording import Language, body, title
from shelfgap_edge.errors import ShelfgapError
from shelfgap_edge.toml_table import ConfigError, Table


class Notify:
    """Sends to one address of Apprise, such as `mailtos://...` or `slack://...`.

    A service for people knows no keys: a try that was broken off may bring the same text twice.

    Args:
        name: of the sink.
        address: holds passwords, hence a secret.
        language: of the text.
        zone: of the times in it; None for that of the device.
        backoff: between tries.

    Raises:
        ConfigError: Apprise does not know that form of address.
        ShelfgapError: Apprise is not installed.
    """

    def __init__(
        self,
        name: str,
        address: Secret,
        *,
        language: Language = "en",
        zone: tzinfo | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        try:
            import apprise
        except ImportError:
            raise ShelfgapError(
                f"sink {name!r}: chat, mail and SMS need Apprise, which is not installed: "
                "pip install 'shelfgap-edge[notify]'"
            ) from None
        self.name = name
        self.backoff = backoff or Backoff()
        self._language, self._zone = language, zone
        # Its log tells addresses and answers; both may hold a secret.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        self._apprise = apprise.Apprise()
        if not self._apprise.add(address.reveal()) or len(self._apprise) != 1:
            raise ConfigError(f"sink {name!r}: its address is none that Apprise knows; see `apprise --details`")
        self._service = str(self._apprise[0].service_name or "the service")

    @classmethod
    def from_table(cls, name: str, table: Table, zone: tzinfo | None = None) -> Notify:
        """Read the keys of Apprise in `[[sinks]]`."""
        address = require_secret(table, "address")
        language = table.choice("language", ("en", "fr"), "en")
        return cls(name, address, language=language, zone=zone, backoff=Backoff.from_table(table))

    def send(self, event: AlertEvent) -> None:
        """Send a step as text; see `Sink.send`."""
        try:
            taken = self._apprise.notify(
                title=title(event, self._language), body=body(event, self._language, self._zone), body_format="text"
            )
        except Exception as error:  # of a hundred services; its text may hold the address
            raise LaterError(f"{self._service}: failed ({type(error).__name__})") from None
        if not taken:
            raise LaterError(f"{self._service}: did not take it; try its address with the `apprise` command")

    def close(self) -> None:
        """Nothing stays open."""
