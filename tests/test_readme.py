"""What the README prints works as printed: its programs run, its commands and extras exist."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    # from another folder: nothing of the source tree can be imported by accident
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50)


def test_the_first_example_connects_and_delivers(tmp_path: Path) -> None:
    done = run(blocks("python")[0], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("b'hello'")
    assert done.stderr == ""


@pytest.mark.parametrize("program", blocks("python")[1:])
def test_the_other_examples_run(program: str, tmp_path: Path) -> None:
    done = run(program, tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_two_commands() -> None:
    install, test = blocks("sh")
    assert install.strip() == "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/fasticepy demo"
    assert test.strip() == ".venv/bin/pip install '.[test]' && .venv/bin/python -m pytest"
    package = distribution("fasticePy")
    assert [point.name for point in package.entry_points if point.group == "console_scripts"] == ["fasticepy"]
    assert "test" in (package.metadata.get_all("Provides-Extra") or [])


def commands() -> list[str]:
    return re.findall(r"^\| `fasticepy ([a-z-]+)", README, re.MULTILINE)


def test_every_command_is_listed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fasticePy", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    for name in commands():
        assert re.search(rf"^\s+{name}\b", done.stdout, re.MULTILINE), f"--help does not list {name}"


@pytest.mark.parametrize("name", commands())
def test_every_command_explains_itself(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fasticePy", name, "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    row = next(line for line in README.splitlines() if line.startswith(f"| `fasticepy {name}"))
    for option in re.findall(r"--[a-z]+", row):
        assert option in done.stdout, f"fasticepy {name} has no {option}"


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert "://" in target or (PROJECT / target).exists(), target
