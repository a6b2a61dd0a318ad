"""A day before one shelf: who buys what and when, when it is filled up, who stands before it, how the light goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shelfgap_datasets.params import ShelfDayParams
from shelfgap_datasets.synthetic.camera import Camera
from shelfgap_datasets.synthetic.scene import EMPTY, Fixture, Stock, nudge, stock_state

State = Literal["full", "low", "gap"]
_RUSH = ((12.4, 1.1, 0.8), (17.8, 1.4, 1.0))  # hour, spread in hours, height above the calm
_CALM = 0.35
_DELIVERED = 0.94  # share of the articles that the store room has
_ROUND_MINUTES = (12, 30)
_VISITS_AN_HOUR = 14.0  # shoppers and trolleys that stop in front, at full rush
_KNOCKS_A_DAY = 0.7  # the camera is pushed by a trolley, a cleaner or a carton


@dataclass(frozen=True)
class Change:
    """At a minute of the day a facing came into a state, by sale or by restocking."""

    minute: float
    facing: int
    state: State
    restocked: bool


@dataclass(frozen=True)
class Visit:
    """Somebody or something stands before the shelf for a while."""

    start_minute: float
    end_minute: float
    seed: int
    is_clerk: bool


@dataclass(frozen=True)
class Moment:
    """What a frame shows: stock of all facings, visits, camera, and the light as gains on R, G, B."""

    minute: float
    stock: Stock
    visits: tuple[Visit, ...]
    camera: Camera
    light: tuple[float, float, float]


@dataclass(frozen=True)
class Day:
    """All moments that are photographed, and the exact changes between them."""

    moments: tuple[Moment, ...]
    changes: tuple[Change, ...]
    visits: tuple[Visit, ...]


def simulate_day(rng: np.random.Generator, fixture: Fixture, camera: Camera, params: ShelfDayParams) -> Day:
    """Play a day minute by minute.

    Each article has its own popularity; demand follows the hour. A purchase takes a piece from the front of one of the
    article's facings, top layer first, so the front row empties, then the next stands farther back. Clerks come before
    opening and twice more, and fill up what is low or empty, unless the store room has none of it.
    """
    opens, closes = 60.0 * params.open_hour, 60.0 * params.close_hour
    capacity, rows, layers = _capacity(fixture)
    runs = np.array([f.run for f in fixture.facings])
    articles = [np.flatnonzero(runs == run) for run in np.unique(runs)]
    turnover = np.clip(0.45 * params.demand * rng.lognormal(0, 0.85, len(articles)), 0, 4)  # fillings sold a day
    rate = np.array([capacity[a].sum() for a in articles]) * turnover / (closes - opens)
    delivered = rng.random(len(articles)) < _DELIVERED
    left = np.where(rng.random(len(capacity)) < 0.9, capacity, np.ceil(capacity * rng.uniform(0.3, 1, len(capacity))))
    for article, has_stock in zip(articles, delivered, strict=True):
        if not has_stock and rng.random() < 0.5:  # nothing came since yesterday
            left[article] = np.floor(left[article] * rng.uniform(0, 0.4))
    rounds = [opens - 25, *np.sort(rng.uniform(opens + 120, closes - 90, 2))]
    spans = [(start, start + rng.uniform(*_ROUND_MINUTES)) for start in rounds]
    visits = [Visit(a, b, int(rng.integers(2**31)), is_clerk=True) for a, b in spans]
    visits += _draw_visits(rng, opens, closes, params.demand)
    cameras = _draw_cameras(rng, camera, opens, closes)
    clouds, minutes_of_frames = 0.0, frame_minutes(params)
    warmth, window = rng.uniform(0.02, 0.07), rng.uniform(0, 0.35)
    changes: list[Change] = []
    moments: list[Moment] = []
    stock = _stock(fixture, left, rows, layers)
    state = [stock_state(fixture, s) for s in stock.setback_m]
    changes += [Change(float(opens - 30), i, s, False) for i, s in enumerate(state)]
    frame = 0
    for minute in range(int(opens - 30), int(closes + 31)):
        while frame < len(minutes_of_frames) and minutes_of_frames[frame] <= minute:
            at = float(minutes_of_frames[frame])
            clouds = 0.9 * clouds + rng.normal(0, 0.03)
            light = _light(at / 60, opens / 60, closes / 60, warmth, window, clouds)
            present = tuple(v for v in visits if v.start_minute <= at < v.end_minute)
            moved = next(c for start, c in reversed(cameras) if start <= at)
            moments.append(Moment(at, _stock(fixture, left, rows, layers), present, moved, light))
            frame += 1
        touched: dict[int, bool] = {}
        if opens <= minute < closes:
            for number in np.flatnonzero(rng.random(len(articles)) < rate * _demand(minute / 60)).tolist():
                stocked = [i for i in articles[number] if left[i] > 0]
                if stocked:
                    facing = int(rng.choice(stocked))
                    left[facing] = max(0, left[facing] - int(rng.choice([1, 2, 3], p=[0.8, 0.15, 0.05])))
                    touched[facing] = False
        for start, end in spans:
            if start <= minute < end:
                for number, article in enumerate(articles):
                    wants = delivered[number] and (left[article] < 0.6 * capacity[article]).any()
                    if wants and rng.random() < 2.5 / (end - start):
                        for place in article.tolist():
                            if left[place] < capacity[place]:
                                left[place] = capacity[place]
                                touched[place] = True
        if touched:
            stock = _stock(fixture, left, rows, layers)
            for facing, restocked in touched.items():
                now = stock_state(fixture, stock.setback_m[facing])
                if now != state[facing] or restocked:
                    changes.append(Change(minute + 0.5, facing, now, restocked))
                    state[facing] = now
    return Day(tuple(moments), tuple(changes), tuple(sorted(visits, key=lambda visit: visit.start_minute)))


def frame_minutes(params: ShelfDayParams) -> NDArray[np.float64]:
    """Return the minutes of a day at which it is photographed, (F,), from half an hour before opening on."""
    return np.arange(60.0 * params.open_hour - 30, 60.0 * params.close_hour + 30, params.minutes_per_frame)


def _demand(hour: float) -> float:
    """Return how busy an hour is; the mean over a day of twelve hours is about 1."""
    rush = sum(height * float(np.exp(-(((hour - at) / spread) ** 2))) for at, spread, height in _RUSH)
    return _CALM + 1.6 * rush


def _capacity(fixture: Fixture) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return for each facing its pieces when full, rows behind each other and layers."""
    room = fixture.depth_m - fixture.setback_m
    rows = np.array([max(1, int(room / f.product.depth_m)) for f in fixture.facings], np.int64)
    layers = np.array([f.product.layers for f in fixture.facings], np.int64)
    return (rows * layers).astype(np.float64), rows, layers


def _stock(fixture: Fixture, left: NDArray[np.float64], rows: NDArray[np.int64], layers: NDArray[np.int64]) -> Stock:
    """Turn pieces left into what stands on the boards: the front row may be lower than those behind."""
    rows_left = np.ceil(left / layers)
    depth = np.array([f.product.depth_m for f in fixture.facings])
    setback = fixture.setback_m + (rows - rows_left) * depth
    front = left - (rows_left - 1) * layers
    return Stock(
        np.where(left > 0, setback, EMPTY),
        np.where(left > 0, np.maximum(front, 1), layers).astype(np.int64),
    )


def _draw_visits(rng: np.random.Generator, opens: float, closes: float, demand: float) -> list[Visit]:
    visits = []
    for minute in range(int(opens), int(closes)):
        if rng.random() < _VISITS_AN_HOUR / 60 * demand * min(1.0, _demand(minute / 60) / 2):
            start = minute + rng.random()
            stays = float(rng.choice([rng.uniform(0.3, 2.5), rng.uniform(4, 15)], p=[0.9, 0.1]))
            visits.append(Visit(start, start + stays, int(rng.integers(2**31)), is_clerk=False))
    return visits


def _draw_cameras(rng: np.random.Generator, camera: Camera, opens: float, closes: float) -> list[tuple[float, Camera]]:
    """Return from which minute on the camera stands where: each knock shifts it a little and for good."""
    cameras = [(opens - 60, camera)]
    for minute in np.sort(rng.uniform(opens, closes, rng.poisson(_KNOCKS_A_DAY))):
        cameras.append((float(minute), nudge(rng, cameras[-1][1])))
    return cameras


def _light(
    hour: float, opens: float, closes: float, warmth: float, window: float, clouds: float
) -> tuple[float, float, float]:
    """Return the gains on R, G and B: lamps in opening hours, emergency light else, daylight through a window."""
    lamps = 1.0 if opens - 0.4 <= hour <= closes + 0.1 else 0.3
    sun = window * max(0.0, float(np.sin(np.pi * (hour - 7) / 12))) * max(0.2, 1 + 4 * clouds)
    total = 0.92 * lamps + sun
    cool = sun / max(total, 1e-6)
    tint = warmth * (1 - 2 * cool)
    return total * (1 + tint), total, total * (1 - tint)
