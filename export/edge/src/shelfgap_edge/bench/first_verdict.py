"""A fresh process that says when it got how far: `python -m shelfgap_edge.bench.first_verdict SPAWNED_NS BUNDLE ...`.

Nothing but the clock is imported before the first look at it. See `bench.cold_start`.
"""

import time


def main() -> int:
    """Load a bundle as a service does, run one frame, print JSON; returns the exit code."""
    ticks_ns = [time.monotonic_ns()]  # the interpreter is up

    import argparse
    import json
    import sys
    from importlib import import_module
    from pathlib import Path

    from shelfgap_edge.admission import admit_bundle
    from shelfgap_edge.errors import ShelfgapError
    from shelfgap_edge.frame_files import read_frame
    from shelfgap_edge.golden import golden_pictures
    from shelfgap_edge.runtime import Detector

    parser = argparse.ArgumentParser()
    parser.add_argument("spawned_ns", type=int)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--frame", type=Path)
    parser.add_argument("--keys", type=Path)
    given = parser.parse_args()
    try:
        session = import_module(f"shelfgap_edge.session_{given.runtime}")
        if given.runtime == "openvino":
            session.import_openvino()
        ticks_ns.append(time.monotonic_ns())

        keys = None
        if given.keys is not None:
            from shelfgap_edge.trust import load_keys

            keys = load_keys(given.keys)
        files = admit_bundle(given.bundle, keys).files
        ticks_ns.append(time.monotonic_ns())

        detector = Detector.from_files(
            files, str(given.bundle), precision=given.precision, threads=given.threads, runtime=given.runtime
        )
        ticks_ns.append(time.monotonic_ns())

        frame = read_frame(given.frame) if given.frame else golden_pictures(files, str(given.bundle))[0]
        detector.detect(frame)
        ticks_ns.append(time.monotonic_ns())
    except ShelfgapError as error:
        print(f"shelfgap-edge: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps([given.spawned_ns, *ticks_ns]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
