"""Two thousand damaged annotation files: no traceback, nothing valid lost, nothing invalid kept."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from labelled_pictures import ALIASES, paint
from shelfgap_datasets.coco import load_dataset, load_rejections
from shelfgap_datasets.intake.importer import import_source
from shelfgap_datasets.schema import DatasetError

W, H = 80, 60
Boxes = list[tuple[float, float, float, float]]


def as_coco(name: str, boxes: Boxes) -> str:
    rows = [
        {"id": i, "image_id": 1, "category_id": 3, "bbox": [a, b, c - a, d - b]} for i, (a, b, c, d) in enumerate(boxes)
    ]
    images = [{"id": 1, "file_name": f"{name}.jpg", "width": W, "height": H}]
    return json.dumps({"images": images, "categories": [{"id": 3, "name": "gap"}], "annotations": rows})


def as_createml(name: str, boxes: Boxes) -> str:
    rows = [
        {"label": "gap", "coordinates": {"x": (a + c) / 2, "y": (b + d) / 2, "width": c - a, "height": d - b}}
        for a, b, c, d in boxes
    ]
    return json.dumps([{"image": f"{name}.jpg", "annotations": rows}])


def as_voc(name: str, boxes: Boxes) -> str:
    objects = "".join(
        f"<object><name>gap</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in boxes
    )
    size = f"<size><width>{W}</width><height>{H}</height></size>"
    return f"<annotation><filename>{name}.jpg</filename>{size}{objects}</annotation>"


def as_cvat(name: str, boxes: Boxes) -> str:
    shapes = "".join(f'<box label="gap" xtl="{a}" ytl="{b}" xbr="{c}" ybr="{d}"/>' for a, b, c, d in boxes)
    return f'<annotations><image id="0" name="{name}.jpg" width="{W}" height="{H}">{shapes}</image></annotations>'


def as_yolo(_: str, boxes: Boxes) -> str:
    return "".join(f"0 {(a + c) / 2 / W} {(b + d) / 2 / H} {(c - a) / W} {(d - b) / H}\n" for a, b, c, d in boxes)


def as_label_studio(name: str, boxes: Boxes) -> str:
    results = [
        {
            "type": "rectanglelabels",
            "original_width": W,
            "original_height": H,
            "value": {
                "x": 100 * a / W,
                "y": 100 * b / H,
                "width": 100 * (c - a) / W,
                "height": 100 * (d - b) / H,
                "rectanglelabels": ["gap"],
            },
        }
        for a, b, c, d in boxes
    ]
    return json.dumps([{"data": {"image": f"{name}.jpg"}, "annotations": [{"result": results}]}])


def as_sku110k(name: str, boxes: Boxes) -> str:
    return "".join(f"{name}.jpg,{a},{b},{c},{d},gap,{W},{H}\n" for a, b, c, d in boxes)


FORMATS: dict[str, tuple[str, Callable[[str, Boxes], str]]] = {
    "coco": ("json", as_coco),
    "createml": ("json", as_createml),
    "voc": ("xml", as_voc),
    "cvat": ("xml", as_cvat),
    "yolo": ("txt", as_yolo),
    "label-studio": ("json", as_label_studio),
    "sku110k": ("csv", as_sku110k),
}
GOOD: Boxes = [(5, 5, 25, 20), (30, 30, 60, 50)]
BAD: Boxes = [(25, 5, 5, 20), (5, 5, 5, 20), (90, 70, 99, 80), (-20, -20, -5, -5), (float("nan"), 1, 9, 9)]
FILES_PER_FORMAT = 286  # seven formats: 2,002 damaged files
UNDAMAGED = 14


def bytes_damage(rng: random.Random, text: str) -> bytes:
    """Cut, repeat, overwrite or splice bytes anywhere."""
    data = bytearray(text.encode())
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            del data[at : at + rng.randint(1, 12)]
        elif kind == 2:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
        elif kind == 3 and data:
            data[at % len(data)] = rng.randrange(256)
        else:
            data[at:at] = rng.choice(
                [b'"', b"<", b">", b"{", b"}", b"[", b"]", b",", b"9" * 400, b"null", b"&x;", b"\xff"]
            )
    return bytes(data)


@pytest.mark.parametrize("format", FORMATS)
def test_a_damaged_file_costs_its_own_records_only(tmp_path, format):
    rng = random.Random(f"fuzz-{format}")
    suffix, write = FORMATS[format]
    source = tmp_path / "source"
    picture = paint(tmp_path / "picture.jpg", 0, (H, W))
    stems = [f"p{number:04d}" for number in range(FILES_PER_FORMAT + UNDAMAGED)]
    for number, stem in enumerate(stems):
        (source / "images").mkdir(parents=True, exist_ok=True)
        (source / "images" / f"{stem}.jpg").write_bytes(picture.read_bytes() + number.to_bytes(2, "big"))
    half = FILES_PER_FORMAT // 2
    invalid: dict[str, int] = {}
    for number, stem in enumerate(stems):
        target = source / "labels" / f"{stem}.{suffix}"
        target.parent.mkdir(exist_ok=True)
        if number < half:  # records that are wrong one by one, between good ones
            wrong = rng.sample(BAD, rng.randint(1, 3))
            target.write_text(write(stem, [GOOD[0], *wrong, GOOD[1]]))
            invalid[stem] = len(wrong)
        elif number < FILES_PER_FORMAT:
            target.write_bytes(bytes_damage(rng, write(stem, GOOD)))
        else:
            target.write_text(write(stem, GOOD))
    if format == "yolo":
        (source / "data.yaml").write_text("names: [gap]\n")
    import_source(source, tmp_path / "data", class_aliases=ALIASES, format=format, license="MIT", consent="no-persons")
    kept = {Path(image.source).stem: image for image in load_dataset(tmp_path / "data").images}
    rejections = load_rejections(tmp_path / "data")
    for stem in [*stems[:half], *stems[FILES_PER_FORMAT:]]:
        found = [box.xyxy for box in kept[stem].boxes]
        assert len(found) == 2
        for want, got in zip(GOOD, found, strict=True):
            assert got == pytest.approx(want, abs=0.01)
    for stem, count in invalid.items():
        assert sum(f"{stem}." in r.source or f"{stem}:" in r.source for r in rejections) == count
    for stem in stems[half:FILES_PER_FORMAT]:  # what came of random damage is either kept or named
        if stem not in kept:
            assert any(stem in r.source for r in rejections)
    assert all(r.reason and r.action for r in rejections)


@pytest.mark.parametrize("format", FORMATS)
def test_a_source_of_damaged_files_alone_is_refused_in_words(tmp_path, format):
    rng = random.Random(1)
    suffix, write = FORMATS[format]
    source = tmp_path / "source"
    paint(source / "a.jpg", 0, (H, W))
    for _ in range(40):
        (source / f"a.{suffix}").write_bytes(bytes_damage(rng, write("a", GOOD)))
        with suppress(DatasetError):  # anything else would be a traceback for the user
            import_source(source, tmp_path / "data", class_aliases=ALIASES, license="MIT", consent="notice")
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
