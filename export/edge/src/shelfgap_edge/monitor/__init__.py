"""From what a detector saw in single frames to alerts: state over time, in numbers, never pixels."""
