"""Export trained weights to ONNX and score them by Ultralytics' own `val`; runs in the peer's environment.

python export_yolo.py SETTINGS.json
"""

import json
import shutil
import sys
from pathlib import Path

import stand_in

stand_in.use()
from ultralytics import YOLO  # noqa: E402


def main():
    """Write `model.fp32.onnx` and `exported.json`."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    folder, size = Path(settings["folder"]), settings["image_size"]
    weights = folder / "best.pt"
    made = YOLO(str(weights)).export(format="onnx", imgsz=size, opset=20, simplify=False, device="cpu")
    target = folder / "model.fp32.onnx"
    shutil.move(made, target)
    place = {"project": str(folder / "ultralytics"), "exist_ok": True, "plots": False, "device": "cpu", "workers": 0}
    figures = {}
    for name, path in (("onnx", target), ("torch", weights)):
        model = YOLO(str(path), task="detect")
        rule = {"conf": 0.001, "iou": 0.7, "batch": 1, "imgsz": size}  # what `val` does by default
        box = model.val(data=settings["data"], split="test", name=f"val-{name}", verbose=False, **rule, **place).box
        figures[name] = {"ap50": float(box.map50), "ap50_95": float(box.map)}
    (folder / "exported.json").write_text(json.dumps({"ultralytics_val": figures}))


if __name__ == "__main__":
    main()
