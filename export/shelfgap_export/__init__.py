"""From checkpoint to bundle: ONNX, INT8, parity, evaluation, gate, bundle."""
