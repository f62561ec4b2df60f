"""`fasticepy decode`: every STUN, TURN and ChannelData message in bytes that were pasted, or in a capture."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

from fasticePy.cli.capture import Analysis, Finding, is_capture, read_capture
from fasticePy.cli.capture.analysis import read_bytes
from fasticePy.cli.capture.keys import Integrity, Keys
from fasticePy.cli.command import Command, ExitCode, UsageError
from fasticePy.cli.output import host_port, print_json, say, table
from fasticePy.errors import ParseError
from fasticePy.stun import Attribute, ChannelData, Message
from fasticePy.stun.describe import as_dict, describe, fingerprint_verdict, hexadecimal

MAX_INPUT = 1 << 24
"""Bytes of input that is no capture."""

_SEPARATORS = re.compile(r"0[xX]|\\x|[\s:,]+")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `fasticepy decode`."""
    parser.add_argument(
        "input",
        metavar="HEX|FILE|-",
        help="a message in hexadecimal; a file with a capture (pcap, pcapng), with hexadecimal (a message a line) "
        "or with the bytes of a message; or - for standard input with any of these",
    )
    parser.add_argument(
        "--password",
        action="append",
        default=[],
        help="check the integrity with this password; may be repeated, as each side of ICE has its own",
    )
    parser.add_argument("--user", help="the user, for long-term credentials, where messages do not tell it")
    parser.add_argument("--realm", help="the realm, likewise")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.epilog = (
        "Exit codes: 0 all messages are well, 1 something is wrong with one (it is malformed, its fingerprint is "
        "wrong, no password given fits) or the capture is damaged, 2 there is no message, or the input cannot be read."
    )


def run(args: argparse.Namespace) -> int:
    """Decode, and tell how well that went."""
    if (args.user or args.realm) and not args.password:
        raise UsageError("--user and --realm are for a --password")
    try:
        keys = Keys(args.password, user=args.user, realm=args.realm)
    except ValueError as error:
        raise UsageError(f"no key can be made of that: {error}") from None
    report = _Report(keys, as_json=args.json)
    try:
        _read(args.input, report)
    except OSError as error:
        report.failed(f"{args.input}: {error.strerror or error}")
    return report.conclude()


def _read(source: str, report: _Report) -> None:
    if source == "-":
        _read_file(sys.stdin.buffer, report)
    elif os.path.exists(source):
        with open(source, "rb") as file:
            _read_file(file, report)
    else:
        data = _unhex(source)
        if data is None:
            raise UsageError(f"{source[:60]!r} is neither a file nor hexadecimal")
        report.pasted(data)


def _read_file(file: BinaryIO, report: _Report) -> None:
    head = file.read(4)
    if is_capture(head):
        report.capture(_Rewound(head, file))
        return
    data = head + file.read(MAX_INPUT + 1 - len(head))
    if len(data) > MAX_INPUT:
        report.failed(f"the input is no capture, and longer than {MAX_INPUT} bytes")
        return
    for message in _packets_of(data):
        report.pasted(message)


def _packets_of(data: bytes) -> Iterator[bytes]:
    """What a file holds that is no capture: one message in hexadecimal, or one a line, or bytes."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        yield data
        return
    whole = _unhex(text)
    if whole is None:
        yield data
        return
    lines = [line for line in map(_unhex, text.splitlines()) if line]
    # one message may go over several lines, and a line may end in the middle of a byte
    yield from max([whole], lines, key=_readable)


def _readable(packets: list[bytes]) -> tuple[int, int]:
    """How well they can be read: the messages in them, then how few problems there are."""
    findings = [finding for packet in packets for finding in read_bytes(packet)]
    messages = sum(finding.message is not None for finding in findings)
    return messages, messages - len(findings)


def _unhex(text: str) -> bytes | None:
    """The bytes that hexadecimal text stands for; None when it is not that."""
    try:
        return bytes.fromhex(_SEPARATORS.sub("", text)) or None
    except ValueError:
        return None


class _Rewound:
    """A file of which the first bytes have been read."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head = head
        self._file = file

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes."""
        if not self._head:
            return self._file.read(size)
        taken, self._head = self._head[:size], self._head[size:]
        return taken


class _Report:
    """Prints what is found, and counts what is wrong with it."""

    def __init__(self, keys: Keys, *, as_json: bool) -> None:
        self._keys = keys
        self._json = as_json
        self._messages = 0
        self._problems: Counter[str] = Counter()
        self._other: Counter[str] = Counter()
        self._captured = False
        self._began: float | None = None
        self._error = ""

    # --- input

    def pasted(self, data: bytes) -> None:
        """Bytes without a packet around them."""
        findings = read_bytes(data)
        if not findings:
            self._problem(Finding(None, data, problem="neither STUN nor ChannelData"))
        for finding in findings:
            self._show(finding)

    def capture(self, source: _Rewound) -> None:
        """A capture, to its end or to where it is damaged."""
        self._captured = True
        analysis = Analysis()
        try:
            for record in read_capture(source):
                if self._began is None:
                    self._began = record.at
                for finding in analysis.record(record):
                    self._show(finding)
        except ParseError as error:
            self.failed(str(error))
        self._other = analysis.other
        if analysis.streams.given_up:
            self._other["TCP, gaps"] = analysis.streams.given_up

    def failed(self, reason: str) -> None:
        """The input cannot be read, or not on."""
        self._error = reason
        self._problems["input that cannot be read"] += 1
        if self._json:
            print_json({"event": "error", "message": reason})
        say(f"fasticepy decode: {reason}")

    def conclude(self) -> int:
        """Say how much there was; gives the exit code."""
        other = dict(self._other.most_common())
        problems = dict(self._problems.most_common())
        if self._json:
            print_json({"event": "summary", "messages": self._messages, "problems": problems, "other": other})
        elif self._captured:
            rows: list[list[object]] = [[self._messages, "messages"]]
            rows += [[count, reason] for reason, count in problems.items()]
            rows += [[count, f"packets without a message: {kind}"] for kind, count in other.items()]
            print(table(rows))
        if not self._messages:
            if not self._error:
                say("fasticepy decode: there is no STUN, TURN or ChannelData message in it")
            return ExitCode.FAILED
        return ExitCode.DEGRADED if problems else ExitCode.OK

    # --- output

    def _show(self, finding: Finding) -> None:
        if finding.message is None:
            self._problem(finding)
            return
        self._messages += 1
        if self._json:
            print_json({"event": "message", **self._where(finding), **self._as_dict(finding)})
            return
        self._print_headline(finding)
        print("\n".join(" " + line for line in self._lines(finding)))

    def _problem(self, finding: Finding) -> None:
        self._problems[finding.problem.partition(":")[0]] += 1
        if self._json:
            entry = {"event": "problem", "message": finding.problem, "hex": finding.data[:64].hex()}
            print_json({**entry, **self._where(finding)})
            return
        self._print_headline(finding)
        data = f": {hexadecimal(finding.data)}" if finding.data else ""
        print(f" {finding.problem}{data}")

    def _print_headline(self, finding: Finding) -> None:
        record, packet = finding.record, finding.packet
        if record is None or packet is None:
            return
        at = "" if record.at is None or self._began is None else f"{record.at - self._began:.6f} s"
        transport = "udp" if packet.sequence is None else "tcp"
        ends = f"{host_port(packet.source)} > {host_port(packet.destination)}"
        print("  ".join(filter(None, (f"#{record.number}", at, transport, ends))))

    @staticmethod
    def _where(finding: Finding) -> dict[str, object]:
        where: dict[str, object] = {"note": finding.note} if finding.note else {}
        if finding.record is not None and finding.packet is not None:
            where["packet"] = finding.record.number
            where["at"] = finding.record.at
            where["transport"] = "udp" if finding.packet.sequence is None else "tcp"
            where["source"] = host_port(finding.packet.source)
            where["destination"] = host_port(finding.packet.destination)
        return where

    def _lines(self, finding: Finding) -> list[str]:
        message = finding.message
        lines: list[str] = []
        if isinstance(message, ChannelData):
            shown = "" if finding.inner is not None else f": {hexadecimal(message.payload)}"
            lines.append(f"ChannelData 0x{message.channel:04x}, {len(message.payload)} bytes{shown}")
        elif isinstance(message, Message):
            lines += describe(message, self._verdicts(message))
        if finding.classic:
            lines.insert(1, f"  without the cookie (RFC 3489), its id is {finding.data[4:20].hex()}")
        if finding.note:
            lines.append(f"  {finding.note}")
        if finding.inner is not None:
            lines += ["  the data is:", *("    " + line for line in self._lines(finding.inner))]
        return lines

    def _as_dict(self, finding: Finding) -> dict[str, object]:
        message = finding.message
        shown: dict[str, object] = {}
        if isinstance(message, ChannelData):
            shown = {"channel": message.channel, "size": len(finding.data), "data": message.payload.hex()}
        elif isinstance(message, Message):
            shown = as_dict(message, self._verdicts(message))
        if finding.classic:
            shown.update({"id": finding.data[4:20].hex(), "classic": True})
        if finding.inner is not None:
            shown["inner"] = self._as_dict(finding.inner)
        return shown

    def _verdicts(self, message: Message) -> dict[int, str]:
        checked: dict[int, Integrity] = self._keys.check(message)
        if any(integrity.right is False for integrity in checked.values()):
            self._problems["messages with an integrity that no password fits"] += 1
        if "wrong" in fingerprint_verdict(message).get(Attribute.FINGERPRINT, ""):
            self._problems["messages with a wrong fingerprint"] += 1
        return {attribute: integrity.words for attribute, integrity in checked.items()}


COMMAND = Command(
    "decode", "print the STUN and TURN messages in a capture or in hexadecimal", add_arguments, run
)
