"""TLS to cameras and brokers: their certificate is always checked, against the system's authorities or one's own."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from shelfgap_edge.toml_table import ConfigError, Table


@dataclass(frozen=True)
class TlsParams:
    """Files for TLS.

    Attributes:
        ca_file: certificates (PEM) to trust instead of the system's: for a camera that signed its own, that one.
        cert_file, key_file: client certificate and its key, where the other end asks for one.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    @classmethod
    def from_table(cls, table: Table) -> TlsParams:
        """Read `ca_file`, `cert_file` and `key_file`."""
        params = cls(*(table.text(key, None) for key in ("ca_file", "cert_file", "key_file")))
        if (params.cert_file is None) != (params.key_file is None):
            raise ConfigError(f"{table.where}: cert_file and key_file: expected both or neither")
        return params

    def context(self, where: str) -> ssl.SSLContext:
        """Return the context of a client.

        Raises:
            ConfigError: a file is missing or is no certificate or key.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:  # ssl.SSLError is one
            files = ", ".join(name for name in (self.ca_file, self.cert_file, self.key_file) if name is not None)
            raise ConfigError(f"{where}: cannot use {files or 'the system certificates'}: {error.strerror}") from None
        return context
