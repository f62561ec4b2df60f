"""Fixtures that tests of every folder share."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable

import pytest


def pytest_collection_finish() -> None:
    """Keep what collecting made out of later garbage collections: the leak checks collect after every test."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def rng() -> Callable[[int], bytes]:
    """The randomness of a machine, the same in every run: `rng(n)` gives n bytes."""
    return random.Random(8445).randbytes


@pytest.fixture
def make_rng() -> Callable[[int], Callable[[int], bytes]]:
    """A source for each of several machines: `make_rng(seed)(n)` gives n bytes."""
    return lambda seed: random.Random(seed).randbytes
