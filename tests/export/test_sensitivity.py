"""The noise that each layer adds: measured alone and left out alone, ranked, and in decibels that mean something."""

from __future__ import annotations

import math

import numpy as np
import pytest
from export_params import QUANTIZE
from shelfgap_export.quantize import layer_kinds
from shelfgap_export.sensitivity import measure_sensitivity, sqnr_db


def test_decibels():
    signal = np.array([3.0, 4.0], np.float32)
    assert sqnr_db(signal, signal) == math.inf
    assert sqnr_db(signal, np.array([3.0, 4.5], np.float32)) == pytest.approx(20)
    assert sqnr_db(signal, np.array([3.0, 4.05], np.float32)) == pytest.approx(40, abs=0.01)
    noise = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    assert sqnr_db(noise, np.round(noise * 16) / 16) == pytest.approx(
        10 * math.log10(12 * 16**2), abs=0.1
    )  # a step s has a noise of s^2 / 12


@pytest.fixture(scope="module")
def sensitivity(core, frames):
    """AP50 stands in for the number of INT8 layers, so that each change is known."""

    def ap50(model):
        return 100.0 - list(layer_kinds(model).values()).count("int8")

    return measure_sensitivity(core, frames, QUANTIZE, ap50)


def test_each_layer_is_measured_alone_and_left_out(core, sensitivity):
    convolutions = [node.name for node in core.graph.node if node.op_type == "Conv"]
    assert len(sensitivity.layers) == len(convolutions) - 1  # two head outputs, one product
    assert sensitivity.fp32_ap50 == 100
    assert sensitivity.int8_ap50 == 100 - len(sensitivity.layers)
    assert {cost.alone_ap50_change for cost in sensitivity.layers} == {-1}
    assert {cost.without_ap50_gain for cost in sensitivity.layers} == {1}


def test_the_noisiest_layer_comes_first_and_the_noise_of_all_adds_up(sensitivity):
    alone = [cost.alone_sqnr_db for cost in sensitivity.layers]
    assert alone == sorted(alone)
    assert alone[0] > sensitivity.int8_sqnr_db
    summed = -10 * math.log10(sum(10 ** (-value / 10) for value in alone))
    assert sensitivity.int8_sqnr_db == pytest.approx(summed, abs=4)  # nearly independent sources
