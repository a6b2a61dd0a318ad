"""The model card: what the detector is for, what it was measured to do, what it cannot see, how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shelfgap_edge.contract import MODEL_FILES, Manifest
from shelfgap_training.report import TITLES, figure_text, markdown_table

from shelfgap_export.weak_slices import below_the_whole, by_slice, unproven

NOT_RECORDED = "not recorded"


def model_card(
    manifest: Manifest,
    gate: Mapping[str, Any],
    rights: Mapping[tuple[str, str], int],
    origin: Mapping[str, Any],
) -> str:
    """Return the card as Markdown.

    Args:
        manifest: of the bundle.
        gate: what `gate.json` holds.
        rights: how many pictures of the dataset stand under each (licence, consent basis).
        origin: what `reports/training.json` holds, with `parameters` and `macs` of the network; what lacks is called
            not recorded.
    """
    default = manifest.metrics.get(manifest.default_precision, {})
    return f"""# {manifest.name} {manifest.version}

Finds emptying facings on photographs of supermarket shelves, taken by a fixed camera opposite the shelf.

## Intended use

Made for telling staff where a shelf needs restocking: frames of a fixed camera opposite a shelf go in, boxes of
{", ".join(manifest.classes)} come out, and state over time makes alerts of them. A person decides what to do.

Not for:

- identifying, following, counting or judging people, staff included: an occluder is a thing in the way
- naming products, reading prices or labels, counting stock, billing or ordering without a person
- scenes unlike those of its data (see Limits): another kind of fixture, a moving camera, a back room
- anything where a missed or false box can hurt somebody

## Operating point

{markdown_table(["class", "score threshold"], [[n, f"{v:.3f}"] for n, v in manifest.score_thresholds.items()])}

The score of best F1 on validation. Another threshold is another model to the gate.

Gate: {gate["verdict"]}, {gate["reason"]}.

## Measured on the test split, in groups never trained on

{_metrics(manifest)}

In brackets the interval that draws of whole groups of pictures give. Precision, recall, F1 and false alarms are at
IoU 0.5 and the operating point; a full shelf is a picture without any labelled box. The whole evaluation is in
`manifest.json`, below `metrics`.
{_slices(default, manifest.default_precision)}
## Limits

{_limits(default)}
- A stock-out that was faced over (a neighbour product pulled into the hole), and a gap behind an occluder, in the dark
  or out of the frame, cannot be seen.
- It does not know products, prices, planograms or people: a facing meant to be empty is a gap to it.
- Fixtures, lenses and light unlike those of its training data are unproven: score it on your own photographs first
  (`shelfgap evaluate --bundle BUNDLE --dataset DIR`).

## Data

{_rights(rights)}
- Trained on {_count(origin, "train_images")} pictures, checked on {_count(origin, "val_images")} (validation) and
  {default.get("images", NOT_RECORDED)} (test), split by group (store, camera or sequence): none is in two of them
- The licences above are those of the pictures; they bind whoever passes the pictures on, and may bind the weights

## Training

{_training(origin)}

## Model files

- Input: a frame of any size, uint8 RGB; the graph stretches it to {_width_height(manifest)} pixels
- Network: {_count(origin, "parameters")} parameters, {_macs(origin)} multiply-adds a frame
- Precisions: {_precisions(manifest)}
- INT8 was made for: {manifest.device_class or NOT_RECORDED}; other processors run it too, slower or with scores that
  differ a little (`shelfgap-edge verify` says by how much)
- Made at {manifest.created_at}; bundle format {manifest.format_version}

SHA-256 of what it was made from:

{markdown_table(["", "SHA-256"], [[n, f"`{v}`"] for n, v in sorted(manifest.hashes.items())])}
"""


def _metrics(manifest: Manifest) -> str:
    columns = dict(sorted(manifest.metrics.items()))
    if not columns:
        return "Nothing was measured."
    rows = [[title, *(figure_text(column[key]) for column in columns.values())] for key, title in TITLES.items()]
    counts = [[key, *(column[key] for column in columns.values())] for key in ("images", "groups", "boxes")]
    return markdown_table(["", *columns], [*rows, *counts])


def _slices(evaluation: Mapping[str, Any], precision: str) -> str:
    slices = evaluation.get("slices", ())
    if not slices:
        return ""
    return f"""
### By slice, {precision}

{by_slice(slices)}

Slices of pictures have AP50, slices of boxes recall: a false alarm has no true size or place.
"""


def _limits(evaluation: Mapping[str, Any]) -> str:
    slices = evaluation.get("slices", ())
    if not slices:
        return "- No slices were measured: where it is weak is unknown."
    weak = below_the_whole(evaluation)
    lines = [f"- Weak: {text}" for text in weak]
    lines += [] if weak else ["- No slice is weaker than the whole beyond its interval."]
    few = unproven(slices)
    return "\n".join([*lines, *([f"- Unproven, too few boxes to tell: {few}."] if few else [])])


def _rights(rights: Mapping[tuple[str, str], int]) -> str:
    return (
        "\n".join(
            f"- {count} pictures, licence: {license}, consent basis: {consent}"
            for (license, consent), count in sorted(rights.items())
        )
        or "- Licences and consent: not stated"
    )


def _training(origin: Mapping[str, Any]) -> str:
    imitated = origin.get("imitation_epochs")
    start = {None: NOT_RECORDED, 0: "none"}.get(
        imitated, f"{imitated} epochs of an ImageNet network's features, without labels"
    )
    lines = [
        f"- Preset: {origin.get('preset', NOT_RECORDED)}",
        f"- Epochs: {_count(origin, 'epochs')}, those of the imitation included",
        f"- Imitation: {start}",
        f"- Initial weights: {_weights(origin, 'initial_weights_sha256')}",
        f"- Teacher: {_weights(origin, 'teacher_sha256')}",
        f"- Time: {_time(origin)}",
        f"- Energy: {_energy(origin)}",
        f"- Commit: {_commit(origin)}; `shelfgap bundle rebuild BUNDLE` trains it again and compares",
    ]
    return "\n".join(lines)


def _weights(origin: Mapping[str, Any], key: str) -> str:
    if key not in origin:
        return NOT_RECORDED
    return "none" if origin[key] is None else f"`{origin[key]}` (SHA-256)"


def _time(origin: Mapping[str, Any]) -> str:
    if "seconds" not in origin:
        return NOT_RECORDED
    seconds, minutes = origin["seconds"], round(origin["seconds"] / 60)
    text = f"{seconds:.0f} s" if seconds < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
    text = f"{text} on {origin.get('device', 'a device that was not recorded')}"
    if "sessions" in origin:
        sessions = origin["sessions"]
        return text if sessions == 1 else f"{text}, in {sessions} sessions; epochs that were cut off are not counted"
    resumed = origin.get("resumed_from_epoch")
    return f"{text}, of the last session only: it resumed after epoch {resumed}" if resumed else text


def _energy(origin: Mapping[str, Any]) -> str:
    joules = origin.get("energy_joules")
    if joules is None:
        return "not measured"
    without = ", without the GPU" if str(origin.get("device", "")).startswith("cuda") else ""
    return f"{joules / 3.6e6:.3g} kWh, of the processors of the whole machine (RAPL){without}"


def _commit(origin: Mapping[str, Any]) -> str:
    made_with = origin.get("made_with") or {}
    if not made_with.get("commit"):
        return NOT_RECORDED
    return f"`{made_with['commit']}`{', with changes' if made_with['dirty'] else ''}"


def _precisions(manifest: Manifest) -> str:
    made = [name for name in sorted(manifest.metrics) if name in MODEL_FILES] or [manifest.default_precision]
    return ", ".join(
        f"{name} (`{MODEL_FILES[name]}`{', the default' if name == manifest.default_precision else ''})"
        for name in made
    )


def _width_height(manifest: Manifest) -> str:
    height, width = manifest.input_size
    return f"{width}x{height}"


def _count(origin: Mapping[str, Any], key: str) -> str:
    return f"{origin[key]:,}" if key in origin else NOT_RECORDED


def _macs(origin: Mapping[str, Any]) -> str:
    return f"{origin['macs'] / 1e9:.2g} G" if "macs" in origin else NOT_RECORDED
