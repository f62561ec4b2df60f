"""The programs in examples/ do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PYTHON = [sys.executable, "-X", "dev", "-W", "error"]


def run(name: str, *arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [*PYTHON, str(EXAMPLES / name), *arguments], cwd=folder, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_loopback_pair(tmp_path: Path) -> None:
    lines = run("loopback_pair.py", folder=tmp_path).splitlines()
    assert lines[0].startswith("connected: host ")
    assert [line for line in lines if "received" in line] == [
        "bob received b'message 0'",
        "bob received b'message 1'",
        "bob received b'message 2'",
        "alice received b'thanks'",
    ]


def test_trickle(tmp_path: Path) -> None:
    output = run("trickle.py", folder=tmp_path)
    assert re.search(r"^alice is connected: ", output, re.MULTILINE)
    assert re.search(r"^b'ping' came over host ", output, re.MULTILINE)


def test_own_address(tmp_path: Path) -> None:
    """Without a URL it asks its own server, which sees the socket's own address."""
    output = run("own_address.py", folder=tmp_path)
    seen = re.findall(r"(\S+):(\d+) is seen as (\S+):(\d+)", output)
    assert seen
    assert all((host, port) == (mapped_host, mapped_port) for host, port, mapped_host, mapped_port in seen)


def test_manual_signalling(tmp_path: Path) -> None:
    command = [*PYTHON, str(EXAMPLES / "manual_signalling.py")]
    sides = {
        role: subprocess.Popen(
            [*command, role],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for role in ("offer", "answer")
    }
    try:
        descriptions = {}
        for role, process in sides.items():
            assert process.stdout is not None
            descriptions[role] = process.stdout.readline()
        # communicate() writes its input and closes: paste both before waiting for either
        for role, other in (("offer", "answer"), ("answer", "offer")):
            stdin = sides[role].stdin
            assert stdin is not None
            stdin.write(descriptions[other])
            stdin.flush()
        outputs = {role: process.communicate(timeout=50) for role, process in sides.items()}
    finally:
        for process in sides.values():
            process.kill()
            process.wait()
    for role, other in (("offer", "answer"), ("answer", "offer")):
        stdout, stderr = outputs[role]
        assert sides[role].returncode == 0, stderr
        assert stdout == f"hello from the {other}\n"


def test_manual_signalling_explains_itself(tmp_path: Path) -> None:
    command = [*PYTHON, str(EXAMPLES / "manual_signalling.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert done.returncode == 1
    assert "python manual_signalling.py offer" in done.stderr


def test_every_example_is_listed() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(
        re.findall(r"python examples/(\w+\.py)", page)
    )
