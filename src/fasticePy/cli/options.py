"""Command line options that several commands share."""

from __future__ import annotations

import argparse
from typing import Any

from fasticePy.aio import AddressPolicy
from fasticePy.cli.command import UsageError
from fasticePy.errors import ParseError
from fasticePy.ice.gathering.rewrite import Rewrite
from fasticePy.stun.uri import parse_server_url


def add_agent_arguments(parser: argparse.ArgumentParser) -> None:
    """Which servers, interfaces and address families an agent uses."""
    group = parser.add_argument_group("candidates")
    group.add_argument(
        "--stun", action="append", default=[], metavar="URL", help="a STUN server: stun:host[:port]"
    )
    group.add_argument(
        "--interface", action="append", default=[], metavar="NAME",
        help="use this network interface only (may be repeated; patterns such as 'eth*')",
    )  # fmt: skip
    group.add_argument(
        "--address",
        action="append",
        default=[],
        metavar="A",
        help="use this local address or network only (may be repeated; '!' in front excludes)",
    )
    group.add_argument("--include-loopback", action="store_true", help="offer the loopback addresses too")
    group.add_argument("--tcp", action="store_true", help="offer TCP candidates beside UDP ones")
    group.add_argument(
        "--mdns",
        action="store_true",
        help="offer names (.local) in place of addresses, for use within one link",
    )
    group.add_argument(
        "--advertise", action="append", default=[], metavar="RULE",
        help="offer another address in place of a local one, such as '10.0.0.5=203.0.113.7' (may be repeated; "
        "'mode=append' after a comma offers both)",
    )  # fmt: skip
    family = group.add_mutually_exclusive_group()
    family.add_argument("-4", dest="only", action="store_const", const=4, help="IPv4 only")
    family.add_argument("-6", dest="only", action="store_const", const=6, help="IPv6 only")


def agent_options(args: argparse.Namespace) -> dict[str, Any]:
    """The keyword options of `fasticePy.Agent` that `add_agent_arguments` gathered. Raises `UsageError`."""
    options: dict[str, Any] = {
        "servers": [server_url(text) for text in args.stun],
        "include_loopback": args.include_loopback,
        "ipv4": args.only != 6,
        "ipv6": args.only != 4,
        "tcp": args.tcp or None,  # without it, only the peer's passive ones are connected to
        "mdns": "publish" if args.mdns else "resolve",
        "advertise": [rewrite_rule(text) for text in args.advertise],
    }
    if args.interface:
        options["interfaces"] = args.interface
    if args.address:
        try:
            AddressPolicy(addresses=args.address)
        except ValueError as error:
            raise UsageError(f"--address: {error}") from None
        options["addresses"] = args.address
    return options


def rewrite_rule(text: str) -> Rewrite:
    """An address-rewrite rule. Raises `UsageError`."""
    try:
        return Rewrite.parse(text)
    except ParseError as error:
        raise UsageError(f"--advertise: {error}") from None


def server_url(text: str) -> str:
    """The URL of a STUN server; `stun:` may be left out. Raises `UsageError`."""
    url = text if text.startswith(("stun:", "stuns:", "turn:", "turns:")) else f"stun:{text}"
    try:
        parsed = parse_server_url(url)
    except ParseError as error:
        raise UsageError(f"{text!r} is no server URL: {error}") from None
    if parsed.relay:
        raise UsageError(f"{text!r}: --stun takes STUN servers; TURN is not built yet")
    return str(parsed)


def host_and_port(text: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`. Raises `UsageError`."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed):
        raise UsageError(f"{text!r} is not host:port or [IPv6 address]:port")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise UsageError(f"{text!r}: {port!r} is no port")
    return (host[1:-1] if bracketed else host), int(port)
