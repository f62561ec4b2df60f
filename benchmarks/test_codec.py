"""The STUN codec beside aioice's: the operations of `fasticepy bench codec`, which says how each side is used.

A round runs the expression itself many times in a loop, with no call around it that would be measured too.
"""

from __future__ import annotations

from typing import Any

import pytest

from fasticePy import stun
from fasticePy.cli.bench_codec import CALLS, OURS, Operation, aioice_operations, fasticepy_operations

pytest.importorskip("aioice")

ROUNDS = 60
OPERATIONS = [
    pytest.param(
        library,
        operation,
        id=f"{operation.row}-{library}",
        marks=pytest.mark.benchmark(group=operation.row),
    )
    for library, operations in ((OURS, fasticepy_operations()), ("aioice", aioice_operations()))
    for operation in operations
]


@pytest.mark.parametrize(("library", "operation"), OPERATIONS)
def test_operation(benchmark: Any, library: str, operation: Operation) -> None:
    assert operation.result() == operation.expected
    calls = CALLS[library]
    benchmark.extra_info["operations"] = calls * operation.operations
    benchmark.pedantic(operation.timer(), (calls,), rounds=ROUNDS, warmup_rounds=2)


def test_most_attributes(benchmark: Any) -> None:
    """The message that takes longest: 16,383 attributes, with the questions that agents and servers ask."""
    data = b"\0\1\xff\xfc\x21\x12\xa4\x42" + bytes(12) + b"\x7f\xff\0\0" * 16383

    def read() -> tuple[int, ...]:
        message = stun.parse(data)
        assert message.get(stun.Attribute.USERNAME) is None
        assert message.get_all(stun.Attribute.REALM) == []
        return message.unknown_required(frozenset())

    assert benchmark.pedantic(read, rounds=ROUNDS, warmup_rounds=2) == (0x7FFF,)
