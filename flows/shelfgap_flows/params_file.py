"""Write parameters into a params.yaml: its comments stay, and so does every value that was not meant to change."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from shelfgap_datasets.coco import write_text_atomic

from shelfgap_flows.params import Params


def save_params(path: Path, params: Params, like: Path | None = None) -> None:
    """Write parameters; the name only ever shows a whole file.

    Args:
        path: file to write.
        params: what `load_params` shall read from it.
        like: file whose comments and layout to keep; without it those of `path` itself.
    """
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 200
    editor.representer.add_representer(type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null"))
    wanted = params.model_dump(mode="json")
    text = (like or path).read_text(encoding="utf-8")
    for _ in range(1 + len(params.presets)):  # a preset may take values from another, which change with it at first
        document = editor.load(text)
        _align(document, wanted, _shared(document))
        stream = io.StringIO()
        editor.dump(document, stream)
        text = stream.getvalue()
    if Params.model_validate(yaml.safe_load(text)) != params:  # anchors that cannot be parted: write it all out
        text = yaml.safe_dump(wanted, sort_keys=False)
    write_text_atomic(path, text)


def _align(section: Any, wanted: Mapping[str, Any], shared: Set[int]) -> None:
    """Set what differs; a section that stands in several places is replaced by one of its own."""
    for key, value in wanted.items():
        if _plain(section[key]) == value:
            continue
        if isinstance(value, Mapping) and id(section[key]) not in shared:
            _align(section[key], value, shared)
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
