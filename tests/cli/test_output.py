"""How commands print."""

from __future__ import annotations

import json

import pytest

from fasticePy.cli.output import host_port, milliseconds, print_json, section, table


def test_columns_are_aligned_and_lines_have_no_trailing_blanks() -> None:
    text = table([["a", "long cell", 1], ["bb", None], [], ["c", "x", "end"]])
    assert text.splitlines() == [" a   long cell  1", " bb", "", " c   x          end"]


def test_an_empty_table_is_empty() -> None:
    assert table([]) == ""


def test_a_section_names_itself_once() -> None:
    assert section("pair", [["one"], ["two"]]).splitlines() == [" pair  one", "       two"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.000421, "0.42 ms"), (0.0123, "12.3 ms"), (1.24, "1240 ms"), (0.0, "0.00 ms"), (None, "")],
)
def test_milliseconds(seconds: float | None, text: str) -> None:
    assert milliseconds(seconds) == text


def test_host_port() -> None:
    assert host_port(("192.0.2.1", 3478)) == "192.0.2.1:3478"
    assert host_port(("2001:db8::1", 3478)) == "[2001:db8::1]:3478"


def test_json_is_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": "zwei\nZeilen, äöü"})
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert line.isascii()
    assert json.loads(line) == {"text": "zwei\nZeilen, äöü"}
