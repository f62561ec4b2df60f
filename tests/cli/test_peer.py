"""`fasticepy peer`: the JSON-lines protocol of tests/interop/peers/README.md."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from fasticePy import __version__
from fasticePy.cli.command import ExitCode
from fasticePy.cli.peer import FEATURES, CommandError, Peer, agent_options, timeouts
from fasticePy.ice.candidate import Candidate
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
        assert events.of("local") == [{"event": "local", **CREDENTIALS, "options": ["ice2", "trickle"]}]
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
    "name",
    ["remote", "remote_candidate", "remote_gathering_done", "send", "restart", "renominate", "stats"],
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
        {"cmd": "restart", "ufrag": "a", "pwd": "b"},
        {"cmd": "restart", "ufrag": 7},
        {"cmd": "remote", **CREDENTIALS, "options": "trickle"},
        {"cmd": "remote", **CREDENTIALS, "options": [7]},
        {"cmd": "renominate"},
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
        ({"lite": True, "urls": [{"url": "stun:127.0.0.1"}]}, "lite"),
        ({"mdns": "loudly"}, "mdns"),
        ({"nomination": "loudly"}, "nomination"),
        ({"mdns": ["query"]}, "mdns"),
        ({"tcp_mux_port": 0}, "tcp_mux_port"),
        ({"tcp_mux_port": 65536, "network_types": ["tcp4"]}, "tcp_mux_port"),
        ({"tcp_mux_port": True, "network_types": ["tcp4"]}, "tcp_mux_port"),
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


@pytest.mark.parametrize(
    ("keys", "families", "tcp", "kept"),
    [
        (["udp4"], (True, False), (), None),
        (["udp4", "udp6"], (True, True), (), None),
        (["udp4", "tcp4"], (True, False), ("active",), None),
        (["udp4", "udp6", "tcp4", "tcp6"], (True, True), ("active",), None),
        (["tcp6"], (False, True), ("active",), {"tcp6"}),
        (["udp4", "tcp6"], (True, True), ("active",), {"udp4", "tcp6"}),
    ],
)
def test_network_types_are_translated(keys, families, tcp, kept) -> None:
    options = agent_options({"role": "controlled", "network_types": keys})
    assert (options["ipv4"], options["ipv6"]) == families
    assert options["tcp"] == tcp
    keep = options.get("local_candidate")
    assert (keep is None) == (kept is None)
    if keep is not None:
        offered = {
            transport + family: Candidate.parse(f"1 1 {transport} 1 {address} 9 typ host{more}")
            for transport, more in (("udp", ""), ("tcp", " tcptype active"))
            for family, address in (("4", "192.0.2.1"), ("6", "2001:db8::1"))
        }
        assert {name for name, candidate in offered.items() if keep(candidate) is not None} == kept


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ({"tcp_mux_port": 0}, {"tcp": ("active", "passive")}),
        ({"tcp_mux_port": 0, "lite": True}, {"tcp": ("passive",)}),
        ({"lite": True}, {"tcp": ()}),
        ({"tcp_mux_port": 4100}, {"tcp": ("passive",), "ports": range(4100, 4101)}),
    ],
    ids=str,
)
def test_ports_of_tcp_are_translated(keys: dict[str, Any], options: dict[str, Any]) -> None:
    found = agent_options({"role": "controlled", "network_types": ["tcp4"], **keys})
    assert {name: found[name] for name in options} == options


def test_a_name_is_kept_whatever_its_family() -> None:
    keep = agent_options({"role": "controlled", "network_types": ["udp4", "tcp6"]})["local_candidate"]
    name = "0f0e0d0c-0b0a-4908-8706-050403020100.local"
    assert keep(Candidate.parse(f"1 1 udp 1 {name} 9 typ host")) is not None


def test_choices_of_start_are_passed_on() -> None:
    options = agent_options(
        {"role": "controlled", "mdns": "query", "lite": True, "continual": True, "auto_restart": True}
    )
    assert (options["mdns"], options["lite"]) == ("resolve", True)
    assert (options["continual"], options["auto_restart"]) == (True, True)
    assert agent_options({"role": "controlled", "mdns": True})["mdns"] == "publish"


def test_defaults_of_start() -> None:
    options = agent_options({"role": "controlling"})
    assert options == {
        "controlling": True,
        "servers": [],
        "include_loopback": False,
        "candidate_types": frozenset({"host", "srflx", "relay"}),
        "timeouts": Timeouts(),
        "mdns": "off",
        "lite": False,
        "continual": False,
        "auto_restart": False,
        "renomination": False,
        "nomination": None,
        "ipv4": True,
        "ipv6": False,
        "tcp": (),
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
        other.handle({**events.of("local")[0], "cmd": "remote", "lite": False})
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


def test_renominates_and_the_other_side_follows() -> None:
    """renom-1: the options travel with the credentials, and the two sides move to the other pair."""

    async def main() -> None:
        keys: dict[str, Any] = {"network_types": ["udp4", "tcp4"], "tcp_mux_port": 0, "renomination": True}
        (a, a_events), (b, b_events) = await connected_pair(**keys, nomination="continuous")
        await a_events.until(lambda events: events.of("state")[-1]["state"] == "completed")
        assert "renomination2" in a_events.of("local")[0]["options"]
        before = a_events.of("selected")[-1]["local"]
        while not a.handle({"cmd": "renominate"}) or a_events.of("error"):
            a_events.remove(a_events.of("error")[0])  # the other pair is still being checked
            await asyncio.sleep(0.02)
        for events in (a_events, b_events):
            await events.until(lambda events: " tcp " in events.of("selected")[-1]["local"])
        assert before != a_events.of("selected")[-1]["local"]
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


def pass_on(source: Events, start: int, target: Peer) -> int:
    """Hand what was printed from `start` on to the other side; where to go on."""
    for event in source[start:]:
        if event["event"] == "local":
            target.handle({"cmd": "remote", "ufrag": event["ufrag"], "pwd": event["pwd"]})
        elif event["event"] == "candidate":
            target.handle({"cmd": "remote_candidate", "sdp": event["sdp"]})
        elif event["event"] == "gathering_done":
            target.handle({"cmd": "remote_gathering_done"})
    return len(source)


def test_a_restart_of_one_side_makes_the_other_one_restart() -> None:
    """8445-53: a new `local`, then candidates, then gathering_done, on both sides."""

    async def main() -> None:
        (a, a_events), (b, b_events) = await connected_pair()
        seen = [len(a_events), len(b_events)]
        starts = list(seen)
        a.handle({"cmd": "restart", **CREDENTIALS})

        def moved(events: Events) -> bool:
            return events.of("local")[-1]["ufrag"] in events.of("selected")[-1]["local"]

        while not (len(b_events.of("local")) == 2 and moved(a_events) and moved(b_events)):
            seen[0] = pass_on(a_events, seen[0], b)
            seen[1] = pass_on(b_events, seen[1], a)
            await asyncio.sleep(0.002)
        for events, start in ((a_events, starts[0]), (b_events, starts[1])):
            names = [event["event"] for event in events[start:]]
            order = [name for name in names if name in ("local", "candidate", "gathering_done")]
            assert order == ["local", "candidate", "gathering_done"]
            assert not events.of("error")
        assert CREDENTIALS.items() <= a_events.of("local")[-1].items()
        a.handle({"cmd": "send", "data": "after"})
        await a_events.until(lambda events: any(event["data"] == "echo:after" for event in events.of("data")))
        await a.close()
        await b.close()

    run(main())


def test_connects_over_tcp_alone() -> None:
    """6544-1: active at one side, passive at the other, and no UDP candidate at either."""

    async def main() -> None:
        a, b = make_peer(), make_peer()
        start(a[0], network_types=["tcp4"])
        start(b[0], "controlled", network_types=["tcp4"], tcp_mux_port=0)
        seen = [0, 0]
        while not (is_up(a[1]) and is_up(b[1])):
            seen[0] = pass_on(a[1], seen[0], b[0])
            seen[1] = pass_on(b[1], seen[1], a[0])
            await asyncio.sleep(0.002)
        for _, events in (a, b):
            assert all(" tcp " in event["sdp"] for event in events.of("candidate"))
        a[0].handle({"cmd": "send", "data": "x"})
        await a[1].until(lambda events: events.of("data"))
        assert a[1].of("data")[0]["data"] == "echo:x"
        await a[0].close()
        await b[0].close()

    run(main())


def test_a_fixed_port_is_listened_on() -> None:
    async def main() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        peer, events = make_peer()
        start(peer, network_types=["tcp4"], tcp_mux_port=port)
        await events.until(lambda events: events.of("gathering_done"))
        assert [f" 127.0.0.1 {port} typ host" in event["sdp"] for event in events.of("candidate")] == [True]
        await peer.close()

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
