"""Write parameters into a params.yaml: its comments stay, and so does every value that was not meant to change."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, MutableMapping, Set
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from shelfgap_datasets.coco import write_text_atomic

from shelfgap_flows.params import Params


def save_params(path: Path, params: Params, like: Path | None = None) -> None:
    """Write parameters; the name only ever shows a whole file.

    Args:
        path: file to write.
        params: what `load_params` shall read from it.
        like: file whose comments and layout to keep, where it has the same keys; without it those of `path` itself.
    """
    wanted = params.model_dump(mode="json")
    text = _edited((like or path).read_text(encoding="utf-8"), wanted, rounds=1 + len(params.presets))
    if text is None or not _says(text, params):  # anchors that cannot be parted, other keys: write it all out
        text = yaml.safe_dump(wanted, sort_keys=False)
    write_text_atomic(path, text)


def _edited(text: str, wanted: Mapping[str, Any], rounds: int) -> str | None:
    """Return a text with values set, as often as presets can take them from one another; None where it is no YAML."""
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 200
    editor.representer.add_representer(type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null"))
    try:
        for _ in range(rounds):
            document = editor.load(text)
            _align(document, wanted, _shared(document))
            stream = io.StringIO()
            editor.dump(document, stream)
            text = stream.getvalue()
    except YAMLError:
        return None
    return text


def _says(text: str, params: Params) -> bool:
    """Say whether `load_params` would read these parameters from a text."""
    try:
        return Params.model_validate(YAML(typ="safe", pure=True).load(text)) == params
    except (YAMLError, ValidationError):
        return False


def _align(section: Any, wanted: Mapping[str, Any], shared: Set[int]) -> None:
    """Set what differs; a section that stands in several places is replaced by one of its own."""
    if not isinstance(section, MutableMapping):
        return
    for key, value in wanted.items():
        there = section.get(key)
        if key in section and _plain(there) == value:
            continue
        if isinstance(value, Mapping) and isinstance(there, MutableMapping) and id(there) not in shared:
            _align(there, value, shared)
        else:
            section[key] = value


def _shared(document: Any) -> set[int]:
    """Return the ids of sections that anchors let stand in several places."""
    seen: Counter[int] = Counter()

    def walk(section: Any) -> None:
        if isinstance(section, Mapping):
            seen[id(section)] += 1
            for key in section:
                walk(section[key])

    walk(document)
    return {section for section, count in seen.items() if count > 1}


def _plain(value: Any) -> Any:
    """Return a value of the document as JSON has it."""
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in value}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value
