"""`fasticepy demo`: a STUN server and two agents in two processes, from nothing to a thousand messages each way.

The agents are two `fasticepy peer`; this process is the signalling between them, over their pipes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fasticePy.cli.command import Command, ExitCode, UsageError
from fasticePy.cli.output import host_port, milliseconds, print_json, say, section
from fasticePy.errors import IceError
from fasticePy.ice.candidate import Candidate
from fasticePy.server import StunServer

DEFAULT_MESSAGES = 1000
MAX_MESSAGES = 1_000_000
IN_FLIGHT = 32
"""Messages of one direction on their way at once: the receive buffer of a socket holds more, so none is dropped."""
STEP_TIMEOUT = 15.0
"""Seconds until a step that makes no progress counts as failed."""
LINE_LIMIT = 1 << 20
"""Bytes in one line that a peer prints."""
PEER = [sys.executable, "-m", "fasticePy", "peer"]
"""The command line of each agent."""


class DemoError(IceError):
    """The demonstration did not come to its end; the text says where it stopped."""


@dataclass(slots=True, eq=False)
class _Peer:
    """One `fasticepy peer`, in its own process."""

    name: str
    process: asyncio.subprocess.Process
    other: _Peer | None = None
    candidates: list[Candidate] = field(default_factory=list)
    servers: list[dict[str, Any]] = field(default_factory=list)
    selected: dict[str, Any] | None = None
    stats: dict[str, Any] | None = None
    state: str = "new"
    local: dict[str, Any] | None = None
    arrived: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    signalled: list[dict[str, Any]] = field(default_factory=list)
    """What is to be told to the other side once both have their credentials."""
    generations: int = 0
    """Credentials that it has had."""
    linked: bool = False
    ended: bool = False

    @property
    def connected(self) -> bool:
        return self.state in ("connected", "completed")

    @property
    def renewed(self) -> bool:
        """Whether it has restarted, and data travels on a pair of the new generation."""
        if self.generations < 2 or self.selected is None or self.other is None:
            return False
        # a candidate that was learnt from a check has no fragment, but not both are
        ends = ((self.local, "local"), (self.other.local, "remote"))
        return any(of is not None and of["ufrag"] in self.selected[side].split() for of, side in ends)

    @property
    def pair(self) -> dict[str, str] | None:
        """The pair that it uses in the end. When it was selected, the other side's candidates had perhaps not come yet,
        and until then an address that was only heard of is not shown."""
        return self.stats["selected"] if self.stats else None

    def command(self, cmd: str, **keys: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"cmd": cmd, **keys}).encode() + b"\n")

    def signal(self, cmd: str, **keys: object) -> None:
        """Pass something on to the other side, now or when it is ready for it."""
        if self.linked and self.other is not None:
            self.other.command(cmd, **keys)
        else:
            self.signalled.append({"cmd": cmd, **keys})

    def link(self) -> None:
        """Both sides are ready: tell the other one what is known, and from now on what comes."""
        assert self.local is not None
        self.linked = True
        self.signal("remote", ufrag=self.local["ufrag"], pwd=self.local["pwd"])
        for message in self.signalled:
            self.signal(**message)
        self.signalled.clear()

    def take(self, event: dict[str, Any]) -> None:
        """Note one event."""
        match event.get("event"):
            case "local":
                self.local = event
                self.generations += 1
                if self.linked:
                    self.signal("remote", ufrag=event["ufrag"], pwd=event["pwd"])
            case "candidate":
                self.candidates.append(Candidate.from_sdp(event["sdp"]))
                self.signal("remote_candidate", sdp=event["sdp"])
            case "gathering_done":
                self.servers = event.get("servers", [])
                self.signal("remote_candidate", sdp="")
            case "state":
                self.state = event["state"]
            case "selected":
                self.selected = event
            case "data":
                self.arrived.add(int(event["data"]))
            case "stats":
                self.stats = event
            case "error":
                self.problems.append(event["message"])


class _Demo:
    """The run: spawn, connect, exchange, close."""

    def __init__(
        self, server: StunServer, messages: int, *, tcp: bool = False, restart: bool = False
    ) -> None:
        self._server = server
        self._messages = messages
        self._tcp = tcp
        self._restart = restart
        self._changed = asyncio.Event()
        self._readers: list[asyncio.Task[None]] = []
        self.peers: list[_Peer] = []
        self.connect_time: float | None = None
        self.exchange_time: float | None = None

    async def run(self) -> None:
        """From nothing to the last message. Raises `DemoError`."""
        names = ("alice", "bob")
        self.peers = list(await asyncio.gather(*(self._spawn(name) for name in names)))
        alice, bob = self.peers
        alice.other, bob.other = bob, alice
        for peer, role in ((alice, "controlling"), (bob, "controlled")):
            peer.command(
                "start",
                role=role,
                urls=[{"url": url} for url in self._server.urls],
                network_types=["tcp4", "tcp6"] if self._tcp else ["udp4", "udp6"],
                tcp_mux_port=0 if self._tcp and peer is bob else None,
                include_loopback=True,
                echo=False,
            )
        await self._until(lambda: all(peer.local for peer in self.peers), "the agents did not start")
        begun = time.perf_counter()
        alice.link()
        bob.link()
        await self._until(lambda: alice.connected and bob.connected, "the agents did not connect")
        self.connect_time = time.perf_counter() - begun
        begun = time.perf_counter()
        await asyncio.gather(self._send_all(alice, bob), self._send_all(bob, alice))
        self.exchange_time = time.perf_counter() - begun
        if self._restart:
            await self._until(lambda: alice.renewed and bob.renewed, "the restart did not end")
        alice.command("stats")
        await self._until(
            lambda: alice.stats is not None and alice.selected is not None, "no statistics came"
        )

    async def close(self) -> None:
        """End both processes."""
        for peer in self.peers:
            if not peer.ended:
                peer.command("close")
        for peer in self.peers:
            try:
                await asyncio.wait_for(peer.process.wait(), STEP_TIMEOUT)
            except asyncio.TimeoutError:
                peer.process.kill()
                await peer.process.wait()
                peer.problems.append("did not end when it was asked to")
        await asyncio.gather(*self._readers)

    async def _spawn(self, name: str) -> _Peer:
        process = await asyncio.create_subprocess_exec(
            *PEER,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
        )
        peer = _Peer(name, process)
        self._readers.append(asyncio.ensure_future(self._read(peer)))
        return peer

    async def _read(self, peer: _Peer) -> None:
        assert peer.process.stdout is not None
        while line := await peer.process.stdout.readline():
            peer.take(json.loads(line))
            self._notify()
        peer.ended = True
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Wait for it as long as something happens within `STEP_TIMEOUT`."""
        while not condition():
            if gone := [peer for peer in self.peers if peer.ended]:
                raise DemoError(f"{otherwise}: {gone[0].name} ended. {' '.join(gone[0].problems)}".rstrip())
            if failed := [peer for peer in self.peers if peer.state == "failed"]:
                raise DemoError(f"{otherwise}: {failed[0].name} failed")
            try:
                await asyncio.wait_for(self._changed.wait(), STEP_TIMEOUT)
            except asyncio.TimeoutError:
                raise DemoError(f"{otherwise} within {STEP_TIMEOUT:g} s") from None

    async def _send_all(self, sender: _Peer, receiver: _Peer) -> None:
        """The numbers from 0 on, each a message, with few enough on their way that loopback drops none."""
        for number in range(self._messages):
            if self._restart and sender.name == "alice" and number == self._messages // 2:
                sender.command("restart")
            await self._until(lambda: number - len(receiver.arrived) < IN_FLIGHT, "a message was lost")  # noqa: B023
            sender.command("send", data=str(number))
        await self._until(lambda: len(receiver.arrived) == self._messages, "a message was lost")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `fasticepy demo`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument(
        "--messages",
        type=int,
        default=DEFAULT_MESSAGES,
        metavar="N",
        help="messages to send each way (default %(default)s)",
    )
    parser.add_argument("--tcp", action="store_true", help="connect over TCP instead of UDP")
    parser.add_argument(
        "--restart", action="store_true", help="restart ICE in the middle of it, without losing a message"
    )


def run(args: argparse.Namespace) -> int:
    """Run it; OK only if every message arrived."""
    if not 1 <= args.messages <= MAX_MESSAGES:
        raise UsageError(f"--messages is a number from 1 to {MAX_MESSAGES}")
    return asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> int:
    messages = args.messages
    async with StunServer(["127.0.0.1:0"]) as server:
        demo = _Demo(server, messages, tcp=args.tcp, restart=args.restart)
        failure = ""
        try:
            await demo.run()
        except DemoError as error:
            failure = str(error)
        finally:
            await demo.close()
        if args.json:
            print_json(_summary(demo, server, messages, failure))
        else:
            print(_text(demo, server, messages))
        if failure:
            say(f"fasticepy demo: {failure}")
            return ExitCode.FAILED
    return ExitCode.OK


def _round_trip(demo: _Demo) -> float | None:
    """Of the selected pair, in seconds, as the controlling agent's last check measured it."""
    event = demo.peers[0].stats
    stats: dict[str, Any] = event["stats"] if event else {}
    selected = stats.get("transport", {}).get("selectedCandidatePairId")
    rtt = stats.get(selected, {}).get("currentRoundTripTime")
    return rtt if isinstance(rtt, float) else None


def _summary(demo: _Demo, server: StunServer, messages: int, failure: str) -> dict[str, object]:
    alice, bob = demo.peers
    connect, exchange, rtt = demo.connect_time, demo.exchange_time, _round_trip(demo)
    return {
        "connected": connect is not None,
        "connect_ms": None if connect is None else round(connect * 1000, 3),
        "rtt_ms": None if rtt is None else round(rtt * 1000, 3),
        "pair": alice.pair,
        "messages": min(len(alice.arrived), len(bob.arrived)),
        "messages_sent": messages,
        "arrived": {"alice_to_bob": len(bob.arrived), "bob_to_alice": len(alice.arrived)},
        "restarts": max(alice.generations - 1, 0),
        "exchange_ms": None if exchange is None else round(exchange * 1000, 3),
        "candidates": {
            peer.name: [candidate.to_sdp() for candidate in peer.candidates] for peer in demo.peers
        },
        "servers": {peer.name: peer.servers for peer in demo.peers},
        "stun_server": {"urls": server.urls, "counters": dict(server.counters)},
        "error": failure or None,
    }


def _text(demo: _Demo, server: StunServer, messages: int) -> str:
    alice, bob = demo.peers
    seen = [[_outcome(peer.name, one)] for peer in demo.peers for one in peer.servers]
    parts = [section("stun server", [*([f"{url}, in this process"] for url in server.urls), *seen])]
    for peer in demo.peers:
        rows = [[one.type, host_port(one.transport_address), _origin(one)] for one in peer.candidates]
        parts.append(section(peer.name, rows))
    if alice.pair:
        ends = [Candidate.from_sdp(alice.pair[side]) for side in ("local", "remote")]
        pair = " -> ".join(f"{end.type} {host_port(end.transport_address)}" for end in ends)
        parts.append(section("pair", [[pair]]))
    rows = []
    if demo.connect_time is not None:
        rows.append(["connected", f"{milliseconds(demo.connect_time)} after the credentials were exchanged"])
        rows.append(["round trip", milliseconds(_round_trip(demo))])
    for name, peer in (("alice to bob", bob), ("bob to alice", alice)):
        rows.append([name, f"{len(peer.arrived)} of {messages} messages arrived"])
    if alice.generations > 1:
        rows.append(["restart", "ICE was restarted in between, and data moved over to a new pair"])
    if demo.exchange_time is not None:
        rows.append(["exchange", milliseconds(demo.exchange_time)])
    parts.append(section("result", rows))
    problems = [[f"{peer.name}: {problem}"] for peer in demo.peers for problem in peer.problems]
    if problems:
        parts.append(section("problems", problems))
    return "\n\n".join(parts)


def _origin(candidate: Candidate) -> str:
    if candidate.type == "host":
        return "an address of this host"
    related = candidate.related_address and host_port(
        (candidate.related_address, candidate.related_port or 0)
    )
    return f"how a server sees {related}" if related else "how a server sees this host"


def _outcome(name: str, server: dict[str, Any]) -> str:
    if not server["ok"]:
        return f"did not help {name}: {server['reason']}"
    nat = ": no NAT in between" if server["mapped"] == server["base"] else ""
    return f"saw {name}'s {server['base']} as {server['mapped']}{nat}"


COMMAND = Command(
    "demo", "two agents in two processes connect on this machine and exchange messages", add_arguments, run
)
