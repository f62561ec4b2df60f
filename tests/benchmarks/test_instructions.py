"""The script that counts instructions: what it reads out of a profile, and what it lets pass."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/instructions.py"

PROFILE = """
events: Ir
ob=/usr/lib/libc.so.6
fl=malloc.c
fn=malloc
10 7
ob=/x/fasticePy/_native/stun.cpython-312-x86_64-linux-gnu.so
fl=stun.c
fn=parse
20 100
cob=/usr/lib/libc.so.6
cfn=malloc
calls=3 10
20 21
21 5
22
fn=other
+1 2
totals: 114
"""


@pytest.fixture(scope="module")
def instructions() -> ModuleType:
    spec = importlib.util.spec_from_file_location("instructions", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["instructions"] = module
    spec.loader.exec_module(module)
    return module


def test_own_instructions_are_those_of_our_modules(instructions: ModuleType) -> None:
    """Costs of calls are counted where they arise, not where they are called."""
    assert instructions.read_profile(PROFILE) == (107, 114)


def test_growth_within_the_tolerance_passes(instructions: ModuleType) -> None:
    stored = {"parse": {"own": 100.0, "total": 1.0}}
    assert instructions.compare({"parse": {"own": 103.0, "total": 1.1}}, stored)[1] == []
    assert instructions.compare({"parse": {"own": 1.0, "total": 0.1}}, stored)[1] == []


@pytest.mark.parametrize(("own", "total", "what"), [(103.1, 1.0, "own"), (100.0, 1.11, "total")])
def test_growth_beyond_the_tolerance_is_told(
    instructions: ModuleType, own: float, total: float, what: str
) -> None:
    lines, grown = instructions.compare(
        {"parse": {"own": own, "total": total}}, {"parse": {"own": 100.0, "total": 1.0}}
    )
    assert len(grown) == 1
    assert grown[0].startswith(f"parse: {what} grew")
    assert lines[-1].startswith("| parse | ")


def test_what_is_not_stored_informs_only(instructions: ModuleType) -> None:
    lines, grown = instructions.compare({"new": {"own": 5.0}}, {})
    assert grown == []
    assert lines[-1] == "| new | 5 |  |  |  |"


def test_more_than_linear_is_told(instructions: ModuleType) -> None:
    less, more, times = instructions.LINEAR
    assert instructions.not_linear({less: {"own": 100.0}, more: {"own": 100.0 * times}}) == []
    assert len(instructions.not_linear({less: {"own": 100.0}, more: {"own": 110.0 * times}})) == 1


def test_every_operation_works(instructions: ModuleType) -> None:
    everything = instructions.operations()
    assert instructions.REFERENCE in everything
    assert set(instructions.LINEAR[:2]) <= set(everything)
    for function in everything.values():
        assert function() is not None
