"""Latency benchmark harness; it knows nothing of the model."""
