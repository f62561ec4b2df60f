"""Certificates of the server: files that are read, and certificates made on the spot."""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path

import pytest
from server_harness import descriptors

from fasticePy.server import Certificate, self_signed_certificate

pytest.importorskip("cryptography", reason="certificates for the tests are made with cryptography")


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return self_signed_certificate()


def test_files_with_certificate_and_key(certificate: Certificate, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_bytes(certificate.chain)
    (tmp_path / "key.pem").write_bytes(certificate.key)
    (tmp_path / "both.pem").write_bytes(certificate.key + certificate.chain)
    read = Certificate.from_files(tmp_path / "cert.pem", str(tmp_path / "key.pem"))
    assert read == certificate
    Certificate.from_files(tmp_path / "both.pem").load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


def test_the_key_is_not_shown(certificate: Certificate) -> None:
    assert "key" not in repr(certificate).replace("PRIVATE", "key")


def test_files_that_make_no_pair(certificate: Certificate, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_bytes(certificate.chain)
    (tmp_path / "other.pem").write_bytes(self_signed_certificate().key)
    (tmp_path / "empty.pem").write_bytes(b"")
    (tmp_path / "text.pem").write_bytes(b"hello")
    for key in ("other.pem", "empty.pem", "text.pem", "cert.pem"):
        with pytest.raises(ValueError, match="certificate cannot be used"):
            Certificate.from_files(tmp_path / "cert.pem", tmp_path / key)
    with pytest.raises(ValueError, match="cannot be used"):
        Certificate.from_files(tmp_path / "text.pem", tmp_path / "other.pem")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Certificate.from_files(tmp_path / "none.pem")
    (tmp_path / "large.pem").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(ValueError, match="no PEM file"):
        Certificate.from_files(tmp_path / "large.pem")


def test_an_encrypted_key_does_not_ask_at_the_terminal(certificate: Certificate, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(certificate.key, None)
    encrypted = key.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "both.pem").write_bytes(certificate.chain + encrypted)
    with pytest.raises(ValueError, match="encrypted"):
        Certificate.from_files(tmp_path / "both.pem")


def test_a_certificate_for_names_and_addresses() -> None:
    made = self_signed_certificate(["stun.example.org", "192.0.2.1", "2001:db8::1"], days=2)
    context = ssl.create_default_context(cadata=made.chain.decode())
    (shown,) = context.get_ca_certs()
    assert shown["subjectAltName"] == (
        ("DNS", "stun.example.org"),
        ("IP Address", "192.0.2.1"),
        ("IP Address", "2001:DB8:0:0:0:0:0:1"),
    )
    days = (
        ssl.cert_time_to_seconds(shown["notAfter"]) - ssl.cert_time_to_seconds(shown["notBefore"])
    ) / 86400
    assert days == 2
    assert made != self_signed_certificate(["stun.example.org"])


@pytest.mark.parametrize("names", [[], ["mäh"], [""]])
def test_names_that_cannot_be(names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        self_signed_certificate(names)


def test_nothing_stays_where_others_could_read_it(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`ssl` reads files only: they are in memory, or in a folder of our own for a moment."""
    before = descriptors()
    certificate.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    assert descriptors() == before
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    certificate.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    assert list(tmp_path.iterdir()) == []
