"""The hash kernels against hashlib, and the keyed states against hmac."""

from __future__ import annotations

import hashlib
import hmac
import os
import random
import subprocess
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasticePy._native import crc, integrity
from fasticePy._native.integrity import MacKey

DATA = random.Random(3).randbytes(1100)
SECRET = b"VOkJxbRl1RmTxUk/WvJxBt"
portable = pytest.mark.parametrize("portable", [False, True], ids=["chosen", "portable"])


@portable
def test_sha1_of_every_length_up_to_1100(portable: bool) -> None:
    for size in range(1101):
        expected = hashlib.sha1(DATA[:size], usedforsecurity=False).digest()
        assert integrity.sha1(DATA[:size], portable=portable) == expected, size


@portable
def test_sha256_of_every_length_up_to_1100(portable: bool) -> None:
    for size in range(1101):
        assert integrity.sha256(DATA[:size], portable=portable) == hashlib.sha256(DATA[:size]).digest(), size


@portable
@given(st.binary(max_size=300), st.integers(0, 17))
def test_every_alignment(portable: bool, data: bytes, offset: int) -> None:
    view = memoryview(data)[offset:]
    assert integrity.sha1(view, portable=portable) == hashlib.sha1(view, usedforsecurity=False).digest()
    assert integrity.sha256(view, portable=portable) == hashlib.sha256(view).digest()


def test_hmac_of_every_length_up_to_1100() -> None:
    key = MacKey(SECRET)
    for size in range(1101):
        assert integrity.hmac_sha1(key, DATA[:size]) == hmac.digest(SECRET, DATA[:size], "sha1"), size
        assert integrity.hmac_sha256(key, DATA[:size]) == hmac.digest(SECRET, DATA[:size], "sha256"), size


def test_every_length_at_random_alignments() -> None:
    """All kernels, the chosen and the portable ones, in the middle of other bytes, against hashlib, hmac and zlib."""
    chance = random.Random(4)
    key = MacKey(SECRET)
    for size in range(1101):
        offset = chance.randrange(64)
        buffer = chance.randbytes(offset + size + chance.randrange(64))
        view = memoryview(buffer)[offset : offset + size]
        assert crc.crc32(view) == crc.crc32_portable(view) == zlib.crc32(view), (size, offset)
        sha1, sha256 = hashlib.sha1(view, usedforsecurity=False).digest(), hashlib.sha256(view).digest()
        for portable in (False, True):
            assert integrity.sha1(view, portable=portable) == sha1, (size, offset)
            assert integrity.sha256(view, portable=portable) == sha256, (size, offset)
        assert integrity.hmac_sha1(key, view) == hmac.digest(SECRET, view, "sha1"), (size, offset)
        assert integrity.hmac_sha256(key, view) == hmac.digest(SECRET, view, "sha256"), (size, offset)


def test_every_length_against_cryptography() -> None:
    """The HMACs of another library, whose code shares nothing with hashlib's on some systems."""
    hmacs = pytest.importorskip("cryptography.hazmat.primitives.hmac")
    hashes = pytest.importorskip("cryptography.hazmat.primitives.hashes")
    key = MacKey(SECRET)
    for ours, algorithm in ((integrity.hmac_sha1, hashes.SHA1()), (integrity.hmac_sha256, hashes.SHA256())):
        keyed = hmacs.HMAC(SECRET, algorithm)
        for size in range(1101):
            theirs = keyed.copy()
            theirs.update(DATA[:size])
            assert ours(key, DATA[:size]) == theirs.finalize(), size


def test_hmac_with_keys_of_every_length_up_to_200() -> None:
    """RFC 2104 2: up to the block of 64 bytes as it is, longer ones hashed."""
    for size in range(201):
        secret = DATA[:size]
        key = MacKey(secret)
        assert integrity.hmac_sha1(key, b"data") == hmac.digest(secret, b"data", "sha1"), size
        assert integrity.hmac_sha256(key, b"data") == hmac.digest(secret, b"data", "sha256"), size


@given(st.binary(max_size=100), st.binary(max_size=300))
def test_hmac(secret: bytes, data: bytes) -> None:
    key = MacKey(bytearray(secret))
    assert integrity.hmac_sha1(key, data) == hmac.digest(secret, data, "sha1")
    assert integrity.hmac_sha256(key, memoryview(data)) == hmac.digest(secret, data, "sha256")


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_equal_bytes(a: bytes, b: bytes) -> None:
    assert integrity.equal_bytes(a, b) == (a == b)
    assert integrity.equal_bytes(a, bytes(bytearray(a)))


def test_equal_bytes_sees_every_bit() -> None:
    for size in (1, 20, 32):
        for index in range(size):
            for bit in range(8):
                other = bytearray(size)
                other[index] = 1 << bit
                assert not integrity.equal_bytes(bytes(size), bytes(other))


def test_misuse_is_told() -> None:
    with pytest.raises(TypeError):
        MacKey()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        MacKey("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        integrity.hmac_sha1(None, b"")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        integrity.equal_bytes(b"", None)  # type: ignore[arg-type]
    assert repr(MacKey(b"secret")) == "<MacKey>"


def test_the_chosen_kernels_have_names() -> None:
    assert integrity.SHA1_IMPLEMENTATION in {"sha-ni", "armv8", "portable"}
    assert integrity.SHA256_IMPLEMENTATION in {"sha-ni", "armv8", "portable"}


PORTABLE_RUN = """
import hmac
from fasticePy._native import crc, integrity
assert crc.IMPLEMENTATION == "portable", crc.IMPLEMENTATION
assert integrity.SHA1_IMPLEMENTATION == integrity.SHA256_IMPLEMENTATION == "portable"
for size in (0, 22, 64, 65, 200):
    secret = bytes(range(size))
    key = integrity.MacKey(secret)
    for length in (0, 1, 55, 56, 63, 64, 100, 1000):
        data = b"x" * length
        assert integrity.hmac_sha1(key, data) == hmac.digest(secret, data, "sha1")
        assert integrity.hmac_sha256(key, data) == hmac.digest(secret, data, "sha256")
print("same")
"""


def test_the_portable_kernels_can_be_forced() -> None:
    """FASTICEPY_PORTABLE makes a whole process use them, keyed states included."""
    done = subprocess.run(
        [sys.executable, "-c", PORTABLE_RUN],
        env={**os.environ, "FASTICEPY_PORTABLE": "1"},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "same"), done.stderr
