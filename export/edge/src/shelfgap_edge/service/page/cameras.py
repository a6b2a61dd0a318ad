"""The section of cameras and connections: those in trouble first, the others folded where they are many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shelfgap_edge.service.page.alerts import word
from shelfgap_edge.service.page.html import Html, element, unfolding
from shelfgap_edge.service.page.moments import Clock
from shelfgap_edge.service.page.status import CameraState, CameraStatus
from shelfgap_edge.sources.state import SourceState

_UNFOLDED = 8
_TONES: Mapping[CameraState, str] = {
    "watching": "good",
    "hidden": "low",
    "waiting": "",
    "silent": "trouble",
    "blinded": "trouble",
    "moved": "trouble",
}


def is_well(camera: CameraStatus) -> bool:
    """Say whether a camera does what it should."""
    return camera.state in ("watching", "hidden")


def cameras_section(cameras: Sequence[CameraStatus], sources: Sequence[SourceState], clock: Clock) -> Html:
    """Return the section."""
    texts = clock.texts
    by_camera = {source.camera_id: source for source in sources if source.camera_id is not None}
    order = sorted(cameras, key=lambda camera: camera.camera_id)
    troubled = [camera for camera in order if not is_well(camera)]
    well = [camera for camera in order if is_well(camera)]
    well_rows = _rows([_camera(camera, by_camera.get(camera.camera_id), clock) for camera in well])
    if len(well) > _UNFOLDED:
        well_rows = unfolding(texts.no_trouble.format(len(well)), well_rows, id="cameras-well")
    shared = [source for source in sources if source.camera_id is None]
    return element(
        "section",
        element("h2", texts.cameras, id="cameras-title"),
        element(
            "div",
            _rows([_camera(camera, by_camera.get(camera.camera_id), clock) for camera in troubled])
            if troubled
            else None,
            well_rows if well else None,
            class_="sheet",
        )
        if cameras
        else element("p", texts.no_cameras, class_="sheet empty"),
        element("h3", texts.connections) if shared else None,
        element("div", _rows([_connection(source, clock) for source in shared]), class_="sheet") if shared else None,
        id="cameras",
        aria_labelledby="cameras-title",
        tabindex="-1",
    )


def _rows(rows: Sequence[Html]) -> Html:
    return element("ul", *rows, class_="rows cameras", role="list")


def _camera(camera: CameraStatus, source: SourceState | None, clock: Clock) -> Html:
    texts = clock.texts
    where = " · ".join(part for part in (camera.store, camera.shelf) if part)
    facts = [
        _fact(texts.last_frame, clock.age(camera.last_frame)),
        _fact(texts.frames, _number(camera.frames)),
        _fact(texts.unused, _counts(camera.refused)) if camera.refused else None,
        _fact(texts.connection, _connection_state(source, clock)) if source is not None else None,
        _fact(texts.failures, _counts(source.failures)) if source is not None and source.failures else None,
    ]
    return element(
        "li",
        element("span", element("b", camera.camera_id), element("span", f" {where}", class_="meta") if where else None),
        word(texts.camera_states[camera.state], _TONES[camera.state]),
        element("dl", *facts),
    )


def _connection(source: SourceState, clock: Clock) -> Html:
    texts = clock.texts
    well = source.connected or source.finished
    return element(
        "li",
        element("span", element("b", source.kind), element("span", f" {source.where}", class_="meta")),
        word(_connection_state(source, clock), "good" if well else "trouble"),
        element(
            "dl",
            _fact(texts.last_frame, clock.age(source.last_frame)),
            _fact(texts.frames, _number(source.frames)),
            _fact(texts.failures, _counts(source.failures)) if source.failures else None,
        ),
    )


def _connection_state(source: SourceState, clock: Clock) -> str:
    texts = clock.texts
    if source.finished:
        return texts.finished
    return texts.connected if source.connected else texts.disconnected


def _fact(name: str, value: str) -> Html:
    return element("div", element("dt", name), element("dd", value))


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {_number(count)}" for reason, count in sorted(counts.items()))
