"""Parameters of the export tests."""

from __future__ import annotations

from shelfgap_export.params import GateParams, QuantizeParams

QUANTIZE = QuantizeParams(
    calibration_images=12, calibration_method="minmax", device_class="x86-vnni", exclude=(), frame_sizes=()
)
GATE = GateParams(min_ap50=0.5, min_recall=0.4, min_precision=0.3, max_int8_ap50_loss=0.01)
