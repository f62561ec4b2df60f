"""The tables "What can go wrong, and how it tells you" quote messages: the package really has them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
from pages import PROJECT, prose

GUIDES = sorted((PROJECT / "docs" / "guide").glob("*.md"))
EXCEPTIONS = re.compile(r"^(?:IceFailed|ParseError|StateError|ValueError|TypeError|NegotiationError)(?:: |$)")

SYSTEM = {"permission denied", "too many open files", "connection refused", "timed out", "port unreachable"}
"""What the operating system says."""


@lru_cache(maxsize=1)
def texts() -> list[str]:
    """All constant texts of the package's code, and the constant parts of those with values in them."""
    found: set[str] = set()
    for path in (PROJECT / "src" / "fasticePy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return sorted(found)


def quotes(page: Path) -> Iterator[tuple[int, str]]:
    """What the first column of the last table quotes: messages, that is, what has a space and no parenthesis."""
    inside = False
    for number, line in prose(page):
        if line.startswith("## "):
            inside = line.startswith("## What can go wrong")
        elif inside and line.startswith("| "):
            for quoted in re.findall(r"`([^`]+)`", line.split(" | ")[0]):
                if " " in quoted and "(" not in quoted.split(" ")[0]:
                    yield number, EXCEPTIONS.sub("", quoted)


def unknown(quoted: str) -> list[str]:
    """The parts of a quoted message, between the dots, that no text of the package has."""
    for text in SYSTEM:
        quoted = quoted.replace(text, "...")
    parts = [part.strip() for part in quoted.split("...")]
    return [part for part in parts if part and not any(part in text for text in texts())]


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_quoted_messages_exist(page: Path) -> None:
    wrong = [f"{number}: {quoted}" for number, quoted in quotes(page) if unknown(quoted)]
    assert wrong == []


def test_messages_that_do_not_exist_are_found() -> None:
    assert unknown("no path for component ... yet") == []
    assert unknown("no path for component ... the day after") == ["the day after"]


@pytest.mark.parametrize(
    "page", [page for page in GUIDES if page.name != "README.md"], ids=lambda page: page.name
)
def test_every_guide_ends_with_what_can_go_wrong(page: Path) -> None:
    headings = [line for _, line in prose(page) if line.startswith("## ")]
    if page.name != "five-minutes.md":
        assert headings[-1] == "## What can go wrong, and how it tells you"
    assert "## What can go wrong, and how it tells you" in headings
