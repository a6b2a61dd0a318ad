"""The files of a bundle, read once into memory, and the check that none is missing, altered or extra.

What is hashed is what is used: nothing is read from disk a second time.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from shelfgap_edge.contract import SIGNATURE_FILE, SUMS_FILE
from shelfgap_edge.errors import BundleError

MAX_BUNDLE_BYTES = 256 * 2**20
_MAX_FILES = 10_000
# What tarfile lets through of numbers that are none, sizes that are too large, and headers of headers of headers:
_HOSTILE_TAR = (ValueError, ArithmeticError, MemoryError, RecursionError)
_UNSUMMED = (SUMS_FILE, SIGNATURE_FILE)
_SUM_LINE = re.compile(r"([0-9a-f]{64})  (.+)")

Files = Mapping[str, bytes]
"""The content of a bundle by POSIX path below its root."""


def read_bundle(bundle: Path, *, max_bytes: int = MAX_BUNDLE_BYTES) -> dict[str, bytes]:
    """Read all files of a bundle into memory.

    Args:
        bundle: a directory, or an uncompressed `.tar` of one (its files at the root or in one top folder).
        max_bytes: refuse a bundle that holds more.

    Returns:
        Content by POSIX path below the bundle's root, sorted by path. Not verified yet.

    Raises:
        BundleError: no such bundle, a link or special file in it, a path that climbs out, a name twice, too
            large, or not readable.
    """
    files: dict[str, bytes] = {}
    total = 0
    try:
        is_folder = bundle.is_dir()
        if not is_folder and not bundle.is_file():
            raise BundleError(f"{bundle}: no such bundle; expected a bundle directory or a .tar of one")
        for name, content in (_directory_entries if is_folder else _tar_entries)(bundle, max_bytes):
            if name in files:
                raise BundleError(f"{bundle}: {name} stands twice in it")
            files[name] = content
            total += len(content)
            if total > max_bytes or len(files) > _MAX_FILES:
                raise BundleError(f"{bundle}: too large, a bundle has at most {max_bytes} bytes in {_MAX_FILES} files")
    except (OSError, tarfile.TarError, *_HOSTILE_TAR) as error:
        raise BundleError(f"{bundle}: cannot be read ({str(error) or type(error).__name__})") from None
    if not files:
        raise BundleError(f"{bundle}: holds no files, expected a bundle")
    return dict(sorted((files if is_folder else _without_top_folder(files)).items()))


def compute_sums(bundle: Path | Files) -> str:
    """Return the text of `SHA256SUMS`: `<hex>  <path>` for each file but itself and the signature, by path.

    `sha256sum --check SHA256SUMS` understands it too.

    Args:
        bundle: a bundle (see `read_bundle`), or its files.

    Raises:
        BundleError: as `read_bundle`, or a file name has a line break or a backslash.
    """
    files = read_bundle(bundle) if isinstance(bundle, Path) else bundle
    lines = []
    for name in sorted(set(files) - set(_UNSUMMED)):
        if "\n" in name or "\r" in name or "\\" in name:
            raise BundleError(f"{name!r}: a file name in a bundle has no line break and no backslash")
        lines.append(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n")
    return "".join(lines)


def check_sums(files: Files, where: str) -> None:
    """Check that the files are exactly those of `SHA256SUMS`, byte for byte.

    Args:
        files: what `read_bundle` returned.
        where: the bundle's name in messages.

    Raises:
        BundleError: no `SHA256SUMS` or not of its form, a file missing, altered or not listed.
    """
    if SUMS_FILE not in files:
        raise BundleError(f"{where}: no {SUMS_FILE} in it, nothing can be verified; build the bundle again")
    expected = _parse_sums(files[SUMS_FILE], f"{where}: {SUMS_FILE}")
    present = set(files) - set(_UNSUMMED)
    for name in sorted(expected.keys() - present):
        raise BundleError(f"{where}: {name} is missing, {SUMS_FILE} lists it; copy the bundle again")
    for name in sorted(present - expected.keys()):
        raise BundleError(f"{where}: {name} is not listed in {SUMS_FILE}; remove it, or build again")
    for name, digest in expected.items():
        actual = hashlib.sha256(files[name]).hexdigest()
        if actual != digest:
            raise BundleError(
                f"{where}: {name} was altered, its SHA-256 is {actual[:12]}... where {SUMS_FILE} says "
                f"{digest[:12]}...; copy the bundle again"
            )


def _parse_sums(content: bytes, where: str) -> dict[str, str]:
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise BundleError(f"{where}: not UTF-8 text") from None
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        match = _SUM_LINE.fullmatch(line)
        if match is None:
            raise BundleError(f"{where}: line {number} is not '<sha256>  <path>'")
        digest, name = match.groups()
        _refuse_escape(name, where)
        if name in sums or name in _UNSUMMED:
            raise BundleError(f"{where}: line {number} must not list {name} (again)")
        sums[name] = digest
    if not sums:
        raise BundleError(f"{where}: lists no files")
    return sums


def leads_out(name: str) -> bool:
    """Say whether a path could lead out of the folder that it is said to be in."""
    return name.startswith("/") or "\\" in name or "\0" in name or ".." in PurePosixPath(name).parts


def _refuse_escape(name: str, where: str) -> None:
    if leads_out(name):
        raise BundleError(f"{where}: the path {name!r} leads out of the bundle")


def _directory_entries(root: Path, max_bytes: int) -> Iterator[tuple[str, bytes]]:
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                name = path.relative_to(root).as_posix()
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                    continue
                if not entry.is_file(follow_symlinks=False):
                    kind = "a symbolic link" if entry.is_symlink() else "not a regular file"
                    raise BundleError(f"{root}: {name} is {kind}; a bundle holds regular files only")
                yield name, _read_regular(path, name, max_bytes)


def _read_regular(path: Path, name: str, max_bytes: int) -> bytes:
    # Since the listing the file may have been swapped for a link or a pipe: look at what was opened.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise BundleError(f"{name} is not a regular file; a bundle holds regular files only")
        return file.read(max_bytes + 1)


def _tar_entries(path: Path, max_bytes: int) -> Iterator[tuple[str, bytes]]:
    if path.stat().st_size > max_bytes + 2048 * _MAX_FILES:  # headers, two blocks a file at most
        raise BundleError(f"{path}: too large, a bundle has at most {max_bytes} bytes")
    total = 0
    with tarfile.open(path, "r:") as tar:  # "r:" takes no compression, so a small file cannot unfold
        for member in tar:
            _refuse_escape(member.name, str(path))
            name = PurePosixPath(member.name).as_posix()
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                kind = "a link" if member.issym() or member.islnk() else "not a regular file"
                raise BundleError(f"{path}: {name} is {kind}; a bundle holds regular files only")
            total += member.size
            if total > max_bytes:
                raise BundleError(f"{path}: too large, a bundle has at most {max_bytes} bytes")
            content = tar.extractfile(member)
            assert content is not None  # a regular member has content
            data = content.read()
            if len(data) != member.size:
                raise BundleError(f"{path}: {name} is cut short; copy the bundle again")
            yield name, data


def _without_top_folder(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files as below the root: a tar often holds the bundle's folder rather than its content."""
    tops = {name.partition("/")[0] for name in files}
    if len(tops) == 1 and all("/" in name for name in files):
        return {name.partition("/")[2]: content for name, content in files.items()}
    return files
