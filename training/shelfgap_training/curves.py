"""Curves in MLflow, for a training that goes on without them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from pytorch_lightning.loggers import MLFlowLogger

logger = logging.getLogger(__name__)


class Curves(MLFlowLogger):
    """Writes curves until MLflow cannot be used; then warns once and writes none, since each try can take minutes."""

    _lost = False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write values of one step."""
        self._attempt(lambda: super(Curves, self).log_metrics(metrics, step))

    def finalize(self, status: str = "success") -> None:
        """Mark the run as ended."""
        self._attempt(lambda: super(Curves, self).finalize(status))

    def _attempt(self, write: Callable[[], None]) -> None:
        if self._lost:
            return
        try:
            write()
        except Exception as error:
            self._lost = True
            reason = " ".join(str(error).split())
            logger.warning("MLflow cannot be used (%s); the training goes on, its curves end here", reason)
