"""Read SKU-110K: CSV rows `image_name, x1, y1, x2, y2, class, image_width, image_height`, one a product.

The boxes are products, in pixels; its only class "object" means our `product`.

Source: https://github.com/eg4000/SKU110K_CVPR19 (annotation format)
"""

from __future__ import annotations

import csv
from pathlib import PurePosixPath

from shelfgap_datasets.intake.model import FIX_BOX, Reading, SourceBox, SourceImage, as_label, as_number, as_size
from shelfgap_datasets.intake.tree import PICTURE_SUFFIXES, SourceTree

_COLUMNS = 8
_CLASS_NAMES = {"object": "product"}


def read_sku110k(tree: SourceTree, *, wanted: bool) -> Reading:
    """Read the SKU-110K tables of a source folder.

    Args:
        tree: the source folder.
        wanted: the user asked for this format; else a table must have its eight columns somewhere.
    """
    reading = Reading("sku110k")
    for path in tree.with_suffix(".csv"):
        try:
            lines = tree.read(path).decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reading.reject(path, f"not readable as text ({error})")
            continue
        rows = [_cells(line) for line in lines]
        if not (wanted or any(_looks_like_row(cells) for cells in rows)):
            continue
        reading.files += 1
        _read_rows(tree, path, rows, reading)
    return reading


def _read_rows(tree: SourceTree, path: str, rows: list[list[str]], reading: Reading) -> None:
    boxes: dict[str, list[SourceBox]] = {}
    sizes: dict[str, tuple[int, int] | None] = {}
    for number, cells in enumerate(rows, start=1):
        where = f"{path}:{number}"
        if not cells or (number == 1 and cells[0] == "image_name"):
            continue
        if len(cells) != _COLUMNS:
            reading.reject(where, f"a row has {_COLUMNS} columns, this one has {len(cells)}", FIX_BOX)
            continue
        picture, problem = tree.resolve(path, cells[0])
        x1, y1, x2, y2 = (as_number(cell) for cell in cells[1:5])
        label = as_label(cells[5])
        if picture is None:
            reading.reject(where, problem, "put the picture where the row says, or remove the row")
        elif x1 is None or y1 is None or x2 is None or y2 is None:
            reading.reject(where, "x1, y1, x2, y2 must be numbers", FIX_BOX)
        elif label is None:
            reading.reject(where, "a row without a class", FIX_BOX)
        else:
            label = _CLASS_NAMES.get(label, label)
            reading.name_class(label)
            boxes.setdefault(picture, []).append(SourceBox(label, (x1, y1, x2, y2), where))
            sizes.setdefault(picture, as_size(cells[7], cells[6]))
    reading.images += [
        SourceImage(picture=picture, boxes=tuple(found), stated_size=sizes[picture]) for picture, found in boxes.items()
    ]


def _cells(line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line]), [])]
    except csv.Error:
        return [line]


def _looks_like_row(cells: list[str]) -> bool:
    return (
        len(cells) == _COLUMNS
        and PurePosixPath(cells[0]).suffix.lower() in PICTURE_SUFFIXES
        and any(as_number(cell) is not None for cell in cells[1:5])
    )
