"""Candidate lines beside aioice's, which checks nothing in them: texts of browsers, and one address after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fasticePy import Candidate

aioice_candidate = pytest.importorskip("aioice.candidate")

READERS: dict[str, Callable[[str], object]] = {
    "fasticePy": Candidate.from_sdp,
    "aioice": aioice_candidate.Candidate.from_sdp,
}
COUNT = 2000  # more addresses than are remembered
LINES = {
    "read a candidate line (host)": [
        f"2911925955 1 udp 2122194687 10.{i // 250}.{i % 250}.1 38362 typ host generation 0 ufrag 1cRM network-id 1"
        for i in range(COUNT)
    ],
    "read a candidate line (srflx)": [
        f"842163049 1 udp 1677729535 203.{i // 250}.{i % 250}.4 41230 typ srflx raddr 10.0.0.1 rport 41230 "
        "generation 0 ufrag 8hhY network-cost 50"
        for i in range(COUNT)
    ],
    "read a candidate line (v6)": [
        f"842163049 1 udp 2122262783 2001:db8:{i + 1:x}::5 41230 typ host generation 0 ufrag 8hhY network-cost 50"
        for i in range(COUNT)
    ],
}


@pytest.mark.parametrize(
    ("lines", "library"),
    [
        pytest.param(lines, library, id=f"{row}-{library}", marks=pytest.mark.benchmark(group=row))
        for row, lines in LINES.items()
        for library in READERS
    ],
)
def test_read(benchmark: Any, lines: list[str], library: str) -> None:
    read = READERS[library]

    def read_all() -> None:
        for line in lines:
            read(line)

    benchmark.extra_info["operations"] = COUNT
    benchmark.pedantic(read_all, rounds=15, warmup_rounds=1)
