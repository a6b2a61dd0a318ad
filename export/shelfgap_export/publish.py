"""Publish: bring a bundle's files to where devices pull from, then replace the signed index in one step."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shelfgap_edge.bundle import Files, check_sums, read_bundle
from shelfgap_edge.contract import SIGNATURE_FILE, Manifest
from shelfgap_edge.errors import SignatureError
from shelfgap_edge.identity import model_identity
from shelfgap_edge.pull.index import (
    MAX_INDEX_BYTES,
    SIGNED_INDEX,
    FileEntry,
    Index,
    Release,
    open_index,
    read_kept_index,
    seal_index,
)
from shelfgap_edge.pull.source import Source, blob_name, read_small
from shelfgap_edge.runtime import manifest_of
from shelfgap_edge.signature import check_signed, load_keys
from shelfgap_edge.trust import TrustedKeys

from shelfgap_export.bundle import GATE_FILE
from shelfgap_export.destination import ChangedMeanwhileError, Destination, read_or_none
from shelfgap_export.gate_record import PromotionError, check_gate
from shelfgap_export.index_edits import Moment, PublishError, add_release, issue, new_index
from shelfgap_export.signing import sign

logger = logging.getLogger(__name__)

DEFAULT_VALIDITY = timedelta(days=90)
_TRIES = 5

Edit = Callable[[Index, Moment], Index]


@dataclass(frozen=True)
class Publisher:
    """Where to publish, and with which keys.

    Attributes:
        destination: see `open_destination`.
        key: the private key that signs the index.
        keys: what devices trust; what they would refuse is not published.
        passphrase: of the private key, if it is encrypted.
        valid_for: how long devices may install from the index.
        create: whether to begin where nothing was published yet; otherwise that is an error, as for a typing mistake.
    """

    destination: Destination
    key: Path
    keys: Path
    passphrase: str | None = None
    valid_for: timedelta = DEFAULT_VALIDITY
    create: bool = False


def publish_bundle(
    publisher: Publisher, bundle: Path, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Index:
    """Publish a bundle in ring canary; one that is offered there already, signed by the same key, changes nothing.

    Args:
        publisher: where, and with which keys.
        bundle: a signed bundle whose gate passed exactly its models and thresholds.
        on_progress: called with (files brought, files).

    Raises:
        SignatureError, BundleError: devices would refuse it.
        PublishError: its gate did not pass this model, it is of another product, or was withdrawn.
        PullError: the destination cannot be read or written.
    """
    files, keys = read_bundle(bundle), load_keys(publisher.keys)
    manifest, key_id = _releasable(files, keys, str(bundle))
    entries = tuple(FileEntry(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items())

    def bring() -> None:
        content = {hashlib.sha256(data).hexdigest(): data for data in files.values()}
        for done, (sha256, data) in enumerate(content.items(), start=1):
            if publisher.destination.size(blob_name(sha256)) != len(data):
                publisher.destination.put(blob_name(sha256), data)
            on_progress(done, len(content))

    def edit(index: Index, at: Moment) -> Index:
        if index.product != manifest.name:
            raise PublishError(
                f"{publisher.destination.source.where} is for {index.product!r}, the bundle is {manifest.name!r}"
            )

        def is_signed_alike(release: Release) -> bool:
            return _signer_of(publisher.destination.source, release, files, keys, at) == key_id

        unsigned = frozenset({SIGNATURE_FILE})
        return add_release(index, manifest.version, entries, unsigned, at, is_signed_alike=is_signed_alike)

    return change_index(publisher, edit, product=manifest.name, before=bring)


def change_index(
    publisher: Publisher, edit: Edit, *, product: str | None = None, before: Callable[[], None] = lambda: None
) -> Index:
    """Replace the index by an edited one; of two publishers at once, one edits what the other left.

    Args:
        publisher: where, and with which keys.
        edit: makes the new index of the old one; one that changes nothing publishes nothing.
        product: of a new index, None if there must be one.
        before: called once when the edit was found to be allowed, before the index is replaced.

    Returns:
        The index that is there now.

    Raises:
        PublishError: the edit is not allowed, or there is no index and none is to be made.
        SignatureError: devices would not trust the key.
        PullError: the destination cannot be read or written.
    """
    destination = publisher.destination
    keys = load_keys(publisher.keys)
    brought = False
    for _ in range(_TRIES):
        at = Moment(datetime.now(UTC), publisher.valid_for)
        content = read_or_none(destination.source, SIGNED_INDEX)
        old = _old_index(publisher, content, keys, product, at)
        edited = edit(old, at)
        if not brought:
            before()
            brought = True
        if edited == old and content is not None:
            return old
        index = issue(edited, at)
        signed = _sign(publisher, index, keys, at)
        try:
            destination.replace(SIGNED_INDEX, signed, content)
        except ChangedMeanwhileError:
            logger.info("%s: someone else published meanwhile; starting over", destination.source.where)
            continue
        return index
    raise PublishError(f"{destination.source.where}: others publish all the time, after {_TRIES} tries; run again")


def read_index(destination: Destination) -> Index:
    """Return what is published, for people; signatures are not looked at.

    Raises:
        PublishError: nothing is.
        PullError: it cannot be read.
    """
    content = read_or_none(destination.source, SIGNED_INDEX)
    if content is None:
        raise PublishError(f"{destination.source.where}: nothing is published there; check the address")
    return read_kept_index(content, destination.source.where)


def _old_index(
    publisher: Publisher, content: bytes | None, keys: TrustedKeys, product: str | None, at: Moment
) -> Index:
    where = publisher.destination.source.where
    if content is not None:
        return open_index(content, keys, now=at.now, where=where)
    if product is None or not publisher.create:
        raise PublishError(f"{where}: nothing is published there; check the address, or begin with --create")
    return new_index(product, at)


def _signer_of(source: Source, release: Release, files: Files, keys: TrustedKeys, at: Moment) -> str | None:
    """Return the key whose signature of these files is published with a release; None where none counts (any more)."""
    entry = next(entry for entry in release.files if entry.path == SIGNATURE_FILE)
    try:
        signature = read_small(source, blob_name(entry.sha256), entry.size)
        return check_signed({**files, SIGNATURE_FILE: signature}, keys, now=at.now, where=source.where)
    except (FileNotFoundError, SignatureError):
        return None


def _releasable(files: Files, keys: TrustedKeys, where: str) -> tuple[Manifest, str]:
    """Return the manifest and the id of the key that signed."""
    key_id = check_signed(files, keys, now=datetime.now(UTC), where=where)
    check_sums(files, where)
    manifest = manifest_of(files, where)
    if GATE_FILE not in files:
        raise PublishError(f"{where}: no {GATE_FILE} in it; only what a gate passed is published")
    try:
        check_gate(files[GATE_FILE], model_identity(manifest, files), where)
    except PromotionError as error:
        raise PublishError(str(error)) from None
    return manifest, key_id


def _sign(publisher: Publisher, index: Index, keys: TrustedKeys, at: Moment) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "index.json"
        text.write_text(index.to_json())
        sealed = seal_index(index, sign(text, publisher.key, passphrase=publisher.passphrase))
    if len(sealed) > MAX_INDEX_BYTES:
        raise PublishError(f"the index has {len(sealed)} bytes, devices take {MAX_INDEX_BYTES}; begin a new place")
    open_index(sealed, keys, now=at.now, where=str(publisher.key))  # would devices believe it?
    return sealed
