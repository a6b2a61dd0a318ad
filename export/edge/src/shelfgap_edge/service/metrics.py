"""What the service counts, for Prometheus. Labels come from the configuration or the code, never from a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0)
_STAGE_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """One registry and what is in it."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they double what 1,500 cameras give to scrape
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.frames = Counter("shelfgap_frames", "Frames by how they ended.", ["camera", "outcome"], registry=registry)
        self.refused = Counter("shelfgap_refused", "Requests refused, by reason.", ["reason"], registry=registry)
        self.shed = Counter("shelfgap_shed", "Frames without a verdict, by reason.", ["reason"], registry=registry)
        self.latency = Histogram(
            "shelfgap_frame_latency_seconds", "From arrival to verdict.", buckets=_SECONDS, registry=registry
        )
        self.stages = Histogram(
            "shelfgap_frame_stage_seconds",
            "Parts of it: wait, decode, detect, judge.",
            ["stage"],
            buckets=_STAGE_SECONDS,
            registry=registry,
        )
        self.alerts = Counter("shelfgap_alert_events", "Steps of alerts.", ["kind", "action"], registry=registry)
        self.held_back = Counter(
            "shelfgap_frames_held_back", "Frames judged that counted for no zone.", ["camera"], registry=registry
        )
        self.switches = Counter("shelfgap_bundle_switches", "Bundles taken or refused.", ["outcome"], registry=registry)
        self.reloads = Counter("shelfgap_reloads", "Reloads of the configuration.", ["outcome"], registry=registry)
        self.clock_steps = Counter("shelfgap_clock_steps", "How often the clock was set.", registry=registry)
        self.bundle = Gauge(
            "shelfgap_bundle_info",
            "The bundle that runs.",
            ["name", "version", "precision", "runtime", "signature"],
            registry=registry,
        )

    def watch(self, name: str, about: str, read: Callable[[], float]) -> None:
        """Show a number that is read at each scrape."""
        Gauge(name, about, registry=self.registry).set_function(read)

    def watch_by(
        self, labels: Sequence[str], name: str, about: str, read: Callable[[], Mapping[tuple[str, ...], float]]
    ) -> None:
        """Show a number for each tuple of labels that is read at each scrape; a count, where the name ends so."""
        self.registry.register(_ByLabels(labels, name, about, read))

    def frames_by_outcome(self) -> dict[str, dict[str, int]]:
        """Return how many frames of each camera ended how, since the start."""
        counts: dict[str, dict[str, int]] = {}
        for sample in next(iter(self.frames.collect())).samples:
            if sample.name.endswith("_total"):
                counts.setdefault(sample.labels["camera"], {})[sample.labels["outcome"]] = int(sample.value)
        return counts

    def text(self) -> bytes:
        """Return all of it in the text format."""
        return generate_latest(self.registry)


class _ByLabels(Collector):
    def __init__(
        self, labels: Sequence[str], name: str, about: str, read: Callable[[], Mapping[tuple[str, ...], float]]
    ) -> None:
        self._labels, self._name, self._about, self._read = labels, name, about, read

    def _family(self) -> CounterMetricFamily | GaugeMetricFamily:
        family = CounterMetricFamily if self._name.endswith("_total") else GaugeMetricFamily
        return family(self._name, self._about, labels=self._labels)

    def describe(self) -> Iterable[Metric]:
        """Return the name without a value, so that registering reads nothing yet."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """Return the values of now."""
        family = self._family()
        for labels, value in self._read().items():
            family.add_metric(labels, value)
        return [family]
