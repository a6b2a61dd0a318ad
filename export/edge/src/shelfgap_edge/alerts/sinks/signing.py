"""Signatures of webhooks, in the way of Standard Webhooks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from shelfgap_edge.alerts.sinks.secret import Secret
from shelfgap_edge.toml_table import ConfigError

_PREFIX = "whsec_"
_BYTES = (24, 64)


def signing_keys(secret: Secret, where: str) -> tuple[bytes, ...]:
    """Return the keys of a secret: one, or several with white space between while they are exchanged.

    Args:
        secret: each key as `whsec_` and 24 to 64 bytes in Base64.
        where: for messages.

    Raises:
        ConfigError: one is not of that form.
    """
    keys = []
    for text in secret.reveal().split():
        try:
            key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not text.startswith(_PREFIX) or not _BYTES[0] <= len(key) <= _BYTES[1]:
            raise ConfigError(
                f"{where}: a signing secret is whsec_ and {_BYTES[0]} to {_BYTES[1]} bytes in Base64, this one is not; "
                'make one with: echo "whsec_$(openssl rand -base64 32)"'
            )
        keys.append(key)
    return tuple(keys)


def signature_headers(keys: tuple[bytes, ...], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a signed message.

    Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

    Args:
        keys: the message bears a signature with each of them.
        message_id: the same for every attempt.
        timestamp_s: of this attempt, seconds since the epoch.
        body: as it is sent.
    """
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }
