"""Which code does the hashing and the checksums on this CPU."""

from __future__ import annotations

from dataclasses import dataclass

from fasticePy._native import crc, integrity


@dataclass(frozen=True, slots=True)
class NativeFeatures:
    """The implementation that was chosen when the package was imported, for each kernel: "sha-ni" or "pclmul" on
    x86-64, "armv8" on 64-bit ARM, and "portable", which runs everywhere."""

    sha1: str
    sha256: str
    crc32: str


def native_features() -> NativeFeatures:
    """Which implementation of MESSAGE-INTEGRITY's hashes and FINGERPRINT's checksum is in use.

    With the environment variable FASTICEPY_PORTABLE=1 at import, all are the portable ones.
    """
    return NativeFeatures(
        sha1=integrity.SHA1_IMPLEMENTATION, sha256=integrity.SHA256_IMPLEMENTATION, crc32=crc.IMPLEMENTATION
    )
