"""The command line as a whole: the table of commands, exit codes, how a command ends."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from fasticePy import __version__
from fasticePy.cli import app, main
from fasticePy.cli.command import Command, ExitCode, UsageError


@pytest.mark.parametrize(
    "program", [["-m", "fasticePy"], ["-c", "import fasticePy.cli; fasticePy.cli.main(['--version'])"]]
)
def test_version(program: list[str]) -> None:
    arguments = [sys.executable, *program, "--version"]
    assert subprocess.check_output(arguments, text=True).strip() == f"fasticepy {__version__}"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == ExitCode.OK
    text = capsys.readouterr().out
    assert {command.name for command in app.COMMANDS} >= {"demo", "connect", "gather", "peer", "serve"}
    for command in app.COMMANDS:
        assert command.name in text
        assert command.summary.split()[0] in text


@pytest.mark.parametrize("name", [command.name for command in app.COMMANDS])
def test_each_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == ExitCode.OK
    assert "usage: fasticepy " + name in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["demo", "--nonsense"],
        ["demo", "--messages", "0"],
        ["demo", "--messages", "many"],
        ["connect"],
        ["connect", "--offer", "--answer"],
        ["connect", "--offer", "--listen", "127.0.0.1:1", "--via", "127.0.0.1:2"],
        ["connect", "--offer", "--listen", "127.0.0.1:0", "--in", "file"],
        ["connect", "--offer", "--listen", "nowhere"],
        ["connect", "--offer", "--via", "::1:70000"],
        ["connect", "--offer", "--stun", "stun:"],
        ["gather", "--stun", "http://example.org"],
        ["gather", "-4", "-6"],
        ["gather", "--address", "nowhere"],
        ["gather", "--stun", "turn:example.org"],
        ["serve", "--listen", "localhost:1"],
        ["serve", "--no-udp", "--no-tcp"],
        ["peer", "now"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_64_and_says_how(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: fasticepy")


def with_command(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(args: argparse.Namespace) -> int:
        raise error

    command = Command("fail", "fail", lambda parser: None, fail)
    monkeypatch.setattr(app, "COMMANDS", (command,))


def test_ctrl_c_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with_command(monkeypatch, KeyboardInterrupt())
    assert main(["fail"]) == ExitCode.INTERRUPTED
    assert capsys.readouterr() == ("", "")


def test_usage_errors_of_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_command(monkeypatch, UsageError("this cannot be"))
    assert main(["fail"]) == ExitCode.USAGE
    assert "fasticepy fail: this cannot be" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    script = (
        "import sys; from fasticePy.cli import app\n"
        "from fasticePy.cli.command import Command\n"
        "def loud(args):\n"
        "    for _ in range(100000): print('x' * 100)\n"
        "app.COMMANDS = (Command('loud', 'loud', lambda parser: None, loud),)\n"
        "sys.exit(app.main(['loud']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(10) == ExitCode.FAILED
