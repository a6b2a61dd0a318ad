"""Pictures that the candidate won or lost against the champion: where one makes fewer mistakes than the other."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from shelfgap_datasets.frames import load_picture
from shelfgap_training.errors import JudgedImage
from shelfgap_training.gallery import draw_judged

from shelfgap_export.gate.judge import Scored

_WIDTH_PX = 360
_MOST = 8  # pictures in each gallery


@dataclass(frozen=True)
class Shown:
    """One picture, as each model sees it, as data URIs, with its mistakes in words."""

    file_name: str
    candidate: str
    champion: str
    candidate_mistakes: str
    champion_mistakes: str


def won_and_lost(root: Path, candidate: Scored, champion: Scored) -> tuple[list[Shown], list[Shown]]:
    """Return the pictures with the largest differences in mistakes at the operating points, either way.

    Args:
        root: dataset directory.
        candidate: what it found.
        champion: what it found in the same pictures.

    Returns:
        Won and lost pictures, at most eight each, the clearest first.
    """
    ours, theirs = (scored.images.judged(scored.thresholds) for scored in (candidate, champion))
    gains = np.array(
        [b.mistakes.total() - a.mistakes.total() for a, b in zip(ours, theirs, strict=True)]
    )  # above zero: won

    def shown(order: NDArray[np.int64]) -> list[Shown]:
        return [_shown(root, (candidate, champion), (ours[i], theirs[i]), int(i)) for i in order[:_MOST] if gains[i]]

    order = np.argsort(-gains, kind="stable")
    return shown(order[gains[order] > 0]), shown(order[::-1][gains[order[::-1]] < 0])


def _shown(root: Path, sides: tuple[Scored, Scored], judged: tuple[JudgedImage, JudgedImage], index: int) -> Shown:
    record = sides[0].images.records[index]
    size = (max(1, round(record.height * _WIDTH_PX / record.width)), _WIDTH_PX)
    frame = load_picture(root, record.file_name, size)
    uris, told = [], []
    for side, verdict in zip(sides, judged, strict=True):
        drawn = draw_judged(
            frame, side.images.truths[index], verdict, side.images.classes, (record.height, record.width)
        )
        uris.append(_data_uri(drawn))
        told.append(", ".join(f"{count} {kind}" for kind, count in verdict.mistakes.most_common()) or "no mistake")
    return Shown(record.file_name, *uris, *told)


def _data_uri(image_rgb: NDArray[np.uint8]) -> str:
    _, jpeg = cv2.imencode(".jpg", image_rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
