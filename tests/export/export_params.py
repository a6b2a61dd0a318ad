"""Parameters of the export tests."""

from __future__ import annotations

from shelfgap_export.params import GateLatencyParams, GateMargins, GateParams, QuantizeParams

QUANTIZE = QuantizeParams(
    calibration_images=12, calibration_method="minmax", device_class="x86-vnni", exclude=(), frame_sizes=()
)
GATE = GateParams(
    min_ap50=0.5,
    min_recall=0.4,
    min_precision=0.3,
    max_int8_ap50_loss=0.01,
    min_slice_ap50=0.2,
    min_slice_recall=0.1,
    alpha=0.05,
    resamples=400,
    seed=0,
    min_groups=10,
    margins=GateMargins(ap50=0.02, recall_at_p90=0.1, latency=0.1, model_size=0.25, memory=0.25),
    latency=GateLatencyParams(pairs=(8, 16), min_seconds=0.01, min_count=11, threads=1, budgets_ms={"camera": 50.0}),
)
