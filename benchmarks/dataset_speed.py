"""How fast datasets are imported, hashed, grouped and rendered here.

    python benchmarks/dataset_speed.py [--photographs DIR] [--hashes 200000]

Without `--photographs`, a thousand pictures of 1280x960 are made from synthetic stills. Prints seconds for a thousand
pictures, seconds and memory for the grouping of random hashes with planted copies, and stills a second.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from shelfgap_datasets.coco import load_dataset
from shelfgap_datasets.duplicates import join_groups, near_pairs
from shelfgap_datasets.fingerprint import Fingerprints, fingerprint_images
from shelfgap_datasets.intake.importer import import_source
from shelfgap_datasets.params import DuplicateParams, SynthParams
from shelfgap_datasets.synthetic.stills import synthesize

_ALIASES = {"gap": ["empty", "empty shelf", "empty_shelf"], "low": [], "occluder": []}
_DUPLICATES = DuplicateParams(max_hash_distance=6, max_turned_distance=10)
Result = TypeVar("Result")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--hashes", type=int, default=200_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        params = SynthParams(count=120, seed=1, height=480, width=640, shelves_per_scene=3, products=None)
        _, seconds = timed(lambda: synthesize(top / "stills", params))
        print(f"stills 640x480: {params.count / seconds:.1f} a second, the start of the processes included")
        source = arguments.photographs or enlarge(top / "stills", top / "photographs")
        _, seconds = timed(lambda: import_source(source, top / "data", class_aliases=_ALIASES, allow_unstated=True))
        images = load_dataset(top / "data").images
        shown = f"{images[0].width}x{images[0].height}"
        print(f"import: {1000 * seconds / len(images):.1f} s for 1,000 pictures of {shown}")
        _, seconds = timed(lambda: fingerprint_images(top / "data", images))
        print(f"hash: {1000 * seconds / len(images):.1f} s for 1,000 pictures of {shown}")
    prints, copies = planted(arguments.hashes)
    groups, seconds = timed(lambda: join_groups(arguments.hashes, near_pairs(prints, _DUPLICATES)))
    found = float(np.mean(groups[copies[:, 0]] == groups[copies[:, 1]]))
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"group {arguments.hashes} hashes: {seconds:.1f} s, {found:.2%} of the copies found; peak {peak_gb:.2f} GB")


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Return what a call returns, and its seconds."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def enlarge(stills: Path, to: Path) -> Path:
    """Make a thousand pictures of 1280x960 from stills, each shifted a little, with one label file."""
    to.mkdir()
    names = [image.file_name for image in load_dataset(stills).images]
    images = []
    for number in range(1000):
        picture = cv2.imread(str(stills / "images" / names[number % len(names)]))
        shifted = np.roll(picture, 7 * (number // len(names)), axis=1)
        name = f"{number:04d}.jpg"
        large = cv2.resize(shifted, (1280, 960), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(to / name), large, [cv2.IMWRITE_JPEG_QUALITY, 90])
        images.append({"id": number, "file_name": name, "width": 1280, "height": 960})
    document = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "gap"}]}
    (to / "labels.json").write_text(json.dumps(document))
    return to


def planted(count: int) -> tuple[Fingerprints, np.ndarray]:
    """Return random fingerprints, a tenth of them copies with up to six flipped bits, and (original, copy) rows."""
    rng = np.random.default_rng(0)
    whole, centre = rng.integers(0, 2**64, (2, count, 2), np.uint64)
    share = count // 10
    originals, copies = rng.integers(0, count // 2, share), np.arange(count // 2, count // 2 + share)
    whole[copies] = whole[originals]
    for _ in range(6):
        whole[copies, 0] ^= np.uint64(1) << rng.integers(0, 64, share).astype(np.uint64)
    turned = rng.random(count) < 0.1
    return Fingerprints(whole, centre, turned), np.stack([originals, copies], 1)


if __name__ == "__main__":
    main()
