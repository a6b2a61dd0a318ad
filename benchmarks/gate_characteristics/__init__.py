"""How often the gate is right: false fails of equal models, drops that it catches, latency on this machine."""
