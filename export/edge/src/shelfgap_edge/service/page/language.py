"""Which language a browser gets."""

from __future__ import annotations

import re
from typing import Literal, get_args

Language = Literal["en", "fr"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
_RANGE = re.compile(r"([a-z]{2,3})(?:-[a-z0-9-]*)?\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?", re.IGNORECASE)


def choose_language(asked: str | None, accept_language: str | None) -> Language:
    """Return the language of the page: as asked for in the address, else as the browser prefers, else English.

    Args:
        asked: value of `?lang=`; anything unknown counts as not given.
        accept_language: the header.

    >>> choose_language(None, "de, fr-CA;q=0.8, en;q=0.5"), choose_language("en", "fr"), choose_language("xx", None)
    ('fr', 'en', 'en')
    """
    for language in LANGUAGES:
        if asked == language:
            return language
    best: Language = "en"
    best_weight = 0.0
    for item in (accept_language or "")[:1000].split(","):
        found = _RANGE.fullmatch(item.strip())
        weight = 0.0 if found is None else float(found[2] or 1.0)
        for language in LANGUAGES:
            if found is not None and found[1].lower() == language and weight > best_weight:
                best, best_weight = language, weight
    return best
