"""Ingestion as a user runs it: versions, kills, two at once, a held lock, a remote, sources that bring nothing."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest
from labelled_pictures_for_flows import write_coco_folder
from shelfgap_datasets.coco import load_dataset, load_rejections
from shelfgap_datasets.intake.importer import import_source
from shelfgap_datasets.merge import Part, merge_datasets
from shelfgap_datasets.schema import Twin
from shelfgap_flows import ingest as flow
from shelfgap_flows.ingest import IngestOptions, import_shard, version
from shelfgap_flows.versions import versions_folder
from shelfgap_flows.workspace import open_workspace

pytestmark = pytest.mark.slow

_SERVER = "PREFECT_API_URL"
SHELFGAP = (str(Path(sys.executable).parent / "shelfgap"),)
RIGHTS = ("--license", "CC-BY-4.0", "--consent", "no-persons")


SMALL_SHARDS = "import shelfgap_flows.ingest as i, shelfgap_flows.cli as c; i._SHARD_PICTURES = 10; c.main()"


def start(
    workspace: Path, source: Path, name: str, *options: str, program: Sequence[str] = SHELFGAP
) -> subprocess.Popen[str]:
    command = [*program, "data", "ingest", str(source), "--name", name]
    environment = {k: v for k, v in os.environ.items() if k == _SERVER or not k.startswith(("PREFECT_", "SHELFGAP_"))}
    return subprocess.Popen(
        [*command, *(() if "--corrections" in options else RIGHTS), *options, "--workspace", str(workspace), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=workspace.parent,
    )


def ingest(workspace: Path, source: Path, name: str, *options: str, **how: object) -> tuple[int, dict, str]:
    with start(workspace, source, name, *options, **how) as process:
        out, err = process.communicate(timeout=300)
    return process.returncode, json.loads(out.splitlines()[-1]) if out.strip() else {}, err


def current(workspace: Path) -> str:
    return json.loads((workspace / "data" / "current.json").read_text())["version"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, prefect_db):
    """A workspace with the first version of twenty pictures, and a remote."""
    root = tmp_path_factory.mktemp("ingest")
    write_coco_folder(root / "lyon", groups=20)
    code, result, err = ingest(root / "w", root / "lyon", "lyon")
    assert code == 0, err
    assert (result["version"], result["images"], result["is_new"]) == ("v0001", 20, True)
    return root


def test_the_first_version_is_tracked_checked_and_has_a_card(place, prefect_db):
    workspace = place / "w"
    assert (workspace / "data" / "versions" / "v0001.dvc").is_file()
    assert (workspace / "reports" / "datasets" / "v0001" / "card.html").is_file()
    dataset = load_dataset(workspace / "data" / "versions" / "v0001")
    assert {image.split for image in dataset.images} == {"train", "val", "test"}
    with closing(sqlite3.connect(prefect_db)) as store:
        keys = {key for (key,) in store.execute("select key from artifact")}
        names = {name for (name,) in store.execute("select name from flow_run")}
    assert {"dataset-check", "dataset-diff"} <= keys
    assert names


def test_more_comes_nothing_moves_and_the_same_again_is_no_version(place):
    workspace = place / "w"
    write_coco_folder(place / "nice", groups=26)
    for path in (place / "nice").glob("*.jpg"):  # six pictures that are not in Lyon
        if (place / "lyon" / path.name).exists():
            path.unlink()
    document = json.loads((place / "nice" / "labels.json").read_text())
    code, result, err = ingest(workspace, place / "nice", "nice", "--push")
    assert code == 1
    assert "no remote storage to push to; add one there with: dvc remote add -d NAME URL" in err
    assert current(workspace) == "v0001"
    assert "Traceback" not in err
    dvc = [sys.executable, "-m", "dvc", "remote", "add", "-d", "store", str(place / "remote")]
    subprocess.run(dvc, cwd=workspace, check=True, capture_output=True)
    code, result, err = ingest(workspace, place / "nice", "nice", "--push")
    assert code == 0, err
    assert (result["version"], result["images"], result["added"], result["rejected"]) == ("v0002", 26, 6, 20)
    assert len(document["images"]) == 26
    assert any((place / "remote").rglob("*.dir"))
    before, after = (load_dataset(workspace / "data" / "versions" / name) for name in ("v0001", "v0002"))
    sides = {image.sha256: image.split for image in after.images}
    assert all(sides[image.sha256] == image.split for image in before.images)
    assert all(r.source.startswith("nice/") for r in load_rejections(workspace / "data" / "versions" / "v0002"))
    code, result, err = ingest(workspace, place / "nice", "nice")
    assert (code, result["version"], result["is_new"]) == (0, "v0002", False), err


def test_a_source_that_brings_nothing_leaves_the_last_good_version(place):
    workspace, before = place / "w", current(place / "w")
    (place / "empty").mkdir()
    code, _, err = ingest(workspace, place / "empty", "empty")
    assert code == 1
    assert f"no pictures in this folder; expected labelled photographs; the current version stays {before}" in err
    assert "Traceback" not in err
    write_coco_folder(place / "paris", groups=30)  # the first 26 are known
    code, _, err = ingest(workspace, place / "paris", "paris", "--consent", "notice")
    assert code == 1
    assert "occluder was not labelled" in err
    assert "or pass --no-redact" in err
    assert current(workspace) == before


def test_corrected_labels_come_back_as_the_next_version(place):
    workspace, before = place / "w", current(place / "w")
    shelfgap = str(Path(sys.executable).parent / "shelfgap")
    export = [shelfgap, "data", "export", f"w/data/versions/{before}", "--format", "cvat", "--to", "review"]
    subprocess.run(export, cwd=place, check=True, capture_output=True)
    page = place / "review" / "annotations.xml"
    page.write_text(page.read_text().replace('xtl="10.0000"', 'xtl="4.0000"', 2))
    code, result, err = ingest(workspace, place / "review", "review", "--corrections")
    assert code == 0, err
    assert (result["is_new"], result["added"]) == (True, 0)
    old, new = (load_dataset(workspace / "data" / "versions" / name) for name in (before, result["version"]))
    assert [image.split for image in old.images] == [image.split for image in new.images]
    changed = [(a, b) for a, b in zip(old.images, new.images, strict=True) if a.boxes != b.boxes]
    assert [(a.boxes[0].xyxy[0], b.boxes[0].xyxy[0]) for a, b in changed] == [(10.0, 4.0)] * 2


def test_an_ingestion_that_was_killed_goes_on(tmp_path):
    write_coco_folder(tmp_path / "lyon", groups=20)
    process = start(tmp_path / "w", tmp_path / "lyon", "lyon")
    deadline = time.monotonic() + 120
    while not list((tmp_path / "w" / ".ingest").glob("*/joined")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.stdout.close()  # its server lives on for a moment and holds the pipes
    process.stderr.close()
    process.wait()
    assert not (tmp_path / "w" / "data" / "current.json").exists()
    (imported,) = (tmp_path / "w" / ".ingest").glob("*/imported-0000")
    made = imported.stat().st_mtime_ns
    process = start(tmp_path / "w", tmp_path / "lyon", "lyon")
    while not list((tmp_path / "w" / "data").glob("versions/v0001")):
        assert imported.stat().st_mtime_ns == made  # not imported again
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["version"] == current(tmp_path / "w") == "v0001"
    assert not any((tmp_path / "w" / ".ingest").iterdir())


def test_a_link_that_leads_nowhere_costs_nothing_else(tmp_path):
    write_coco_folder(tmp_path / "lyon", groups=6)
    (tmp_path / "lyon" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    code, result, err = ingest(tmp_path / "w", tmp_path / "lyon", "lyon")
    assert (code, result.get("images")) == (0, 6), err


def test_a_number_that_another_ingestion_took_meanwhile_is_not_taken_for_ours(tmp_path):
    """Ours was killed when it had noted its number; the push of the other one failed, so nothing else changed."""
    workspace = open_workspace(tmp_path / "w")
    for name, groups in (("ours", 4), ("theirs", 3)):
        write_coco_folder(tmp_path / name, groups=groups)
    place, joined = tmp_path / "place", tmp_path / "place" / "joined"
    given = {"class_aliases": workspace.params().dataset.class_aliases, "license": "CC0-1.0", "consent": "no-persons"}
    import_source(tmp_path / "ours", joined, **given)
    import_source(tmp_path / "theirs", versions_folder(workspace) / "v0001", **given)
    (place / "version").write_text("v0001")
    for _ in range(2):  # and what is ours is found again
        name = version.fn(workspace, place, joined)
        assert name == "v0002"
        assert len(load_dataset(versions_folder(workspace) / name).images) == 4


def test_two_at_once_and_a_held_dvc_lock_are_waited_for(tmp_path):
    import zc.lockfile

    write_coco_folder(tmp_path / "lyon", groups=20)
    code, _, err = ingest(tmp_path / "w", tmp_path / "lyon", "lyon")
    assert code == 0, err
    held = zc.lockfile.LockFile(str(tmp_path / "w" / ".dvc" / "tmp" / "lock"))
    for name, count in (("nice", 22), ("brest", 24)):
        write_coco_folder(tmp_path / name, groups=count)
    for name in ("uuuu", "vvvv"):  # each brings two pictures that the other has not
        (tmp_path / "brest" / f"{name}.jpg").unlink()
    both = [start(tmp_path / "w", tmp_path / name, name) for name in ("nice", "brest")]
    deadline = time.monotonic() + 120
    while not list((tmp_path / "w" / "data" / "versions").glob("v0002")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(5)  # longer than DVC itself would wait
    assert not (tmp_path / "w" / "data" / "versions" / "v0002.dvc").exists()
    held.close()
    for process in both:
        with process:
            _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
    assert current(tmp_path / "w") == "v0003"
    assert len(load_dataset(tmp_path / "w" / "data" / "versions" / "v0003").images) == 24


def test_a_shard_of_which_nothing_can_be_used_costs_its_own_pictures_only(tmp_path, prefect_db):
    source = write_coco_folder(tmp_path / "paris", groups=26)  # three shards
    spoilt = {path.name for path in source.glob("*.jpg") if crc32(path.name.encode()) % 3 == 1}
    assert len(spoilt) > 1
    for name in spoilt:
        (source / name).write_bytes(b"no picture")
    code, result, err = ingest(tmp_path / "w", source, "paris", program=(sys.executable, "-c", SMALL_SHARDS))
    assert code == 0, err
    assert (result["images"], result["rejected"]) == (26 - len(spoilt), len(spoilt))
    rejections = load_rejections(tmp_path / "w" / "data" / "versions" / result["version"])
    assert {Path(rejection.source).name for rejection in rejections} == spoilt


def test_what_an_import_warns_of_is_logged(tmp_path, monkeypatch, caplog):
    source = write_coco_folder(tmp_path / "lyon", groups=2)
    labels = json.loads((source / "labels.json").read_text())
    labels["categories"].append({"id": 2, "name": "Shoe"})
    (source / "labels.json").write_text(json.dumps(labels))
    monkeypatch.setattr(flow, "get_run_logger", lambda: logging.getLogger("ingest"))
    options = IngestOptions(
        source=str(source),
        name="lyon",
        format="auto",
        class_map={},
        license="CC0",
        consent="no-persons",
        store=None,
        classes=None,
        redact=False,
        push=False,
        corrections=False,
    )
    assert import_shard.fn(open_workspace(tmp_path / "w"), options, tmp_path, 0, 1) is None
    assert "class names left out: Shoe (0 boxes)" in caplog.text


def test_a_picture_that_two_sources_brought_stays_while_one_of_them_has_it(tmp_path):
    parts = []
    for name, pictures in (("a", slice(0, 2)), ("b", slice(1, 3))):
        folder = tmp_path / f"photographs-{name}"
        write_coco_folder(folder, 4)
        aliases = {"gap": ["empty"]}
        import_source(
            folder, tmp_path / name, class_aliases=aliases, license="MIT", consent="notice", store=f"s-{name}"
        )
        dataset = load_dataset(tmp_path / name)
        parts.append(Part(tmp_path / name, replace(dataset, images=dataset.images[pictures]), name))
    both = merge_datasets(parts, tmp_path / "both")
    first, shared, last = both.images
    assert shared.twins == (Twin("b/bbbb.jpg", "s-b"),)
    stays, handed_on = flow._without(both, (), "b/")
    assert (stays.images, handed_on.images) == ((first, replace(shared, twins=())), ())
    stays, handed_on = flow._without(both, (), "a/")
    assert stays.images == (last,)
    (after,) = handed_on.images
    assert (after.file_name, after.boxes) == (shared.file_name, shared.boxes)
    assert (after.source, after.store, after.twins) == ("b/bbbb.jpg", "s-b", ())

    def again(part):
        rest = [Part(tmp_path / "both", stays, ""), part, Part(tmp_path / "both", handed_on, "")]
        return merge_datasets(rest, tmp_path / "again")

    assert sorted(again(parts[0]).images, key=lambda image: image.file_name) == list(both.images)
    only_first = replace(parts[0], dataset=replace(parts[0].dataset, images=parts[0].dataset.images[:1]))
    assert [(image.file_name, image.source) for image in again(only_first).images] == [
        ("b/cccc.jpg", "b/cccc.jpg"),
        ("a/aaaa.jpg", "a/aaaa.jpg"),
        ("a/bbbb.jpg", "b/bbbb.jpg"),
    ]
