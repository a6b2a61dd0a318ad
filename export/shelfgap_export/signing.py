"""Keys and signatures for bundles and other released files, in the OpenSSF model-signing format.

A key is made once, on a machine that need not be on any network, and signing needs none either. The OpenSSF package
`model_signing` makes the signature; `shelfgap_edge.signature` verifies it on devices.
"""

from __future__ import annotations

import filecmp
import logging
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from shelfgap_edge.bundle import check_sums, read_bundle
from shelfgap_edge.contract import SIGNATURE_FILE
from shelfgap_edge.durable import write_durably
from shelfgap_edge.errors import ShelfgapError, SignatureError
from shelfgap_edge.runtime import manifest_of
from shelfgap_edge.signature import check_signed
from shelfgap_edge.trust import CURVES, TrustedKey, TrustedKeys, key_id

from shelfgap_export.bundle import write_tar

logger = logging.getLogger(__name__)

_MOST_PASSPHRASE_BYTES = 1023  # that OpenSSL takes


class SigningError(ShelfgapError):
    """A key cannot be made or used, or what it shall sign cannot be signed."""


@dataclass(frozen=True)
class KeyPair:
    """Where a new key lies, and its id."""

    private_key: Path
    public_key: Path
    key_id: str

    def to_dict(self) -> dict[str, str]:
        """Return it for machines."""
        return {name: str(value) for name, value in asdict(self).items()}


def generate_key(target: Path, *, passphrase: str | None = None) -> KeyPair:
    """Make a key on the curve P-256: `target` holds the private part (PKCS 8 PEM, mode 0600), `target.pub` the public.

    Args:
        target: file to write; neither it nor `target.pub` may be there.
        passphrase: encrypts the private part; None leaves it open.

    Raises:
        SigningError: one of the files is there, or cannot be written, or the passphrase is too long.
    """
    public = target.with_name(f"{target.name}.pub")
    key = ec.generate_private_key(ec.SECP256R1())
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if secret := _secret(passphrase):
        if len(secret) > _MOST_PASSPHRASE_BYTES:
            raise SigningError(f"the passphrase is too long, at most {_MOST_PASSPHRASE_BYTES} bytes")
        encryption = serialization.BestAvailableEncryption(secret)
    private_pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    public_pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for path in (target, public):
        if os.path.lexists(path):
            raise SigningError(f"{path}: is there already, and a key is never overwritten; name another")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_new(public, public_pem, 0o644)
        try:
            _write_new(target, private_pem, 0o600)
        except OSError:
            public.unlink()  # a public key without its private one serves nobody
            raise
    except OSError as error:
        raise SigningError(f"{target}: the key cannot be written ({error.strerror})") from None
    return KeyPair(target, public, key_id(key.public_key()))


def sign(root: Path, key: Path, *, passphrase: str | None = None) -> bytes:
    """Sign a directory, or a single file.

    Args:
        root: of a directory every file is covered but `signature` at its top; it may hold no links. A single file is
            covered under the path ".".
        key: a private key as PEM, on an elliptic curve of `shelfgap_edge.trust.CURVES`.
        passphrase: of the key, if it is encrypted.

    Returns:
        The content of a signature file, which `model_signing verify key` accepts.

    Raises:
        SigningError: the key cannot be used, or there is nothing to sign, a link or a special file.
    """
    from model_signing.hashing import Config as Hashing
    from model_signing.signing import Config as Signing

    _read_key(key, passphrase)
    # The package hands a passphrase on to cryptography as it is, which takes bytes; its own type says str.
    secret: str | None = _secret(passphrase)  # type: ignore[assignment]
    hashing = Hashing().set_ignored_paths(paths=[SIGNATURE_FILE] if root.is_dir() else [], ignore_git_paths=False)
    config = Signing().use_elliptic_key_signer(private_key=key, password=secret).set_hashing_config(hashing)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / SIGNATURE_FILE
        try:
            config.sign(root, written)
        except (OSError, ValueError) as error:
            raise SigningError(f"{root}: cannot be signed ({error})") from None
        return written.read_bytes()


def sign_bundle(bundle: Path, key: Path, *, passphrase: str | None = None) -> bool:
    """Sign a bundle directory, and write the `.tar` beside it anew; nothing is done where this key signed it already.

    Args:
        bundle: a bundle directory; its files must be those of its `SHA256SUMS`.
        key: a private key as PEM.
        passphrase: of the key, if it is encrypted.

    Returns:
        Whether anything was written.

    Raises:
        BundleError: the bundle is incomplete, altered or of an unknown version.
        SigningError: the key cannot be used, or the disk is full; the bundle is as it was.
    """
    where = str(bundle)
    if bundle.is_file():
        raise SigningError(f"{bundle}: is a file; give the bundle's directory, its .tar is written beside it")
    public_key = _read_key(key, passphrase).public_key()
    keys = TrustedKeys((TrustedKey(key_id(public_key), public_key),))
    files = read_bundle(bundle)
    check_sums(files, where)
    manifest_of(files, where)
    changed = not _is_signed(files, keys, where)
    try:
        if changed:
            files[SIGNATURE_FILE] = sign(bundle, key, passphrase=passphrase)
            check_signed(files, keys, now=datetime.now(UTC), where=where)  # what was signed is what was checked above
            # a draft that a kill leaves must not lie in the bundle
            write_durably(bundle / SIGNATURE_FILE, files[SIGNATURE_FILE], drafts=bundle.parent)
        draft = bundle.with_name(f".{bundle.name}.{os.getpid()}.tmp.tar")
        packed = bundle.with_name(f"{bundle.name}.tar")
        try:
            write_tar(bundle, draft)
            if read_bundle(draft) != files:
                raise SigningError(f"{bundle}: changed while it was signed; sign it again")
            if not packed.is_file() or not filecmp.cmp(draft, packed, shallow=False):
                draft.replace(packed)
                changed = True
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
    except OSError as error:
        raise SigningError(f"{bundle}: the signature cannot be written ({error.strerror or error})") from None
    return changed


def _is_signed(files: dict[str, bytes], keys: TrustedKeys, where: str) -> bool:
    if SIGNATURE_FILE not in files:
        return False
    try:
        check_signed(files, keys, now=datetime.now(UTC), where=where)
    except SignatureError as error:
        logger.info("%s: signing anew (%s)", where, error)
        return False
    return True


def _read_key(path: Path, passphrase: str | None) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), _secret(passphrase))
    except OSError as error:
        raise SigningError(f"{path}: the key cannot be read ({error.strerror})") from None
    except TypeError:
        if passphrase:
            raise SigningError(f"{path}: the key is not encrypted, and a passphrase was given") from None
        raise SigningError(f"{path}: the key is encrypted; set SHELFGAP_SIGNING_PASSPHRASE") from None
    except (ValueError, UnsupportedAlgorithm):
        reason = "the passphrase is wrong, or it is no PEM key" if passphrase else "not a private key in PEM"
        raise SigningError(f"{path}: {reason}; make one with: shelfgap bundle keygen") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in CURVES:
        raise SigningError(f"{path}: expected an elliptic-curve key on {', '.join(CURVES)}")
    return key


def _secret(passphrase: str | None) -> bytes | None:
    """Return the bytes of a passphrase; of an environment that is not of UTF-8, as they stand there."""
    return passphrase.encode(errors="surrogateescape") if passphrase else None


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()  # half a key
        raise
