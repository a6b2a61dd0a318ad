"""Reports of `shelfgap-edge bench` against their published schema."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema


def validate(report: dict[str, Any]) -> None:
    """Fail unless a report is of the schema."""
    schema = json.loads(files("shelfgap_edge.bench").joinpath("report.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(report, schema)
