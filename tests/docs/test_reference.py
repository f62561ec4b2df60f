"""docs/reference.md lists every public name of every package, and no other."""

from __future__ import annotations

import importlib
import re

import pytest
from pages import PROJECT

from fasticePy import IceError, ParseError
from fasticePy.aio import DnsError
from fasticePy.sim import SimulationError

PAGE = (PROJECT / "docs" / "reference.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^## (\S+)$", PAGE, flags=re.MULTILINE)[1:]
LISTED = {
    package: dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.MULTILINE))
    for package, text in zip(SECTIONS[::2], SECTIONS[1::2], strict=True)
}
PACKAGES = sorted(
    f"fasticePy.{folder.name}"
    for folder in (PROJECT / "src" / "fasticePy").iterdir()
    if (folder / "__init__.py").is_file() and folder.name not in ("_native", "cli")
)
"""Whoever imports one of these uses its `__all__`; the commands are for the shell."""


def test_every_package_has_a_section() -> None:
    assert sorted(LISTED) == ["fasticePy", *PACKAGES]


@pytest.mark.parametrize("package", LISTED)
def test_the_names_are_those_of_the_package(package: str) -> None:
    public = importlib.import_module(package).__all__
    missing, gone = set(public) - set(LISTED[package]), set(LISTED[package]) - set(public)
    assert not missing, f"docs/reference.md lacks {sorted(missing)} in {package}"
    assert not gone, f"docs/reference.md lists what {package} does not have: {sorted(gone)}"
    assert list(LISTED[package]) == sorted(public, key=str.lower)


@pytest.mark.parametrize("package", LISTED)
def test_every_line_is_one_sentence_or_two(package: str) -> None:
    for name, text in LISTED[package].items():
        assert text.endswith("."), name
        assert 10 < len(text) <= 150, name


def test_the_roots_of_exceptions_are_those_of_the_page() -> None:
    roots = (IceError, ParseError, DnsError, SimulationError)
    found = [
        getattr(importlib.import_module(package), name) for package in LISTED for name in LISTED[package]
    ]
    errors = [each for each in found if isinstance(each, type) and issubclass(each, Exception)]
    assert len(set(errors)) > 8
    assert [each for each in errors if not issubclass(each, roots)] == []
