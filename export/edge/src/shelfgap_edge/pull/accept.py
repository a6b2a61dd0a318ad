"""Which index a device believes: signed, of its product, never older than the last one, and not expired."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from shelfgap_edge.durable import write_durably
from shelfgap_edge.errors import PullError
from shelfgap_edge.pull.index import MAX_INDEX_BYTES, SIGNED_INDEX, Index, open_index, read_kept_index
from shelfgap_edge.pull.source import Source, read_small
from shelfgap_edge.signature import TrustedKeys


def kept_index(folder: Path) -> Index | None:
    """Return the last index that this device believed; None before the first.

    Raises:
        PullError: the file was spoilt.
    """
    path = folder / SIGNED_INDEX
    try:
        return read_kept_index(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except PullError as error:
        remedy = "delete this file: the next index that comes is believed, even an old one"
        raise PullError(f"{error}; {remedy}") from None


def accept_index(
    folder: Path,
    source: Source,
    keys: TrustedKeys,
    *,
    clock: datetime,
    product: str | None,
    on_bytes: Callable[[int], None],
    sleep: Callable[[float], None],
) -> Index:
    """Fetch the index, check it against what this device knows, and keep it.

    What was signed last is a lower bound of the time, so that a clock that fell back revives no expired index or key.

    Args:
        folder: the device's state folder.
        source: where from.
        keys: whom to trust.
        clock: the device's time, in UTC; it may be wrong.
        product: the name that bundles must bear; None for that of the first index seen.
        on_bytes: called with the number of bytes of each chunk that came.
        sleep: waits that many seconds.

    Raises:
        SignatureError: no trusted key signed it.
        PullError: there is none, it cannot be read, is of another product, older than the kept one, another one of the
            same number, or expired.
    """
    where = f"{source.where}/{SIGNED_INDEX}"
    try:
        content = read_small(source, SIGNED_INDEX, MAX_INDEX_BYTES, on_bytes, sleep)
    except FileNotFoundError:
        raise PullError(f"{where}: there is no index; check the address, or publish a bundle there") from None
    kept = kept_index(folder)
    index = open_index(content, keys, now=_no_earlier(clock, kept), where=where)
    expected = product or (kept.product if kept else index.product)
    if index.product != expected:
        raise PullError(f"{where}: is for {index.product!r}, this device runs {expected!r}; check the address")
    if kept is not None and index.number < kept.number:
        raise PullError(
            f"{where}: is number {index.number}, this device has seen {kept.number}; a stale copy, or a replay"
        )
    if kept is not None and index.number == kept.number and index != kept:
        raise PullError(f"{where}: there are two indexes of number {index.number}; publish once more")
    if index != kept:
        write_durably(folder / SIGNED_INDEX, content)
    now = _no_earlier(clock, index)
    if is_expired(index, now):
        raise PullError(
            f"{where}: expired at {index.expires_at:%Y-%m-%d %H:%M} UTC, this device has {now:%Y-%m-%d %H:%M}; "
            "nothing new is installed from it (`shelfgap publish --refresh` renews it)"
        )
    return index


def is_expired(index: Index, clock: datetime) -> bool:
    """Return whether nothing new may be installed from an index, at that time in UTC or when it was issued."""
    return _no_earlier(clock, index) >= index.expires_at


def _no_earlier(clock: datetime, index: Index | None) -> datetime:
    return clock if index is None else max(clock, index.issued_at)
