"""The reports of a gate run: `gate.json`, `gate.md`, `gate.xml` and `gate.html` in one folder."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from shelfgap_datasets.coco import write_text_atomic
from shelfgap_edge.errors import ShelfgapError

from shelfgap_export.gate.judge import Gate
from shelfgap_export.gate.junit import gate_junit
from shelfgap_export.gate.markdown import gate_markdown
from shelfgap_export.gate.page import gate_html

GATE_FILE = "gate.json"
REPORTS = (GATE_FILE, "gate.md", "gate.xml", "gate.html")


def clear_reports(folder: Path) -> None:
    """Make a folder ready: a verdict of an earlier run must not be read as that of one that broke off.

    Raises:
        ShelfgapError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in REPORTS:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise ShelfgapError(f"{folder}: reports cannot be written there ({error.strerror})") from None


def write_reports(gate: Gate, folder: Path) -> dict[str, Any]:
    """Write all reports, `gate.json` last; returns what it holds."""
    report = gate.to_dict()
    texts = {"gate.md": gate_markdown(gate), "gate.xml": gate_junit(gate), "gate.html": gate_html(gate)}
    texts[GATE_FILE] = json.dumps(report, indent=2, allow_nan=False) + "\n"
    for name, text in texts.items():
        write_text_atomic(folder / name, text)
    return report


def gate_schema() -> dict[str, Any]:
    """Return the JSON Schema of `gate.json`."""
    text = (resources.files("shelfgap_export.gate") / "gate.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
