"""Which of our classes a source means by its class names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shelfgap_datasets.schema import LABEL_CLASSES, DatasetError


def parse_class_map(text: str) -> dict[str, str]:
    """Read `--class-map`: `Name=class` pairs, separated by commas.

    Raises:
        DatasetError: a part is no pair, or names an unknown class.

    >>> parse_class_map("Empty Shelf=gap, Empty=gap")
    {'Empty Shelf': 'gap', 'Empty': 'gap'}
    """
    pairs: dict[str, str] = {}
    for part in filter(str.strip, text.split(",")):
        name, equals, target = (piece.strip() for piece in part.rpartition("="))
        if not equals or not name:
            raise DatasetError(f'--class-map: expected "Name=class", got {part.strip()!r}')
        pairs[name] = target
    return pairs


def map_names(
    names: Iterable[str], aliases: Mapping[str, Iterable[str]], class_map: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return our class for each source name that has one; upper and lower case, and spaces around, are alike.

    Args:
        names: class names of the source.
        aliases: our class -> names in sources; our own names always stand for themselves.
        class_map: source name -> our class; goes before the aliases.

    Raises:
        DatasetError: an alias or a map names a class that is not ours, or one alias stands for two classes.

    >>> map_names(["Empty Shelf", "gap", "Shoe"], {"gap": ["empty shelf"]})
    {'Empty Shelf': 'gap', 'gap': 'gap'}
    """
    known = {name: name for name in LABEL_CLASSES}
    pairs = [(alias, ours) for ours, listed in aliases.items() for alias in listed]
    for alias, ours in pairs:
        if known.setdefault(_fold(alias), ours) != ours:
            raise DatasetError(f"class_aliases: {alias!r} stands for {known[_fold(alias)]} and for {ours}")
    known |= {_fold(name): ours for name, ours in (class_map or {}).items()}
    for ours in {*aliases, *known.values()}:
        if ours not in LABEL_CLASSES:
            raise DatasetError(f"class {ours!r} is not known; expected one of {', '.join(LABEL_CLASSES)}")
    return {name: known[_fold(name)] for name in names if _fold(name) in known}


def _fold(name: str) -> str:
    return " ".join(name.casefold().split())
