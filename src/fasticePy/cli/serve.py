"""`fasticepy serve`: a STUN server in one command."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from fasticePy.cli.command import Command, ExitCode, UsageError
from fasticePy.cli.output import host_port, print_json, say, table
from fasticePy.cli.stdio import StopSignals, open_reader
from fasticePy.server import Certificate, StunServer, self_signed_certificate
from fasticePy.server.listening import parse_listen

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
    parser.add_argument("--no-udp", action="store_true", help="TCP (and TLS) only")
    parser.add_argument("--no-tcp", action="store_true", help="UDP (and DTLS) only")
    secure = parser.add_argument_group("TLS", "with a certificate, the ports of --listen take TLS too")
    secure.add_argument(
        "--tls-listen",
        action="append",
        default=[],
        metavar="H:P",
        help="address and port for TLS alone; may be repeated. Without --listen nothing else is served",
    )
    secure.add_argument("--cert", metavar="FILE", help="the certificate with those of its issuers, in PEM")
    secure.add_argument("--key", metavar="FILE", help="its key in PEM, when it is not in the same file")
    secure.add_argument(
        "--self-signed",
        action="store_true",
        help="make a certificate for localhost, the loopback addresses and those to listen on; nobody trusts it",
    )
    secure.add_argument("--dtls", action="store_true", help="DTLS on the UDP ports too (needs pyOpenSSL)")
    group = parser.add_argument_group("authentication", "by default everybody is answered")
    group.add_argument(
        "--user", action="append", default=[], metavar="NAME=PASSWORD", help="a user; may be repeated"
    )
    group.add_argument(
        "--realm", help="long-term credentials, in this realm; without it those of --user are short-term ones"
    )
    parser.add_argument(
        "--software", metavar="TEXT", help="what to call ourselves in answers (default: nothing)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--stop-on-eof", action="store_true", help="end when standard input ends")


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    if args.no_udp and args.no_tcp:
        raise UsageError("--no-udp and --no-tcp leave nothing to serve")
    server = _make_server(args)
    try:
        return asyncio.run(_serve(server, as_json=args.json, stop_on_eof=args.stop_on_eof))
    except OSError as error:
        if args.json:
            print_json({"event": "error", "message": error.strerror or str(error), "fatal": True})
        say(f"fasticepy serve: {error.strerror or error}")
        return ExitCode.FAILED


def _make_server(args: argparse.Namespace) -> StunServer:
    try:
        options = {"users": _users(args.user) or None, "realm": args.realm, "software": args.software}
        listen = args.listen or ([] if args.tls_listen else [DEFAULT_LISTEN])
        return StunServer(
            listen,
            udp=not args.no_udp,
            tcp=not args.no_tcp,
            tls_listen=args.tls_listen,
            certificate=_certificate(args, [*listen, *args.tls_listen]),
            dtls=args.dtls,
            **options,
        )
    except (ValueError, ImportError) as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from None


def _certificate(args: argparse.Namespace, listen: list[str]) -> Certificate | None:
    if args.self_signed:
        if args.cert or args.key:
            raise UsageError("--self-signed and --cert exclude each other")
        hosts = [parse_listen(text)[0].partition("%")[0] for text in listen]
        return self_signed_certificate(list(dict.fromkeys(["localhost", "127.0.0.1", "::1", *hosts])))
    if args.key and not args.cert:
        raise UsageError("--key belongs to a --cert")
    if args.cert:
        return Certificate.from_files(args.cert, args.key)
    if args.tls_listen or args.dtls:
        raise UsageError("TLS needs a certificate: --cert FILE --key FILE, or --self-signed")
    return None


def _users(texts: list[str]) -> dict[str, str]:
    users = {}
    for text in texts:
        name, equals, password = text.partition("=")
        if not name or not equals:
            raise UsageError(f"--user {name!r} is not NAME=PASSWORD")
        users[name] = password
    return users


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
    everywhere = {
        "udp": [host_port(address) for address in server.udp_addresses],
        "tcp": [host_port(address) for address in server.tcp_addresses],
        "tls": [host_port(address) for address in server.tls_addresses],
        "dtls": [host_port(address) for address in server.dtls_addresses],
    }
    if as_json:
        ready: dict[str, Any] = {"event": "ready"}
        ready.update({name: addresses[0] if addresses else None for name, addresses in everywhere.items()})
        ready["urls"] = server.urls
        ready.update({f"all_{name}": addresses for name, addresses in everywhere.items()})
        print_json(ready)
        return
    transports = [name for name, addresses in everywhere.items() if addresses]
    rows = [[url] for url in server.urls]
    rows += [[f"{name} {address}"] for name in ("tls", "dtls") for address in everywhere[name]]
    print(f" STUN server on {_enumeration(transports)}, Ctrl-C ends it\n{table(rows)}", flush=True)


def _enumeration(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _conclude(server: StunServer, *, as_json: bool) -> None:
    counters = dict(sorted(server.counters.items()))
    if as_json:
        print_json({"event": "closed", "counters": counters})
    elif counters:
        print(table([[count, reason] for reason, count in counters.items()]), flush=True)


COMMAND = Command("serve", "run a STUN server", add_arguments, run)
