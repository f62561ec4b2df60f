"""`fasticepy bench`: results are checked before anything is timed, and the table has a row for each operation."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest

from fasticePy.cli import bench, bench_codec, main
from fasticePy.cli.command import ExitCode

ROWS = [operation.row for operation in bench_codec.fasticepy_operations()]


def test_every_operation_gives_what_it_should() -> None:
    for operation in bench_codec.fasticepy_operations():
        assert operation.result() == operation.expected, operation.row
    assert len(set(ROWS)) == len(ROWS)


def test_both_libraries_do_the_same() -> None:
    pytest.importorskip("aioice")
    theirs = {operation.row: operation for operation in bench_codec.aioice_operations()}
    assert set(theirs) < set(ROWS)
    for operation in theirs.values():
        assert operation.result() == operation.expected, operation.row
    for operation in bench_codec.fasticepy_operations():
        if operation.row.startswith(("build and sign a check", "take")):
            assert theirs[operation.row].expected == operation.expected


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "codec", "--rounds", "1"]) == ExitCode.OK
    text = capsys.readouterr().out
    for row in ROWS:
        assert f" {row}  " in text
    assert "kernels: SHA-1 " in text


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "codec", "--rounds", "1", "--json"]) == ExitCode.OK
    *operations, done = map(json.loads, capsys.readouterr().out.splitlines())
    assert [entry["name"] for entry in operations] == ROWS
    assert all(entry["fasticePy_ns"] > 0 for entry in operations)
    assert done["kernels"].keys() == {"sha1", "sha256", "crc32"}


def test_without_aioice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert main(["bench", "codec", "--rounds", "1", "--json"]) == ExitCode.OK
    shown = capsys.readouterr()
    assert "aioice is not installed" in shown.err
    assert all(json.loads(line).get("ratio") is None for line in shown.out.splitlines())


def test_a_wrong_result_is_no_benchmark(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = bench_codec.Operation("add", "1 + 1", {}, 3)
    monkeypatch.setattr(bench, "fasticepy_operations", lambda: [wrong])
    assert main(["bench", "codec"]) == ExitCode.FAILED
    assert "wrong results: add" in capsys.readouterr().err


@pytest.mark.parametrize("rounds", ["0", "-1", "1000000", "many"])
def test_usage(rounds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "codec", "--rounds", rounds]) == ExitCode.USAGE
    assert "--rounds" in capsys.readouterr().err
