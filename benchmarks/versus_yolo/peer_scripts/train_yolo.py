"""Train YOLO11n from scratch with the defaults of Ultralytics; runs in the peer's environment.

    python train_yolo.py SETTINGS.json

Goes on from `resume.pt`, which is written whole after each epoch, and ends with `best.pt` and `trained.json`. A run
that is bound by time counts the time of all its starts.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import stand_in

stand_in.use()
import torch  # noqa: E402
import ultralytics  # noqa: E402
from ultralytics import YOLO  # noqa: E402


class Progress:
    """Callbacks of one training: they keep what a next start needs, and say how long it takes."""

    def __init__(self, settings, folder, earlier_s):
        self.name, self.hours = settings["name"], settings["hours"]
        self.folder = folder
        self.earlier_s = earlier_s
        self.parent = os.getppid()
        self.first_epoch = 0
        self.in_epoch = False

    def on_train_start(self, trainer):
        """Start the clock of Ultralytics as early as all starts together, and give it every core, as ours has."""
        torch.set_num_threads(len(os.sched_getaffinity(0)))  # its own default leaves one core idle
        self.first_epoch = trainer.start_epoch
        self.started = time.time()
        trainer.train_time_start -= self.earlier_s

    def on_train_epoch_start(self, trainer):
        """A run bound by time divides its time by the epochs since `start_epoch`."""
        trainer.start_epoch = 0
        self.in_epoch = True

    def on_train_batch_end(self, trainer):
        """End with the command that started this."""
        if os.getppid() != self.parent:
            sys.exit("the command is gone")

    def on_model_save(self, trainer):
        """Keep copies that are whole at any time: Ultralytics writes its own in place."""
        if trainer.best_fitness == trainer.fitness:
            copy_whole(trainer.best, self.folder / "resume_best.pt")
        copy_whole(trainer.last, self.folder / "resume.pt")

    def on_fit_epoch_end(self, trainer):
        """Print a line an epoch."""
        if not self.in_epoch:
            return  # the validation of the best weights, after the last epoch
        self.in_epoch = False
        done = trainer.epoch + 1
        each_s = (time.time() - self.started) / (done - self.first_epoch)
        left_s = each_s * (trainer.epochs - done)
        if self.hours is not None:
            left_s = max(0.0, 3600 * self.hours - (time.time() - trainer.train_time_start))
        ap50 = trainer.metrics.get("metrics/mAP50(B)", float("nan"))
        minutes, seconds = divmod(round(left_s), 60)
        text = f"{self.name}: epoch {done}/{trainer.epochs} val AP50 {ap50:.3f}, {each_s:.1f} s each"
        print(f"{text}, {minutes}:{seconds:02d} left", flush=True)

    def callbacks(self):
        """Return name and function of each."""
        return {name: getattr(self, name) for name in dir(self) if name.startswith("on_")}


def main():
    """Train what is left."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(settings["folder"])
    resume, best = folder / "resume.pt", folder / "ultralytics" / "weights" / "best.pt"
    earlier_s, epochs, finished = 0.0, settings["epochs"], False
    if resume.is_file():
        model = YOLO(str(resume))
        earlier_s = float((model.ckpt["train_results"].get("time") or [0.0])[-1])
        planned = model.ckpt["train_args"]["epochs"]
        late = settings["hours"] is not None and earlier_s >= 3600 * settings["hours"]
        finished = late or model.ckpt["epoch"] + 1 >= planned
        shutil.copyfile(folder / "resume_best.pt", best)
    else:
        model = YOLO("yolo11n.yaml")
    if not finished:
        progress = Progress(settings, folder, earlier_s)
        for name, function in progress.callbacks().items():
            model.add_callback(name, function)
        common = {"data": settings["data"], "imgsz": settings["image_size"], "device": "cpu", "time": settings["hours"]}
        common |= {"plots": False, "workers": 0}
        if resume.is_file():
            model.train(resume=True, **common)
        else:
            place = {"project": str(folder), "name": "ultralytics", "exist_ok": True}
            model.train(epochs=epochs, pretrained=False, verbose=False, **place, **common)
    last = torch.load(resume, map_location="cpu", weights_only=False)
    trained = {
        "seconds": round(float(last["train_results"]["time"][-1]), 1),
        "epochs": last["epoch"] + 1,
        "threads": len(os.sched_getaffinity(0)),
        "device": "cpu",
        "versions": {"ultralytics": ultralytics.__version__, "torch": torch.__version__},
    }
    copy_whole(folder / "resume_best.pt", folder / "best.pt")
    partial = folder / "trained.json.tmp"
    partial.write_text(json.dumps(trained))
    partial.replace(folder / "trained.json")


def copy_whole(source, target):
    """Copy a file so that its name only ever shows a whole one."""
    partial = target.with_suffix(".tmp")
    shutil.copyfile(source, partial)
    partial.replace(target)


if __name__ == "__main__":
    main()
