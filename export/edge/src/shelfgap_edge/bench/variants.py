"""What is measured of a bundle: its files and frames, and which of its models in which runtime on how many threads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shelfgap_edge.admission import admit_bundle
from shelfgap_edge.bench.harness import Pipeline
from shelfgap_edge.bundle import Files
from shelfgap_edge.contract import MODEL_FILES, Manifest
from shelfgap_edge.errors import BundleError, FrameError
from shelfgap_edge.golden import golden_pictures
from shelfgap_edge.image import decode_jpeg
from shelfgap_edge.runtime import Detector, manifest_of, precisions_of

if TYPE_CHECKING:
    from shelfgap_edge.trust import TrustedKeys


@dataclass(frozen=True)
class Variant:
    """One way to run a bundle, and its name beside the others."""

    precision: str
    runtime: str
    threads: int
    name: str


@dataclass(frozen=True)
class Subject:
    """A bundle that was admitted, and the frames to measure it with.

    Attributes:
        where: its path, for messages.
        files, manifest, signature: of the bundle.
        frames: JPEG bytes, one or more.
        frame_source: "golden" or "given".
        frame_sizes: sizes (height, width) that occur among them.
    """

    where: str
    files: Files
    manifest: Manifest
    signature: str
    frames: tuple[bytes, ...]
    frame_source: str
    frame_sizes: tuple[tuple[int, int], ...]

    def variants(
        self, precisions: Sequence[str] | None, runtimes: Sequence[str], threads: Sequence[int]
    ) -> list[Variant]:
        """Return every combination; a name says what differs among them.

        Args:
            precisions: None for every one that there is a model for, fp32 first.
            runtimes: some of `RUNTIMES`.
            threads: within one operator.

        Raises:
            BundleError: the bundle has no such model.
        """
        offered = precisions_of(self.files)[::-1]
        if not offered:
            raise BundleError(f"{self.where}: has no model")
        for precision in precisions or ():
            if precision not in offered:
                raise BundleError(
                    f"{self.where}: has no {MODEL_FILES[precision]}; it offers {' and '.join(sorted(offered))}"
                )
        runtimes, threads = tuple(dict.fromkeys(runtimes)), tuple(dict.fromkeys(threads))
        return [
            Variant(
                precision,
                runtime,
                count,
                " ".join([precision] + [runtime] * (len(runtimes) > 1) + [_threads_text(count)] * (len(threads) > 1)),
            )
            for runtime in runtimes
            for precision in dict.fromkeys(precisions or offered)
            for count in threads
        ]

    def detector(self, variant: Variant) -> Detector:
        """Load a detector.

        Raises:
            BundleError: the model cannot be loaded.
            MissingRuntimeError: the runtime is not installed.
        """
        return Detector.from_files(
            self.files, self.where, precision=variant.precision, threads=variant.threads, runtime=variant.runtime
        )

    def pipeline(self, variant: Variant) -> Pipeline:
        """Load a detector and return its stages under the name of the variant."""
        return Pipeline(variant.name, self.detector(variant).stages())

    def to_dict(self, variants: Sequence[Variant]) -> dict[str, Any]:
        """Return what was measured, for a report."""
        return {
            "bundle": self.manifest.name,
            "version": self.manifest.version,
            "signature": self.signature,
            "device_class": self.manifest.device_class,
            "input_size": list(self.manifest.input_size),
            "frames": len(self.frames),
            "frame_source": self.frame_source,
            "frame_sizes": [list(size) for size in self.frame_sizes],
            "frames_sha256": hashlib.sha256(b"".join(hashlib.sha256(f).digest() for f in self.frames)).hexdigest(),
            "runtimes": list(dict.fromkeys(variant.runtime for variant in variants)),
        }


def load_subject(
    bundle: Path,
    frames: Sequence[bytes] | None = None,
    *,
    verify: bool = True,
    keys: TrustedKeys | None = None,
) -> Subject:
    """Admit a bundle, and look at every frame once.

    Args:
        bundle: a bundle directory or a `.tar` of one.
        frames: JPEG bytes; None for the golden frames of the bundle.
        verify: False skips the checksums (for a bundle that is being built).
        keys: one of them must have signed the bundle; None leaves that unchecked.

    Raises:
        BundleError: the bundle must not run, or has no golden frames while none are given.
        FrameError: no frames, or one cannot be decoded.
    """
    where = str(bundle)
    admitted = admit_bundle(bundle, keys, sums=verify)
    manifest = manifest_of(admitted.files, where)
    source = "golden" if frames is None else "given"
    if frames is None:
        frames = golden_pictures(admitted.files, where)
    if not frames:
        raise FrameError("no frames to measure with")
    sizes = set()
    for number, frame in enumerate(frames, start=1):
        try:
            sizes.add(decode_jpeg(frame, manifest.input_size).full_size)
        except FrameError as error:
            raise FrameError(f"frame {number} of {len(frames)}: {error}") from None
    return Subject(where, admitted.files, manifest, admitted.signature, tuple(frames), source, tuple(sorted(sizes)))


def _threads_text(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"
