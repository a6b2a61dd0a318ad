"""Failures of the domain in Prefect's log: one line, no traceback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from shelfgap_edge.errors import ShelfgapError


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Drop the traceback of errors that a user is meant to read from the logs of flow and task runs."""
    one_line = _OneLine()
    loggers = [logging.getLogger(name) for name in ("prefect.flow_runs", "prefect.task_runs")]
    for logger in loggers:
        logger.addFilter(one_line)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(one_line)


class _OneLine(logging.Filter):
    """Drops the traceback of errors of the domain."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], ShelfgapError):
            record.exc_info = None
        return True
