"""What a reader of an annotation format hands over, before names are mapped and pictures are opened."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shelfgap_datasets.schema import LABEL_CLASSES, ImageRecord, Rejection

FIX_ANNOTATION = "correct the annotation file, then import again"
FIX_BOX = "correct or delete the box, then import again"


@dataclass(frozen=True, slots=True)
class SourceBox:
    """A box as its author wrote it: label, x1 y1 x2 y2 and where it stands.

    The coordinates are pixels, or fractions of the displayed picture where the image says so. Where the format marks a
    box as one that neither teaches nor counts (a crowd of COCO, a difficult object of VOC), it is ignored; an occluder
    stays one, since it may show a shopper.
    """

    label: str
    xyxy: tuple[float, float, float, float]
    where: str
    is_ignored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceImage:
    """One annotation of one picture; several may speak of the same picture.

    Attributes:
        picture: path of the picture below the source folder, with forward slashes.
        boxes: its boxes.
        boxes_are_fractions: the coordinates are fractions of the displayed width and height.
        stated_size: (height, width) in pixels that the annotation gives for the picture, if it does.
        stated: what the annotation states of the picture, by `RECORD_KEYS`.
        labelled: names of the classes that were looked for in the picture; None for all of the source.
    """

    picture: str
    boxes: tuple[SourceBox, ...]
    boxes_are_fractions: bool = False
    stated_size: tuple[int, int] | None = None
    stated: Mapping[str, str] = field(default_factory=dict)
    labelled: tuple[str, ...] | None = None


@dataclass
class Reading:
    """What one reader found in a source folder."""

    format: str
    images: list[SourceImage] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)  # the class lists, then labels seen; distinct
    rejections: list[Rejection] = field(default_factory=list)
    files: int = 0  # annotation files recognised, damaged ones included

    def reject(self, where: str, reason: str, action: str = FIX_ANNOTATION) -> None:
        """Note a record that is left out."""
        self.rejections.append(Rejection(where, reason, action))

    def name_class(self, name: str) -> None:
        """Note that the source speaks of a class."""
        if name not in self.class_names:
            self.class_names.append(name)


LOOKED_FOR = "annotated_classes"
"""Key of the classes looked for in a picture where these are not all of the dataset: with commas, or "none"."""

RECORD_KEYS = ("license", "consent", "store", "camera", "section", "captured_at", LOOKED_FOR)
"""What is stated of a picture."""


def record_keys(values: Mapping[str, object]) -> dict[str, str]:
    """Return what a record states of its picture, by `RECORD_KEYS`.

    >>> record_keys({"store": "s1", "camera": 3, "section": None, "id": 7})
    {'store': 's1', 'camera': '3'}
    """
    return {key: label for key in RECORD_KEYS if (label := as_label(values.get(key))) is not None}


def stated_of(image: ImageRecord) -> dict[str, str]:
    """Return what an export states of a picture, for `record_keys` to read."""
    stated = {key: value for key in RECORD_KEYS if key != LOOKED_FOR and (value := getattr(image, key)) is not None}
    if image.annotated_classes is None:
        return stated
    return stated | {LOOKED_FOR: ",".join(image.annotated_classes) or "none"}


def read_looked_for(stated: str | None) -> tuple[str, ...] | None:
    """Return the classes that an export states; None where nothing is stated, or what no export of ours says.

    >>> read_looked_for("gap, low"), read_looked_for("none"), read_looked_for("3"), read_looked_for(None)
    (('gap', 'low'), (), None, None)
    """
    if stated is None or stated == "none":
        return None if stated is None else ()
    listed = tuple(name.strip() for name in stated.split(","))
    return listed if set(listed) <= set(LABEL_CLASSES) else None


def polygon_bounds(numbers: Sequence[float]) -> tuple[float, float, float, float]:
    """Return the bounds of a polygon x1, y1, x2, y2, ...; NaN when a coordinate is NaN.

    >>> polygon_bounds([0, 5, 10, 0, 4, 9])
    (0, 0, 10, 9)
    """
    xs, ys = numbers[0::2], numbers[1::2]
    if any(value != value for value in numbers):  # min and max pass over a NaN; the box check must see it
        return (math.nan,) * 4
    return min(xs), min(ys), max(xs), max(ys)


def turned_bounds(
    xyxy: tuple[float, float, float, float], degrees: float, pivot: tuple[float, float]
) -> tuple[float, float, float, float]:
    """Return the upright bounds of a box that is turned clockwise about a point, all in pixels.

    >>> [round(v, 6) for v in turned_bounds((0, 0, 4, 2), 90, (2, 1))]
    [1.0, -1.0, 3.0, 3.0]
    """
    if degrees % 360 == 0:
        return xyxy
    if not math.isfinite(degrees):
        return (math.nan,) * 4  # as in `polygon_bounds`
    x1, y1, x2, y2 = xyxy
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned: list[float] = []
    for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2)):
        dx, dy = x - pivot[0], y - pivot[1]
        turned += [pivot[0] + dx * cos - dy * sin, pivot[1] + dx * sin + dy * cos]
    return polygon_bounds(turned)


def as_number(value: object) -> float | None:
    """Return a JSON value or a text as a float; None when it is no number (NaN and infinity are numbers).

    >>> as_number("0.5"), as_number(3), as_number(True), as_number("x"), as_number(10**400)
    (0.5, 3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def as_label(value: object) -> str | None:
    """Return a class name as printable text; None when it is neither a name nor a number, or empty.

    >>> as_label(" Empty "), as_label(0), as_label(None), as_label("")
    ('Empty', '0', None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    try:
        text = str(value).encode("utf-8", "replace").decode("utf-8").strip()
    except ValueError:  # an integer of thousands of digits
        return None
    return text or None


def as_size(height: object, width: object) -> tuple[int, int] | None:
    """Return (height, width) when both are positive whole numbers, else None (many tools write 0 for unknown).

    >>> as_size(480, 640.0), as_size("480", "640"), as_size(0, 640), as_size(None, 2)
    ((480, 640), (480, 640), None, None)
    """
    numbers = (as_number(height), as_number(width))
    if any(n is None or not math.isfinite(n) or n < 1 or n != int(n) for n in numbers):
        return None
    return int(numbers[0] or 0), int(numbers[1] or 0)
