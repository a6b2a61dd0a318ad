"""YOLO11n behind ONNX Runtime as a careful user would deploy it: letterbox, run, non-maximum suppression.

Needs NumPy, OpenCV and ONNX Runtime alone, so that its memory can be compared with that of the edge runtime.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from shelfgap_edge import geometry
from shelfgap_edge.postprocess import Detections

_GREY = 114  # of the border, as in training


class Placement(NamedTuple):
    """Where a frame lies in the square that the network sees, in pixels of that square."""

    scale: float
    left: int
    top: int


def letterbox(image: NDArray[np.uint8], size: int) -> tuple[NDArray[np.uint8], Placement]:
    """Resize a frame to fit a square, its aspect ratio kept, grey around it.

    Args:
        image: uint8 (H, W, 3).
        size: side of the square in pixels.

    Returns:
        uint8 (size, size, 3), and where the frame lies in it.

    Source: `LetterBox` of Ultralytics 8.4, its rounding included.
    """
    height, width = image.shape[:2]
    scale = min(size / height, size / width)
    inner_width, inner_height = max(round(width * scale), 1), max(round(height * scale), 1)
    if (height, width) != (inner_height, inner_width):
        image = np.asarray(cv2.resize(image, (inner_width, inner_height), interpolation=cv2.INTER_LINEAR), np.uint8)
    left, top = round((size - inner_width) / 2 - 0.1), round((size - inner_height) / 2 - 0.1)
    right, bottom = size - inner_width - left, size - inner_height - top
    if left or top or right or bottom:
        grey = (_GREY, _GREY, _GREY)
        image = np.asarray(
            cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=grey), np.uint8
        )
    return image, Placement(scale, left, top)


def to_frame(boxes_xyxy: NDArray[np.float32], placement: Placement, frame_size: tuple[int, int]) -> NDArray[np.float32]:
    """Put boxes of the square back into the frame: the inverse of `letterbox`, clipped.

    Args:
        boxes_xyxy: float32 (N, 4), pixels of the square.
        placement: what `letterbox` returned.
        frame_size: (height, width) of the frame in pixels.

    Returns:
        float32 (N, 4), absolute pixels of the frame; (0, 4) for none.
    """
    origin = np.array([placement.left, placement.top] * 2, np.float32)
    return geometry.clip((boxes_xyxy - origin) / np.float32(placement.scale), frame_size)


def read_output(
    output: NDArray[np.float32], min_score: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Read the network's output: every class of a cell that scores above `min_score` is a candidate.

    Args:
        output: float32 (4 + C, N): centre x, centre y, width, height in pixels, then the scores of C classes.
        min_score: in [0, 1].

    Returns:
        boxes_xyxy float32 (M, 4), scores float32 (M,), class ids int64 (M,).
    """
    class_ids, cells = np.nonzero(output[4:] > min_score)
    centre, half = output[:2, cells].T, output[2:4, cells].T / np.float32(2)
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    return boxes, output[4 + class_ids, cells], class_ids.astype(np.int64)


def nms(
    boxes_xyxy: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    *,
    iou_threshold: float,
    max_detections: int,
) -> NDArray[np.int64]:
    """Suppress boxes that overlap a better one of their class by more than the threshold.

    Args:
        boxes_xyxy: float32 (N, 4), pixels.
        scores: float32 (N,).
        class_ids: int64 (N,).
        iou_threshold: in [0, 1].
        max_detections: how many to keep at most.

    Returns:
        int64 (K,), indices of the kept boxes, best score first; (0,) for none.
    """
    if not len(scores):
        return np.empty(0, np.int64)
    corners = boxes_xyxy.astype(np.float64)
    corners[:, 2:] -= corners[:, :2]  # OpenCV takes x, y, width, height
    suppress: Any = cv2.dnn.NMSBoxesBatched  # takes arrays too, which its annotations leave out
    kept = suppress(corners, scores, class_ids.astype(np.int32), 0.0, iou_threshold)
    indices = np.asarray(kept, np.int64).reshape(-1)
    best_first = np.argsort(-scores[indices], kind="stable")
    return indices[best_first][:max_detections]


class YoloDetector:
    """Finds boxes in frames with an exported YOLO11n.

    Args:
        model: ONNX file with the input float (1, 3, S, S) RGB in [0, 1] and the output of `read_output`.
        threads: threads within one operator.
        min_score: of a candidate; 0.001 for average precision, as `val` of Ultralytics has it, 0.25 in use.
        iou_threshold: of the suppression.
        max_detections: a frame.
    """

    def __init__(
        self,
        model: Path,
        *,
        threads: int = 1,
        min_score: float = 0.25,
        iou_threshold: float = 0.7,
        max_detections: int = 300,
    ) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        (self._input,) = self._session.get_inputs()
        self.size = int(self._input.shape[2])
        self._min_score, self._iou_threshold, self._max_detections = min_score, iou_threshold, max_detections

    def prepare(self, frame: NDArray[np.uint8], *, swap: bool = False) -> tuple[NDArray[np.float32], Placement]:
        """Return the network's input float32 (1, 3, S, S) for a frame in RGB (in BGR with `swap`), and its place."""
        square, placement = letterbox(frame, self.size)
        return np.asarray(cv2.dnn.blobFromImage(square, 1 / 255, swapRB=swap), np.float32), placement

    def infer(self, blob: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network alone: float32 (1, 3, S, S) -> (4 + C, N)."""
        output: NDArray[np.float32] = self._session.run(None, {self._input.name: blob})[0][0]
        return output

    def detect(self, frame: NDArray[np.uint8], *, swap: bool = False) -> Detections:
        """Find boxes in a decoded frame, uint8 (H, W, 3) in RGB (in BGR with `swap`)."""
        blob, placement = self.prepare(frame, swap=swap)
        boxes, scores, class_ids = read_output(self.infer(blob), self._min_score)
        kept = nms(boxes, scores, class_ids, iou_threshold=self._iou_threshold, max_detections=self._max_detections)
        height, width = frame.shape[:2]
        return Detections(to_frame(boxes[kept], placement, (height, width)), scores[kept], class_ids[kept])

    def detect_file(self, data: bytes) -> Detections:
        """Find boxes in the bytes of a picture, decoded at full size by OpenCV.

        Raises:
            ValueError: OpenCV cannot decode it.
        """
        frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if frame is None:
            raise ValueError("OpenCV cannot decode the picture")
        return self.detect(np.asarray(frame, np.uint8), swap=True)
