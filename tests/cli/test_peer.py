"""`fasticepy peer`: the JSON-lines protocol of tests/interop/peers/README.md."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from fasticePy import __version__
from fasticePy.cli.command import ExitCode
from fasticePy.cli.peer import FEATURES, CommandError, Peer, agent_options, timeouts
from fasticePy.ice.options import Timeouts
from fasticePy.server import StunServer

LOOPBACK: dict[str, Any] = {"include_loopback": True, "ips": ["127.0.0.1"]}
CREDENTIALS = {"ufrag": "abcd", "pwd": "0123456789abcdefghijkl"}


class Events(list[dict[str, Any]]):
    """What a peer printed."""

    def of(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self if event["event"] == name]

    async def until(self, condition: Callable[[Events], object]) -> None:
        while not condition(self):  # noqa: ASYNC110 - what is waited for is a list
            await asyncio.sleep(0.002)


def make_peer() -> tuple[Peer, Events]:
    events = Events()

    def emit(event: Mapping[str, object]) -> None:
        events.append(json.loads(json.dumps(event)))

    return Peer(emit), events


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 20))


def start(peer: Peer, role: str = "controlling", **keys: Any) -> bool:
    return peer.handle({"cmd": "start", "role": role, **LOOPBACK, **keys})


# -- one peer


def test_greets_with_what_is_built() -> None:
    peer, events = make_peer()
    peer.greet()
    assert events == [
        {"event": "ready", "peer": "fasticePy", "version": __version__, "features": list(FEATURES)}
    ]


def test_gathers_at_once() -> None:
    async def main() -> None:
        peer, events = make_peer()
        assert start(peer, **CREDENTIALS)
        await events.until(lambda events: events.of("gathering_done"))
        await peer.close()
        names = [event["event"] for event in events if event["event"] != "state"]
        assert names == ["local", "candidate", "gathering_done"]
        assert events.of("local") == [{"event": "local", **CREDENTIALS}]
        assert events.of("candidate")[0]["sdp"].startswith("candidate:")
        assert "127.0.0.1" in events.of("candidate")[0]["sdp"]
        assert events.of("state")[-1]["state"] == "closed"

    run(main())


@pytest.mark.parametrize(
    "line",
    [b"", b"hello", b"[]", b"7", b"null", b'{"cmd":', b"\xff\xfe", b"[" * 100_000, b"{}", b'{"cmd": 7}'],
)
def test_nonsense_is_an_error_event_and_nothing_more(line: bytes) -> None:
    peer, events = make_peer()
    assert peer.handle_line(line)
    assert [(event["event"], event["fatal"]) for event in events] == [("error", False)]
    assert not peer.failed


@pytest.mark.parametrize(
    "name", ["remote", "remote_candidate", "remote_gathering_done", "send", "restart", "stats"]
)
def test_commands_before_start(name: str) -> None:
    peer, events = make_peer()
    assert peer.handle({"cmd": name, "sdp": "", "data": "x", **CREDENTIALS})
    assert "before start" in events[0]["message"]
    assert not peer.failed


@pytest.mark.parametrize(
    "command",
    [
        {"cmd": "remote"},
        {"cmd": "remote", "ufrag": "a", "pwd": "b"},
        {"cmd": "remote", "ufrag": 7, "pwd": None},
        {"cmd": "remote_candidate"},
        {"cmd": "remote_candidate", "sdp": "candidate:nonsense"},
        {"cmd": "send", "data": "too early"},
        {"cmd": "send", "hex": "no hex"},
        {"cmd": "send"},
        {"cmd": "restart"},
        {"cmd": "start", "role": "controlled"},
        {"cmd": "unknown"},
    ],
    ids=str,
)
def test_a_command_that_fails_leaves_the_peer_running(command: dict[str, Any]) -> None:
    async def main() -> None:
        peer, events = make_peer()
        start(peer)
        go_on = peer.handle(command)
        fatal = command["cmd"] == "start"
        assert go_on is not fatal
        assert [event["fatal"] for event in events.of("error")] == [fatal]
        await peer.close()

    run(main())


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"role": "chairman"}, "role"),
        ({"role": None}, "role"),
        ({"lite": True}, "lite"),
        ({"mdns": True}, "mdns"),
        ({"mdns": "query"}, "mdns"),
        ({"tcp_mux_port": 0}, "tcp_mux_port"),
        ({"continual": True}, "continual"),
        ({"auto_restart": True}, "auto_restart"),
        ({"network_types": ["tcp4"]}, "network_types"),
        ({"network_types": ["udp5"]}, "network_types"),
        ({"network_types": "udp4"}, "network_types"),
        ({"candidate_types": ["host", "guest"]}, "candidate_types"),
        ({"urls": [{"url": "http://example.org"}]}, "http://example.org"),
        ({"urls": ["stun:example.org"]}, "urls"),
        ({"urls": [{}]}, "url"),
        ({"ips": ["nowhere"]}, "nowhere"),
        ({"ufrag": "a"}, "ufrag"),
        ({"timeouts": {"failed": "soon"}}, "failed"),
        ({"timeouts": {"failed": -1}}, "failed"),
    ],
    ids=str,
)
def test_what_is_not_built_or_nonsense_is_refused_at_start(keys: dict[str, Any], word: str) -> None:
    async def main() -> None:
        peer, events = make_peer()
        assert not peer.handle({"cmd": "start", "role": "controlling", **keys})
        assert peer.failed
        assert len(events) == 1
        assert events[0]["fatal"] is True
        assert word in events[0]["message"]
        await peer.close()

    run(main())


def test_a_network_type_among_others_is_left_out_with_a_word() -> None:
    words: list[str] = []
    options = agent_options({"role": "controlled", "network_types": ["udp6", "tcp6"]}, words.append)
    assert (options["ipv4"], options["ipv6"]) == (False, True)
    assert len(words) == 1
    assert "tcp6" in words[0]


def test_defaults_of_start() -> None:
    options = agent_options({"role": "controlling"}, pytest.fail)
    assert options == {
        "controlling": True,
        "servers": [],
        "include_loopback": False,
        "candidate_types": frozenset({"host", "srflx", "relay"}),
        "timeouts": Timeouts(),
        "ipv4": True,
        "ipv6": False,
    }


def test_timeouts_are_translated() -> None:
    found = timeouts(
        {
            "disconnected": 2,
            "failed": 3,
            "keepalive": 0.5,
            "check_interval": 0.02,
            "host_wait": 0,
            "srflx_wait": 0.3,
            "relay_wait": 2,
        }
    )
    assert (found.disconnected, found.consent_expiry, found.patience) == (2.0, 5.0, 5.0)
    assert (found.keepalive, found.consent_interval, found.pacing) == (0.5, 0.5, 0.02)
    assert (found.nomination_direct, found.nomination_relay) == (0.3, 2.0)
    with pytest.raises(CommandError):
        timeouts({"keepalive": True})


def test_what_became_of_servers_is_told() -> None:
    """A STUN server that answers, and a TURN server, which is recorded as a failure for now."""

    async def main() -> None:
        async with StunServer(tcp=False) as server:
            peer, events = make_peer()
            turn = {"url": "turn:127.0.0.1:3478", "username": "u", "credential": "p"}
            start(peer, urls=[{"url": server.urls[0]}, turn])
            await events.until(lambda events: events.of("gathering_done"))
            servers = {entry["url"]: entry for entry in events.of("gathering_done")[0]["servers"]}
            assert servers[server.urls[0]]["ok"]
            assert servers[server.urls[0]]["mapped"] == servers[server.urls[0]]["base"]
            assert not servers["turn:127.0.0.1:3478"]["ok"]
            assert any("turn:127.0.0.1:3478" in event["message"] for event in events.of("error"))
            assert not any(event["fatal"] for event in events.of("error"))
            await peer.close()

    run(main())


def test_candidate_types_restrict_what_is_signalled() -> None:
    async def main() -> None:
        async with StunServer(tcp=False) as server:
            peer, events = make_peer()
            start(peer, urls=[{"url": server.urls[0]}], candidate_types=["srflx"])
            await events.until(lambda events: events.of("gathering_done"))
            assert [" typ srflx " in event["sdp"] for event in events.of("candidate")] == [True]
            await peer.close()

    run(main())


# -- two peers


async def connected_pair(**keys: Any) -> tuple[tuple[Peer, Events], tuple[Peer, Events]]:
    a, b = make_peer(), make_peer()
    for (peer, _), role in ((a, "controlling"), (b, "controlled")):
        start(peer, role, **keys)
    for (_, events), (other, _) in ((a, b), (b, a)):
        await events.until(lambda events: events.of("gathering_done"))
        # candidates before credentials: the peer must keep them
        for event in events.of("candidate"):
            other.handle({"cmd": "remote_candidate", "sdp": "a=" + event["sdp"]})
        other.handle({"cmd": "remote_candidate", "sdp": ""})
        other.handle({"cmd": "remote_gathering_done"})
        local = events.of("local")[0]
        other.handle({"cmd": "remote", "ufrag": local["ufrag"], "pwd": local["pwd"], "lite": False})
    for _, events in (a, b):
        await events.until(is_up)
    return a, b


def is_up(events: Events) -> bool:
    return bool(events.of("selected")) and any(
        event["state"] in ("connected", "completed") for event in events.of("state")
    )


def test_connects_sends_and_echoes() -> None:
    async def main() -> None:
        (a, a_events), (b, b_events) = await connected_pair()
        assert a.handle({"cmd": "send", "data": "grüße"})
        assert a.handle({"cmd": "send", "hex": "00ff80"})
        await a_events.until(lambda events: len(events.of("data")) == 2)
        assert [event["n"] for event in a_events.of("sent")] == [7, 3]
        assert [event["data"] for event in b_events.of("data")] == ["grüße", "\x00\ufffd\ufffd"]
        assert [event["hex"] for event in b_events.of("data")] == ["grüße".encode().hex(), "00ff80"]
        assert [event["hex"] for event in a_events.of("data")] == [
            (b"echo:" + data).hex() for data in ("grüße".encode(), b"\x00\xff\x80")
        ]
        assert b_events.of("selected")[-1]["local"].startswith("candidate:")
        assert not a_events.of("error")
        assert not b_events.of("error")
        await a.close()
        await b.close()

    run(main())


def test_echo_can_be_off_and_stats_are_told() -> None:
    async def main() -> None:
        (a, a_events), (b, b_events) = await connected_pair(echo=False)
        a.handle({"cmd": "send", "data": "x"})
        await b_events.until(lambda events: events.of("data"))
        b.handle({"cmd": "send", "data": "y"})
        await a_events.until(lambda events: events.of("data"))
        assert [event["data"] for event in a_events.of("data")] == ["y"]
        a.handle({"cmd": "stats"})
        stats = a_events.of("stats")[0]
        assert stats["stats"]["transport"]["selectedCandidatePairId"] in stats["stats"]
        assert stats["report"]["state"] in ("connected", "completed")
        await a.close()
        await b.close()

    run(main())


# -- the process


@contextmanager
def process() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(
        [sys.executable, "-m", "fasticePy", "peer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            with suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()


def talk(child: subprocess.Popen[bytes], data: bytes) -> list[dict[str, Any]]:
    output, errors = child.communicate(data, timeout=15)
    assert errors == b""
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.parametrize(
    "ending", [b'{"cmd": "close"}\n{"cmd": "never seen"}\n', b""], ids=["close", "end of input"]
)
def test_process_ends_cleanly(ending: bytes) -> None:
    with process() as child:
        command = json.dumps({"cmd": "start", "role": "controlled", **LOOPBACK}).encode()
        events = talk(child, b"\n" + command + b"\nnonsense\n" + ending)
        assert child.returncode == ExitCode.OK
        assert events[0]["event"] == "ready"
        assert events[-1] == {"event": "closed"}
        assert sum(event["event"] == "error" for event in events) == 1


@pytest.mark.parametrize(
    "line", [b'{"cmd": "start", "role": "chairman"}\n', b"x" * 3_000_000 + b"\n"], ids=["start", "endless"]
)
def test_process_ends_after_a_fatal_error(line: bytes) -> None:
    with process() as child:
        events = talk(child, line + b'{"cmd": "stats"}\n')
        assert child.returncode == ExitCode.FAILED
        assert [event["event"] for event in events] == ["ready", "error"]
        assert events[1]["fatal"] is True


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pipe that breaks")
def test_process_ends_quietly_when_its_harness_has_gone() -> None:
    with process() as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        child.stdin.write(json.dumps({"cmd": "start", "role": "controlled", **LOOPBACK}).encode() + b"\n")
        child.stdin.close()
        assert child.stderr.read() == b""
        child.stderr.close()
        assert child.wait(10) == ExitCode.FAILED


def test_process_answers_each_line_at_once() -> None:
    """A harness reads the answer before it writes the next line."""
    with process() as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert json.loads(child.stdout.readline())["event"] == "ready"
        for _ in range(3):
            child.stdin.write(b'{"cmd": "nothing"}\n')
            child.stdin.flush()
            assert json.loads(child.stdout.readline())["event"] == "error"
        assert talk(child, b"") == [{"event": "closed"}]
        assert child.returncode == ExitCode.OK
