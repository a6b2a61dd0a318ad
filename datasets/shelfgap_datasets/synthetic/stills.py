"""Render stills of synthetic shelves and write them as a dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from shelfgap_datasets.coco import IMAGES_DIR, load_dataset, save_dataset
from shelfgap_datasets.directory import written_whole
from shelfgap_datasets.intake.provenance import read_provenance
from shelfgap_datasets.intake.tree import scan
from shelfgap_datasets.params import SynthParams
from shelfgap_datasets.schema import Box, Dataset, DatasetError, ImageRecord
from shelfgap_datasets.synthetic.faces import Face, load_faces
from shelfgap_datasets.synthetic.labels import label_occluder, label_openings
from shelfgap_datasets.synthetic.lens import develop, draw_light, restore, store
from shelfgap_datasets.synthetic.occluders import paint_occluder
from shelfgap_datasets.synthetic.parallel import render_in_order
from shelfgap_datasets.synthetic.scene import Scene, build_scene, draw_stock, find_openings, nudge
from shelfgap_datasets.synthetic.shown import paint_shown
from shelfgap_datasets.synthetic.warp import Image

LICENSE = "CC0-1.0"
ANNOTATED_CLASSES = ("gap", "low", "occluder")
_STORE_PREFIX = "synthetic-"
_OCCLUDED_SHARE = 0.25  # of the stills
_JPEG_QUALITY = (70, 92)


@dataclass(frozen=True)
class Still:
    """One rendered picture and its labels.

    Attributes:
        image_rgb: uint8 (H, W, 3), as decoded from `jpeg`.
        boxes: class names and absolute pixels, inside the frame.
        jpeg: the file as stored.
    """

    image_rgb: Image
    boxes: tuple[Box, ...]
    jpeg: bytes


def render_still(seed: int, scene: int, view: int, size: tuple[int, int], products: str | None = None) -> Still:
    """Render one still; the arguments alone decide every byte of it.

    Args:
        seed: of the whole dataset.
        scene: number of the fixture; stills of one scene share fixture, products and camera.
        view: number of the still in its scene: stock, light, occluder and a small shift of the camera.
        size: (height, width) in pixels.
        products: folder of product pictures; None for procedural packages.
    """
    place = _scene(seed, scene, size, products)
    # One stream for each concern: a change in how light is drawn leaves stock and labels as they were.
    stock_rng, pose_rng, paint_rng, occluder_rng, light_rng = np.random.default_rng((seed, scene, 1 + view)).spawn(5)
    camera = nudge(pose_rng, place.camera)
    stock = draw_stock(stock_rng, place.fixture, camera)
    image, shown = paint_shown(place.fixture, stock, camera, paint_rng)
    hidden = np.zeros(size, np.bool_)
    if occluder_rng.random() < _OCCLUDED_SHARE:
        hidden = paint_occluder(image, occluder_rng)
    openings = find_openings(place.fixture, shown)
    boxes = label_openings(place.fixture, camera, openings, hidden) + label_occluder(hidden)
    low, high = _JPEG_QUALITY
    lit = develop(image, draw_light(light_rng, size[0] / size[1]), light_rng)
    jpeg = store(lit, int(light_rng.integers(low, high + 1)))
    return Still(restore(jpeg), boxes, jpeg)


def synthesize(
    root: Path,
    params: SynthParams,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Dataset:
    """Render a dataset of synthetic stills into `root`: `images/*.jpg` and `annotations.json`.

    The files depend on `params` alone. They are written beside `root` and moved there when complete, so an
    interrupted run leaves nothing under the final name. With more than one worker a script that calls this
    needs the usual `if __name__ == "__main__":` guard.

    Args:
        root: folder to make; one that holds an earlier synthetic dataset is replaced.
        params: count, seed, size and stills a scene.
        progress: called with (stills done, stills in all).
        workers: processes; None for one per core.

    Raises:
        DatasetError: `root` holds something else, or the files cannot be written.
    """
    refuse_foreign(root)
    license = license_of(params.products)
    with written_whole(root) as partial:
        (partial / IMAGES_DIR).mkdir()
        records: list[ImageRecord] = []
        scenes = range(-(-params.count // params.shelves_per_scene))
        jobs = [(partial / IMAGES_DIR, params, scene, license) for scene in scenes]
        for made in render_in_order(_render_scene, jobs, workers):
            records += made
            if progress is not None:
                progress(len(records), params.count)
        dataset = Dataset(tuple(records), ANNOTATED_CLASSES)
        save_dataset(partial, dataset)
    return dataset


@lru_cache(maxsize=2)
def _scene(seed: int, scene: int, size: tuple[int, int], products: str | None) -> Scene:
    return build_scene(np.random.default_rng((seed, scene, 0)), size, _faces(products) if products else ())


@lru_cache(maxsize=1)
def _faces(products: str) -> tuple[Face, ...]:
    return load_faces(Path(products))


def license_of(products: str | None) -> str:
    """Return the licence of rendered pictures: our own, or also that of the product pictures shown in them.

    Raises:
        DatasetError: the folder of products states no licence.
    """
    if products is None:
        return LICENSE
    folder = Path(products)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; --products takes a folder of product pictures")
    for place in (folder, folder.parent):
        stated = read_provenance(scan(place)).by_folder.get("", {}).get("license")
        if stated:
            return f"{LICENSE} AND {stated}"
    raise DatasetError(f"{folder}: states no licence; put a LICENSE file or a SOURCE.yaml (license: NAME) beside it")


def _render_scene(job: tuple[Path, SynthParams, int, str]) -> list[ImageRecord]:
    folder, params, scene, license = job
    first = scene * params.shelves_per_scene
    records = []
    for view in range(min(params.shelves_per_scene, params.count - first)):
        still = render_still(params.seed, scene, view, (params.height, params.width), params.products)
        name = f"{scene:04d}-{view:02d}.jpg"
        (folder / name).write_bytes(still.jpeg)
        records.append(
            ImageRecord(
                file_name=name,
                width=params.width,
                height=params.height,
                sha256=hashlib.sha256(still.jpeg).hexdigest(),
                license=license,
                consent="synthetic",
                source=f"seed-{params.seed}/scene-{scene:04d}/view-{view:02d}",
                store=f"{_STORE_PREFIX}{scene:04d}",
                camera=f"{_STORE_PREFIX}{scene:04d}-camera",
                boxes=still.boxes,
            )
        )
    return records


def refuse_foreign(root: Path) -> None:
    """Refuse a folder that holds anything but a dataset made here."""
    if not root.exists():
        return
    if not root.is_dir():
        raise DatasetError(f"{root}: is a file; choose a folder that does not exist yet")
    if not any(root.iterdir()):
        return
    try:
        ours = all((i.store or "").startswith(_STORE_PREFIX) for i in load_dataset(root).images)
    except DatasetError:
        ours = False
    if not ours:
        raise DatasetError(f"{root}: not empty and not a synthetic dataset; choose another folder or remove this one")
