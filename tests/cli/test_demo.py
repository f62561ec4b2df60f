"""`fasticepy demo`: a STUN server and two agents in two processes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fasticePy.cli import demo, main
from fasticePy.cli.command import ExitCode
from fasticePy.ice.candidate import Candidate


def test_json_ends_in_one_object_with_everything() -> None:
    """The whole command as a user runs it: every one of the thousand messages arrives each way."""
    done = subprocess.run(
        [sys.executable, "-m", "fasticePy", "demo", "--json"], capture_output=True, text=True, timeout=40
    )
    assert done.stderr == ""
    assert done.returncode == ExitCode.OK
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["connected"] is True
    assert 0 < result["connect_ms"] < 15_000
    assert 0 < result["rtt_ms"] < 15_000
    assert result["messages"] == result["messages_sent"] == 1000
    assert result["arrived"] == {"alice_to_bob": 1000, "bob_to_alice": 1000}
    assert result["error"] is None
    local, remote = (Candidate.from_sdp(result["pair"][side]) for side in ("local", "remote"))
    assert local.to_sdp() in result["candidates"]["alice"]
    assert remote.to_sdp() in result["candidates"]["bob"]
    assert result["stun_server"]["counters"]["answered"] >= 2
    assert any(entry["ok"] for entry in result["servers"]["alice"])


def test_text_is_a_table_without_colours(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--messages", "20"]) == ExitCode.OK
    text = capfd.readouterr().out
    for word in (
        "stun server",
        "alice",
        "bob",
        "host",
        "pair",
        "round trip",
        "ms",
        "20 of 20 messages arrived",
    ):
        assert word in text
    assert "\x1b" not in text
    assert "problems" not in text


def test_over_tcp_with_a_restart_in_between(capfd: pytest.CaptureFixture[str]) -> None:
    """6544-1, 8445-53: no message is lost."""
    assert main(["demo", "--messages", "60", "--tcp", "--restart", "--json"]) == ExitCode.OK
    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert result["messages"] == 60
    assert result["restarts"] == 1
    offered = [Candidate.from_sdp(line) for lines in result["candidates"].values() for line in lines]
    assert {candidate.transport for candidate in offered} == {"tcp"}
    assert len({candidate.ufrag for candidate in offered}) == 4


def test_a_restart_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--messages", "20", "--restart"]) == ExitCode.OK
    text = capfd.readouterr().out
    assert "20 of 20 messages arrived" in text
    assert "ICE was restarted in between" in text


def test_an_agent_that_cannot_start_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "PEER", [sys.executable, "-c", "pass"])
    assert main(["demo", "--json"]) == ExitCode.FAILED
    captured = capfd.readouterr()
    result = json.loads(captured.out)
    assert result["connected"] is False
    assert result["messages"] == 0
    assert "ended" in result["error"]
    assert result["error"] in captured.err


# a peer that connects to nobody and claims that it did; sends are swallowed
LIAR = """
import json, sys
def say(**event): print(json.dumps(event), flush=True)
say(event="ready")
for line in sys.stdin:
    command = json.loads(line)
    if command["cmd"] == "start":
        say(event="local", ufrag="u", pwd="p")
        say(event="state", state="connected")
    if command["cmd"] == "close":
        break
say(event="closed")
"""


def test_a_message_that_does_not_arrive_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "PEER", [sys.executable, "-c", LIAR])
    monkeypatch.setattr(demo, "STEP_TIMEOUT", 0.3)
    assert main(["demo"]) == ExitCode.FAILED
    captured = capfd.readouterr()
    assert "0 of 1000 messages arrived" in captured.out
    assert "a message was lost" in captured.err
