"""What the files of a source state about its pictures: licence, consent basis, store, camera.

Found in `SOURCE.yaml` (keys license, consent, store, camera, section), a LICENSE file, the "License:" line of a
README*.txt, each for the pictures of its folder and below; and in `records.jsonl`, a line a picture, which our own
exports write beside formats that have no room for it.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from shelfgap_datasets.intake.model import FIX_ANNOTATION, record_keys
from shelfgap_datasets.intake.tree import SourceTree
from shelfgap_datasets.schema import Rejection

RECORDS_FILE = "records.jsonl"
_SOURCE_FILES = ("source.yaml", "source.yml")
_LICENSE_LINE = re.compile(r"^\W*licen[cs]e\s*:\s*(\S.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_KNOWN_TEXTS = (  # the first that stands in a LICENSE file names it, as SPDX does
    ("Attribution-NonCommercial-ShareAlike 4.0", "CC-BY-NC-SA-4.0"),
    ("Attribution-NonCommercial 4.0", "CC-BY-NC-4.0"),
    ("Attribution-ShareAlike 4.0", "CC-BY-SA-4.0"),
    ("Attribution 4.0", "CC-BY-4.0"),
    ("CC0 1.0", "CC0-1.0"),
    ("Apache License", "Apache-2.0"),
    ("Permission is hereby granted, free of charge", "MIT"),
)


@dataclass
class Provenance:
    """Statements by picture and by folder; the nearest counts."""

    by_picture: dict[str, dict[str, str]] = field(default_factory=dict)
    by_folder: dict[str, dict[str, str]] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)

    def of(self, picture: str) -> Mapping[str, str]:
        """Return what is stated of a picture, by its path below the source."""
        stated: dict[str, str] = {}
        folder = picture
        while folder:
            folder = posixpath.dirname(folder)
            stated = self.by_folder.get(folder, {}) | stated
        return stated | self.by_picture.get(picture, {})


def read_provenance(tree: SourceTree) -> Provenance:
    """Collect the statements of a source; a damaged file is rejected, the others count."""
    found = Provenance()
    for path in (*tree.notices, *tree.annotations):
        folder, name = posixpath.split(path)
        try:
            if name == RECORDS_FILE:
                _read_records(tree, path, found)
                continue
            stated = _folder_statement(tree, path, name.lower())
        except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
            found.rejections.append(Rejection(path, f"not readable ({' '.join(str(error).split())})", FIX_ANNOTATION))
            continue
        if stated:
            found.by_folder[folder] = found.by_folder.get(folder, {}) | stated
    return found


def _folder_statement(tree: SourceTree, path: str, name: str) -> dict[str, str]:
    if name in _SOURCE_FILES:
        document = yaml.safe_load(tree.read(path).decode("utf-8-sig"))
        return record_keys(document) if isinstance(document, dict) else {}
    if path in tree.notices:
        text = tree.read(path).decode("utf-8", "replace")
        known = next((spdx for phrase, spdx in _KNOWN_TEXTS if phrase.lower() in text.lower()), None)
        return {"license": known or f"see {path}"}
    if name.startswith("readme") and name.endswith(".txt"):
        match = _LICENSE_LINE.search(tree.read(path).decode("utf-8", "replace"))
        return {"license": match[1]} if match else {}
    return {}


def _read_records(tree: SourceTree, path: str, found: Provenance) -> None:
    for row, line in enumerate(tree.read(path).decode("utf-8-sig").splitlines(), start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        picture, problem = (
            tree.resolve(path, record.get("picture")) if isinstance(record, dict) else (None, "not a JSON object")
        )
        if picture is None:
            found.rejections.append(Rejection(f"{path}:{row}", problem, FIX_ANNOTATION))
        else:
            found.by_picture[picture] = record_keys(record)
