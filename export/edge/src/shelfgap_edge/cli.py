"""The `shelfgap-edge` command: predict, bench, verify, pull and serve on a device.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 a failure of the input
or the bundle, 2 wrong usage, 3 an update that failed its self-test here, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from shelfgap_edge.cli_pull import add_pull_arguments, pull_command
from shelfgap_edge.cli_serve import add_serve_arguments, add_token_arguments, serve_command, token_command
from shelfgap_edge.contract import AUTO, PRECISIONS, RUNTIMES
from shelfgap_edge.errors import FrameError, ShelfgapError

if TYPE_CHECKING:
    from shelfgap_edge.trust import TrustedKeys
    from shelfgap_edge.verify import VerifyReport

_N = TypeVar("_N", int, float)

# The commands import what they need themselves, so that --help and usage errors do not wait for onnxruntime.


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not be text
    try:
        arguments = _parser().parse_args(argv)
        command: Callable[[argparse.Namespace], int] = arguments.command
        code = command(arguments)
        sys.stdout.flush()
    except ShelfgapError as error:
        _complain(str(error))
        return 1
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except BrokenPipeError:
        # The reader went away (as `head` does). Let the interpreter's last flush go nowhere, quietly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def predict(arguments: argparse.Namespace) -> int:
    """Print what is found in each image; a bad image is reported and the others are done."""
    from shelfgap_edge.runtime import Detector

    detector = Detector.load(
        arguments.bundle, precision=arguments.precision, runtime=arguments.runtime, keys=_keys(arguments)
    )
    manifest = detector.manifest
    if detector.probe is not None and not arguments.json:
        print(f"{detector.precision}: int8 takes {detector.probe.int8_over_fp32:.2f} of the time of fp32 here")
    entries: list[dict[str, Any]] = []
    for image in arguments.images:
        entry: dict[str, Any] = {"image": str(image)}
        entries.append(entry)
        try:
            candidates = detector.infer(detector.preprocess(detector.decode(_read_image(image))))
        except ShelfgapError as error:
            entry["error"] = str(error)
            _complain(f"{image}: {error}")
            continue
        found = detector.postprocess(candidates, score_thresholds=arguments.threshold)
        entry["height"], entry["width"] = candidates.frame.full_size
        entry["detections"] = found.to_dicts(manifest.classes)
        if not arguments.json:
            _print_detections(image, entry["detections"])
    if arguments.json:
        _print_json(
            {
                "bundle": manifest.name,
                "version": manifest.version,
                "signature": detector.signature,
                "runtime": detector.runtime,
                "precision": detector.precision,
                "precision_probe": detector.probe.to_dict() if detector.probe else None,
                "frames": entries,
            }
        )
    return 1 if any("error" in entry for entry in entries) else 0


def bench(arguments: argparse.Namespace) -> int:
    """Print the latency of the bundle's models on this machine."""
    from shelfgap_edge.bench.detectors import bench_bundle
    from shelfgap_edge.bench.report import to_table

    frames: list[bytes] | None = None
    if arguments.frames:
        frames = []
        for path in arguments.frames:
            try:
                frames.append(_read_image(path))
            except FrameError as error:
                raise FrameError(f"{path}: {error}") from None
    report = bench_bundle(
        arguments.bundle,
        frames,
        min_seconds=arguments.min_seconds,
        min_count=arguments.min_count,
        threads=arguments.threads,
        runtimes=arguments.runtime,
        keys=_keys(arguments),
    )
    if arguments.json:
        _print_json(report)
    else:
        print(to_table(report))
        for runtime, precision in report["auto_precision"].items():
            print(f"--precision auto takes {precision} in {runtime}")
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Print whether the bundle is intact and gives on this machine what it must give."""
    from shelfgap_edge.verify import verify_bundle

    report = verify_bundle(arguments.bundle, _keys(arguments), runtime=arguments.runtime)
    if arguments.json:
        _print_json(report.to_dict())
    else:
        made_for = report.manifest.device_class or "an unstated device class"
        print(
            f"{report.manifest.name} {report.manifest.version}: {report.files} files intact, "
            f"{_signature_text(report)}; INT8 for {made_for}, run by {report.runtime}"
        )
        for result in report.golden:
            print(f"{'pass' if result.passed else 'FAIL'}  {result}")
        if report.probe is not None:
            print(
                f"--precision auto takes {report.auto_precision} here: "
                f"int8 needs {report.probe.int8_over_fp32:.2f} of the time of fp32"
            )
    if report.failure is not None:
        raise ShelfgapError(f"{report.bundle}: {report.failure}; do not run this bundle here")
    return 0


def _keys(arguments: argparse.Namespace) -> TrustedKeys | None:
    if arguments.keys is None:
        return None
    from shelfgap_edge.trust import load_keys

    return load_keys(arguments.keys)


def _signature_text(report: VerifyReport) -> str:
    from shelfgap_edge.admission import UNCHECKED

    return "signature not checked" if report.signature == UNCHECKED else f"signed by key {report.signature}"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _complain(f"{message} (see {self.prog} --help)")
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="shelfgap-edge", description="Find gaps on shelves, on the device.", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], about: str, example: str) -> _Parser:
        sub: _Parser = commands.add_parser(
            name,
            help=about,
            description=about,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.set_defaults(command=command)
        sub.add_argument("bundle", type=Path, metavar="BUNDLE", help="a bundle directory or a .tar of one")
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        sub.add_argument(
            "--keys", type=Path, metavar="FILE", help="trusted keys, one of which must have signed it: PEM, or JSON"
        )
        several = {"nargs": "+", "default": RUNTIMES[:1]} if name == "bench" else {"default": RUNTIMES[0]}
        sub.add_argument(
            "--runtime", choices=RUNTIMES, help=f"what runs the models (default: {RUNTIMES[0]})", **several
        )
        return sub

    sub = add(
        "predict",
        predict,
        "Find gaps in JPEG images.",
        "shelfgap-edge predict bundle.tar shelf.jpg --json",
    )
    sub.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="JPEG files")
    sub.add_argument(
        "--precision",
        choices=(*PRECISIONS, AUTO),
        help=f"the model to run (default: the bundle's; {AUTO}: int8 unless fp32 is faster here)",
    )
    sub.add_argument(
        "--threshold",
        type=_fraction,
        metavar="T",
        help="lowest score, 0 to 1 (default: the bundle's, by class)",
    )
    sub = add(
        "bench",
        bench,
        "Measure the latency of a bundle's models on this machine.",
        "shelfgap-edge bench bundle.tar --min-seconds 30 --runtime onnxruntime openvino",
    )
    sub.add_argument("--frames", type=Path, nargs="+", metavar="IMAGE", help="JPEG files (default: golden frames)")
    sub.add_argument(
        "--min-seconds", type=_seconds, default=10.0, metavar="S", help="measure each at least so long (10)"
    )
    sub.add_argument("--min-count", type=_count, default=200, metavar="N", help="measure each at least so often (200)")
    sub.add_argument("--threads", type=_count, default=1, metavar="T", help="threads in an operator (1)")
    add(
        "verify",
        verify,
        "Check that a bundle is intact and gives here what it gave when built.",
        "shelfgap-edge verify bundle.tar --keys release.pub",
    )

    def add_other(
        name: str,
        command: Callable[[argparse.Namespace], int],
        arguments: Callable[[argparse.ArgumentParser], None],
        about: str,
        example: str,
    ) -> None:
        sub = commands.add_parser(
            name,
            help=about,
            description=about,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.set_defaults(command=command)
        arguments(sub)

    add_other(
        "pull",
        pull_command,
        add_pull_arguments,
        "Keep this device at the release that its ring is offered.",
        "shelfgap-edge pull https://models.example.com --state /var/lib/shelfgap --keys release.pub",
    )
    add_other(
        "serve",
        serve_command,
        add_serve_arguments,
        "Take frames from cameras, judge them, send alerts.",
        "shelfgap-edge serve --config /etc/shelfgap/edge.toml",
    )
    add_other(
        "token",
        token_command,
        add_token_arguments,
        "Make a token for a camera, and the hash of it for edge.toml.",
        "shelfgap-edge token lyon-3-17",
    )
    return parser


def _fraction(text: str) -> float:
    return _number(text, float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def _seconds(text: str) -> float:
    return _number(text, float, lambda value: 0 <= value < math.inf, "a number of seconds, 0 or more")


def _count(text: str) -> int:
    return _number(text, int, lambda value: value >= 1, "a whole number, 1 or more")


def _number(text: str, kind: Callable[[str], _N], accepted: Callable[[_N], bool], expected: str) -> _N:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not accepted(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value


def _read_image(path: Path) -> bytes:
    from shelfgap_edge.image import MAX_BODY_BYTES

    if path.is_dir():
        raise FrameError("is a folder, expected a JPEG file")
    try:
        with path.open("rb") as file:
            return file.read(MAX_BODY_BYTES + 1)  # one more, so that the limit is seen to be passed
    except OSError as error:
        raise FrameError(f"cannot be read ({error.strerror})") from None


def _print_detections(image: Path, detections: list[dict[str, Any]]) -> None:
    print(f"{image}: {len(detections)} found")
    for item in detections:
        box = ", ".join(f"{value:.1f}" for value in item["box_xyxy"])
        print(f"  {item['class']:<9} {item['score']:.3f}  [{box}]")


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))


def _complain(message: str) -> None:
    print(f"shelfgap-edge: error: {' '.join(message.split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
