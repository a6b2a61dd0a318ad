"""Nothing is lost: a replay killed at random moments, its sinks down for half the time, its disk full for a while."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from alerts_under_fire import run
from broker import need_mosquitto

CLEAN = {"lost": 0, "unknown": 0, "repeats_with_another_body": 0, "zones_out_of_order": 0}


def fire(work, monkeypatch, **numbers):
    need_mosquitto()
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
    figures = run(work, **numbers)
    for sink in ("web", "bus"):
        assert {name: figures[sink][name] for name in CLEAN} == CLEAN, figures
    assert (figures["forged"], figures["still_waiting"]) == (0, 0), figures
    return figures


def test_a_few_kills(tmp_path, monkeypatch):
    fire(tmp_path, monkeypatch, alerts=15, kills=6, life_s=0.5)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are Linux's")
def test_many_kills(tmp_path, monkeypatch):
    figures = fire(tmp_path, monkeypatch, alerts=150, kills=60, life_s=1.0)
    assert figures["times_that_writing_failed"] > 0, "the disk was full and nobody noticed"
    assert figures["web"]["repeats"] + figures["bus"]["repeats"] > 0, "no kill fell between a delivery and its note"
