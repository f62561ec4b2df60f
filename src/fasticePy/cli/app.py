"""The entry point of `fasticepy`: the table of commands, their common options, and how a command ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from fasticePy._version import __version__
from fasticePy.cli import bench, connect, decode, demo, gather, peer, probe, serve
from fasticePy.cli.command import Command, ExitCode, UsageError

COMMANDS: tuple[Command, ...] = (
    demo.COMMAND,
    connect.COMMAND,
    gather.COMMAND,
    probe.COMMAND,
    serve.COMMAND,
    decode.COMMAND,
    peer.COMMAND,
    bench.COMMAND,
)
"""Every command, in the order in which `--help` lists them."""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors end in the exit code for usage."""

    def error(self, message: str) -> NoReturn:
        """Print how the command is used, what was wrong, and end."""
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\n")


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(
        prog="fasticepy",
        description="ICE, STUN and TURN from the command line.",
        epilog="Exit codes: 0 ok, 1 degraded, 2 failed, 64 usage. 'fasticepy COMMAND --help' explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"fasticepy {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(
            command.name, help=command.summary, description=command.summary.capitalize() + "."
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run, parser=sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `fasticepy` with these arguments (those of the process when None); gives the exit code."""
    try:
        args = make_parser().parse_args(argv)
        return _run(args)
    except SystemExit as end:  # argparse: --help, --version, wrong usage
        return end.code if isinstance(end.code, int) else ExitCode.OK


def _run(args: argparse.Namespace) -> int:
    try:
        return int(args.run(args))
    except UsageError as error:
        parser: argparse.ArgumentParser = args.parser
        parser.error(str(error))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has gone (`| head`): keep the interpreter from complaining when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
