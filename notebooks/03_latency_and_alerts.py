# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Latency and alerts
#
# What a released bundle costs on this machine, and what its detections become over a day: from frames to alerts. Run
# `make release` first; set `SHELFGAP_WORKSPACE` for another workspace than the repository, and `SHELFGAP_DAYS` for
# shelf-days that are there already.

# %%
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from IPython.display import Image, Markdown, display
from matplotlib import pyplot as plt
from PIL import Image as Picture
from shelfgap_datasets.synthetic.shelf_days import synthesize_days
from shelfgap_edge.bench.detectors import bench_bundle
from shelfgap_edge.bench.fleet import Cameras
from shelfgap_edge.bench.plan import Plan, head_of
from shelfgap_edge.bench.scenarios import run_scenario
from shelfgap_edge.bench.table import to_table
from shelfgap_edge.bench.variants import load_subject
from shelfgap_edge.image import decode_jpeg
from shelfgap_edge.monitor.camera import CameraMonitor
from shelfgap_edge.runtime import Detector
from shelfgap_flows.workspace import Workspace
from shelfgap_training.gallery import contact_sheet
from shelfgap_training.report import figure_text, markdown_table
from shelfgap_training.temporal.chart import draw_day
from shelfgap_training.temporal.days import read_days
from shelfgap_training.temporal.figures import TEMPORAL_TITLES
from shelfgap_training.temporal.replay import replay
from shelfgap_training.temporal.seen import read_all
from shelfgap_training.temporal.sweep import SWEPT, measure, sweep
from shelfgap_training.temporal.trade_off import draw_trade_off

here = Path.cwd()
workspace = Workspace(Path(os.environ.get("SHELFGAP_WORKSPACE", here.parent if here.name == "notebooks" else here)))
params = workspace.params()
temporary = TemporaryDirectory()
scratch = Path(temporary.name)

# %% [markdown]
# ## One frame after another
# From the bytes of a JPEG to boxes, both models of the bundle in turns. `p90` is a latency that 90 % of frames do not
# exceed, with 99 % confidence; the last lines say what other percentiles would take.

# %%
report = bench_bundle(workspace.bundle, min_seconds=2.0, min_count=100)
print(to_table(report))

# %%
stages = ("decode", "preprocess", "inference", "postprocess")
figure, axes = plt.subplots(figsize=(8, 1.6), layout="constrained")
for row, run in enumerate(report["runs"]):
    left = 0.0
    for index, stage in enumerate(stages):
        median = run["latency_ms"][stage]["median"]
        axes.barh(row, median, left=left, color=f"C{index}", label=stage if row == 0 else None)
        left += median
axes.set_yticks(range(len(report["runs"])), [run["name"] for run in report["runs"]])
axes.set_xlabel("milliseconds a frame, medians of the stages")
axes.legend(ncols=4, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
plt.show()

# %% [markdown]
# ## A store of cameras
# Frames fall due whether or not the worker is ready, and wait. Ten seconds of 1,500 cameras with a frame a minute each:
# how long until the verdict, and how busy is the worker?

# %%
subject = load_subject(workspace.bundle)
plan = Plan("fleet", min_seconds=10.0, min_count=1, cameras=Cameras(count=1500, interval_s=60.0))
print(to_table(run_scenario(subject, plan, head_of(subject, plan))))

# %% [markdown]
# ## A day before a camera
# A synthetic day: shoppers buy and stand in front, clerks fill up, the light changes. Four of its frames.

# %%
if "SHELFGAP_DAYS" in os.environ:
    root = Path(os.environ["SHELFGAP_DAYS"])
else:
    root = scratch / "days"
    synthesize_days(root, params.shelf_day.model_copy(update={"days": 1}))
days = read_days(root)
day = days[0]
frames = [root / "images" / day.files[len(day.files) * part // 4] for part in range(4)]
display(Picture.fromarray(contact_sheet([decode_jpeg(path.read_bytes()).pixels for path in frames], 4, (240, 320))))
gaps = len(day.gaps(params.timeline.min_gap_minutes))
print(f"{len(day.zones)} facings; {gaps} gaps that lasted longer than {params.timeline.min_gap_minutes:g} minutes")

# %% [markdown]
# ## From frames to alerts
# The detector looks at each frame once. A monitor then decides, from numbers alone, when somebody is told. Each row is
# a facing: orange is low stock, red a gap, a black line an alert while it was open. A cross is a false alert, a ring a
# gap of which nobody was told.

# %%
detector = Detector.load(workspace.bundle, threads=os.cpu_count() or 1)
readings = read_all(detector, root, days, scratch / "seen.jsonl")
settings = params.monitor.on_device()
draw_day(scratch / "day.png", day, replay(day, readings[day.name], settings, params.timeline.min_gap_minutes))
display(Image((scratch / "day.png").read_bytes()))

# %% [markdown]
# The first steps that the staff hears of:

# %%
monitor = CameraMonitor(day.name, day.zones, settings)
events = [event for reading in readings[day.name] for event in monitor.observe(reading)]
minutes = [f"{(event.at - day.times[0]) / 60:.0f}" for event in events]
rows = [[m, e.zone, e.kind, e.action, e.priority] for m, e in zip(minutes, events, strict=True)]
display(Markdown(markdown_table(["minute", "zone", "kind", "step", "priority"], rows[:12])))

# %% [markdown]
# ## What holding frames back brings
# A frame in which somebody stands before a zone, or whose view changed suddenly, says nothing of that zone. The same
# day with every frame counted:

# %%
point = measure(days, readings, settings, params.timeline.min_gap_minutes, params.evaluation)
rows = [
    [title, figure_text(point.figures[name], 2), figure_text(point.without_holds[name], 2)]
    for name, title in TEMPORAL_TITLES.items()
]
display(Markdown(markdown_table(["", "frames held back", "all frames counted"], rows)))

# %% [markdown]
# ## Scores and persistence
# Many gaps told and often wrong, or fewer and right: how sure must boxes be, and how long must they be seen?
# `timeline` of params.yaml says what is tried; one day decides little, `shelfgap evaluate --timeline --sweep` does the
# same on many.

# %%
tried = sweep(days, readings, settings, params.timeline, params.evaluation)
draw_trade_off(scratch / "trade_off.png", tried, params.timeline)
display(Image((scratch / "trade_off.png").read_bytes()))
print(", ".join(f"{name} {getattr(tried.chosen.params, name):g}" for name in SWEPT))
temporary.cleanup()
