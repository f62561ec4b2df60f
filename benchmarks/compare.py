#!/usr/bin/env python3
"""Compares two benchmark runs: `compare.py BEFORE.json AFTER.json`, or several of each, `A1 A2 -- B1 B2`.

The files are those of `pytest benchmarks --benchmark-only --benchmark-json=FILE`. Of several runs of one
side the best median counts: noise only ever adds time. Prints a Markdown table. It informs and never fails,
for wall time on a shared machine is no gate.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

NOTEWORTHY = 1.15
"""A ratio beyond this, either way, is marked: below it two runs of the same code differ as much."""


def medians(paths: list[Path]) -> dict[str, float]:
    """The best median of each benchmark over the files, in seconds for one operation, by the benchmark's full name."""
    best: dict[str, float] = {}
    for path in paths:
        for entry in json.loads(path.read_text(encoding="utf-8"))["benchmarks"]:
            name = entry["fullname"].removeprefix("benchmarks/")
            median = entry["stats"]["median"] / entry.get("extra_info", {}).get("operations", 1)
            best[name] = min(median, best.get(name, median))
    return best


def human(seconds: float) -> str:
    """The time with the unit that fits it."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def table(before: dict[str, float], after: dict[str, float]) -> list[str]:
    """The lines of the Markdown table, benchmarks that exist on one side only included."""
    lines = ["| benchmark | before | after | after / before | |", "| --- | ---: | ---: | ---: | --- |"]
    for name in sorted(before | after):
        if name not in before or name not in after:
            note = "new" if name in after else "gone"
            old, new = (human(side[name]) if name in side else "" for side in (before, after))
            lines.append(f"| {name} | {old} | {new} | | {note} |")
            continue
        ratio = after[name] / before[name]
        note = "slower" if ratio > NOTEWORTHY else "faster" if ratio < 1 / NOTEWORTHY else ""
        lines.append(f"| {name} | {human(before[name])} | {human(after[name])} | {ratio:.2f} | {note} |")
    return lines


def main(arguments: list[str]) -> int:
    """Run the command line; gives the exit code."""
    if "--" in arguments:
        cut = arguments.index("--")
        sides = arguments[:cut], arguments[cut + 1 :]
    else:
        sides = arguments[:1], arguments[1:]
    if not all(sides) or ("--" not in arguments and len(arguments) != 2):
        print(__doc__, file=sys.stderr)
        return 2
    before, after = (medians([Path(name) for name in side]) for side in sides)
    print("\n".join(table(before, after)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
