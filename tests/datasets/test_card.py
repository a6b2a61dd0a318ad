"""The dataset card says what is in the dataset, and opens in a real browser."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from shelfgap_datasets.card.facts import collect_facts
from shelfgap_datasets.card.page import to_html, to_markdown
from shelfgap_datasets.coco import load_dataset, save_dataset
from shelfgap_datasets.params import DuplicateParams, SplitParams, SynthParams
from shelfgap_datasets.schema import Rejection
from shelfgap_datasets.split import split_dataset
from shelfgap_datasets.synthetic.stills import synthesize

DUPLICATES = DuplicateParams(max_hash_distance=6, max_turned_distance=10)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Thirty stills in three splits, with a copy of one, a picture without licence and a rejected record."""
    root = tmp_path_factory.mktemp("card") / "shelves <one>"
    synthesize(
        root, SynthParams(count=30, seed=3, height=240, width=320, shelves_per_scene=2, products=None), workers=1
    )
    dataset = load_dataset(root)
    first = dataset.images[0]
    shutil.copyfile(root / "images" / first.file_name, root / "images" / "copy.jpg")
    images = (*dataset.images[:-1], replace(dataset.images[-1], license="unstated"))
    images = (*images, replace(first, file_name="copy.jpg", source="copy"))
    rejected = (Rejection("x.json: [3]", "an annotation without a picture", "add it"),)
    split = SplitParams(val_fraction=0.3, test_fraction=0.3, salt="s")
    save_dataset(root, split_dataset(root, replace(dataset, images=images, rejections=rejected), split, DUPLICATES))
    return root


@pytest.fixture(scope="module")
def facts(root):
    return collect_facts(root, DUPLICATES, pictures=8)


def test_the_figures_are_those_of_the_dataset(root, facts):
    dataset = load_dataset(root)
    assert facts.images == 31
    assert sum(facts.splits.values()) == 31
    boxes = [box.class_name for image in dataset.images for box in image.boxes]
    for name, by_split in facts.boxes.items():
        assert sum(by_split.values()) == boxes.count(name)
    area, aspect, per_image, light = facts.histograms
    assert sum(area.counts["gap"]) == sum(aspect.counts["gap"]) == boxes.count("gap")
    assert sum(per_image.counts["gap"]) == 31
    assert sum(map(sum, light.counts.values())) == 31
    assert facts.licenses == (("CC0-1.0", 30), ("unstated", 1))
    assert any({"copy.jpg", dataset.images[0].file_name} <= set(names) for names in facts.duplicates)
    assert "1 pictures without a stated licence" in facts.faults
    assert facts.rejections == (("an annotation without a picture", 1),)
    assert len(facts.thumbnails) == 8
    assert 0 < facts.positions["gap"].max() <= 1


def test_the_markdown_has_every_section(facts):
    text = to_markdown(facts)
    for title in ("Sources and licences", "Boxes", "Split", "Area", "Light", "Near-duplicates", "Known faults"):
        assert f"## {title}" in text
    assert "| an annotation without a picture | 1 |" in text


@pytest.mark.slow
@pytest.mark.parametrize("width", [380, 1280])
def test_a_browser_shows_all_of_it(tmp_path, facts, width):
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "this test needs chromium: apt-get install chromium"
    page_file = tmp_path / "card.html"
    page_file.write_text(to_html(facts), encoding="utf-8")
    with sync_playwright() as playwright:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": width, "height": 900})
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(page_file.as_uri())
        assert page.title() == "Dataset card: shelves <one>"
        assert page.locator("h1").inner_text() == "shelves <one>"
        sizes = page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
        assert len(sizes) == 8
        assert min(sizes) > 0
        assert page.locator("svg rect[height]").count() > 50
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ids = page.eval_on_selector_all("h2[id]", "titles => titles.map(title => title.id)")
        assert ids == ["sources", "faults", "split", "pictures", "distributions", "duplicates"]
        assert said == []
        browser.close()


def test_a_dataset_without_a_region_that_says_nothing_is_not_faulty(root, tmp_path):
    dataset = load_dataset(root)
    image = replace(dataset.images[0], boxes=())
    shutil.copytree(root / "images", tmp_path / "images")
    save_dataset(tmp_path, replace(dataset, images=(image,), annotated_classes=("gap", "ignore")))
    seen = [fault for fault in collect_facts(tmp_path, DUPLICATES).faults if "never seen" in fault]
    assert seen == ["the class gap was labelled but never seen"]
