"""A log in a run of MLflow: numbered parameters, which MLflow lets nobody change, so that it only grows.

Of several machines that append at once, one gets the number: the database keeps one value for each name of a parameter.
"""

from __future__ import annotations

from typing import Any

from shelfgap_edge.errors import ShelfgapError

MAX_CHARACTERS = 6000
"""Of an entry; MLflow silently cuts what is longer."""
_ENTRY = "entry."


class LogError(ShelfgapError):
    """The log is not whole, or an entry does not fit."""


def read_entries(client: Any, run_id: str) -> list[str]:
    """Return the entries of the log of a run, the oldest first.

    Raises:
        LogError: an entry is missing.
    """
    params = client.get_run(run_id).data.params
    entries = {key: text for key, text in params.items() if key.startswith(_ENTRY)}
    names = [_name(number) for number in range(1, len(entries) + 1)]
    for name in names:
        if name not in entries:
            raise LogError(f"MLflow run {run_id}: {name} of the promotion log is missing; restore the database")
    return [entries[name] for name in names]


def append_entry(client: Any, run_id: str, number: int, text: str) -> bool:
    """Append an entry, unless the log has another one of that number.

    Args:
        client: of MLflow.
        run_id: its run.
        number: of the new entry, from 1.
        text: what to keep.

    Returns:
        False when another entry has that number.

    Raises:
        LogError: the text is too long.
    """
    if len(text) > MAX_CHARACTERS:
        raise LogError(f"an entry of the promotion log has at most {MAX_CHARACTERS} characters, got {len(text)}")
    try:
        client.log_param(run_id, _name(number), text)
    except Exception:  # which one differs between a server and a store at hand: look at what is there now
        found = client.get_run(run_id).data.params.get(_name(number))
        if found is None:
            raise
        return bool(found == text)
    return True


def _name(number: int) -> str:
    return f"{_ENTRY}{number:06d}"
