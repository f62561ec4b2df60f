#!/usr/bin/env python3
"""How fast we are beside others that did the same work in the same run: `ratios.py FILE.json`.

The file is that of `pytest benchmarks --benchmark-only --benchmark-json=FILE`. The convention that every suite keeps:

- one row is one benchmark group (`@pytest.mark.benchmark(group="build and sign a check")`), divided further by the
  values of other parameters;
- who did the work is a parameter whose id is the name of the library: `[fasticePy]`, `[aioice]`. More words tell in
  which way it was used (`[fasticePy on_data]`, `[fasticePy recv]`); the fastest way of each library counts;
- a benchmark that does several operations in one call, and whose group is named after one of them, says how many in
  `benchmark.extra_info["operations"]`.

Prints a Markdown table of median times, and how many times longer the others take than we do. It informs and never
fails, for wall time on a shared machine is no gate.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

OURS = "fasticePy"
LIBRARIES = (OURS, "aioice")


class Time(NamedTuple):
    """Seconds for one operation, and the way in which the library was used ("" when there is one way only)."""

    seconds: float
    way: str


Rows = dict[str, dict[str, Time]]


def collect(benchmarks: list[dict[str, Any]]) -> Rows:
    """The best time of each library by row. Benchmarks of nobody in particular are left out."""
    rows: Rows = {}
    for entry in benchmarks:
        ids = re.search(r"\[(.*)\]$", entry["name"])
        parts = ids[1].split("-") if ids else []
        who = next((part for part in parts if part.partition(" ")[0] in LIBRARIES), None)
        if who is None:
            continue
        library, _, way = who.partition(" ")
        rest = ", ".join(part for part in parts if part != who)
        group = entry.get("group") or entry["name"].partition("[")[0]
        times = rows.setdefault(f"{group} ({rest})" if rest and rest not in group else group, {})
        time = Time(entry["stats"]["median"] / entry.get("extra_info", {}).get("operations", 1), way)
        times[library] = min(time, times.get(library, time))
    return rows


def human(seconds: float) -> str:
    """The time with the unit that fits it."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def table(rows: Rows) -> list[str]:
    """The lines of the Markdown table."""
    others = [library for library in LIBRARIES if library != OURS]
    lines = [
        "| | " + " | ".join([*LIBRARIES, *(f"{library} / {OURS}" for library in others)]) + " |",
        "| --- |" + " ---: |" * (len(LIBRARIES) + len(others)),
    ]
    for row, times in rows.items():
        cells = [cell(times[library]) if library in times else "" for library in LIBRARIES]
        cells += [
            f"{times[library].seconds / times[OURS].seconds:.1f}" if {library, OURS} <= times.keys() else ""
            for library in others
        ]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return lines


def cell(time: Time) -> str:
    """The time, and the way in which it was reached."""
    return f"{human(time.seconds)} ({time.way})" if time.way else human(time.seconds)


def main(arguments: list[str]) -> int:
    """Run the command line; gives the exit code."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    data = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    print("\n".join(table(collect(data["benchmarks"]))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
