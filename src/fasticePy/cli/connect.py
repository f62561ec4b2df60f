"""`fasticepy connect`: two people connect by exchanging descriptions, then chat, or pipe a file."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from fasticePy.aio import Agent
from fasticePy.cli.command import Command, ExitCode, UsageError
from fasticePy.cli.conversation import Conversation
from fasticePy.cli.meeting import meet_by_notes, meet_over
from fasticePy.cli.options import add_agent_arguments, agent_options, host_and_port
from fasticePy.cli.output import milliseconds, say
from fasticePy.cli.signalling import SignallingError, answer_call, call
from fasticePy.cli.stdio import open_reader
from fasticePy.ice import IceFailed
from fasticePy.ice.options import Timeouts
from fasticePy.ice.pair import CandidatePair
from fasticePy.machine import Address

SIGNALLING_TIMEOUT = 600.0
"""Seconds to wait for the other person, unless `--timeout` says otherwise."""

EPILOG = """\
Without --out, --in, --listen and --via the descriptions are pasted: each side prints one line that the other side
pastes. Everything for people goes to standard error; standard output carries only what the other side sent, so
'fasticepy connect --offer ... < file' and 'fasticepy connect --answer ... > file' copy a file, whole or with an error.
The connection is not encrypted, and neither is TCP signalling: who can read the descriptions can take part.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `fasticepy connect`."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    role = parser.add_mutually_exclusive_group(required=True)
    role.add_argument("--offer", action="store_true", help="the side that begins")
    role.add_argument("--answer", action="store_true", help="the other side")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write our description there")
    parser.add_argument(
        "--in", type=Path, metavar="FILE", dest="in_file", help="read theirs there, once it appears"
    )
    meeting = parser.add_mutually_exclusive_group()
    meeting.add_argument(
        "--listen", metavar="H:P", help="exchange descriptions by TCP: the other side calls us here"
    )
    meeting.add_argument(
        "--via", metavar="H:P", help="exchange descriptions by TCP: the other side listens there"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=SIGNALLING_TIMEOUT,
        metavar="S",
        help="seconds to wait for the other side (default %(default)g)",
    )
    parser.add_argument(
        "--nomination",
        choices=("regular", "fastest", "continuous"),
        help="how the offering side chooses a path (default regular; continuous never stops looking for a better one)",
    )
    parser.add_argument(
        "--continual",
        action="store_true",
        help="follow changes of this host's network while connected; implies --nomination continuous",
    )
    add_agent_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; OK when both directions ended and arrived whole."""
    if (args.listen or args.via) and (args.out or args.in_file):
        raise UsageError("--listen and --via exchange both descriptions: leave out --out and --in")
    meeting_point = args.listen or args.via
    address = host_and_port(meeting_point) if meeting_point else None
    options = agent_options(args)
    options["continual"] = args.continual
    options["nomination"] = args.nomination or ("continuous" if args.continual else "regular")
    try:
        return asyncio.run(_connect(args, address, options))
    except IceFailed as error:
        say(f"Not connected: {error}")
        if error.report is not None:
            say(str(error.report))
    except (SignallingError, OSError) as error:
        say(f"fasticepy connect: {error}")
    return ExitCode.FAILED


async def _connect(args: argparse.Namespace, address: Address | None, options: dict[str, Any]) -> int:
    # the other person may take minutes to paste our description: stay hopeful for as long (RFC 8863 4)
    timeouts = Timeouts(patience=max(args.timeout, Timeouts().patience))
    async with Agent(controlling=args.offer, timeouts=timeouts, **options) as agent:
        reader = open_reader()
        interactive = sys.stdin is not None and sys.stdin.isatty()
        conversation = Conversation(agent, reader, sys.stdout.fileno(), interactive=interactive)
        try:
            pair = await _meet(args, address, agent, reader)
        except asyncio.TimeoutError:
            raise SignallingError(f"the other side did not answer within {args.timeout:g} s") from None
        say(f"Connected: {pair}  {milliseconds(pair.rtt)}".rstrip())
        return await conversation.run()


async def _meet(
    args: argparse.Namespace, address: Address | None, agent: Agent, reader: asyncio.StreamReader
) -> CandidatePair:
    if address and args.listen:
        async with answer_call(*address, timeout=args.timeout) as (line, theirs):
            return await meet_over(line, agent, theirs)
    if address:
        async with call(*address, timeout=args.timeout) as line:
            return await meet_over(line, agent, None)
    return await meet_by_notes(
        agent, reader, offer=args.offer, out=args.out, in_file=args.in_file, timeout=args.timeout
    )


COMMAND = Command(
    "connect", "connect two machines by exchanging two lines, then chat or pipe", add_arguments, run
)
