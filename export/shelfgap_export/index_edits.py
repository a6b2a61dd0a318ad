"""The steps of a release through its rings, each an index made of the one before. Nothing is read or written here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shelfgap_edge.errors import ShelfgapError
from shelfgap_edge.pull.index import RINGS, FileEntry, Index, Release

CANARY, ALL = RINGS


class PublishError(ShelfgapError):
    """Something cannot be published; what devices are offered is as it was."""


@dataclass(frozen=True)
class Moment:
    """When an index is issued, and how long devices may install from it."""

    now: datetime
    valid_for: timedelta

    @property
    def text(self) -> str:
        """The time as it stands in the index."""
        return self.now.isoformat(timespec="seconds")


def new_index(product: str, at: Moment) -> Index:
    """Return an index without releases, number 0: the first edit makes it number 1."""
    return Index(product, 0, at.now, at.now + at.valid_for, {}, (), ())


def issue(index: Index, at: Moment) -> Index:
    """Return the index as it is issued: with the next number, the time and a new expiry.

    Raises:
        PublishError: the one before was issued later than now.
    """
    if index.issued_at > at.now:
        raise PublishError(
            f"the index was issued at {index.issued_at:%Y-%m-%d %H:%M} UTC, later than now by the clock here; "
            "set the clock"
        )
    issued_at = at.now.replace(microsecond=0)
    return replace(index, number=index.number + 1, issued_at=issued_at, expires_at=issued_at + at.valid_for)


def renew(index: Index, at: Moment) -> Index:
    """Return the index as valid from now on."""
    return replace(index, expires_at=at.now + at.valid_for)


def add_release(
    index: Index,
    version: str,
    files: tuple[FileEntry, ...],
    unsigned: frozenset[str],
    at: Moment,
    *,
    is_signed_alike: Callable[[Release], bool] = lambda release: True,
) -> Index:
    """Return the index with a bundle offered to the canaries; the same bundle again is the release that it was.

    One that another key signed is a release of its own, or the devices that run it would never take the new signature.

    Args:
        index: as it is.
        version: of the bundle's manifest.
        files: all of the bundle.
        unsigned: files in which two of the same bundle may differ: signatures are random.
        at: now.
        is_signed_alike: asked of the last release of the same bundle, whether the same key signed it.

    Raises:
        PublishError: the same bundle was withdrawn.
    """
    same = _last_same(index, version, files, unsigned)
    if same is None or (same.withdrawn_at is None and not is_signed_alike(same)):
        number = 1 + max((release.number for release in index.releases), default=0)
        same = Release(number, version, at.text, files, {})
        index = replace(index, releases=(*index.releases, same))
    return offer(index, same.number, CANARY, at)


def offer(index: Index, number: int, ring: str, at: Moment) -> Index:
    """Return the index with a release offered to a ring.

    Raises:
        PublishError: it was withdrawn, was never in the canary ring, or is older than what the ring runs.
    """
    release = _existing(index, number)
    now_offered = index.rings.get(ring)
    if ring == ALL and CANARY not in release.offered_at:
        raise PublishError(f"{_name(release)} was never in ring canary; publish it there first")
    if now_offered is not None and number < now_offered:
        raise PublishError(
            f"{_name(release)} is older than release {now_offered}, which ring {ring} runs; devices go back only with "
            f"--allow-rollback {number}"
        )
    return _offer(index, release, ring, at)


def allow_rollback(index: Index, number: int, ring: str, at: Moment) -> Index:
    """Return the index in which a ring runs a release that it ran before, and devices may go back to it.

    Raises:
        PublishError: it was withdrawn, or was never in that ring.
    """
    release = _existing(index, number)
    if ring not in release.offered_at:
        raise PublishError(f"{_name(release)} was never in ring {ring}; name one that was")
    allowed = tuple(sorted({*index.allow_rollback, number}))
    return _offer(replace(index, allow_rollback=allowed), release, ring, at)


def withdraw(index: Index, number: int, instead: int | None, at: Moment) -> Index:
    """Return the index in which a release is offered to nobody.

    Args:
        index: as it is.
        number: of the release.
        instead: what the rings run that ran it, and devices may go back to; None leaves these devices where they are.
        at: now.

    Raises:
        PublishError: it is not there or was withdrawn already, or `instead` cannot be offered.
    """
    known = index.release(number)
    if known is not None and known.withdrawn_at is not None and instead is None:
        return index
    release = _existing(index, number)
    rings = [ring for ring, offered in index.rings.items() if offered == number]
    gone = replace(release, withdrawn_at=at.text)
    index = replace(
        _with_release(index, gone),
        rings={ring: offered for ring, offered in index.rings.items() if offered != number},
        allow_rollback=tuple(allowed for allowed in index.allow_rollback if allowed != number),
    )
    if instead is None:
        return index
    if not rings:
        raise PublishError(f"{_name(release)} is offered to no ring; there is nothing to roll back")
    for ring in rings:
        index = allow_rollback(index, instead, ring, at)
    return index


def find_release(index: Index, name: str) -> Release:
    """Return the release of that number or version.

    Raises:
        PublishError: there is none, or several of that version.
    """
    found = [release for release in index.releases if name in (str(release.number), release.version)]
    if not found:
        raise PublishError(f"the index has no release {name}; see `shelfgap publish --list`")
    if len(found) > 1:
        numbers = ", ".join(str(release.number) for release in found)
        raise PublishError(f"releases {numbers} have version {name}; give the number")
    return found[0]


def _offer(index: Index, release: Release, ring: str, at: Moment) -> Index:
    offered_at: Mapping[str, str] = {ring: at.text, **release.offered_at}
    rings = {**index.rings, ring: release.number}
    # An allowance counts for as long as a ring runs the release: one that is forgotten allows nothing later.
    allowed = tuple(number for number in index.allow_rollback if number in rings.values())
    return replace(_with_release(index, replace(release, offered_at=offered_at)), rings=rings, allow_rollback=allowed)


def _with_release(index: Index, changed: Release) -> Index:
    return replace(
        index, releases=tuple(changed if release.number == changed.number else release for release in index.releases)
    )


def _existing(index: Index, number: int) -> Release:
    release = index.release(number)
    if release is None:
        raise PublishError(f"the index has no release {number}; see `shelfgap publish --list`")
    if release.withdrawn_at is not None:
        raise PublishError(f"{_name(release)} was withdrawn at {release.withdrawn_at}; it is not offered again")
    return release


def _last_same(index: Index, version: str, files: tuple[FileEntry, ...], unsigned: frozenset[str]) -> Release | None:
    def content(entries: tuple[FileEntry, ...]) -> dict[str, str]:
        return {entry.path: entry.sha256 for entry in entries if entry.path not in unsigned}

    same = [r for r in index.releases if r.version == version and content(r.files) == content(files)]
    return max(same, key=lambda release: release.number, default=None)


def _name(release: Release) -> str:
    return f"release {release.number} ({release.version})"
