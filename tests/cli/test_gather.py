"""`fasticepy gather`: candidates live, and reasons for what is missing."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from fasticePy.cli import main
from fasticePy.cli.command import ExitCode
from fasticePy.ice import Candidate


@pytest.fixture(scope="module")
def stun_server() -> Iterator[str]:
    """In a process of its own, for the command under test runs an event loop of its own."""
    server = subprocess.Popen(
        [sys.executable, "-m", "fasticePy", "serve", "--listen", "127.0.0.1:0", "--json", "--stop-on-eof"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    yield "stun:" + json.loads(server.stdout.readline())["udp"]
    server.communicate(timeout=10)


@pytest.fixture
def refused() -> str:
    """A STUN URL whose port is closed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    return f"stun:127.0.0.1:{port}"


def test_other_kinds_of_candidates(capsys: pytest.CaptureFixture[str]) -> None:
    """6544-1: TCP beside UDP; a rewritten address in place of ours."""
    rule = "127.0.0.1=203.0.113.7"
    assert main([*LOOPBACK, "--tcp", "--mdns", "--advertise", rule, "--json"]) == ExitCode.OK
    candidates = [Candidate.from_sdp(each["sdp"]) for each in events(capsys.readouterr().out)["candidate"]]
    assert {candidate.tcptype for candidate in candidates} == {None, "active", "passive"}
    assert {candidate.address for candidate in candidates} == {"203.0.113.7"}


def test_a_rule_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*LOOPBACK, "--advertise", "10.0.0.1=2001:db8::1"]) == ExitCode.USAGE
    assert "--advertise: rewrite rule" in capsys.readouterr().err


LOOPBACK = ["gather", "--include-loopback", "--interface", "lo*", "-4"]


def events(text: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in text.splitlines():
        event = json.loads(line)
        found.setdefault(event["event"], []).append(event)
    return found


def test_json(stun_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*LOOPBACK, "--stun", stun_server, "--json"]) == ExitCode.OK
    found = events(capsys.readouterr().out)
    candidate = found["candidate"][0]
    assert (candidate["type"], candidate["address"]) == ("host", "127.0.0.1")
    assert candidate["interface"].startswith("lo")
    server = found["server"][0]
    assert server["ok"]
    assert server["mapped"] == f"127.0.0.1:{candidate['port']}"
    assert server["rtt_ms"] > 0
    assert found["done"][0]["failed_servers"] == []
    assert found["done"][0]["candidates"] == len(found["candidate"])


def test_text(stun_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*LOOPBACK, "--stun", stun_server]) == ExitCode.OK
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert "host" in lines[0]
    assert "127.0.0.1:" in lines[0]
    assert stun_server in text
    assert "you are 127.0.0.1:" in text
    assert "finished in" in lines[-1]
    assert "\x1b" not in text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell that a port is closed")
def test_a_server_that_fails_degrades_and_has_a_reason_and_a_time(
    stun_server: str, refused: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*LOOPBACK, "--stun", stun_server, "--stun", refused]) == ExitCode.DEGRADED
    line = next(line for line in capsys.readouterr().out.splitlines() if refused in line)
    assert "FAILED" in line
    assert "unreachable" in line
    assert " ms " in line


def test_an_unknown_name_degrades(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*LOOPBACK, "--stun", "stun:does-not-exist.invalid", "--json"]) == ExitCode.DEGRADED
    found = events(capsys.readouterr().out)
    assert found["done"][0]["failed_servers"] == ["stun:does-not-exist.invalid"]
    assert not found["server"][0]["ok"]
    assert found["server"][0]["reason"]


def test_what_is_left_out_has_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    main(["gather", "--json"])
    left_out = events(capsys.readouterr().out)["left_out"]
    loopback = next(entry for entry in left_out if entry["address"] == "127.0.0.1")
    assert loopback["kind"] == "loopback"
    assert "loopback" in loopback["reason"]
    main(["gather"])
    text = capsys.readouterr().out
    assert "left out" in text
    assert "loopback (--include-loopback to use it)" in text


def test_addresses_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gather", "--address", "127.0.0.1", "--json"]) == ExitCode.OK
    found = events(capsys.readouterr().out)
    assert [event["address"] for event in found["candidate"]] == ["127.0.0.1"]


def test_no_candidate_at_all_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gather", "--interface", "no-such-interface"]) == ExitCode.FAILED
    assert "no candidates" in capsys.readouterr().out
