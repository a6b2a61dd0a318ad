"""Our presets against Ultralytics YOLO11n on the same photographs: `python benchmarks/versus_yolo --help`."""
