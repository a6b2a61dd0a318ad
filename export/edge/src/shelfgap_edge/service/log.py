"""Logs: one line of JSON each, on standard error; scalars only, so that no picture and no buffer gets into one."""

from __future__ import annotations

import copy
import json
import logging
import threading
import traceback
from datetime import UTC, datetime
from typing import Any

_LONGEST = 500
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """Writes time, level, where, message, and what came as `extra`; of what is no scalar its type only."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        record = copy.copy(record)  # other handlers see it too
        if isinstance(record.args, tuple):
            record.args = tuple(_scalar(value) for value in record.args)
        elif isinstance(record.args, dict):
            record.args = {key: _scalar(value) for key, value in record.args.items()}
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _scalar(record.getMessage()),
        }
        line |= {key: _scalar(value) for key, value in record.__dict__.items() if key not in _OWN}
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error"] = type(error).__name__  # its text may quote what came in
            line["at"] = [
                f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])[-8:]
            ]
        return json.dumps(line, ensure_ascii=True)


def log_to_stderr(level: str) -> None:
    """Send all logs to standard error as JSON, those of libraries from warnings on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.raiseExceptions = False  # a line that cannot be formatted must not print its arguments
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("shelfgap_edge").setLevel(level.upper())


def log_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    """Log that a thread ended in an error; for `threading.excepthook`, whose own would print a traceback."""
    name = "a thread" if ended.thread is None else ended.thread.name
    logging.getLogger(__name__).error("%s ended in an error", name, exc_info=ended.exc_value)


def _scalar(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}... ({len(value)} characters)"
    if isinstance(value, BaseException):
        return f"<{type(value).__name__}>"
    return f"<{type(value).__name__}>" if isinstance(value, bytes | bytearray | memoryview) else _scalar(_plain(value))


def _plain(value: object) -> str:
    return str(value) if type(value).__module__ in ("pathlib", "builtins") else f"<{type(value).__name__}>"
