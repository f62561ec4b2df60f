"""The scenarios that the best test suites of other libraries hold (tests/scenarios.csv) each have a test of ours, or a
reason why there is none."""

from __future__ import annotations

import ast
import csv
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


def rows() -> list[dict[str, str]]:
    with (PROJECT / "tests/scenarios.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def nodes(path: str) -> frozenset[str]:
    """The tests in a file: functions, classes, methods of classes, and what is called a test by assignment."""
    found: set[str] = set()
    for node in ast.parse((PROJECT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
        if isinstance(node, ast.Assign):
            found |= {each.id for each in node.targets if isinstance(each, ast.Name)}
    return frozenset(name for name in found if name.rpartition("::")[2].startswith(("test", "Test")))


@pytest.mark.parametrize("source", sorted({row["source"] for row in rows()}))
def test_every_scenario_has_a_test_or_a_reason(source):
    for row in rows():
        if row["source"] != source:
            continue
        tests = row["tests"].split()
        assert bool(tests) != bool(row["reason"]), f"{row['name']}: either tests or a reason"
        for test in tests:
            path, _, name = test.partition("::")
            assert (PROJECT / path).is_file(), f"{row['name']}: there is no {path}"
            assert name in nodes(path), f"{row['name']}: {path} has no {name}"


def test_no_scenario_is_there_twice():
    names = [(row["source"], row["name"]) for row in rows()]
    assert len(names) == len(set(names))
    assert all(row["name"] and row["source"] for row in rows())
