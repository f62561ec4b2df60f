"""`fasticepy serve`: a STUN server in one command."""

from __future__ import annotations

import argparse
import asyncio

from fasticePy.cli.command import Command, ExitCode, UsageError
from fasticePy.cli.output import host_port, print_json, say, table
from fasticePy.cli.stdio import StopSignals, open_reader
from fasticePy.server import StunServer

DEFAULT_LISTEN = "127.0.0.1:3478"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `fasticepy serve`."""
    parser.add_argument(
        "--listen",
        action="append",
        metavar="H:P",
        help=f"address and port, for UDP and TCP; may be repeated; port 0 is any free one (default {DEFAULT_LISTEN}, "
        "which only this machine reaches; 0.0.0.0:3478 and [::]:3478 are for everybody)",
    )
    parser.add_argument("--no-udp", action="store_true", help="TCP only")
    parser.add_argument("--no-tcp", action="store_true", help="UDP only")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--stop-on-eof", action="store_true", help="end when standard input ends")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    if args.no_udp and args.no_tcp:
        raise UsageError("--no-udp and --no-tcp leave nothing to serve")
    try:
        server = StunServer(args.listen or [DEFAULT_LISTEN], udp=not args.no_udp, tcp=not args.no_tcp)
    except ValueError as error:
        raise UsageError(f"--listen {error}") from None
    try:
        return asyncio.run(_serve(server, as_json=args.json, stop_on_eof=args.stop_on_eof))
    except OSError as error:
        if args.json:
            print_json({"event": "error", "message": error.strerror or str(error), "fatal": True})
        say(f"fasticepy serve: {error.strerror or error}")
        return ExitCode.FAILED


async def _serve(server: StunServer, *, as_json: bool, stop_on_eof: bool) -> int:
    with StopSignals() as stop:
        async with server:
            _announce(server, as_json=as_json)
            if stop_on_eof:
                watching = asyncio.ensure_future(_watch_input(stop))
                await stop.requested.wait()
                watching.cancel()
            else:
                await stop.requested.wait()
    _conclude(server, as_json=as_json)
    return ExitCode.OK


async def _watch_input(stop: StopSignals) -> None:
    reader = open_reader()
    while await reader.read(4096):
        pass  # what is typed means nothing
    stop.requested.set()


def _announce(server: StunServer, *, as_json: bool) -> None:
    udp = [host_port(address) for address in server.udp_addresses]
    tcp = [host_port(address) for address in server.tcp_addresses]
    if as_json:
        ready = {"event": "ready", "udp": udp[0] if udp else None, "tcp": tcp[0] if tcp else None}
        print_json({**ready, "urls": server.urls, "all_udp": udp, "all_tcp": tcp})
        return
    transports = "udp and tcp" if udp and tcp else "udp" if udp else "tcp"
    print(
        f" STUN server on {transports}, Ctrl-C ends it\n{table([[url] for url in server.urls])}", flush=True
    )


def _conclude(server: StunServer, *, as_json: bool) -> None:
    counters = dict(sorted(server.counters.items()))
    if as_json:
        print_json({"event": "closed", "counters": counters})
    elif counters:
        print(table([[count, reason] for reason, count in counters.items()]), flush=True)


COMMAND = Command("serve", "run a STUN server", add_arguments, run)
