"""Facings that a camera learns by itself where nobody drew zones."""

from __future__ import annotations

from dataclasses import replace

from monitor_readings import FULL, GAP, NOON, ON_RIGHT, PARAMS, monitor, watch


def test_facings_are_learnt_where_nobody_drew_zones():
    watched = monitor(zones=())
    wider = {"gap": [(0.03, 0.2, 0.3, 0.8)]}  # the neighbour sold out too
    told = watch(watched, FULL, *[GAP] * 4, *[wider] * 4, *[FULL] * 3)
    assert told == [(3, "opened", "gap", "facing-1"), (10, "resolved", "gap", "facing-1")]
    assert [zone.name for zone in watched.zones] == ["facing-1"]
    assert watched.glance_zones == ()
    told = watch(watched, *[{"gap": [ON_RIGHT]}] * 4, start=NOON + 7200)
    assert told == [(2, "opened", "gap", "facing-2")]


def test_a_place_of_one_wrong_box_is_forgotten():
    watched = monitor(zones=())
    watch(watched, FULL, GAP, FULL, FULL, FULL)
    assert watched.zones == ()
    many = [{"gap": [(0.001 * n, 0.1 * (n % 9), 0.001 * n + 0.0005, 0.1 * (n % 9) + 0.05)]} for n in range(500)]
    watch(watched, *many, start=NOON + 7200)
    assert len(watched.zones) <= 64


def test_facings_at_rest_make_room_for_new_ones():
    watched = monitor(zones=())
    for place in range(80):
        box = (0.1 * (place % 10), 0.1 * (place // 10), 0.1 * (place % 10) + 0.05, 0.1 * (place // 10) + 0.05)
        told = watch(watched, *[{"gap": [box]}] * 3, *[FULL] * 3, start=NOON + 3600 * place)
        assert [(action, zone) for _, action, _, zone in told] == [
            ("opened", f"facing-{place + 1}"),
            ("resolved", f"facing-{place + 1}"),
        ]
    assert [zone.name for zone in watched.zones] == [f"facing-{number}" for number in range(25, 81)]


def test_without_zones_and_without_learning_the_whole_view_is_one_zone():
    told = watch(monitor(replace(PARAMS, learn_facings=False), zones=()), *[GAP] * 4)
    assert told == [(2, "opened", "gap", "view")]
