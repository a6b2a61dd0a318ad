"""The Digest scheme of HTTP (RFC 7616): a password is proved and does not travel."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote
from urllib.request import parse_http_list, parse_keqv_list

_HASHES: Mapping[str, Callable[[bytes], Any]] = {
    "MD5": partial(hashlib.md5, usedforsecurity=False),  # what most cameras offer, and a library may forbid for more
    "SHA-256": hashlib.sha256,
}


def answer_digest(challenge: str, user: str, password: str, target: str) -> str | None:
    """Return the `Authorization` of a GET.

    Args:
        challenge: what follows the name of the scheme in `WWW-Authenticate`, as http.client decodes it.
        user: of any alphabet.
        password: the same.
        target: path and query.

    Returns:
        None where the challenge is damaged, or asks for what is not known here.
    """
    try:
        asked = {key.lower(): value for key, value in parse_keqv_list(parse_http_list(challenge)).items()}
        realm, nonce = asked["realm"], asked["nonce"]
    except (KeyError, ValueError, IndexError):
        return None
    name, in_session, _ = asked.get("algorithm", "MD5").upper().partition("-SESS")
    hash_of = _HASHES.get(name)
    qop = [token.strip().lower() for token in asked.get("qop", "").split(",")]
    if hash_of is None or not {"", "auth"}.intersection(qop):
        return None

    def hashed(*parts: bytes) -> bytes:
        return bytes(hash_of(b":".join(parts)).hexdigest(), "ascii")

    count, own_nonce = "00000001", secrets.token_hex(16)
    nonces = nonce.encode("latin-1"), own_nonce.encode()
    secret = hashed(user.encode(), realm.encode("latin-1"), password.encode())
    if in_session:
        secret = hashed(secret, *nonces)
    request = hashed(b"GET", target.encode())
    said = {"realm": _quoted(realm), "nonce": _quoted(nonce), "uri": _quoted(target)}
    if "auth" in qop:
        response = hashed(secret, nonces[0], count.encode(), nonces[1], b"auth", request)
        said |= {"qop": "auth", "nc": count, "cnonce": _quoted(own_nonce)}
    else:
        response = hashed(secret, nonces[0], request)
    said["response"] = _quoted(response.decode())
    if "opaque" in asked:
        said["opaque"] = _quoted(asked["opaque"])
    if "algorithm" in asked:
        said["algorithm"] = asked["algorithm"]
    named = f"username={_quoted(user)}" if user.isascii() else f"username*=UTF-8''{quote(user, safe='')}"
    return ", ".join([f"Digest {named}", *(f"{key}={value}" for key, value in said.items())])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
