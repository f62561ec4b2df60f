"""Fixtures that tests of every folder share."""

from __future__ import annotations

import ipaddress
import os
import random
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# the fast tests take fewer examples than hypothesis does by itself; CI runs them with HYPOTHESIS_PROFILE=default, too
settings.register_profile("fast", max_examples=15)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture
def rng() -> Callable[[int], bytes]:
    """The randomness of a machine, the same in every run: `rng(n)` gives n bytes."""
    return random.Random(8445).randbytes


@pytest.fixture
def make_rng() -> Callable[[int], Callable[[int], bytes]]:
    """A source for each of several machines: `make_rng(seed)(n)` gives n bytes."""
    return lambda seed: random.Random(seed).randbytes


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as files."""

    cert: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """For a TLS server that has it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context


class Authority:
    """A certificate authority of the test run alone. `issue` makes certificates of all kinds, broken ones too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        self.root = self._make("fasticePy test authority", (), ca=True)
        self.path = self.root.cert
        """The certificate that clients must trust, as a file."""

    def client_context(self) -> ssl.SSLContext:
        """For a client that trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.path))

    def issue(
        self, *names: str, expired: bool = False, common_name: str = "", rsa: bool = False
    ) -> Certificate:
        """A certificate for these names and addresses."""
        return self._make(common_name, names, expired=expired, signed=True, rsa=rsa)

    def self_signed(self, *names: str) -> Certificate:
        """One that nobody vouches for."""
        return self._make("", names)

    def _make(
        self,
        common_name: str,
        names: Sequence[str],
        *,
        expired: bool = False,
        signed: bool = False,
        ca: bool = False,
        rsa: bool = False,
    ) -> Certificate:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric import rsa as rsa_keys
        from cryptography.x509.oid import NameOID

        key: Any = (
            rsa_keys.generate_private_key(65537, 2048) if rsa else ec.generate_private_key(ec.SECP256R1())
        )
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
        signer, issuer = (self._root_key, self._root_name) if signed else (key, subject)
        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=-1 if expired else 1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
        )
        if ca:
            self._root_key, self._root_name = key, subject
            builder = builder.add_extension(
                x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True
            )
        if names:
            alternatives = [_general_name(x509, name) for name in names]
            builder = builder.add_extension(
                x509.SubjectAlternativeName(alternatives), critical=not common_name
            )
        certificate = builder.sign(signer, hashes.SHA256())
        self._made += 1
        made = Certificate(self._folder / f"{self._made}.pem", self._folder / f"{self._made}.key")
        made.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return made


def _general_name(x509: Any, name: str) -> Any:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Issues certificates for servers of tests."""
    pytest.importorskip("cryptography", reason="certificates for the tests are made with cryptography")
    return Authority(tmp_path_factory.mktemp("certificates"))
