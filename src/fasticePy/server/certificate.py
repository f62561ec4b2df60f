"""Certificates of servers for TLS and DTLS: from files, or made on the spot for tests and closed circles."""

from __future__ import annotations

import importlib
import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SELF_SIGNED_DAYS = 30.0
MAX_FILE = 1 << 20
"""Bytes of a file with certificates or a key; none is longer."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with those of its issuers, the own one first, and its private key, both in PEM."""

    chain: bytes
    key: bytes = field(repr=False)

    @classmethod
    def from_files(cls, certificate: str | Path, key: str | Path | None = None) -> Certificate:
        """Read the PEM files of certificate chain and key; without `key` both are in the first.

        Raises OSError when they cannot be read, and ValueError when they make no pair, in words.
        """
        chain = _read(certificate)
        made = cls(chain, _read(key) if key is not None else chain)
        made.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        return made

    def load_into(self, context: ssl.SSLContext) -> None:
        """Make `context` present this certificate. Raises ValueError when it cannot be used."""
        with as_file(self.chain + b"\n" + self.key) as path:  # `ssl` takes nothing but files
            try:
                context.load_cert_chain(path, password=_refuse_password)
            except ssl.SSLError as error:
                reason = (error.reason or "there is no certificate with its key in PEM").replace("_", " ")
                raise ValueError(f"the certificate cannot be used: {reason.lower()}") from error


def self_signed_certificate(
    names: Sequence[str] = ("localhost", "127.0.0.1", "::1"),
    *,
    days: float = SELF_SIGNED_DAYS,
    rsa: bool = False,
) -> Certificate:
    """A new key, ECDSA over P-256 or with `rsa` RSA of 2048 bits, and a certificate for host names and numeric
    addresses, good from a minute ago for `days`. Nobody trusts it who was not told to.

    Raises ValueError without a name, or for one that cannot be in a certificate, ImportError without `cryptography`.
    """
    if not names:
        raise ValueError("a certificate needs a name")
    try:
        module = importlib.import_module("fasticePy.server.self_signed")
    except ImportError as error:
        raise ImportError("making a certificate needs the package: pip install cryptography") from error
    return Certificate(*module.make(names, days=days, rsa=rsa))


def _read(path: str | Path) -> bytes:
    with Path(path).open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise ValueError(f"{path} is no PEM file: it is longer than {MAX_FILE} bytes")
    return data


def _refuse_password() -> str:
    # without this OpenSSL would ask at the terminal
    raise ValueError("the key is encrypted; give it without a password")


@contextmanager
def as_file(data: bytes) -> Iterator[str]:
    """The path of a file with these bytes: in memory where the system can, else where nobody else may look."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("fasticepy-certificate")
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(data)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.TemporaryDirectory(prefix="fasticepy-") as folder:
        path = Path(folder, "certificate.pem")
        path.write_bytes(data)
        yield str(path)
