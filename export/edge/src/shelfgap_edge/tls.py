"""TLS as a client of cameras, brokers and webhooks: the other end's certificate and name are always checked."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from shelfgap_edge.private_file import check_private
from shelfgap_edge.toml_table import ConfigError, Table

_KEYS = ("ca_file", "cert_file", "key_file")
_ABOUT_THIS_CLIENT = re.compile(r"ALERT.*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE)")


@dataclass(frozen=True)
class TlsParams:
    """Files for TLS.

    Attributes:
        ca_file: certificates (PEM) to trust instead of the system's: for a camera that signed its own, that one.
        cert_file, key_file: client certificate and its key, where the other end asks for one.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @classmethod
    def from_table(cls, table: Table, *, is_used: bool, used_with: str) -> TlsParams:
        """Read `ca_file`, `cert_file` and `key_file`.

        Args:
            table: where they stand.
            is_used: whether the connection is one of TLS.
            used_with: what makes it one, for the message where they are given and it is not.

        Raises:
            ConfigError: they are given for a connection in the clear, or a certificate without its key.
        """
        files = {key: table.path(key, None) for key in _KEYS}
        for key, file in files.items():
            if file is not None and not is_used:
                raise table.wrong(key, f"{used_with} beside it", str(file))
        if (files["cert_file"] is None) != (files["key_file"] is None):
            raise ConfigError(f"{table.where}: cert_file and key_file: expected both or neither")
        return cls(**files)

    def context(self, where: str) -> ssl.SSLContext:
        """Return a context that verifies certificates and names.

        Args:
            where: for messages.

        Raises:
            ConfigError: a file is missing, is no certificate or no key, or others may read the key.
        """
        context = _trusting(self.ca_file, f"{where}: ca_file")
        context.sslsocket_class = _Socket
        if self.cert_file is not None and self.key_file is not None:
            load_own(context, self.cert_file, self.key_file, where)
        return context


class _Socket(ssl.SSLSocket):
    """Closed as soon as a handshake fails; paho-mqtt keeps it open until it tries again."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError:
            self.close()
            raise


def refuses_client(error: BaseException) -> bool:
    """Return whether the other end misses a client certificate, or does not take the one it was shown.

    An end that speaks TLS 1.2 says the same, handshake failure, where no cipher suits both.
    """
    return isinstance(error, ssl.SSLError) and _ABOUT_THIS_CLIENT.search(error.reason or "") is not None


def describe(error: Exception) -> str:
    """Say what is wrong with a connection, without addresses and secrets.

    >>> describe(ConnectionRefusedError(111, "Connection refused")), describe(TimeoutError("timed out"))
    ('Connection refused', 'no answer in time')
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not hold: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and refuses_client(error):
        return f"it does not accept this client ({error.reason.lower().replace('_', ' ')}); see cert_file and key_file"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or type(error).__name__


def _trusting(file: Path | None, where: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        raise ConfigError(f"{where}: {file} holds no certificate in PEM") from None
    except OSError as error:
        raise ConfigError(f"{where}: {file}: {error.strerror}") from None


def load_own(
    context: ssl.SSLContext,
    certificate: Path,
    key: Path,
    where: str,
    names: tuple[str, str] = ("cert_file", "key_file"),
) -> None:
    """Have a context show a certificate.

    Args:
        context: of a client or of a server.
        certificate: a file in PEM.
        key: that of the certificate, alike.
        where: for messages.
        names: of the two in the configuration.

    Raises:
        ConfigError: a file is missing, is no certificate or no key, has a passphrase, or others may read the key.
    """

    def ask_for_passphrase() -> str:
        raise ConfigError(f"{of_key}: {key} is encrypted; expected a key without a passphrase")

    of_key = f"{where}: {names[1]}"
    _trusting(certificate, f"{where}: {names[0]}")  # OpenSSL does not say which of the two it cannot read
    check_private(key, of_key)
    try:
        context.load_cert_chain(certificate, key, ask_for_passphrase)  # OpenSSL's own would wait at a terminal
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"{of_key}: {key} is not the key of {names[0]} {certificate}") from None
        raise ConfigError(f"{of_key}: {key} holds no private key in PEM") from None
    except OSError as error:
        raise ConfigError(f"{of_key}: {key}: {error.strerror}") from None
