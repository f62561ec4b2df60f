"""The CRC-32 kernels against zlib."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasticePy._native import crc

KERNELS = [crc.crc32, crc.crc32_portable]
both = pytest.mark.parametrize("kernel", KERNELS, ids=["chosen", "portable"])


@both
def test_every_length_up_to_1100(kernel: Callable[[bytes], int]) -> None:
    data = random.Random(1).randbytes(1100)
    for size in range(1101):
        assert kernel(data[:size]) == zlib.crc32(data[:size]), size


@both
@given(st.binary(max_size=300), st.integers(0, 17))
def test_every_alignment(kernel: Callable[[object], int], data: bytes, offset: int) -> None:
    assert kernel(memoryview(data)[offset:]) == zlib.crc32(data[offset:])


@both
def test_the_check_value(kernel: Callable[[bytes], int]) -> None:
    assert kernel(b"123456789") == 0xCBF43926
    assert kernel(bytearray(b"123456789")) == 0xCBF43926
    assert kernel(b"") == 0


def test_the_chosen_kernel_has_a_name() -> None:
    assert crc.IMPLEMENTATION in {"pclmul", "armv8", "portable"}


def test_large_input() -> None:
    data = random.Random(2).randbytes(1 << 20)
    assert crc.crc32(data) == crc.crc32_portable(data) == zlib.crc32(data)
