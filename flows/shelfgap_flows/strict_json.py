"""JSON as its standard has it, which knows no number that is not finite."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def json_text(value: object, indent: int | None = None) -> str:
    """Return a value as JSON; null stands for what is not a number, or infinite.

    >>> json_text({"val_ap50": float("nan"), "layers": [1.5, float("inf")]})
    '{"val_ap50": null, "layers": [1.5, null]}'
    """
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
