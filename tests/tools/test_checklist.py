"""The script that compares the tests with the RFC checklist."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def checklist() -> ModuleType:
    spec = importlib.util.spec_from_file_location("checklist", PROJECT / "tools/checklist.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["checklist"] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def test_rows_are_complete(checklist: ModuleType) -> None:
    rows = checklist.read_rows(PROJECT / "tests/checklist.csv")
    assert len(rows) == 400
    assert all(row.title and len(row.title) <= 90 and row.section for row in rows.values())


def test_every_cited_row_exists(checklist: ModuleType) -> None:
    _, mistakes = checklist.collect(PROJECT)
    assert mistakes == []


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ('"""84-1, 84-2a: ..."""', {"84-1", "84-2a"}),
        ("# 84-1/84-3", {"84-1", "84-3"}),
        ("584-1 84-1-2 x84-1 1.84-1 84-x", set()),
        ("mdns-7 is one, mdns-seven is none", {"mdns-7"}),
    ],
)
def test_what_counts_as_a_citation(checklist: ModuleType, text: str, ids: set[str]) -> None:
    assert checklist.cited_ids(text, {"84", "mdns"}) == ids


def make_project(folder: Path, test: str, page: str = "") -> Path:
    (folder / "tests").mkdir()
    (folder / "docs").mkdir()
    (folder / "tests/checklist.csv").write_text(
        "id,level,who,section,title\n84-1,M,A,1,one\n84-2,S,A,1,two\n84-3,M,A,1,three\n", encoding="utf-8"
    )
    (folder / "tests/test_it.py").write_text(test, encoding="utf-8")
    (folder / "docs/conformance.md").write_text(page, encoding="utf-8")
    return folder


def test_tested_and_explained_rows(checklist: ModuleType, tmp_path: Path) -> None:
    rows, mistakes = checklist.collect(make_project(tmp_path, '"""84-1"""', "| 84-2 | no | because |"))
    assert mistakes == []
    assert [row.id for row in rows.values() if row.tests] == ["84-1"]
    assert [row.id for row in rows.values() if row.explained] == ["84-2"]


def test_a_row_that_does_not_exist_is_a_mistake(checklist: ModuleType, tmp_path: Path) -> None:
    _, mistakes = checklist.collect(make_project(tmp_path, '"""84-9"""', "84-8"))
    assert [line.split(",")[0] for line in mistakes] == [
        "tests/test_it.py cites 84-9",
        "docs/conformance.md cites 84-8",
    ]


def test_command_line(
    checklist: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checklist, "PROJECT", make_project(tmp_path, '"""84-1"""'))
    assert checklist.main(["--missing", "84"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["84-2", "84-3"]
    assert checklist.main(["--tests", "84-1"]) == 0
    assert "tests/test_it.py" in capsys.readouterr().out
    assert checklist.main([]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["all", "3", "1", "0", "1"]
    assert checklist.main(["--check"]) == 0
    (tmp_path / "tests/test_it.py").write_text("84-7", encoding="utf-8")
    assert checklist.main(["--check"]) == 1
