"""Tokens of cameras: 32 random bytes each, kept as their SHA-256, compared in constant time.

A token is not a password: with 256 random bits nobody can guess one from its hash, so a slow hash (scrypt) would only
cost the processor time of a frame on each of them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from shelfgap_edge.private_file import read_private
from shelfgap_edge.toml_table import ConfigError

_PREFIX = "sgt_"
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_NOBODY = "sha256:" + "0" * 64  # compared with where there is no camera, so that it takes as long


def new_token() -> str:
    """Return a token that was never used."""
    return _PREFIX + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Return what is kept of a token.

    >>> hash_token("sgt_x")[:14]
    'sha256:ec6c0d1'
    """
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


def is_token_hash(text: str) -> bool:
    """Say whether a text has the form of `hash_token`."""
    return _HASH.fullmatch(text) is not None


def token_matches(token: str, hashes: Iterable[str]) -> bool:
    """Say whether a token is one of those; takes no shorter without any hash, nor for a near miss."""
    presented = hash_token(token)
    matched = False
    for known in list(hashes) or [_NOBODY]:
        matched |= hmac.compare_digest(presented, known)
    return matched


def read_tokens_file(path: Path, where: str) -> dict[str, tuple[str, ...]]:
    """Read a file with a camera and a hash on each line; a camera may stand on several.

    Raises:
        ConfigError: not readable, open to others, or a line of another form.
    """
    tokens: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(read_private(path, where).splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not is_token_hash(words[1]):
            raise ConfigError(f"{path}:{number}: expected a camera and sha256:<64 hex digits>, as `token` prints them")
        tokens[words[0]] = (*tokens.get(words[0], ()), words[1])
    return tokens
