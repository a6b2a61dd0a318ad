from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile

import numpy as np
import pytest
from shelfgap_edge.bundle import check_sums, compute_sums, read_bundle
from shelfgap_edge.cli import main
from shelfgap_edge.errors import BundleError
from shelfgap_edge.runtime import Detector


def tar_of(files, path, change=None):
    """Write a tar of (name, content) pairs; `change` may turn a header into something else."""
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if change:
                change(info)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_sums_are_those_of_sha256sum(bundle):
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=bundle, check=True)
    names = [line.split("  ")[1] for line in compute_sums(bundle).splitlines()]
    assert names == sorted(names)
    assert "golden/expected.json" in names
    assert "SHA256SUMS" not in names


def test_an_intact_bundle_passes(bundle):
    files = read_bundle(bundle)
    check_sums(files, "bundle")
    assert compute_sums(files).encode() == files["SHA256SUMS"]


def test_the_signature_is_not_summed(bundle):
    (bundle / "signature").write_bytes(b"later")
    Detector.load(bundle)


@pytest.mark.parametrize("name", ["model.int8.onnx", "manifest.json", "golden/square-0.jpg"])
def test_one_changed_byte_is_refused_before_a_session(bundle, monkeypatch, name):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_: pytest.fail("a session was created"))
    with pytest.raises(BundleError, match=f"{name} was altered"):
        Detector.load(bundle)


def test_missing_and_extra_files_are_refused(bundle):
    (bundle / "golden/square-0.jpg").rename(bundle / "golden/other.jpg")
    with pytest.raises(BundleError, match=r"golden/square-0\.jpg is missing"):
        Detector.load(bundle)
    (bundle / "golden/other.jpg").rename(bundle / "golden/square-0.jpg")
    (bundle / "extra.txt").write_text("x")
    with pytest.raises(BundleError, match=r"extra\.txt is not listed in SHA256SUMS"):
        Detector.load(bundle)


def test_without_sums_nothing_loads_unless_asked(bundle):
    (bundle / "SHA256SUMS").unlink()
    with pytest.raises(BundleError, match="no SHA256SUMS in it"):
        Detector.load(bundle)
    assert Detector.load(bundle, verify=False).manifest.name == "bright-square"


@pytest.mark.parametrize(
    ("sums", "reason"),
    [
        ("", "lists no files"),
        ("abc  manifest.json\n", "line 1 is not '<sha256>  <path>'"),
        ("A" * 64 + "  manifest.json\n", "line 1 is not"),
        ("0" * 64 + " *manifest.json\n", "line 1 is not"),
        ("0" * 64 + "  ../manifest.json\n", r"'\.\./manifest\.json' leads out of the bundle"),
        ("0" * 64 + "  /etc/passwd\n", "'/etc/passwd' leads out of the bundle"),
        ("0" * 64 + "  golden\\..\\x\n", "leads out of the bundle"),
        ("0" * 64 + "  a\n" + "0" * 64 + "  a\n", r"line 2 must not list a \(again\)"),
        ("0" * 64 + "  SHA256SUMS\n", "line 1 must not list SHA256SUMS"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_malformed_sums_are_refused(bundle, sums, reason):
    (bundle / "SHA256SUMS").write_bytes(sums if isinstance(sums, bytes) else sums.encode())
    with pytest.raises(BundleError, match=reason):
        Detector.load(bundle)


def test_links_and_special_files_are_refused(bundle, tmp_path):
    model = bundle / "model.int8.onnx"
    model.rename(tmp_path / "elsewhere.onnx")
    model.symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(BundleError, match=r"model\.int8\.onnx is a symbolic link"):
        Detector.load(bundle)
    model.unlink()
    os.mkfifo(model)
    with pytest.raises(BundleError, match=r"model\.int8\.onnx is not a regular file"):
        Detector.load(bundle)
    model.unlink()
    (bundle / "folder").symlink_to(tmp_path)
    with pytest.raises(BundleError, match="folder is a symbolic link"):
        read_bundle(bundle)


def test_odd_file_names_cannot_be_summed():
    with pytest.raises(BundleError, match="no line break"):
        compute_sums({"a\nb": b""})


def test_what_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match="no such bundle"):
        read_bundle(tmp_path / "absent")
    with pytest.raises(BundleError, match="holds no files"):
        read_bundle(tmp_path)
    (tmp_path / "text.tar").write_text("not a tar at all")
    with pytest.raises(BundleError, match=r"text\.tar: cannot be read"):
        read_bundle(tmp_path / "text.tar")


def sparse_map_that_is_none(path):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("model")
        info.pax_headers = {"GNU.sparse.map": "abc"}
        tar.addfile(info)


def names_of_names(path):
    link = tarfile.TarInfo("././@LongLink")
    link.type, link.size = tarfile.GNUTYPE_LONGNAME, 4
    path.write_bytes((link.tobuf(tarfile.GNU_FORMAT) + b"abc\0".ljust(512, b"\0")) * 2000 + bytes(1024))


def a_size_beyond_all_memory(path):
    link = tarfile.TarInfo("././@LongLink")
    link.type, link.size = tarfile.GNUTYPE_LONGNAME, 2**62
    path.write_bytes(link.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


@pytest.mark.parametrize("write", [sparse_map_that_is_none, names_of_names, a_size_beyond_all_memory])
def test_a_hostile_tar_is_refused_in_one_line(tmp_path, capsys, write):
    write(tmp_path / "hostile.tar")
    assert main(["verify", str(tmp_path / "hostile.tar")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"hostile\.tar: cannot be read \(\w.*\)$", line)


def test_a_path_that_is_too_long_is_told_in_one_line(capsys):
    assert main(["verify", "x" * 5000]) == 1
    assert "cannot be read ([Errno 36] File name too long" in capsys.readouterr().err


def deep(text):
    return text.replace('"metrics": {}', f'"metrics": {"[" * 100_000}')


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("manifest.json", deep, "manifest.json: not valid JSON (maximum recursion depth"),
        ("manifest.json", lambda text: text.replace('"gap": 0.5', f'"gap": {10**400}'), "one number in [0, 1]"),
        ("manifest.json", lambda text: text.replace('"gap": 0.5', '"gap": NaN'), "one number in [0, 1]"),
        (
            "manifest.json",
            lambda text: text.replace('"monitor": null', f'"monitor": {{"min_share": {10**400}}}'),
            "min_share: expected a number from 0.01 to 1",
        ),
        (
            "golden/expected.json",
            lambda text: text.replace('"box_px": 1.0', f'"box_px": {10**400}'),
            "golden/expected.json: frames[0] is not of the schema (OverflowError",
        ),
    ],
)
def test_hostile_numbers_and_depths_are_refused_in_one_line(bundle, reseal, capsys, name, edit, message):
    before = (bundle / name).read_text()
    assert edit(before) != before
    (bundle / name).write_text(edit(before))
    reseal(bundle)
    assert main(["verify", str(bundle)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_size_limit_holds_for_folder_and_tar(bundle, tmp_path):
    with pytest.raises(BundleError, match="at most 1000 bytes"):
        read_bundle(bundle, max_bytes=1000)
    tar = tar_of([("a", bytes(600)), ("b", bytes(600))], tmp_path / "big.tar")
    with pytest.raises(BundleError, match="at most 1000 bytes"):
        read_bundle(tar, max_bytes=1000)
    with (tmp_path / "huge.tar").open("wb") as file:
        file.truncate(2**30)  # sparse: costs no disk
    with pytest.raises(BundleError, match="too large"):
        read_bundle(tmp_path / "huge.tar")


@pytest.mark.parametrize("top", [".", "bundle-1"])
def test_a_tar_is_the_same_bundle(bundle, tmp_path, bright_square, top):
    with tarfile.open(tmp_path / "bundle.tar", "w") as tar:
        tar.add(bundle, arcname=top)
    assert read_bundle(tmp_path / "bundle.tar") == read_bundle(bundle)
    assert len(Detector.load(tmp_path / "bundle.tar").detect(bright_square())) == 1


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.CHRTYPE, "not a regular file"),
        (tarfile.FIFOTYPE, "not a regular file"),
    ],
)
def test_a_tar_with_links_or_devices_is_refused(tmp_path, kind, reason):
    def change(info):
        info.type, info.linkname = kind, "manifest.json"

    with pytest.raises(BundleError, match=reason):
        read_bundle(tar_of([("model.int8.onnx", b"")], tmp_path / "b.tar", change))


@pytest.mark.parametrize("name", ["/etc/cron.d/x", "../x", "golden/../../x"])
def test_a_tar_with_names_that_climb_out_is_refused(tmp_path, name):
    with pytest.raises(BundleError, match="leads out of the bundle"):
        read_bundle(tar_of([(name, b"x")], tmp_path / "b.tar"))
    assert [path.name for path in tmp_path.iterdir()] == ["b.tar"]


def test_a_tar_with_a_name_twice_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"manifest\.json stands twice"):
        read_bundle(tar_of([("manifest.json", b"1"), ("./manifest.json", b"2")], tmp_path / "b.tar"))


def test_a_compressed_tar_is_refused(bundle, tmp_path):
    with tarfile.open(tmp_path / "b.tar", "w:gz") as tar:
        tar.add(bundle, arcname=".")
    with pytest.raises(BundleError, match="cannot be read"):
        read_bundle(tmp_path / "b.tar")


def test_a_tar_cut_short_is_refused(bundle, tmp_path):
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        tar.add(bundle, arcname=".")
    whole = (tmp_path / "b.tar").read_bytes()
    for length in range(100, len(whole) - 10_240, 1777):
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        with pytest.raises(BundleError):
            Detector.load(tmp_path / "cut.tar")


def test_a_damaged_tar_never_loads_and_never_raises_anything_else(bundle, tmp_path):
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        tar.add(bundle, arcname=".")
    whole = (tmp_path / "b.tar").read_bytes()
    original = read_bundle(bundle)
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 20)):
            damaged[rng.integers(0, len(whole))] = rng.integers(0, 256)
        (tmp_path / "d.tar").write_bytes(damaged)
        try:
            files = read_bundle(tmp_path / "d.tar")
            check_sums(files, "d.tar")
        except BundleError:
            continue
        assert files == original  # only padding or a date was hit
