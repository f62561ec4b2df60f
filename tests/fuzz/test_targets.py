"""The targets of fuzzing with their seeds, with what once failed, and with what hypothesis makes of them.

`tools/fuzz.sh` runs the same targets for as long as one likes.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

HERE = Path(__file__).resolve().parent
CHANGES = {"ice": 3, "negotiation": 6}
"""How many changed copies of each seed are tried: few where an input is a whole session."""


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fasticepy_fuzz_{name}", HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    sys.path.insert(0, str(HERE))  # the targets import each other, as they do under the fuzzer
    try:
        spec.loader.exec_module(loaded)
    finally:
        sys.path.remove(str(HERE))
    return loaded


targets, corpus = module("targets"), module("corpus")
each = pytest.mark.parametrize("name", list(targets.TARGETS))


@each
def test_seeds_and_what_once_failed(name: str) -> None:
    seeds = [*corpus.SEEDS[name](), *corpus.failed_once(name)]
    assert len(seeds) > 8
    for seed in seeds:
        targets.TARGETS[name](seed)


@each
def test_seeds_with_bytes_changed_cut_and_doubled(name: str) -> None:
    """The same changes in every run."""
    chance = random.Random(name)
    for seed in corpus.SEEDS[name]():
        for _ in range(CHANGES.get(name, 8)):
            data = bytearray(seed)
            for _ in range(chance.randrange(1, 5)):
                at = chance.randrange(len(data) + 1)
                match chance.randrange(3):
                    case 0:
                        data[at : at + 1] = bytes(
                            [chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))]
                        )
                    case 1:
                        del data[at : at + chance.randrange(9)]
                    case _:
                        data[at:at] = data[at : at + chance.randrange(33)]
            targets.TARGETS[name](bytes(data))


@each
@given(st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes) -> None:
    targets.TARGETS[name](data)


def test_every_target_has_seeds() -> None:
    assert targets.TARGETS.keys() == corpus.SEEDS.keys()


def test_a_sanitizer_sees_one_byte_too_many_read() -> None:
    """What the targets hand to the compiled modules lies in memory that ends where it ends."""
    empty = targets.exact(b"").__sizeof__()
    for size in range(100):
        assert targets.exact(bytes(size)).__sizeof__() == empty + size
