"""The files of TLS as a client: mistakes by the file's name, keys closed to others, the other end always checked."""

from __future__ import annotations

import ssl

import pytest
from certificates import Authority
from cryptography.hazmat.primitives import serialization
from shelfgap_edge.tls import TlsParams
from shelfgap_edge.toml_table import ConfigError, Table


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def read(is_used=True, **values):
    table = Table({key: str(value) for key, value in values.items()}, "edge.toml.sinks[0]")
    return TlsParams.from_table(table, is_used=is_used, used_with="tls = true")


def test_certificates_and_names_are_checked_with_and_without_files(authority):
    own = authority.issue("edge-1")
    for params in (read(), read(ca_file=authority.file, cert_file=own.file, key_file=own.key_file)):
        context = params.context("x")
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
    assert [one["subject"] for one in context.get_ca_certs()] == [((("commonName", "authority"),),)]


@pytest.mark.parametrize("key", ["ca_file", "cert_file", "key_file"])
def test_files_for_a_connection_in_the_clear_are_refused(key):
    with pytest.raises(ConfigError, match=rf"edge\.toml\.sinks\[0\]: {key}: expected tls = true beside it, got 'x'"):
        read(is_used=False, **{key: "x"})
    assert read(is_used=False) == TlsParams()


@pytest.mark.parametrize("key", ["cert_file", "key_file"])
def test_a_certificate_and_its_key_come_together(key):
    with pytest.raises(ConfigError, match="cert_file and key_file: expected both or neither"):
        read(**{key: "x"})


@pytest.mark.parametrize("key", ["ca_file", "cert_file", "key_file"])
@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), ("not PEM", "holds no (certificate|private key) in PEM")]
)
def test_a_file_that_is_missing_or_something_else_is_named(authority, tmp_path, key, content, said):
    own = authority.issue("edge-1")
    files = {"ca_file": authority.file, "cert_file": own.file, "key_file": own.key_file, key: tmp_path / "other"}
    if content is not None:
        (tmp_path / "other").write_text(content)
        (tmp_path / "other").chmod(0o600)
    with pytest.raises(ConfigError, match=rf"^t: {key}: {tmp_path}/other:? {said}"):
        read(**files).context("t")


def test_a_key_of_another_certificate_or_with_a_passphrase_is_refused(authority):
    own, other = authority.issue("edge-1"), authority.issue("edge-2")
    with pytest.raises(ConfigError, match=r"t: key_file: .*edge-2\.key is not the key of cert_file .*edge-1\.pem"):
        read(cert_file=own.file, key_file=other.key_file).context("t")
    with pytest.raises(ConfigError, match=r"t: cert_file: .*edge-1\.key holds no certificate in PEM"):
        read(cert_file=own.key_file, key_file=own.file).context("t")
    key = serialization.load_pem_private_key(own.key_file.read_bytes(), None)
    secured = serialization.BestAvailableEncryption(b"hunter2")
    form = serialization.PrivateFormat.PKCS8
    own.key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, secured))
    with pytest.raises(ConfigError, match=r"edge-1\.key is encrypted; expected a key without a passphrase"):
        read(cert_file=own.file, key_file=own.key_file).context("t")


def test_a_key_that_others_may_read_is_refused(authority):
    own = authority.issue("edge-1")
    own.key_file.chmod(0o640)
    with pytest.raises(ConfigError, match=r"t: key_file: .*its mode is 0640, expected 0600 or 0400"):
        read(cert_file=own.file, key_file=own.key_file).context("t")
