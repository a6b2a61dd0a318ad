"""Energy counters of the kernel: added up, wrapping, absent."""

from __future__ import annotations

import re

import pytest
from shelfgap_edge.bench.energy import EnergyMeter
from shelfgap_edge.bench.harness import Pipeline, measure
from shelfgap_edge.bench.report import timing_run


@pytest.fixture
def powercap(tmp_path):
    """Two packages, and zones that are part of one or hold both."""

    def zone(folder, name, energy):
        path = tmp_path / folder
        path.mkdir()
        for file, text in (("name", name), ("energy_uj", energy), ("max_energy_range_uj", 1_000_000_000)):
            (path / file).write_text(f"{text}\n")

    zone("intel-rapl:0", "package-0", 1_000_000)
    zone("intel-rapl:1", "package-1", 999_000_000)
    zone("intel-rapl:0:0", "core", 5)
    zone("intel-rapl:2", "psys", 5)
    zone("intel-rapl-mmio:0", "package-0", 5)  # the same package again
    return tmp_path


def counts(powercap, folder, energy):
    (powercap / folder / "energy_uj").write_text(f"{energy}\n")


def test_packages_are_added_up_and_a_counter_may_wrap(powercap):
    meter = EnergyMeter(powercap)
    assert meter.joules() == 0
    counts(powercap, "intel-rapl:0", 4_000_000)
    counts(powercap, "intel-rapl:1", 1_000_000)  # past 1 000 000 000
    for other in ("intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"):
        counts(powercap, other, 900)
    assert meter.joules() == pytest.approx(3 + 2)
    assert meter.joules() == 0


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("no folder", "shows no energy counter"),
        ("one package unreadable", "cannot be read here"),
        ("gone later", "cannot be read here .No such file"),
    ],
)
def test_what_is_not_metered_whole_has_no_figure_and_a_reason(powercap, damage, reason):
    counter = powercap / "intel-rapl:1" / "energy_uj"
    if damage == "one package unreadable":
        counter.write_text("")
    meter = EnergyMeter(powercap / "none" if damage == "no folder" else powercap)
    if damage == "gone later":
        assert meter.absence is None
        counter.unlink()
    assert meter.joules() is None
    assert re.search(reason, meter.absence)


def test_a_pipeline_is_charged_for_its_own_rounds(powercap):
    """Each frame of one uses 2 J, of the other 6 J; what is used between rounds is nobody's."""
    used = {"total": 1_000_000}

    def spend(microjoules):
        def stage(value):
            used["total"] += microjoules
            counts(powercap, "intel-rapl:0", used["total"] % 1_000_000_000)
            return value

        return stage

    pipelines = [Pipeline("small", {"work": spend(2_000_000)}), Pipeline("large", {"work": spend(6_000_000)})]
    timings = measure(pipelines, [0], min_seconds=0, min_count=160, warmup_count=3, meter=EnergyMeter(powercap))
    runs = [timing_run(timing, threads=1) for timing in timings]
    assert [run["energy"]["joules_per_frame"] for run in runs] == [pytest.approx(2), pytest.approx(6)]
    assert measure(pipelines, [0], min_seconds=0, min_count=8)[0].joules is None
