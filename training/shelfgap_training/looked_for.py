"""Detections of classes that nobody looked for in a picture are neither right nor wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from shelfgap_datasets.schema import ImageRecord
from shelfgap_edge.postprocess import Detections


def only_looked_for(found: Detections, record: ImageRecord, classes: Sequence[str]) -> Detections:
    """Return the detections of classes that were looked for in a picture, in their order.

    Args:
        found: in that picture; an id outside `classes` is left out too.
        record: of the picture.
        classes: names by class id.
    """
    kept = np.isin(found.class_ids, [index for index, name in enumerate(classes) if record.is_labelled(name)])
    return Detections(found.boxes_xyxy[kept], found.scores[kept], found.class_ids[kept])
