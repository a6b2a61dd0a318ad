"""The page of a verdict, opened in a real browser: everything is there, nothing is fetched, a phone can show it."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import numpy_helper
from patches_workspace import OPEN_GATE
from shelfgap_datasets.coco import load_dataset, save_dataset
from shelfgap_datasets.schema import Box
from shelfgap_edge.bundle import compute_sums
from shelfgap_edge.contract import read_manifest
from shelfgap_flows.gate import gate_bundles
from shelfgap_flows.params import load_params, workspace_params

pytestmark = pytest.mark.slow


def noisier(bundle: Path, target: Path) -> Path:
    """Write a bundle whose float model is the default, with other weights."""
    shutil.copytree(bundle, target)
    model = onnx.load(target / "model.fp32.onnx")
    rng = np.random.default_rng(3)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim == 4:
            moved = values * (1 + rng.normal(0, 0.3, values.shape))
            tensor.CopyFrom(numpy_helper.from_array(moved.astype(values.dtype), tensor.name))
    onnx.save(model, target / "model.fp32.onnx")
    return target


def at(bundle: Path, threshold: float, precision: str) -> Path:
    """Change the operating point of a bundle, so that it misses some boxes that it sees."""
    manifest = replace(read_manifest(bundle), score_thresholds={"gap": threshold}, default_precision=precision)
    (bundle / "manifest.json").write_text(manifest.to_json())
    (bundle / "SHA256SUMS").write_text(compute_sums(bundle))
    return bundle


def with_wrong_labels(source: Path, target: Path) -> Path:
    """Write a dataset in which every third picture has a box where nothing is."""
    shutil.copytree(source, target)
    dataset = load_dataset(target)
    images = [
        replace(image, boxes=(*image.boxes, Box("gap", (96, 70, 120, 90)))) if number % 3 == 0 else image
        for number, image in enumerate(dataset.images)
    ]
    save_dataset(target, replace(dataset, images=tuple(images)))
    return target


@pytest.fixture(scope="module")
def page(patches_bundle, trained, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    values = workspace_params(folder).model_dump(mode="json")
    margins = {"ap50": 0.02, "recall_at_p90": 0.1, "latency": 0.1, "model_size": 9, "memory": 0.25}
    values["gate"].update(OPEN_GATE | {"margins": margins, "resamples": 500})
    values["gate"]["latency"] = {**values["gate"]["latency"], "pairs": [6]}
    values["evaluation"].update(resamples=100)
    values["evaluation"]["slices"]["min_boxes"] = 8
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    data = with_wrong_labels(trained.root, folder / "shelves")
    candidate = at(noisier(patches_bundle, folder / "candidate"), 0.93, "fp32")
    champion = at(Path(shutil.copytree(patches_bundle, folder / "champion")), 0.8, "int8")
    gate_bundles(candidate, champion, data, folder / "gate", load_params(folder / "params.yaml"), split="all")
    return folder / "gate" / "gate.html"


@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_all_of_it(page, width):
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "this test needs chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        tab = browser.new_page(viewport={"width": width, "height": 900})
        said: list[str] = []
        asked: list[str] = []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.as_uri())
        assert tab.title().startswith("Gate: ")
        assert tab.locator("h1").inner_text().removeprefix("Gate: ") in ("pass", "fail", "inconclusive")
        ids = tab.eval_on_selector_all("h2[id]", "titles => titles.map(title => title.id)")
        assert ids == ["checks", "figures", "curves", "slices", "won", "lost", "latency", "origin"]
        assert tab.locator(".card").count() >= 8
        assert tab.locator("[aria-label^='interval of']").count() >= 3
        assert tab.locator("[aria-label^='precision over recall'] polyline").count() == 2
        assert tab.locator("[aria-label='25th percentile of each process'] circle").count() == 12
        assert tab.locator("[aria-label='latency of all frames'] polyline").count() == 2
        sizes = tab.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
        assert len(sizes) >= 2
        assert min(sizes) == 360
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate("Math.min(...[...document.querySelectorAll('p, td, h3')].map(e => e.clientWidth))") > 20
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        assert said == []
        if "SHELFGAP_SCREENSHOTS" in os.environ:
            tab.screenshot(path=Path(os.environ["SHELFGAP_SCREENSHOTS"]) / f"gate-{width}.png", full_page=True)
        browser.close()
