"""The `shelfgap-edge` command: predict, bench, verify, pull and serve on a device.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 a failure of the input
or the bundle or a comparison that fails, 2 wrong usage, 3 an update that failed its self-test here or a comparison
that decides nothing, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from shelfgap_edge.cli_bench import add_bench_arguments, bench_command
from shelfgap_edge.cli_pull import add_pull_arguments, pull_command
from shelfgap_edge.cli_serve import add_serve_arguments, add_token_arguments, serve_command, token_command
from shelfgap_edge.contract import AUTO, PRECISIONS, RUNTIMES
from shelfgap_edge.errors import ShelfgapError

if TYPE_CHECKING:
    from shelfgap_edge.trust import TrustedKeys
    from shelfgap_edge.verify import VerifyReport

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
        _print_nowhere()  # the reader went away (as `head` does)
        return 141
    except OSError as error:  # a folder without permission, a full disk below standard output
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
        try:
            sys.stdout.flush()
        except OSError:
            _print_nowhere()
        return 1
    return code


def predict(arguments: argparse.Namespace) -> int:
    """Print what is found in each image; a bad image is reported and the others are done."""
    from shelfgap_edge.frame_files import read_frame
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
            candidates = detector.infer(detector.preprocess(detector.decode(read_frame(image))))
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

    def add_command(name: str, command: Callable[[argparse.Namespace], int], about: str, example: str) -> _Parser:
        sub: _Parser = commands.add_parser(
            name,
            help=about,
            description=about,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        sub.set_defaults(command=command)
        return sub

    def add(name: str, command: Callable[[argparse.Namespace], int], about: str, example: str) -> _Parser:
        sub = add_command(name, command, about, example)
        sub.add_argument("bundle", type=Path, metavar="BUNDLE", help="a bundle directory or a .tar of one")
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        sub.add_argument(
            "--keys", type=Path, metavar="FILE", help="trusted keys, one of which must have signed it: PEM, or JSON"
        )
        return sub

    def add_runtime(sub: _Parser) -> None:
        about = f"what runs the models (default: {RUNTIMES[0]})"
        sub.add_argument("--runtime", choices=RUNTIMES, default=RUNTIMES[0], help=about)

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
    add_runtime(sub)
    sub = add(
        "bench",
        bench_command,
        "Measure a bundle on this machine: latency, throughput, a fleet of cameras, start, memory; and compare. "
        "Exit codes of a comparison: 0 pass, 1 fail, 3 inconclusive.",
        "shelfgap-edge bench bundle.tar --min-seconds 30 --runtime onnxruntime openvino",
    )
    add_bench_arguments(sub)
    sub = add(
        "verify",
        verify,
        "Check that a bundle is intact and gives here what it gave when built.",
        "shelfgap-edge verify bundle.tar --keys release.pub",
    )
    add_runtime(sub)
    sub = add_command(
        "pull",
        pull_command,
        "Keep this device at the release that its ring is offered.",
        "shelfgap-edge pull https://models.example.com --state /var/lib/shelfgap --keys release.pub",
    )
    add_pull_arguments(sub)
    sub = add_command(
        "serve",
        serve_command,
        "Take frames from cameras, judge them, send alerts.",
        "shelfgap-edge serve --config /etc/shelfgap/edge.toml",
    )
    add_serve_arguments(sub)
    sub = add_command(
        "token",
        token_command,
        "Make a token for a camera, and the hash of it for edge.toml.",
        "shelfgap-edge token lyon-3-17",
    )
    add_token_arguments(sub)
    return parser


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return value


def _print_detections(image: Path, detections: list[dict[str, Any]]) -> None:
    print(f"{image}: {len(detections)} found")
    for item in detections:
        box = ", ".join(f"{value:.1f}" for value in item["box_xyxy"])
        print(f"  {item['class']:<9} {item['score']:.3f}  [{box}]")


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))


def _print_nowhere() -> None:
    """Let the interpreter's last flush go nowhere, quietly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str) -> None:
    print(f"shelfgap-edge: error: {' '.join(message.split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
