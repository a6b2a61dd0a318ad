"""A packed dataset gives every picture, and whatever reads datasets gives the same for both forms."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from shelfgap_datasets.checks import check_dataset
from shelfgap_datasets.coco import load_dataset, load_rejections, save_dataset
from shelfgap_datasets.datamodule import ShelfDataModule
from shelfgap_datasets.fingerprint import fingerprint_images
from shelfgap_datasets.labelling.correct import correct_dataset
from shelfgap_datasets.labelling.export import export_dataset
from shelfgap_datasets.labelling.review import Remark, write_review
from shelfgap_datasets.merge import Part, merge_datasets
from shelfgap_datasets.params import DuplicateParams, SplitParams, SynthParams
from shelfgap_datasets.pictures import pack, read_picture
from shelfgap_datasets.redact import redact_dataset
from shelfgap_datasets.schema import Box, DatasetError, Rejection
from shelfgap_datasets.split import split_dataset
from shelfgap_datasets.synthetic.stills import synthesize
from test_transforms import PARAMS as AUGMENT

DUPLICATES = DuplicateParams(max_hash_distance=6, max_turned_distance=10)
SPLIT = SplitParams(val_fraction=0.3, test_fraction=0.3, salt="s")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forms")
    params = SynthParams(count=15, seed=9, height=96, width=128, shelves_per_scene=1, products=None)
    dataset = synthesize(folder / "files", params, workers=1)
    save_dataset(folder / "files", split_dataset(folder / "files", dataset, SPLIT, DUPLICATES))
    shards = pack(folder / "files", folder / "packed", pictures_per_shard=4)
    assert [shard.name for shard in shards] == ["000000.tar", "000001.tar", "000002.tar", "000003.tar"]
    return folder / "files", folder / "packed"


def test_every_picture_comes_back_byte_for_byte(both):
    files, packed = both
    assert load_dataset(files) == load_dataset(packed)
    for image in load_dataset(packed).images:
        assert read_picture(packed, image.file_name) == (files / "images" / image.file_name).read_bytes()
    with pytest.raises(OSError, match="no such picture in the shards"):
        read_picture(packed, "nothing.jpg")


def test_what_lies_beside_the_annotations_goes_along(both, tmp_path):
    files = tmp_path / "files"
    shutil.copytree(both[0], files)
    (files / "timeline.json").write_text('{"days": []}')
    (files / "version.json").write_text('{"version": "v0001"}')
    left_out = Rejection("x.jpg", "damaged", "mend it")
    save_dataset(files, replace(load_dataset(files), rejections=(left_out,)))
    pack(files, tmp_path / "packed", pictures_per_shard=4)
    for name in ("timeline.json", "version.json", "rejected.jsonl", "annotations.json"):
        assert (tmp_path / "packed" / name).read_bytes() == (files / name).read_bytes()
    assert load_rejections(tmp_path / "packed") == (left_out,)


def test_any_tar_reader_finds_the_same_pictures(both):
    _, packed = both
    by_hash = {image.sha256: image for image in load_dataset(packed).images}
    found = 0
    for shard in sorted((packed / "shards").glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                image = by_hash[member.name.partition(".")[0]]
                assert tar.extractfile(member).read() == read_picture(packed, image.file_name)
                found += 1
    assert found == 15


def test_packing_again_gives_the_same_bytes_and_packs_may_be_packed_anew(both, tmp_path):
    files, packed = both
    pack(packed, tmp_path / "again", pictures_per_shard=4)
    for path in sorted(packed.rglob("*")):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(packed)).read_bytes() == path.read_bytes()
    with pytest.raises(DatasetError, match="exists and is not empty"):
        pack(files, packed, pictures_per_shard=4)


def test_checks_hashes_and_batches_are_the_same(both):
    for root in both:
        assert check_dataset(root, DUPLICATES).passed
        assert check_dataset(root, DUPLICATES).unlisted == ()
    files, packed = both
    records = load_dataset(files).images
    for one, two in zip(fingerprint_images(files, records), fingerprint_images(packed, records), strict=True):
        np.testing.assert_array_equal(one, two)

    def batches(root):
        module = ShelfDataModule(
            root, load_dataset(root), input_size=(64, 64), batch_size=3, augment=AUGMENT, seed=1, workers=0
        )
        return [batch.frames.numpy() for batch in module.train_dataloader()]

    for one, two in zip(batches(files), batches(packed), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_shard_that_was_cut_short_or_changed_is_found(both, tmp_path):
    files, _ = both
    pack(files, tmp_path / "cut", pictures_per_shard=4)
    shard = tmp_path / "cut" / "shards" / "000003.tar"
    shard.write_bytes(shard.read_bytes()[:700])
    report = check_dataset(tmp_path / "cut", DUPLICATES)
    assert not report.passed
    assert {record.reason for record in report.records} == {"cannot be read (the shard is cut short)"}
    (tmp_path / "cut" / "shards" / "index.json").write_text("[1]")
    with pytest.raises(DatasetError, match=r"not readable .*; pack the dataset again"):
        check_dataset(tmp_path / "cut", DUPLICATES)


def test_labels_of_a_packed_dataset_go_out_and_come_back_corrected(both, tmp_path):
    files, packed = both
    for root, name in ((files, "files"), (packed, "packed")):
        export_dataset(root, load_dataset(root), "coco", tmp_path / name)
    for path in (tmp_path / "files").rglob("*.*"):
        assert (tmp_path / "packed" / path.relative_to(tmp_path / "files")).read_bytes() == path.read_bytes()
    report = correct_dataset(packed, tmp_path / "packed", tmp_path / "corrected", class_aliases={})
    assert (report.seen, report.changed, report.rejections) == (15, (), ())
    assert load_dataset(tmp_path / "corrected") == load_dataset(packed)
    name = load_dataset(packed).images[0].file_name
    remark = Remark(name, "missing", 0.9, Box("gap", (1.0, 1.0, 9.0, 9.0)), None)
    assert write_review(packed, load_dataset(packed), [remark], "cvat", tmp_path / "review") == 1
    assert (tmp_path / "review" / "images" / name).read_bytes() == read_picture(packed, name)


def test_a_packed_dataset_can_be_joined_with_another(both, tmp_path):
    files, packed = both
    merge_datasets([Part(packed, load_dataset(packed), "")], tmp_path / "joined")
    merge_datasets([Part(files, load_dataset(files), "")], tmp_path / "expected")
    assert load_dataset(tmp_path / "joined") == load_dataset(tmp_path / "expected")
    assert check_dataset(tmp_path / "joined", DUPLICATES).records == ()


def test_a_picture_that_is_not_there_is_named(both, tmp_path):
    _, packed = both
    dataset = load_dataset(packed)
    gone = replace(dataset.images[0], file_name="gone.jpg")
    save_dataset(tmp_path / "data", replace(dataset, images=(gone,)))
    with pytest.raises(DatasetError, match=r"picture gone\.jpg cannot be read \(No such file or directory\); run: "):
        export_dataset(tmp_path / "data", load_dataset(tmp_path / "data"), "coco", tmp_path / "out")


def test_shoppers_are_looked_for_in_packed_pictures_too_and_pixelated_before(both, tmp_path):
    files, _ = both
    shutil.copytree(files, tmp_path / "files")
    dataset = load_dataset(files)
    shopper = Box("occluder", (20.0, 10.0, 70.0, 90.0))
    first = replace(dataset.images[0], consent="notice", boxes=(shopper,))
    every = tuple(dict.fromkeys((*dataset.annotated_classes, "occluder")))
    save_dataset(tmp_path / "files", replace(dataset, images=(first, *dataset.images[1:]), annotated_classes=every))
    redact_dataset(tmp_path / "files")
    pack(tmp_path / "files", tmp_path / "packed", pictures_per_shard=4)
    assert check_dataset(tmp_path / "packed", DUPLICATES, require_redacted=True).exposed == ()
    with pytest.raises(DatasetError, match="its pictures are packed; redact the directory that was packed"):
        redact_dataset(tmp_path / "packed")
