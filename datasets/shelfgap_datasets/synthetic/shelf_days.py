"""Render shelf-days: every frame of one fixed camera over a day, with boxes per frame and a timeline per facing."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shelfgap_datasets.coco import IMAGES_DIR, save_dataset, write_text_atomic
from shelfgap_datasets.directory import written_whole
from shelfgap_datasets.params import ShelfDayParams
from shelfgap_datasets.schema import Box, Dataset, ImageRecord
from shelfgap_datasets.synthetic.camera import Camera
from shelfgap_datasets.synthetic.day import Day, Moment, frame_minutes, simulate_day
from shelfgap_datasets.synthetic.faces import load_faces
from shelfgap_datasets.synthetic.labels import label_occluder, label_openings
from shelfgap_datasets.synthetic.lens import cheapen, develop, draw_light, restore, store
from shelfgap_datasets.synthetic.occluders import paint_occluder
from shelfgap_datasets.synthetic.parallel import render_in_order
from shelfgap_datasets.synthetic.scene import Fixture, Scene, build_scene, find_openings
from shelfgap_datasets.synthetic.shown import paint_shown
from shelfgap_datasets.synthetic.stills import ANNOTATED_CLASSES, Still, license_of, refuse_foreign
from shelfgap_datasets.synthetic.warp import Image

TIMELINE_FILE = "timeline.json"
_JPEG_QUALITY = 62  # of an ESP32-CAM
_FRAMES_A_JOB = 12
_PARTS = "parts"  # what is known of the frames that are there, while others are not
_HIDDEN = 0.5  # share of a facing that must be covered for it to count as occluded
_DATE = "2026-01-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"
_MOST_DAYS = 28


@dataclass(frozen=True)
class Hidden:
    """What a frame does not show, by numbers of facings.

    Attributes:
        occluded: an occluder hides at least half of them.
        looks_empty: their low stock stays hidden behind neighbours.
    """

    occluded: list[int]
    looks_empty: list[int]


def render_moment(params: ShelfDayParams, day: int, frame: int) -> tuple[Still, Hidden]:
    """Render one frame of a day with its boxes; the arguments alone decide every byte of it."""
    scene, played = _play(params, day)
    moment = played.moments[frame]
    size = (params.height, params.width)
    # the same pieces on every frame of a day: only stock, light and visitors change
    image, shown = paint_shown(scene.fixture, moment.stock, moment.camera, _rng(params, day, 2))
    hidden = np.zeros(size, np.bool_)
    occluders: list[Box] = []
    for visit in moment.visits:
        rng = np.random.default_rng(visit.seed)
        before = hidden.copy()
        hidden |= paint_occluder(image, rng, "shopper" if visit.is_clerk else None)
        if visit.is_clerk:
            hidden |= paint_occluder(image, rng, "carton")
        occluders += label_occluder(hidden & ~before)
    boxes = label_openings(scene.fixture, moment.camera, find_openings(scene.fixture, shown), hidden)
    jpeg = store(_photograph(image, params, day, frame, moment), _JPEG_QUALITY)
    facings = range(len(scene.fixture.facings))
    covered = [index for index in facings if _is_covered(scene.fixture, moment.camera, index, hidden)]
    unseen = np.flatnonzero(shown.setback_m != moment.stock.setback_m).tolist()
    return Still(restore(jpeg), (*boxes, *occluders), jpeg), Hidden(covered, unseen)


def synthesize_days(
    root: Path,
    params: ShelfDayParams,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Dataset:
    """Render days into `root`: `images/day-00/*.jpg`, `annotations.json` and `timeline.json`.

    The files depend on `params` alone, and stand under their final name only when all are there; a run that was stopped
    goes on from the frames that it has. Times are those of January 2026, day after day, without a time zone.

    Args:
        root: folder to make; one that holds an earlier synthetic dataset is replaced.
        params: days, seed, size, opening hours.
        progress: called with (frames done, frames in all).
        workers: processes; None for one per core.

    Raises:
        DatasetError: `root` holds something else, the products cannot be used, or the disk is full.
    """
    refuse_foreign(root)
    license = license_of(params.products)
    per_day = len(frame_minutes(params))
    parts = [range(at, min(at + _FRAMES_A_JOB, per_day)) for at in range(0, per_day, _FRAMES_A_JOB)]
    records: list[ImageRecord] = []
    days: list[dict[str, Any]] = []
    with written_whole(root, _key(params)) as partial:
        (partial / _PARTS).mkdir(exist_ok=True)
        for day in range(params.days):
            (partial / IMAGES_DIR / f"day-{day:02d}").mkdir(parents=True, exist_ok=True)
        jobs = [(partial, params, day, part, license) for day in range(params.days) for part in parts]
        frames: list[dict[str, Any]] = []  # of the day that is being rendered
        for made in render_in_order(_render_frames, jobs, workers):
            for record, not_shown in made:
                records.append(record)
                frames.append({"file_name": record.file_name, "time": record.captured_at, **asdict(not_shown)})
            if len(frames) == per_day:
                days.append(_timeline(params, len(days), *_play(params, len(days)), frames))
                frames = []
            if progress is not None:
                progress(len(records), params.days * per_day)
        dataset = Dataset(tuple(records), ANNOTATED_CLASSES)
        save_dataset(partial, dataset)
        write_text_atomic(partial / TIMELINE_FILE, json.dumps({"days": days}, indent=1) + "\n")
        shutil.rmtree(partial / _PARTS)
    return dataset


def _rng(params: ShelfDayParams, day: int, stream: int) -> np.random.Generator:
    return np.random.default_rng((params.seed, 7_000_003 + day, stream))


@lru_cache(maxsize=4)
def _play(params: ShelfDayParams, day: int) -> tuple[Scene, Day]:
    faces = load_faces(Path(params.products)) if params.products else ()
    scene = build_scene(_rng(params, day, 0), (params.height, params.width), faces)
    return scene, simulate_day(_rng(params, day, 1), scene.fixture, scene.camera, params)


def _photograph(image: Image, params: ShelfDayParams, day: int, frame: int, moment: Moment) -> Image:
    """Light a frame by the hour and pass it through a cheap camera, whose optics stay the same all day."""
    optics = draw_light(_rng(params, day, 3), params.height / params.width)
    gains = np.array(moment.light, np.float32)
    exposure = float(np.clip(gains.mean(), 0.2, 1.6)) ** 0.6  # the camera's automatic exposure makes up for a part
    balanced = gains / gains.mean() * exposure
    grain = optics.noise + 2.5 / exposure
    light = replace(optics, colour=balanced[:, None] * optics.colour, noise=grain, motion_norm=None)
    return cheapen(develop(image, light, _rng(params, day, 100 + frame)))


def _key(params: ShelfDayParams) -> str:
    """Return what stands for parameters and the code that renders."""
    digest = hashlib.sha256(params.model_dump_json().encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _render_frames(
    job: tuple[Path, ShelfDayParams, int, range, str],
) -> list[tuple[ImageRecord, Hidden]]:
    folder, params, day, frames, license = job
    part = folder / _PARTS / f"{day}-{frames.start}.json"
    if part.is_file():
        kept = json.loads(part.read_text(encoding="utf-8"))
        return [(_record(record), Hidden(**not_shown)) for record, not_shown in kept]
    made = []
    moments = _play(params, day)[1].moments
    for frame in frames:
        still, not_shown = render_moment(params, day, frame)
        name = f"day-{day:02d}/{frame:04d}.jpg"
        (folder / IMAGES_DIR / name).write_bytes(still.jpeg)
        record = ImageRecord(
            file_name=name,
            width=params.width,
            height=params.height,
            sha256=hashlib.sha256(still.jpeg).hexdigest(),
            license=license,
            consent="synthetic",
            source=f"seed-{params.seed}/{name}",
            store=f"synthetic-day-{day:02d}",
            camera=f"synthetic-day-{day:02d}-camera",
            captured_at=_time(day, moments[frame].minute),
            boxes=still.boxes,
        )
        made.append((record, not_shown))
    write_text_atomic(part, json.dumps([(asdict(record), asdict(not_shown)) for record, not_shown in made]))
    return made


def _record(kept: dict[str, Any]) -> ImageRecord:
    boxes = tuple(Box(box["class_name"], tuple(box["xyxy"])) for box in kept["boxes"])
    return ImageRecord(**kept | {"boxes": boxes})


def _time(day: int, minute: float) -> str:
    seconds = round(60 * minute)
    clock = {"hour": seconds // 3600, "minute": seconds // 60 % 60, "second": seconds % 60}
    return _DATE.format(day=1 + day % _MOST_DAYS, **clock)


def _timeline(
    params: ShelfDayParams, day: int, scene: Scene, played: Day, frames: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the truth of a day: each facing's place and changes of state, who stood before it, and the frames."""
    facings = []
    for index, facing in enumerate(scene.fixture.facings):
        mine = [change for change in played.changes if change.facing == index]
        box = _facing_box(scene.fixture, scene.camera, index)
        changes = [
            {"time": _time(day, c.minute), "state": c.state, "cause": _cause(c.restocked, c.minute, mine[0].minute)}
            for c in mine
        ]
        facings.append(
            {
                "facing": index,
                "shelf": facing.shelf,
                "article": facing.run,
                "box_xyxy": None if box is None else [round(v, 2) for v in box],
                "changes": changes,
                "occluded": _spans([(f["time"], index in f["occluded"]) for f in frames]),
                "looks_empty": _spans([(f["time"], index in f["looks_empty"]) for f in frames]),
            }
        )
    visits = [
        {
            "from": _time(day, visit.start_minute),
            "to": _time(day, visit.end_minute),
            "who": "clerk" if visit.is_clerk else "shopper",
        }
        for visit in played.visits
    ]
    return {
        "day": day,
        "camera": f"synthetic-day-{day:02d}-camera",
        "frames": [{"file_name": f["file_name"], "time": f["time"]} for f in frames],
        "visits": visits,
        "facings": facings,
    }


def _cause(restocked: bool, minute: float, first: float) -> str:
    if minute == first:
        return "start"
    return "restocked" if restocked else "sold"


def _spans(marks: list[tuple[str, bool]]) -> list[list[str]]:
    """Return the first and last time of each run of marks that are set."""
    spans: list[list[str]] = []
    was_set = False
    for time, is_set in marks:
        if is_set and was_set:
            spans[-1][1] = time
        elif is_set:
            spans.append([time, time])
        was_set = is_set
    return spans


def _facing_box(fixture: Fixture, camera: Camera, index: int) -> tuple[float, float, float, float] | None:
    """Return where a full facing lies in the frame, clipped; None when outside."""
    facing = fixture.facings[index]
    board = fixture.boards_m[facing.shelf]
    top = min(board + facing.product.stack_m, fixture.ceiling_m(facing.shelf))
    corners = np.array(
        [(x, y, -fixture.setback_m) for x in (facing.x1_m, facing.x2_m) for y in (board, top)], np.float32
    )
    if camera.depth_m(corners).min() < 0.2:
        return None
    pixels = camera.distort(camera.project(corners))
    height, width = camera.size
    x1, y1 = np.clip(pixels.min(0), 0, (width, height))
    x2, y2 = np.clip(pixels.max(0), 0, (width, height))
    return (float(x1), float(y1), float(x2), float(y2)) if x2 - x1 >= 2 and y2 - y1 >= 2 else None


def _is_covered(fixture: Fixture, camera: Camera, index: int, hidden: NDArray[np.bool_]) -> bool:
    if not hidden.any():
        return False
    box = _facing_box(fixture, camera, index)
    if box is None:
        return False
    x1, y1, x2, y2 = (round(v) for v in box)
    return bool(hidden[y1:y2, x1:x2].mean() >= _HIDDEN) if x2 > x1 and y2 > y1 else False
