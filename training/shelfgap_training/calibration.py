"""Whether a score means what it says: of the detections with score 0.7, seven in ten should find a box."""

from __future__ import annotations

from typing import Any

import numpy as np

from shelfgap_training.figures import ClassMatches
from shelfgap_training.params import CalibrationParams


def reliability(matches: ClassMatches, params: CalibrationParams) -> dict[str, Any]:
    """Compare the scores of one class with its precision at IoU 0.5.

    Args:
        matches: all detections of the class.
        params: bins of equal width from 0 to 1; detections below `min_score` are left out, since a detector names
            a fixed number of candidates and most are next to 0.

    Returns:
        `bins`, each with `from_score`, `to_score`, `count`, `mean_score` and `precision` (null when empty), and
        `expected_calibration_error`, the mean distance of score and precision over the detections, 0 to 1; null when
        there are none.

    Source: Guo et al. 2017, arXiv:1706.04599; for detections Kueppers et al. 2020, arXiv:2004.13546.
    """
    kept = matches.scores >= params.min_score
    scores, is_hit = matches.scores[kept].astype(np.float64), matches.is_hit[0][kept]
    edges = np.linspace(0, 1, params.bins + 1)
    place = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, params.bins - 1)
    count = np.bincount(place, minlength=params.bins)
    mean_score = np.bincount(place, scores, params.bins) / np.maximum(count, 1)
    precision = np.bincount(place, is_hit, params.bins) / np.maximum(count, 1)
    error = float((count * np.abs(mean_score - precision)).sum() / max(1, count.sum()))
    return {
        "bins": [
            {
                "from_score": round(float(edges[k]), 6),
                "to_score": round(float(edges[k + 1]), 6),
                "count": int(count[k]),
                "mean_score": round(float(mean_score[k]), 6) if count[k] else None,
                "precision": round(float(precision[k]), 6) if count[k] else None,
            }
            for k in range(params.bins)
        ],
        "expected_calibration_error": round(error, 6) if count.sum() else None,
    }
