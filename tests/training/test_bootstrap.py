"""Intervals cover the truth as often as they say, differences are paired, and folds are drawn together."""

from __future__ import annotations

import numpy as np
import pytest
from scored_scenes import scene
from shelfgap_datasets.schema import ImageRecord
from shelfgap_edge.postprocess import Detections
from shelfgap_training.bootstrap import bootstrap, class_matches, clusters_of, paired_difference
from shelfgap_training.figures import FIGURES
from shelfgap_training.metrics import Truth


def scenes(seed: int, images: int = 30, hit_rate: float = 0.7, boxes: int = 4):
    """Boxes in a row, some of them found, and some false alarms."""
    layout, rng = np.random.default_rng(0), np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(images):
        x = 30.0 * np.arange(boxes)
        box = np.stack([x, 0 * x, x + 20, 0 * x + 20 + layout.integers(0, 20, boxes)], 1).astype(np.float32)
        ids = layout.integers(0, 2, boxes)
        found = rng.random(boxes) < hit_rate
        off = rng.random(boxes) < 0.3
        placed = np.where(off[:, None], box + 60, box)[found]
        scores = np.where(off, rng.uniform(0, 0.7, boxes), rng.uniform(0.3, 1, boxes))[found]
        truths.append(Truth(box, ids))
        detections.append(Detections(placed.astype(np.float32), scores.astype(np.float32), ids[found]))
    return truths, detections


def tables(seed, hit_rate):
    return class_matches(*scenes(seed, 60, hit_rate), 2, [0.5, 0.5])


def test_a_better_detector_is_better_with_confidence_and_an_equal_one_is_not():
    clusters = [f"scene {i // 3}" for i in range(60)]
    better = paired_difference([tables(1, 0.9)], [tables(2, 0.5)], clusters, resamples=300)
    assert better.low > 0
    assert better.low < better.value < better.high
    same = paired_difference([tables(1, 0.7)], [tables(1, 0.7)], clusters, resamples=300)
    assert same == (0, 0, 0)
    equal = paired_difference(
        [tables(1, 0.7), tables(3, 0.7)], [tables(2, 0.7), tables(4, 0.7)], clusters, resamples=300
    )
    assert equal.low < 0 < equal.high


def test_pictures_that_no_split_has_grouped_are_drawn_by_store_camera_or_film():
    def image(source, **given):
        rights = {"license": "MIT", "consent": "no-persons"}
        return ImageRecord(file_name=source, width=4, height=4, sha256="", source=source, **rights, **given)

    records = [image("a.jpg", store="12"), image("b.jpg", store="12", camera="1"), image("c.jpg", camera="1")]
    records += [image("film/frame_01.jpg"), image("film/frame_02.jpg"), image("d.jpg"), image("e.jpg", group="g")]
    first, second, camera, *film, alone, grouped = clusters_of(records)
    assert first == second
    assert film[0] == film[1]
    assert len({first, camera, film[0], alone, grouped}) == 5
    assert grouped == "g"


def test_larger_clusters_make_wider_intervals():
    narrow, wide = (
        paired_difference([tables(1, 0.7)], [tables(2, 0.6)], [str(i // size) for i in range(60)], resamples=400)
        for size in (1, 20)
    )
    assert (wide.high - wide.low) != (narrow.high - narrow.low)
    again = paired_difference([tables(1, 0.7)], [tables(2, 0.6)], [str(i) for i in range(60)], resamples=400)
    assert again == narrow


@pytest.mark.parametrize("figure", FIGURES)
def test_any_figure_can_be_compared_and_the_value_is_the_plain_difference(figure):
    one, two = (class_matches(*scene(np.random.default_rng(seed), 40), 2, [0.4, 0.4]) for seed in (1, 2))
    clusters = [str(i // 4) for i in range(40)]
    difference = paired_difference([one], [two], clusters, figure=figure, resamples=200)
    once = np.ones((1, 40), np.int64)
    assert difference.value == pytest.approx(float((FIGURES[figure](one, once) - FIGURES[figure](two, once))[0]))
    assert difference.low < difference.value < difference.high


def test_folds_give_the_mean_of_their_figures_and_narrow_the_interval():
    clusters = [[f"fold {fold} scene {i // 3}" for i in range(60)] for fold in range(3)]
    ours, theirs = ([tables(seed, rate) for seed in seeds] for rate, seeds in ((0.8, (1, 3, 5)), (0.7, (2, 4, 6))))
    pooled = paired_difference(ours, theirs, clusters, figure="ap50_95", resamples=400)
    alone = [
        paired_difference([a], [b], names, figure="ap50_95", resamples=400)
        for a, b, names in zip(ours, theirs, clusters, strict=True)
    ]
    assert pooled.value == pytest.approx(np.mean([fold.value for fold in alone]))
    assert pooled.high - pooled.low < min(fold.high - fold.low for fold in alone)


def test_a_scene_that_several_runs_were_scored_on_is_drawn_for_all_of_them():
    names = [str(i // 3) for i in range(60)]
    ours, theirs = [tables(1, 0.8), tables(3, 0.8)], [tables(2, 0.7), tables(4, 0.7)]
    shared = paired_difference(ours, theirs, names, resamples=300)
    assert paired_difference(ours, theirs, [names, names], resamples=300) == pytest.approx(shared)


def test_what_does_not_fit_is_refused():
    run, names = tables(1, 0.7), [str(i) for i in range(60)]
    with pytest.raises(ValueError, match="no figure 'map'; there are ap50, ap50_95"):
        paired_difference([run], [run], names, figure="map")
    with pytest.raises(ValueError, match="got 2 candidate and 1 reference runs with 1 lists of clusters"):
        paired_difference([run, run], [run], [names])
    with pytest.raises(ValueError, match="a run has 60 images, its list of clusters has 59"):
        paired_difference([run], [run], names[1:])


def mean_of(values):
    """Return the statistic of the mean, which any textbook knows the interval of."""
    return lambda weights: (weights @ values / weights.sum(1))[None]


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    clusters = [str(i // 3) for i in range(120)]
    for seed in range(200):
        values = np.repeat(rng.normal(0, 1, 40), 3) + rng.normal(0, 1, 120)  # scenes differ, so their images agree
        interval = bootstrap(mean_of(values), clusters, resamples=200, confidence=0.9, seed=seed)[0]
        covered += interval.low <= 0 <= interval.high
    assert 0.83 <= covered / 200 <= 0.95
    single = bootstrap(mean_of(values), [str(i) for i in range(120)], resamples=400, confidence=0.9, seed=0)[0]
    assert single.high - single.low < interval.high - interval.low  # as if images of a scene were independent


def test_the_interval_of_a_mean_has_the_width_of_the_textbook():
    values = np.random.default_rng(1).normal(5, 2, 400)
    interval = bootstrap(mean_of(values), [str(i) for i in range(400)], resamples=4000, confidence=0.95, seed=0)[0]
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)


def test_bounds_are_undefined_without_draws_for_one_scene_and_for_an_undefined_figure():
    values = np.arange(6.0)
    one = bootstrap(mean_of(values), ["a"] * 6, resamples=50, confidence=0.95, seed=0)[0]
    none = bootstrap(mean_of(values), list("abcdef"), resamples=0, confidence=0.95, seed=0)[0]
    assert one.to_dict() == none.to_dict() == {"value": 2.5, "low": None, "high": None}
    undefined = bootstrap(
        lambda weights: np.full((1, len(weights)), np.nan), list("abcdef"), resamples=50, confidence=0.95, seed=0
    )[0]
    assert undefined.to_dict() == {"value": None, "low": None, "high": None}


def test_a_draw_without_the_figure_is_left_out():
    def share_of_first(weights):
        return np.where(weights[:, :1] > 0, 0.5, np.nan).T

    interval = bootstrap(share_of_first, list("abcdef"), resamples=50, confidence=0.95, seed=0)[0]
    assert interval == (0.5, 0.5, 0.5)


def test_draws_do_not_depend_on_how_many_fit_into_memory(monkeypatch):
    values, clusters = np.random.default_rng(2).normal(0, 1, 30), [str(i // 2) for i in range(30)]
    whole = bootstrap(mean_of(values), clusters, resamples=101, confidence=0.95, seed=3)
    monkeypatch.setattr("shelfgap_training.bootstrap._IMAGES_AT_ONCE", 90)
    assert bootstrap(mean_of(values), clusters, resamples=101, confidence=0.95, seed=3) == whole
