"""The gate: every floor judged by itself, an unknown figure never passes, the reason names what failed."""

from __future__ import annotations

import json

import pytest
from export_params import GATE
from shelfgap_export.gate import judge


def evaluation(ap50=0.6, recall=0.5, precision=0.5):
    figures = {"ap50": ap50, "recall": recall, "precision": precision}
    return {name: {"value": value, "low": None, "high": None} for name, value in figures.items()}


def test_a_candidate_on_the_floors_passes():
    verdict = judge(evaluation(0.5, 0.4, 0.3), evaluation(0.51), GATE)
    assert (verdict.verdict, verdict.reason) == ("pass", "all 4 checks hold")


@pytest.mark.parametrize(
    ("int8", "fp32", "reason"),
    [
        (evaluation(ap50=0.4999), evaluation(0.5), "int8 ap50 is 0.4999, must be at least 0.5"),
        (evaluation(recall=0.39), evaluation(), "int8 recall is 0.3900, must be at least 0.4"),
        (evaluation(precision=0.0), evaluation(), "int8 precision is 0.0000, must be at least 0.3"),
        (evaluation(0.6), evaluation(0.6101), "ap50 lost to int8 is 0.0101, must be at most 0.01"),
        (evaluation(recall=None), evaluation(), "int8 recall is unknown, must be at least 0.4"),
        (evaluation(0.6), evaluation(None), "ap50 lost to int8 is unknown, must be at most 0.01"),
    ],
)
def test_each_floor_fails_by_itself(int8, fp32, reason):
    verdict = judge(int8, fp32, GATE)
    assert (verdict.verdict, verdict.reason) == ("fail", reason)
    assert [check.passed for check in verdict.checks].count(False) == 1


def test_the_report_is_json_with_value_bound_and_rule():
    report = json.loads(json.dumps(judge(evaluation(0.7), evaluation(0.7), GATE).to_dict()))
    assert report["schema"] == "shelfgap-gate/1"
    assert report["checks"][0] == {
        "name": "int8 ap50",
        "value": 0.7,
        "bound": 0.5,
        "rule": "at least",
        "passed": True,
    }
