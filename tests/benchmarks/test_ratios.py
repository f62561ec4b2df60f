"""The script that shows how we stand beside others in one benchmark run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/ratios.py"


def entry(name: str, median: float, group: str | None = None, **extra: int) -> dict[str, Any]:
    return {"name": name, "group": group, "stats": {"median": median}, "extra_info": extra}


def ratios(folder: Path, *entries: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    path = folder / "run.json"
    path.write_text(json.dumps({"benchmarks": entries}), encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(path)], capture_output=True, text=True, timeout=30
    )


def test_rows_are_groups_and_columns_libraries(tmp_path: Path) -> None:
    done = ratios(
        tmp_path,
        entry("test_parse[fasticePy]", 5e-8, "parse"),
        entry("test_parse[aioice]", 8e-6, "parse"),
        entry("test_lonely[fasticePy]", 2e-3),
        entry("test_of_nobody", 1.0),
        entry("test_of_nobody[v4]", 1.0),
    )
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "| | fasticePy | aioice | aioice / fasticePy |",
        "| --- | ---: | ---: | ---: |",
        "| parse | 50 ns | 8 us | 160.0 |",
        "| test_lonely | 2 ms |  |  |",
    ]


def test_operations_divide_and_our_fastest_way_counts(tmp_path: Path) -> None:
    done = ratios(
        tmp_path,
        entry("test_echo[100-fasticePy on_data]", 2.0, "echo", operations=200),
        entry("test_echo[100-fasticePy recv]", 4.0, "echo", operations=200),
        entry("test_echo[100-aioice recv]", 8.0, "echo", operations=200),
        entry("test_echo[1200-aioice]", 1.0, "echo"),
        entry("test_burst[fasticePy-1200]", 1e-3, "burst of 1200 bytes"),
    )
    assert done.stdout.splitlines()[2:] == [
        "| echo (100) | 10 ms (on_data) | 40 ms (recv) | 4.0 |",
        "| echo (1200) |  | 1 s |  |",
        "| burst of 1200 bytes | 1 ms |  |  |",
    ]


def test_misuse_explains_itself() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "ratios.py FILE.json" in done.stderr
