"""Peak memory of a fresh process that loads one detector and nothing else.

    python -m versus_yolo.memory (ours BUNDLE PRECISION | peer MODEL) FRAMES COUNT

Runs COUNT frames out of the folder FRAMES and prints the largest resident size so far, in MiB. Imports stand in the
functions: a process holds only what it measures.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FRAMES_COUNT = 200


def peak_memory_mb(arguments: list[str], frames: Path) -> float:
    """Return the peak of a fresh process that runs `FRAMES_COUNT` frames.

    Args:
        arguments: "ours", bundle, precision; or "peer", model file.
        frames: folder of JPEGs.

    Raises:
        BenchmarkError: the process failed.
    """
    from versus_yolo.work import BenchmarkError

    package = Path(__file__).resolve().parent
    command = [sys.executable, "-m", f"{package.name}.memory", *arguments, str(frames), str(FRAMES_COUNT)]
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"peak memory: this failed with {done.returncode}: {' '.join(command)}")
    return float(done.stdout)


def main() -> None:
    """Run the frames and print the peak."""
    from shelfgap_edge.bench.device import peak_memory_mb as peak_of_this_process

    kind, *rest, folder, count = sys.argv[1:]
    if kind == "ours":
        from shelfgap_edge.runtime import Detector

        ours = Detector.load(rest[0], precision=rest[1], verify=False)
        for turn in range(int(count)):
            ours.detect(_frame(Path(folder), turn))
    else:
        from versus_yolo.yolo_detector import YoloDetector

        peer = YoloDetector(Path(rest[0]))
        for turn in range(int(count)):
            peer.detect_file(_frame(Path(folder), turn))
    print(peak_of_this_process())


def _frame(folder: Path, turn: int) -> bytes:
    files = sorted(folder.glob("*.jpg"))
    return files[turn % len(files)].read_bytes()


if __name__ == "__main__":
    main()
