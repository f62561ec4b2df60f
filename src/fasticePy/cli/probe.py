"""`fasticepy probe`: whether STUN and TURN servers answer, how, and if not, why."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import importlib
import ssl
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress

from fasticePy.aio.diary import printable
from fasticePy.aio.tls import client_context
from fasticePy.cli.command import Command, ExitCode, UsageError
from fasticePy.cli.output import host_port, milliseconds, print_json, table
from fasticePy.cli.probing import Check, ProbeOptions, ServerReport, probe
from fasticePy.errors import ParseError
from fasticePy.stun import LongTermCredentials
from fasticePy.stun.outcome import Attempt
from fasticePy.stun.uri import ServerUrl, parse_server_url

TIMEOUT = 5.0
"""Seconds for the resolution, and for each check; they run at the same time."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `fasticepy probe`."""
    parser.add_argument(
        "urls", nargs="+", metavar="URL",
        help="stun:host[:port], stuns:, turn: or turns:; stun: may be left out",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--user", metavar="NAME", help="user name for servers that ask for credentials")
    parser.add_argument("--password", metavar="WORD", help="its password; asked for when left out")
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT, metavar="SECONDS",
        help=f"how long each check may take (default {TIMEOUT:g})",
    )  # fmt: skip
    parser.add_argument(
        "--server-name", metavar="NAME", help="the name that certificates must have, if another"
    )
    parser.add_argument("--ca-file", metavar="FILE", help="trust the authorities in this PEM file")
    family = parser.add_mutually_exclusive_group()
    family.add_argument("-4", dest="only", action="store_const", const=4, help="IPv4 only")
    family.add_argument("-6", dest="only", action="store_const", const=6, help="IPv6 only")


def run(args: argparse.Namespace) -> int:
    """Probe; DEGRADED when some of it works, FAILED when no server answers at all."""
    urls = [_url(text, args.server_name) for text in args.urls]
    return asyncio.run(_probe_all(urls, _options(args), as_json=args.json))


def _url(text: str, server_name: str | None) -> ServerUrl:
    known = text.lower().startswith(("stun:", "stuns:", "turn:", "turns:"))
    try:
        return parse_server_url(text if known else f"stun:{text}", tls_name=server_name)
    except ParseError as error:
        raise UsageError(f"{text!r} is no server URL: {error}") from None


def _options(args: argparse.Namespace) -> ProbeOptions:
    if not args.timeout > 0:
        raise UsageError("--timeout is a number of seconds above 0")
    if args.password is not None and args.user is None:
        raise UsageError("--password needs --user")
    return ProbeOptions(
        credentials=None if args.user is None else _credentials(args.user, args.password),
        families=frozenset({4, 6} if args.only is None else {args.only}),
        timeout=args.timeout,
        tls_context=_tls_context(args.ca_file),
        dtls_context=None
        if args.ca_file is None
        else _trusting(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), args.ca_file),
    )


def _credentials(user: str, password: str | None) -> LongTermCredentials:
    if password is None:
        if not sys.stdin.isatty():
            raise UsageError("--user needs --password where nobody can be asked")
        password = getpass.getpass(f"password of {user}: ")
    try:
        return LongTermCredentials(user, password)
    except ValueError as error:
        raise UsageError(f"--user, --password: {error}") from None


def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Made once, and before anything is timed: it reads the certificates of all authorities."""
    with suppress(ImportError):  # this takes time as well; without the extra, the checks say so
        importlib.import_module("fasticePy.aio.dtls")
    context = client_context("stun.nat-discovery")
    context.set_alpn_protocols(["stun.nat-discovery", "stun.turn"])
    return context if ca_file is None else _trusting(context, ca_file)


def _trusting(context: ssl.SSLContext, ca_file: str) -> ssl.SSLContext:
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"--ca-file {ca_file}: {error}") from None
    return context


async def _probe_all(urls: Sequence[ServerUrl], options: ProbeOptions, *, as_json: bool) -> int:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    reports: list[ServerReport] = []
    for task in [asyncio.ensure_future(probe(url, options)) for url in urls]:
        report = await task
        reports.append(report)
        if as_json:
            print_json(_as_json(report))
        else:
            print(_as_text(report), flush=True)
    states = [report.status for report in reports]
    if as_json:
        counts = {state: states.count(state) for state in ("ok", "degraded", "failed")}
        print_json({"event": "done", "after_ms": _ms(loop.time() - begun), **counts})
    else:
        print(f"\n finished in {milliseconds(loop.time() - begun)}")
    if set(states) == {"ok"}:
        return ExitCode.OK
    return ExitCode.FAILED if set(states) == {"failed"} else ExitCode.DEGRADED


# --- for programs


def _as_json(report: ServerReport) -> dict[str, object]:
    return {
        "event": "server",
        "url": report.url,
        "status": report.status,
        "after_ms": _ms(report.took),
        "software": report.software,
        "resolution": [_attempt_as_json(attempt) for attempt in report.resolution],
        "checks": [_check_as_json(check) for check in report.checks],
    }


def _attempt_as_json(attempt: Attempt) -> dict[str, object]:
    return {
        "question": attempt.target,
        "ok": attempt.ok,
        "answer": attempt.detail,
        "ms": _ms(attempt.took),
    }


def _check_as_json(check: Check) -> dict[str, object]:
    found: dict[str, object] = {
        "transport": check.transport,
        "wanted": check.wanted,
        "family": check.family,
        "server": None if check.address is None else host_port(check.address),
        "status": check.status,
        "realm": check.realm,
    }
    if check.result is None:
        return {**found, "reason": check.reason, "code": check.code, "detail": check.detail}
    result = check.result
    return {
        **found,
        "rtt_ms": None if result.rtt is None else _ms(result.rtt),
        "setup_ms": _ms(result.setup),
        "mapped": host_port(result.mapped_address),
        "local": host_port(result.local_address),
        "authenticated": result.authenticated,
        "software": result.software,
        "other_address": None if result.other_address is None else host_port(result.other_address),
        "response_origin": None if result.response_origin is None else host_port(result.response_origin),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


# --- for people


def _as_text(report: ServerReport) -> str:
    rows: list[Sequence[object]] = []
    for attempt in report.resolution:
        state = "" if attempt.ok else "none" if attempt.detail == "no such record" else "FAILED"
        detail = "" if state == "none" else attempt.detail
        rows.append(["dns", "", attempt.target, state, milliseconds(attempt.took), detail])
    rows += [_check_row(check) for check in report.checks]
    rows += _facts(report)
    return f"\n {report.url}\n{table(rows, indent=3)}\n   => {_verdict(report)}"


def _check_row(check: Check) -> list[object]:
    family = "" if check.family is None else f"v{check.family}"
    address = "" if check.address is None else host_port(check.address)
    head = [check.transport, family, address]
    if check.result is None:
        state = _STATES[check.status] if check.wanted or check.status != "failed" else "no"
        return [*head, state, milliseconds(check.took or None), check.detail]
    return [*head, "ok", milliseconds(check.result.rtt), _seen(check)]


_STATES = {"failed": "FAILED", "skipped": "skip", "asks for credentials": "401"}


def _seen(check: Check) -> str:
    """What the server said of us, and of the way there."""
    assert check.result is not None
    result = check.result
    words = f"you are {host_port(result.mapped_address)}"
    if result.mapped_address != result.local_address:
        words += f", behind a NAT: here it is {host_port(result.local_address)}"
    if result.setup:
        words += f"; connected in {milliseconds(result.setup)}"
    return words


def _facts(report: ServerReport) -> list[Sequence[object]]:
    """What is the same for all checks."""
    results = [check.result for check in report.checks if check.result is not None]
    facts: list[Sequence[object]] = []
    if report.software:
        facts.append(["is", "", printable(report.software)])
    realms = sorted({check.realm for check in report.checks if check.realm})
    refused = any(check.status == "asks for credentials" for check in report.checks)
    if realms or refused:
        said = f"realm {', '.join(map(printable, realms))}" if realms else "asked for"
        accepted = any(result.authenticated for result in results)
        facts.append(["auth", "", said, "ok" if accepted else "401"])
    elif results:
        facts.append(["auth", "", "not asked for"])
    other = next((result.other_address for result in results if result.other_address), None)
    if other is not None:
        facts.append(["nat", "", f"can test NATs (RFC 5780) with {host_port(other)}"])
    return facts


def _verdict(report: ServerReport) -> str:
    """One sentence."""
    works = [check for check in report.checks if check.status == "ok"]
    wrong = [check for check in report.checks if check.wanted and check.status not in ("ok", "skipped")]
    if report.status == "failed":
        reasons = (check.detail for check in report.checks if check.wanted)
        return f"failed: {_listed(dict.fromkeys(reasons))}"
    if any(check.status == "asks for credentials" for check in wrong):
        refused = "refuses these credentials" if report.with_credentials else "wants --user and --password"
        return f"degraded: it answers, but {refused}"
    verdict = f"{report.status}: answers by {_ways(works)}"
    return f"{verdict}, but not by {_ways(wrong)}" if wrong else verdict


def _ways(checks: Sequence[Check]) -> str:
    """Such as "udp and tcp over IPv4 and IPv6, tls over IPv4"."""
    families: dict[str, dict[str, None]] = {}
    for check in checks:
        families.setdefault(check.transport, {})[f"IPv{check.family}"] = None
    ways: dict[str, list[str]] = {}
    for transport, found in families.items():
        ways.setdefault(_listed(found), []).append(transport)
    return ", ".join(f"{_listed(transports)} over {found}" for found, transports in ways.items())


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


COMMAND = Command(
    "probe",
    "ask STUN and TURN servers by every transport, and say what works and what does not",
    add_arguments,
    run,
)
