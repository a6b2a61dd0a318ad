"""The model card: what the detector is for, what it was measured to do, and what it cannot see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shelfgap_edge.contract import Manifest
from shelfgap_training.report import TITLES, figure_text, markdown_table, slices_table


def model_card(manifest: Manifest, gate: Mapping[str, Any], rights: Mapping[tuple[str, str], int]) -> str:
    """Return the card as Markdown.

    Args:
        manifest: of the bundle.
        gate: what `gate.json` holds.
        rights: how many pictures of the dataset stand under each (licence, consent basis).
    """
    rows = []
    for precision, evaluation in sorted(manifest.metrics.items()):
        figures = [figure_text(evaluation[key]) for key in TITLES]
        rows.append([precision, *figures, evaluation["images"], evaluation["groups"], evaluation["boxes"]])
    thresholds = ", ".join(f"{name} {value:.3f}" for name, value in manifest.score_thresholds.items())
    hashes = "\n".join(f"- {name}: `{value}`" for name, value in sorted(manifest.hashes.items()))
    sources = "\n".join(
        f"- {count} pictures, licence: {license}, consent basis: {consent}"
        for (license, consent), count in sorted(rights.items())
    )
    height, width = manifest.input_size
    return f"""# {manifest.name} {manifest.version}

Finds emptying facings on photographs of supermarket shelves, taken by a fixed camera opposite the shelf.

- Classes: {", ".join(manifest.classes)}
- Input: a frame of any size, uint8 RGB; the graph stretches it to {width}x{height} pixels
- Operating point (score thresholds, best F1 on validation): {thresholds}
- Made at {manifest.created_at}; bundle format {manifest.format_version}

## Measured on the test split, in groups never trained on

{markdown_table(["model", *TITLES.values(), "images", "groups", "boxes"], rows)}

In brackets the interval that draws of whole groups of pictures give. Precision, recall, F1 and false alarms are at
IoU 0.5 and the operating point; a full shelf is a picture without any labelled box.

Gate: {gate["verdict"]}, {gate["reason"]}.
{_slices(manifest)}

## Data

{sources or "- not stated"}

## Limits

- It does not see a gap that a neighbour product was pulled over, nor one behind an occluder.
- Fixtures, lenses and light unlike those of its training data are unproven: score it on your own photographs
  first (`shelfgap evaluate --bundle BUNDLE --dataset DIR`).
- It identifies neither products nor people, and must not be used to.

## Origin

{hashes}
"""


def _slices(manifest: Manifest) -> str:
    """Return where the default model is strong and weak."""
    slices = manifest.metrics.get(manifest.default_precision, {}).get("slices")
    if not slices:
        return ""
    return f"""
### By slice, {manifest.default_precision}

Slices of pictures have AP50, slices of boxes recall: a false alarm has no true size or place. Slices of few boxes are
counted and have no figure.

{slices_table(slices)}
"""
