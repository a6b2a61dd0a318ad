"""What an alert says to a person, in English or French."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Literal

from shelfgap_edge.alerts.event import Action, AlertEvent, Kind

Language = Literal["en", "fr"]

_KINDS: dict[Language, dict[Kind, str]] = {
    "en": {
        "gap": "empty shelf",
        "low": "stock running low",
        "camera-silent": "camera sends nothing",
        "camera-blinded": "camera sees nothing",
        "camera-moved": "camera was moved",
    },
    "fr": {
        "gap": "rayon vide",
        "low": "stock bas",
        "camera-silent": "la caméra n'envoie rien",
        "camera-blinded": "la caméra ne voit rien",
        "camera-moved": "la caméra a été déplacée",
    },
}
_ACTIONS: dict[Language, dict[Action, str]] = {
    "en": {
        "opened": "New",
        "escalated": "Still waiting",
        "acknowledged": "Being seen to",
        "resolved": "Resolved",
        "reopened": "Again",
    },
    "fr": {
        "opened": "Nouveau",
        "escalated": "Toujours en attente",
        "acknowledged": "Pris en charge",
        "resolved": "Résolu",
        "reopened": "De nouveau",
    },
}
_LABELS: dict[Language, tuple[str, str, str, str, str, str, str]] = {
    "en": ("Store", "Shelf", "Camera", "Zone", "Since", "Priority", "Width of the gap"),
    "fr": ("Magasin", "Rayon", "Caméra", "Zone", "Depuis", "Priorité", "Largeur du vide"),
}
_COLON: dict[Language, str] = {"en": ": ", "fr": "\u00a0: "}
_PERCENT: dict[Language, str] = {"en": "%", "fr": "\u00a0%"}


def title(event: AlertEvent, language: Language) -> str:
    """Return one line: what, and where.

    >>> event = AlertEvent("0" * 32, 1, "opened", "gap", "cam-3", "left", "Coffee", "lyon-3", 0.0, 0.0, 1, 0.125)
    >>> title(event, "en")
    'New: empty shelf (Coffee, left)'
    >>> title(event, "fr").replace("\u00a0", " ")
    'Nouveau : rayon vide (Coffee, left)'
    """
    place = ", ".join(name for name in (event.shelf, event.zone) if name) or event.camera_id
    return f"{_ACTIONS[language][event.action]}{_COLON[language]}{_KINDS[language][event.kind]} ({place})"


def body(event: AlertEvent, language: Language, zone: tzinfo | None = None) -> str:
    """Return the facts, one a line.

    Args:
        event: the step.
        language: of the text.
        zone: of the times; None for that of the device.
    """
    since = datetime.fromtimestamp(event.since, zone).astimezone(zone)
    width = None if event.gap_width_norm is None else f"{event.gap_width_norm * 100:.0f}{_PERCENT[language]}"
    day = f"{since:%d/%m/%Y %H:%M}" if language == "fr" else f"{since:%Y-%m-%d %H:%M}"
    values = (event.store, event.shelf, event.camera_id, event.zone, day, f"{event.priority}/5", width)
    facts = zip(_LABELS[language], values, strict=True)
    lines = [f"{label}{_COLON[language]}{value}" for label, value in facts if value is not None]
    return "\n".join([*lines, event.key])
