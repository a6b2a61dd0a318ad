"""The dataset card as one HTML file, without scripts or files beside it, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from shelfgap_datasets.card.facts import COLOURS, Facts

_SPLIT_COLOURS = {"train": "#5b8def", "val": "#f2b134", "test": "#c8553d", "none": "#888888"}


def to_html(facts: Facts) -> str:
    """Return the card as an HTML page that needs nothing beside it."""
    environment = Environment(
        loader=PackageLoader("shelfgap_datasets", "card"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("card.html.j2").render(facts=facts, colours={**COLOURS, **_SPLIT_COLOURS})


def to_markdown(facts: Facts) -> str:
    """Return the card as Markdown, without pictures."""
    sides = [*facts.splits]
    lines = [
        f"# Dataset card: {facts.name}",
        "",
        f"{facts.images} pictures, {facts.without_boxes} of them without a box; {facts.stores} stores, "
        f"{facts.cameras} cameras; {facts.redacted} pictures redacted.",
        "",
        "## Sources and licences",
        "",
        *_table(("licence", "pictures"), facts.licenses),
        *_table(("consent basis", "pictures"), facts.consents),
        "## Boxes",
        "",
        *_table(("class", *sides), [(name, *(by[side] for side in sides)) for name, by in facts.boxes.items()]),
        "## Split",
        "",
        *_table(("split", "pictures", "groups"), [(s, n, facts.groups.get(s, 0)) for s, n in facts.splits.items()]),
    ]
    for histogram in facts.histograms:
        rows = [(name, *counts) for name, counts in histogram.counts.items()]
        lines += [f"## {histogram.title}", "", *_table(("", *histogram.bins), rows)]
    lines += ["## Near-duplicates", "", f"{len(facts.duplicates)} groups of pictures that show the same scene.", ""]
    lines += ["## Known faults", "", *(f"- {fault}" for fault in facts.faults or ("none found",)), ""]
    if facts.rejections:
        lines += ["## Left out at import", "", *_table(("reason", "records"), facts.rejections)]
    return "\n".join(lines).rstrip() + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    def row(cells: Sequence[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [row(head), "|" + "---|" * len(head), *map(row, rows), ""]
