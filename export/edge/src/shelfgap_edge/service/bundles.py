"""The bundle that runs, and how another one takes its place without losing a frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shelfgap_edge.admission import admit_bundle
from shelfgap_edge.contract import Manifest
from shelfgap_edge.errors import BundleError, PullError, ShelfgapError
from shelfgap_edge.golden import parse_golden, replay
from shelfgap_edge.pull.slots import CURRENT
from shelfgap_edge.pull.state import STATE_FILE, load_state
from shelfgap_edge.runtime import Detector
from shelfgap_edge.service.config import DetectorConfig
from shelfgap_edge.trust import load_keys

Stamp = tuple[str, int, int]


def load_tested(bundle: Path, config: DetectorConfig) -> Detector:
    """Load a detector and let it show, on the golden frames of its bundle, that it computes here what it should.

    The crash of a model would take the service along; `shelfgap-edge pull` therefore tests in a process of its own
    before it switches.

    Raises:
        BundleError: the bundle must not run here.
        SignatureError: keys are configured, and none of them signed it.
        MissingRuntimeError: the runtime is not installed.
    """
    where = bundle.resolve()  # a switch of the link must not fall between two files
    keys = None if config.keys is None else load_keys(config.keys)
    admitted = admit_bundle(where, keys)
    detector = Detector.from_files(
        admitted.files, str(where), precision=config.precision, threads=config.threads, runtime=config.runtime
    )
    detector.signature = admitted.signature
    tried = [golden for golden in parse_golden(admitted.files, str(where)) if golden.precision == detector.precision]
    if not tried:
        raise BundleError(f"{where}: has no golden frame for {detector.precision}")
    for golden in tried:
        result = replay(golden, admitted.files[golden.file], detector)
        if not result.passed:
            raise BundleError(f"{where}: a golden frame is off on this machine: {result}; do not run this bundle here")
    return detector


def stamp_of(bundle: Path) -> Stamp:
    """Return what changes when another bundle lies at a path.

    Raises:
        BundleError: there is none.
    """
    where = bundle.resolve()
    try:
        found = (where / "SHA256SUMS" if where.is_dir() else where).stat()
    except OSError as error:
        raise BundleError(f"{bundle}: {error.strerror}") from None
    return str(where), found.st_ino, found.st_mtime_ns


def is_on_trial(bundle: Path) -> bool:
    """Say whether `shelfgap-edge pull` has switched to this bundle and not finished testing it."""
    if bundle.name != CURRENT or not (bundle.parent / STATE_FILE).is_file():
        return False
    try:
        return load_state(bundle.parent).trial is not None
    except PullError:
        return False


class RunningBundle:
    """What runs, and whether something else should.

    Args:
        bundle: path of the first one, which must be fit to run.
        config: how it runs.

    Attributes:
        detector: of the bundle that runs.
        failure: why the bundle that lies there now is not taken; None if it is the one that runs.

    Raises:
        ShelfgapError: as `load_tested`.
    """

    def __init__(self, bundle: Path, config: DetectorConfig) -> None:
        self._config = config
        self._stamp = stamp_of(bundle)
        self._refused: Stamp | None = None
        self.detector = load_tested(bundle, config)
        self.failure: str | None = None

    def changed(
        self, bundle: Path, config: DetectorConfig, accept: Callable[[Manifest], object], *, retry: bool = False
    ) -> bool:
        """Take what lies at a path if it is not what runs, or is to run in another way; True if it was taken.

        Args:
            bundle: the path.
            config: how it shall run.
            accept: told what the bundle says of itself before it is taken; may refuse it with a ShelfgapError.
            retry: also one that was refused before.

        Raises:
            ShelfgapError: it is not fit to run; the old one stays.
        """
        stamp = None
        try:
            stamp = stamp_of(bundle)
            if (stamp, config) == (self._stamp, self._config):
                self.failure = self._refused = None
                return False
            if stamp == self._refused and not retry:
                return False
            detector = load_tested(bundle, config)
            accept(detector.manifest)
        except ShelfgapError as error:
            is_told = stamp is None and self.failure == str(error)  # there is none, as before
            self._refused, self.failure = stamp, str(error)
            if is_told and not retry:
                return False
            raise
        self.detector, self._stamp, self._config = detector, stamp, config
        self.failure = self._refused = None
        return True
