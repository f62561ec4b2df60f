"""The script that compares two benchmark runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/compare.py"


def run_file(path: Path, **medians: float) -> str:
    entries = [
        {"fullname": f"benchmarks/{name}", "stats": {"median": value}} for name, value in medians.items()
    ]
    path.write_text(json.dumps({"benchmarks": entries}), encoding="utf-8")
    return str(path)


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=30
    )


def test_slower_faster_new_and_gone(tmp_path: Path) -> None:
    before = run_file(tmp_path / "a.json", parse=1e-6, build=2e-6, verify=3e-7, old=1.0)
    after = run_file(tmp_path / "b.json", parse=2e-6, build=1e-6, verify=3.1e-7, new=0.5)
    done = compare(before, after)
    assert done.returncode == 0
    assert done.stdout.splitlines()[2:] == [
        "| build | 2 us | 1 us | 0.50 | faster |",
        "| new |  | 500 ms | | new |",
        "| old | 1 s |  | | gone |",
        "| parse | 1 us | 2 us | 2.00 | slower |",
        "| verify | 300 ns | 310 ns | 1.03 |  |",
    ]


def test_the_best_of_several_runs_counts(tmp_path: Path) -> None:
    files = [
        run_file(tmp_path / f"{index}.json", parse=value)
        for index, value in enumerate((3e-6, 1e-6, 4e-6, 2e-6))
    ]
    done = compare(*files[:2], "--", *files[2:])
    assert done.stdout.splitlines()[-1] == "| parse | 1 us | 2 us | 2.00 | slower |"


def test_one_operation_counts_however_many_a_round_has(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    entry = {"fullname": "x", "stats": {"median": 1e-3}, "extra_info": {"operations": 1000}}
    path.write_text(json.dumps({"benchmarks": [entry]}), encoding="utf-8")
    done = compare(str(path), run_file(tmp_path / "b.json", x=2e-6))
    assert done.stdout.splitlines()[-1] == "| x | 1 us | 2 us | 2.00 | slower |"


def test_misuse_explains_itself(tmp_path: Path) -> None:
    done = compare(run_file(tmp_path / "a.json", parse=1.0))
    assert done.returncode == 2
    assert "BEFORE.json AFTER.json" in done.stderr
