"""Pulling over HTTP(S) and S3 from real servers on loopback, with what goes wrong there."""

from __future__ import annotations

import ssl
import sys

import pytest
from certificates import Authority
from file_server import serve
from published import running_version
from shelfgap_edge.errors import PullError, TransferError
from shelfgap_edge.pull.index import SIGNED_INDEX
from shelfgap_edge.pull.source import open_source, read_small
from shelfgap_edge.pull.source_http import AUTHORIZATION_VARIABLE, HttpSource
from shelfgap_export.destination import open_destination
from shelfgap_export.index_edits import PublishError, offer
from shelfgap_export.publish import Publisher, change_index, publish_bundle


@pytest.mark.parametrize("ranges", [True, False])
def test_cut_connections_are_taken_up_again(shop, ranges):
    device = shop.device("device")
    shop.release("1")
    with serve(shop.root, ranges=ranges, cut_after=70_000) as server:
        source = open_source(server.url)
        if ranges:
            outcome = shop.pull(device, source)
            assert outcome.fetched_bytes == server.sent_blobs()  # not a byte twice
        else:
            with pytest.raises(TransferError, match=r"missing|before the end"):
                shop.pull(device, source)  # the large files never come whole
            server.cut_after = None
            outcome = shop.pull(device, source)
    assert outcome.status == "updated"
    assert running_version(device) == "1"


@pytest.mark.parametrize("add_length", [100, -5])
def test_wrong_lengths_are_no_update(shop, add_length):
    device = shop.device("device")
    shop.release("1")
    with serve(shop.root, add_length=add_length) as server, pytest.raises(PullError):
        shop.pull(device, open_source(server.url))
    assert running_version(device) is None


def test_a_file_larger_than_the_index_says_is_not_taken(shop):
    device = shop.device("device")
    shop.release("1")
    for blob in shop.root.glob("blobs/*/*"):
        blob.write_bytes(blob.read_bytes() + bytes(100_000))
    with serve(shop.root) as server, pytest.raises(PullError, match="has more than its"):
        shop.pull(device, open_source(server.url))


def test_a_small_file_has_a_limit(tmp_path):
    (tmp_path / "index").write_bytes(bytes(100_000))
    with serve(tmp_path) as server, pytest.raises(PullError, match="more than 50000 bytes"):
        read_small(HttpSource(server.url), "index", 50_000)


def test_a_cut_index_is_fetched_again(tmp_path):
    (tmp_path / "index").write_bytes(bytes(100_000))
    waits = []
    with serve(tmp_path, cut_after=50_000) as server:

        def sleep(seconds):
            waits.append(seconds)
            server.cut_after = None

        assert len(read_small(HttpSource(server.url), "index", 200_000, sleep=sleep)) == 100_000
    assert waits == [1.0]


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [(403, PullError, AUTHORIZATION_VARIABLE), (404, FileNotFoundError, "not found"), (503, TransferError, "503")],
)
def test_what_servers_answer(tmp_path, status, error, message):
    with (
        serve(tmp_path, status=status) as server,
        pytest.raises(error, match=message),
        HttpSource(server.url).open("index"),
    ):
        pass


def test_a_redirect_to_what_is_no_address(tmp_path):
    with (
        serve(tmp_path, redirect_to="http://[") as server,
        pytest.raises(TransferError, match="the transfer failed"),
        HttpSource(server.url).open("index"),
    ):
        pass


def test_a_content_range_that_no_number_holds(tmp_path):
    (tmp_path / "index").write_bytes(bytes(10))
    with (
        serve(tmp_path, content_range=f"bytes {'1' * 5000}-9/10") as server,
        pytest.raises(PullError, match="asked for the bytes from 3 on"),
        HttpSource(server.url).open("index", 3),
    ):
        pass


def test_a_header_of_the_environment_is_trimmed_and_never_told(tmp_path, monkeypatch):
    (tmp_path / "index").write_bytes(bytes(10))
    with serve(tmp_path) as server:
        monkeypatch.setenv(AUTHORIZATION_VARIABLE, "Bearer secret\n")  # as a file gives it
        read_small(HttpSource(server.url), "index", 10)
        assert server.headers[-1]["Authorization"] == "Bearer secret"
        for value in ("Bearer\nsecret", "Bearer secr\u00e9t"):
            monkeypatch.setenv(AUTHORIZATION_VARIABLE, value)
            with pytest.raises(PullError, match="expected printable ASCII in one line") as caught:
                read_small(HttpSource(server.url), "index", 10)
            assert "secr" not in str(caught.value)


def test_a_server_that_is_not_there():
    with pytest.raises(TransferError, match="the transfer failed"), HttpSource("http://127.0.0.1:9").open("index"):
        pass


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ftp://host/x", "expected a folder"),
        ("https://", "expected an address"),
        ("https://user:secret@host/", "no user or password"),
        ("https://host/x?token=secret", "expected an address"),
        ("s3://key:secret@bucket", "expected an address s3://BUCKET"),
        ("s3://", "expected an address s3://BUCKET"),
        ("", "expected a folder"),
        ("https://[secret", "check its host"),
    ],
)
def test_addresses_that_are_refused(address, message):
    with pytest.raises(PullError, match=message) as caught:
        open_source(address)
    assert "secret" not in str(caught.value)


def test_tls_is_verified_and_redirects_lead_to_https_only(tmp_path, monkeypatch):
    authority = Authority(tmp_path / "certificates")
    own = authority.issue("localhost")
    (tmp_path / "index").write_bytes(b"content")
    monkeypatch.setenv(AUTHORIZATION_VARIABLE, "Bearer secret")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(own.file, own.key_file)
    with serve(tmp_path, tls=tls) as secure:
        with pytest.raises(PullError, match="the certificate is not trusted"), HttpSource(secure.url).open("index"):
            pass
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        assert read_small(HttpSource(secure.url), "index", 100) == b"content"
        assert secure.headers[-1]["Authorization"] == "Bearer secret"
        with serve(tmp_path, redirect_to=secure.url) as plain:
            assert read_small(HttpSource(plain.url), "index", 100) == b"content"
            assert "Authorization" not in secure.headers[-1]
            secure.redirect_to = plain.url
            with (
                pytest.raises(PullError, match="only https:// addresses are followed"),
                HttpSource(secure.url).open("index"),
            ):
                pass


@pytest.fixture
def s3(tmp_path, monkeypatch):
    with serve(tmp_path / "s3", takes_put=True) as server:
        for name, value in {
            "AWS_ENDPOINT_URL_S3": server.url,
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
        }.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.mark.parametrize("kind", ["s3", "http"])
def test_publish_and_pull(shop, s3, kind):
    address = "s3://bucket/some/prefix" if kind == "s3" else f"{s3.url}/some/folder"
    device = shop.device("device")
    publisher = Publisher(open_destination(address), shop.signer.private, shop.signer.public)
    bundle = shop.bundle("1")
    with pytest.raises(PublishError, match="begin with --create"):
        publish_bundle(publisher, bundle)
    publisher = Publisher(open_destination(address), shop.signer.private, shop.signer.public, create=True)
    assert publish_bundle(publisher, bundle).number == 1
    assert publish_bundle(publisher, bundle).number == 1  # nothing changed
    assert change_index(publisher, lambda index, at: offer(index, 1, "all", at)).number == 2
    source = open_source(address)
    s3.cut_after = 70_000
    outcome = shop.pull(device, source)
    assert (outcome.status, outcome.release) == ("updated", 1)
    assert running_version(device) == "1"
    with pytest.raises(FileNotFoundError), source.open("absent"):
        pass
    assert next((s3.root).rglob(SIGNED_INDEX)).parent.name in ("prefix", "folder")


@pytest.mark.parametrize("kind", ["s3", "http", "folder"])
def test_of_two_publishers_at_once_one_starts_over(shop, s3, tmp_path, kind):
    address = {"s3": "s3://bucket", "http": f"{s3.url}/x", "folder": str(tmp_path / "x")}[kind]
    publisher = Publisher(open_destination(address), shop.signer.private, shop.signer.public, create=True)
    publish_bundle(publisher, shop.bundle("1"))
    others = [shop.bundle("2")]

    def edit(index, at):
        if others:  # someone else publishes after this one has read the index
            publish_bundle(publisher, others.pop())
        return offer(index, 1, "all", at)

    index = change_index(publisher, edit)
    assert index.rings == {"canary": 2, "all": 1}
    assert index.number == 3


def test_a_server_with_weak_tags_takes_one_release_after_another(shop):
    shop.root.mkdir(exist_ok=True)
    with serve(shop.root, takes_put=True, weak_tags=True) as server:
        publisher = Publisher(open_destination(server.url), shop.signer.private, shop.signer.public, create=True)
        assert [publish_bundle(publisher, shop.bundle(version)).number for version in ("1", "2")] == [1, 2]


@pytest.mark.parametrize("length", ["many", "-1", "1e3", "9" * 5000])
def test_a_server_that_states_no_length_gets_the_files_again(shop, length):
    shop.root.mkdir(exist_ok=True)
    with serve(shop.root, takes_put=True, head_length=length) as server:
        publisher = Publisher(open_destination(server.url), shop.signer.private, shop.signer.public, create=True)
        assert [publish_bundle(publisher, shop.bundle(version)).number for version in ("1", "2")] == [1, 2]


def test_a_server_that_takes_no_put_is_told(shop):
    shop.root.mkdir(exist_ok=True)
    with serve(shop.root) as server:
        publisher = Publisher(open_destination(server.url), shop.signer.private, shop.signer.public, create=True)
        with pytest.raises(PullError, match="the server takes no PUT there"):
            publish_bundle(publisher, shop.bundle("1"))


def test_boto3_is_needed_for_s3_only(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(PullError, match=r"shelfgap-edge\[s3\]"):
        open_source("s3://bucket")
