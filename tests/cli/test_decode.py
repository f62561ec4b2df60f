"""`fasticepy decode`: what it prints, and that nothing in its input makes it fail otherwise than in words."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from packet_builders import Address, enhanced, ethernet, interface, ip, pcap, section, tcp, udp

from fasticePy import stun
from fasticePy.cli import decode, main
from fasticePy.cli.command import ExitCode
from fasticePy.stun import Attribute, ChannelData, MessageBuilder, MessageClass, Method

TESTS = Path(__file__).resolve().parents[1]
VECTORS = {
    entry["id"]: entry
    for entry in json.loads((TESTS / "vectors/test_vectors.json").read_text(encoding="utf-8"))
}
V1 = VECTORS["V1"]["message_hex"]
PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
SHOWN_V1 = """\
 Binding request, 108 bytes, id b7e7a701bc34d686fa87dfae
   SOFTWARE           "STUN test client"
   PRIORITY           1845494271 (type 110, local 1, component 1)
   ICE-CONTROLLED     0x932ff9b151263b36
   USERNAME           "evtj:h6vY"
   MESSAGE-INTEGRITY  9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2  ({verdict})
   FINGERPRINT        0xe57a3bcf  (right)
"""


class Feed:
    """Standard input of bytes."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


def run(*arguments: str, data: bytes | None = None) -> tuple[int, str, str]:
    """The exit code, the output and the complaints of the command."""
    output, errors = io.StringIO(), io.StringIO()
    stdin = sys.stdin
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        if data is not None:
            sys.stdin = Feed(data)  # type: ignore[assignment]
        try:
            code = main(["decode", *arguments])
        finally:
            sys.stdin = stdin
    return code, output.getvalue(), errors.getvalue()


def objects(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


# -- one message


@pytest.mark.parametrize(
    "text",
    [
        V1,
        V1.upper(),
        f"0x{V1}",
        " ".join(V1[at : at + 2] for at in range(0, len(V1), 2)),
        V1.replace("00", "\n00:", 1),
    ],
)
def test_a_message_in_hexadecimal(text: str) -> None:
    assert run(text) == (ExitCode.OK, SHOWN_V1.format(verdict="not checked: no password"), "")


def test_integrity_is_checked_with_a_password() -> None:
    assert run(V1, "--password", PASSWORD) == (ExitCode.OK, SHOWN_V1.format(verdict="right: short-term"), "")
    code, output, _ = run(V1, "--password", "other")
    assert (code, output) == (ExitCode.DEGRADED, SHOWN_V1.format(verdict="wrong for the password"))


def test_a_user_and_a_realm_can_be_told() -> None:
    user = "\u30de\u30c8\u30ea\u30c3\u30af\u30b9"
    code, output, _ = run(VECTORS["V5"]["message_hex"], "--password", "TheMatrIX", "--user", user, "--json")
    assert code == ExitCode.OK
    verdicts = [attribute.get("verdict") for attribute in objects(output)[0]["attributes"]]
    assert verdicts[-1] == "right: long-term, SHA-256"


@pytest.mark.parametrize("vector", [name for name, entry in VECTORS.items() if "message_hex" in entry])
def test_vectors_are_shown_as_they_were_read(vector: str) -> None:
    """The golden text of every message of the RFCs."""
    golden = (TESTS / "cli/golden/vectors.txt").read_text(encoding="utf-8")
    code, output, _ = run(VECTORS[vector]["message_hex"])
    assert code == ExitCode.OK
    assert f"{vector}\n{output}\n" in golden


def test_a_wrong_fingerprint() -> None:
    code, output, _ = run(V1[:-1] + "e")
    assert code == ExitCode.DEGRADED
    assert "0xe57a3bce  (wrong)" in output


def test_channel_data() -> None:
    assert run(VECTORS["V10"]["tcp_hex"]) == (ExitCode.OK, " ChannelData 0x4000, 5 bytes: 68656c6c6f\n", "")


def test_a_message_in_a_message() -> None:
    code, output, _ = run(ChannelData.build(0x4000, bytes.fromhex(V1)).hex(), "--password", PASSWORD)
    inner = "".join(f"    {line}\n" for line in SHOWN_V1.format(verdict="right: short-term").splitlines())
    assert code == ExitCode.OK
    assert output == f" ChannelData 0x4000, 108 bytes\n   the data is:\n{inner}"


def test_a_message_of_rfc_3489() -> None:
    code, output, _ = run("0001000000112233445566778899aabbccddeeff")
    assert code == ExitCode.OK
    assert "without the cookie (RFC 3489), its id is 00112233445566778899aabbccddeeff" in output
    code, output, _ = run("0001000000112233445566778899aabbccddeeff", "--json")
    assert objects(output)[0]["id"] == "00112233445566778899aabbccddeeff"


def test_text_from_the_wire_does_no_harm_to_a_terminal() -> None:
    builder = MessageBuilder(Method.BINDING, MessageClass.ERROR, bytes(12))
    evil = '\x1b[2J"\\\r\n\u202e\x9b%s\0é'
    builder.add(Attribute.SOFTWARE, evil)
    builder.add(Attribute.ERROR_CODE, (400, evil))
    code, output, _ = run(builder.build().hex())
    assert code == ExitCode.OK
    quoted = r'"\x1b[2J\"\\\r\n\u202e\x9b%s\x00é"'
    assert output.splitlines()[1:] == [
        f"   SOFTWARE    {quoted}",
        f"   ERROR-CODE  400 Bad request, {quoted}",
    ]
    assert set(filter(str.isascii, output)) <= set(map(chr, range(32, 127))) | {"\n"}


# -- files and standard input


@pytest.mark.parametrize(
    "data",
    [
        V1.encode(),
        b"\n".join(V1[at : at + 32].encode() for at in range(0, len(V1), 32)) + b"\n",
        bytes.fromhex(V1),
    ],
    ids=["hex", "hex over several lines", "bytes"],
)
def test_a_message_in_a_file_or_from_standard_input(data: bytes, tmp_path: Path) -> None:
    expected = (ExitCode.OK, SHOWN_V1.format(verdict="not checked: no password"), "")
    (tmp_path / "message").write_bytes(data)
    assert run(str(tmp_path / "message")) == expected
    assert run("-", data=data) == expected


def test_a_message_a_line(tmp_path: Path) -> None:
    # the second line is not whole, so both together are no message
    (tmp_path / "messages").write_text(f"{V1}\n{V1[:100]}\n\n{VECTORS['V9']['message_hex']}\n")
    code, output, _ = run(str(tmp_path / "messages"), "--json")
    assert code == ExitCode.DEGRADED
    events = objects(output)
    assert [event["event"] for event in events] == ["message", "problem", "message", "summary"]
    assert events[-1]["messages"] == 2


@pytest.mark.parametrize(
    ("arguments", "data", "code", "said"),
    [
        (["zz"], None, ExitCode.USAGE, "neither a file nor hexadecimal"),
        (["/nonexistent/file.pcap"], None, ExitCode.USAGE, "neither a file nor hexadecimal"),
        (["abc"], None, ExitCode.USAGE, "neither a file nor hexadecimal"),
        ([" : "], None, ExitCode.USAGE, "neither a file nor hexadecimal"),
        (["\x1b[2J"], None, ExitCode.USAGE, r"'\x1b[2J'"),
        ([], None, ExitCode.USAGE, "required"),
        ([V1, "--user", "u"], None, ExitCode.USAGE, "--password"),
        ([V1, "--password", ""], None, ExitCode.USAGE, "no key"),
        (["-"], b"", ExitCode.FAILED, "no STUN"),
        (["-"], b"hello", ExitCode.FAILED, "no STUN"),
        (["ff"], None, ExitCode.FAILED, "no STUN"),
        ([V1[:-2]], None, ExitCode.FAILED, "no STUN"),
        (["/"], None, ExitCode.FAILED, "directory"),
        (["-"], pcap([]), ExitCode.FAILED, "no STUN"),
        (["-"], pcap([])[:9], ExitCode.FAILED, "ends within its header"),
        (["-"], b"\x1f\x8b" + bytes(9), ExitCode.FAILED, "gunzip"),
        (["-"], bytes((1 << 24) + 1), ExitCode.FAILED, "longer than 16777216 bytes"),
    ],
)
def test_what_cannot_be_read_is_told_in_words(
    arguments: list[str], data: bytes | None, code: int, said: str
) -> None:
    result, output, errors = run(*arguments, data=data)
    assert result == code
    assert said in errors
    assert "Traceback" not in errors + output


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe() -> None:
    """As in `fasticepy decode <(ssh host tcpdump -w -)`: no size, no seeking."""
    process = subprocess.run(
        [sys.executable, "-m", "fasticePy", "decode", "/dev/stdin", "--json"],
        input=pcap([udp(bytes.fromhex(V1))]),
        capture_output=True,
    )
    assert process.returncode == ExitCode.OK
    assert [event["event"] for event in objects(process.stdout.decode())] == ["message", "summary"]


# -- captures


def recorded(name: str) -> Iterator[tuple[bytes, float]]:
    """A conversation of a browser as packets with times."""
    for line in (TESTS / f"fixtures/{name}.jsonl").read_text().splitlines():
        entry = json.loads(line)
        ends: list[Address] = []
        for end in (entry["src"], entry["dst"]):
            host, _, port = end.partition("#")
            ends.append((host, int(port)))
        yield ethernet(udp(bytes.fromhex(entry["hex"]), *ends)), 1_700_000_000 + entry["t"]


@pytest.mark.parametrize("name", ["chromium_turn", "firefox_turn", "chromium_checks", "firefox_checks"])
def test_what_browsers_sent_is_shown_as_it_was_read(name: str, tmp_path: Path) -> None:
    """The golden text of whole conversations. To write it anew after a change that is meant:
    FASTICEPY_WRITE_GOLDEN=1 python -m pytest tests/cli/test_decode.py"""
    packets, times = zip(*recorded(name), strict=True)
    path = tmp_path / "browser.pcap"
    path.write_bytes(pcap(packets, link=1, times=times))
    password = ["--password", "p"] if "turn" in name else []
    code, output, errors = run(str(path), *password)
    golden = TESTS / f"cli/golden/{name}.txt"
    if os.environ.get("FASTICEPY_WRITE_GOLDEN"):
        golden.write_text(output, encoding="utf-8")
    assert output == golden.read_text(encoding="utf-8")
    assert errors == ""
    # of the checks inside, the password of TURN fits none
    assert code == (ExitCode.DEGRADED if "turn" in name else ExitCode.OK)


def test_json_of_a_capture(tmp_path: Path) -> None:
    message = bytes.fromhex(V1)
    packets = [udp(message), ip(bytes(8), 1), udp(message[:-1]), tcp(message + message[:9], sequence=5)]
    data = section() + interface() + b"".join(enhanced(packet, 10**6 * 5) for packet in packets)
    code, output, errors = run("-", "--json", data=data)
    assert (code, errors) == (ExitCode.DEGRADED, "")
    first, problem, second, summary = objects(output)
    where = {
        "packet": 1,
        "at": 5.0,
        "transport": "udp",
        "source": "192.0.2.1:5000",
        "destination": "192.0.2.2:3478",
    }
    assert where.items() <= first.items()
    assert (first["method"], first["class"], first["size"]) == ("Binding", "request", 108)
    assert first["attributes"][1] == {
        "type": 0x24,
        "name": "PRIORITY",
        "value": "1845494271 (type 110, local 1, component 1)",
        "hex": "6e0001ff",
    }
    assert (problem["event"], problem["packet"], problem["hex"]) == ("problem", 3, message[:64].hex())
    assert (second["packet"], second["transport"]) == (4, "tcp")
    assert second["note"] == "guessed: it begins with a STUN header"
    assert (summary["messages"], summary["other"]) == (2, {"ICMP": 1})
    assert list(summary["problems"].values()) == [1]


def test_text_of_a_capture_that_is_damaged() -> None:
    code, output, errors = run(
        "-", data=pcap([udp(bytes.fromhex(VECTORS["V9"]["message_hex"])), udp(b"")])[:-1]
    )
    assert code == ExitCode.DEGRADED
    assert output == (
        "#1  0.000000 s  udp  192.0.2.1:5000 > 192.0.2.2:3478\n"
        " Binding request, 28 bytes, id 000102030405060708090a0b\n"
        "   FINGERPRINT  0x5b0ff6fc  (right)\n"
        " 1  messages\n"
        " 1  input that cannot be read\n"
    )
    assert errors == "fasticepy decode: the capture ends within packet 2\n"


def test_gaps_in_streams_are_counted() -> None:
    message = bytes.fromhex(V1)
    packets = [tcp(message), *(tcp(message, sequence=1000 + 108 * number) for number in range(257))]
    code, output, _ = run("-", "--json", data=pcap(packets))
    assert code == ExitCode.DEGRADED
    assert objects(output)[-1]["other"]["TCP, gaps"] == 1


# -- anything at all


@given(
    st.text(max_size=80)
    | st.binary(max_size=200).map(bytes.hex)
    | st.binary(max_size=80).map(lambda d: V1 + d.hex())
)
@example("\0")
@example("a" * 5000)
@example("ab" * 5000)
def test_any_argument_ends_in_an_exit_code(text: str) -> None:
    if text.startswith("-") or os.path.exists(text):
        return
    code, output, errors = run("--", text)
    assert code in (ExitCode.OK, ExitCode.DEGRADED, ExitCode.FAILED, ExitCode.USAGE)
    assert output or errors


MESSAGES = [bytes.fromhex(entry["message_hex"]) for entry in VECTORS.values() if "message_hex" in entry]
PACKETS = st.sampled_from(
    [
        packet
        for message in MESSAGES
        for packet in (udp(message), tcp(message), tcp(stun.rfc4571_frame(message)))
    ]
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(PACKETS | st.binary(max_size=60), max_size=4),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=8),
    st.integers(0, 3000),
    st.booleans(),
    st.sampled_from([[], ["--json"], ["--password", PASSWORD]]),
)
def test_any_capture_ends_in_an_exit_code(
    packets: list[bytes], changes: list[tuple[int, int]], end: int, new: bool, options: list[str]
) -> None:
    data = section() + interface() + b"".join(map(enhanced, packets)) if new else pcap(packets)
    damaged = bytearray(data[:end])
    for position, value in changes:
        if position < len(damaged):
            damaged[position] = value
    code, output, errors = run("-", *options, data=bytes(damaged))
    assert code in (ExitCode.OK, ExitCode.DEGRADED, ExitCode.FAILED)
    assert output or errors
    assert (code == ExitCode.FAILED) == (decode_messages(output, options) == 0)


def decode_messages(output: str, options: list[str]) -> int:
    if options == ["--json"]:
        return sum(event["event"] == "message" for event in objects(output))
    return sum(
        " bytes, id " in line or "ChannelData 0x" in line for line in output.splitlines() if line[1:2] != " "
    )


def test_unhex() -> None:
    assert decode._unhex("0x00 01:02,03\n\\x04") == bytes(range(5))
    assert decode._unhex("") is None
