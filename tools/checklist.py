#!/usr/bin/env python3
"""Which rows of the RFC checklist (tests/checklist.csv) have a test that cites their id, such as `8445-23`.

A row counts as tested when a file under tests/ names its id, and as explained when docs/conformance.md
does: there stands what is left out or done differently on purpose, and why.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LEVELS = {"M": "MUST", "S": "SHOULD", "m": "MAY", "D": "defined behaviour"}


@dataclass(slots=True)
class Row:
    """One requirement of one text, and who speaks of it."""

    id: str
    level: str
    who: str
    section: str
    title: str
    tests: list[str] = field(default_factory=list)
    explained: bool = False

    @property
    def text(self) -> str:
        """The RFC or draft that the row is about: the part of the id before the number."""
        return self.id.rpartition("-")[0]


def read_rows(path: Path) -> dict[str, Row]:
    """The rows by id. Raises ValueError when an id comes twice or a level is unknown."""
    rows: dict[str, Row] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for record in csv.DictReader(file):
            row = Row(
                id=record["id"],
                level=record["level"],
                who=record["who"],
                section=record["section"],
                title=record["title"],
            )
            if row.id in rows or row.level not in LEVELS:
                raise ValueError(f"{path.name}: {row.id} comes twice or has the unknown level {row.level!r}")
            rows[row.id] = row
    return rows


def cited_ids(text: str, groups: Iterable[str]) -> set[str]:
    """Everything in `text` that has the form of a row id of one of the groups."""
    names = "|".join(map(re.escape, sorted(groups, key=len, reverse=True)))
    return set(re.findall(rf"(?<![\w.-])(?:{names})-\d+[a-z]?(?![\w-])", text))


def collect(project: Path) -> tuple[dict[str, Row], list[str]]:
    """The rows with their tests, and one line for each cited id that is no row."""
    rows = read_rows(project / "tests/checklist.csv")
    groups = {row.text for row in rows.values()}
    mistakes = []
    page = project / "docs/conformance.md"
    for path in [*sorted((project / "tests").rglob("*.py")), page]:
        name = path.relative_to(project).as_posix()
        for id in sorted(cited_ids(path.read_text(encoding="utf-8"), groups)):
            if id not in rows:
                mistakes.append(f"{name} cites {id}, and tests/checklist.csv has no such row")
            elif path == page:
                rows[id].explained = True
            else:
                rows[id].tests.append(name)
    return rows, mistakes


def print_counts(rows: Iterable[Row]) -> None:
    """A line for each text: how many rows it has, are tested, are explained."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.text, []).append(row)
    print(f"{'text':<8}{'rows':>6}{'tested':>8}{'explained':>11}{'MUSTs without a test':>22}")
    totals = [0, 0, 0, 0]
    for name, members in groups.items():
        counts = [
            len(members),
            sum(bool(row.tests) for row in members),
            sum(row.explained and not row.tests for row in members),
            sum(row.level == "M" and not row.tests and not row.explained for row in members),
        ]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        print(f"{name:<8}{counts[0]:>6}{counts[1]:>8}{counts[2]:>11}{counts[3]:>22}")
    print(f"{'all':<8}{totals[0]:>6}{totals[1]:>8}{totals[2]:>11}{totals[3]:>22}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--missing", metavar="RFC", help="the rows of this text that no test cites, e.g. 8445"
    )
    action.add_argument("--tests", metavar="ID", help="the files that cite this row, e.g. 8445-23")
    action.add_argument("--check", action="store_true", help="fail when a test cites an id that is no row")
    options = parser.parse_args(arguments)
    rows, mistakes = collect(PROJECT)

    if options.check:
        print("\n".join(mistakes) or f"checklist: every cited id is one of the {len(rows)} rows")
        return 1 if mistakes else 0
    if options.missing:
        members = [row for row in rows.values() if row.text == options.missing]
        if not members:
            known = sorted({row.text for row in rows.values()})
            parser.error(f"no rows of {options.missing}; there are: {', '.join(known)}")
        for row in members:
            if not row.tests:
                note = "  (docs/conformance.md)" if row.explained else ""
                print(f"{row.id:<9} {row.level} {row.who:<4} {row.section:<18} {row.title}{note}")
        return 0
    if options.tests:
        if options.tests not in rows:
            parser.error(f"no row {options.tests}")
        row = rows[options.tests]
        print(f"{row.id} ({LEVELS[row.level]}, section {row.section}): {row.title}")
        print("\n".join(row.tests) or "no test cites it")
        return 0
    print_counts(rows.values())
    return 0


if __name__ == "__main__":
    sys.exit(main())
