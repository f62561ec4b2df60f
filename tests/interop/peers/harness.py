#!/usr/bin/env python3
"""Connects two peers of any implementation and plays scenarios with them ("peer v1", see README.md beside this file).

usage: harness.py --a "CMD" --b "CMD" [--stun URL] [--turn URL,USER,PASSWORD] [-v] [scenario ...]

A scenario that needs a feature that a peer does not list is reported as SKIP. Only the standard library is used.
"""

from __future__ import annotations

import argparse
import json
import queue
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Event: TypeAlias = dict[str, Any]

UP = ("connected", "completed")
STREAM_LENGTH = 200
"""Datagrams that each side sends during the restart of `restart_stream`."""
LATE = 7.0
"""Seconds by which one side of `late_a` and `late_b` learns of the other later."""


class ScenarioError(Exception):
    """A peer did not do what the scenario asks for."""


class SkippedError(Exception):
    """A peer lacks what the scenario needs."""


class Peer:
    """One peer process; events are kept in `log` and handed to `hooks` as they come."""

    def __init__(self, name: str, command: Sequence[str], *, verbose: bool = False) -> None:
        self.name = name
        self.log: list[Event] = []
        self.sendings: list[str] = []
        """What it was told to send."""
        self.hooks: list[Callable[[Event], None]] = []
        self.lock = threading.RLock()
        self._verbose = verbose
        self._queue: queue.Queue[Event] = queue.Queue()
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if verbose else subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.ready = self.wait(lambda event: event["event"] == "ready", 20, "ready")
        except ScenarioError:
            self.kill()
            raise
        self.features = frozenset(self.ready.get("features", []))

    def send(self, cmd: str, **keys: Any) -> None:
        """Send one command."""
        if cmd == "send":
            self.sendings.append(keys["data"])
        line = json.dumps({"cmd": cmd, **keys})
        self._trace("->", line)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:
            raise ScenarioError(f"{self.name}: has gone; last={self.log[-4:]}") from None

    def wait(self, accept: Callable[[Event], bool], timeout: float, what: str) -> Event:
        """The next event that `accept` takes, within `timeout` seconds."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            try:
                event = self._queue.get(timeout=left)
            except queue.Empty:
                break
            if event["event"] == "_end":
                raise ScenarioError(f"{self.name}: ended while waiting for {what}; last={self.log[-4:]}")
            if event["event"] == "error" and event.get("fatal"):
                raise ScenarioError(f"{self.name}: {event['message']}")
            if accept(event):
                return event
        raise ScenarioError(f"{self.name}: {what} not seen; last={self.log[-6:]}")

    def wait_event(self, name: str, timeout: float = 15.0) -> Event:
        """The next event of that name."""
        return self.wait(lambda event: event["event"] == name, timeout, name)

    def wait_state(self, *states: str, timeout: float = 20.0) -> Event:
        """The next change to one of these states."""
        return self.wait(
            lambda event: event["event"] == "state" and event["state"] in states, timeout, " or ".join(states)
        )

    def wait_data(self, text: str, timeout: float = 6.0) -> Event:
        """This datagram."""
        return self.wait(
            lambda event: event["event"] == "data" and event["data"] == text, timeout, f"data {text}"
        )

    def events(self, name: str) -> list[Event]:
        """All events of that name so far."""
        return [event for event in self.log if event["event"] == name]

    def close(self) -> int:
        """Ask it to end; its exit code."""
        if self._process.poll() is None:
            self.send("close")
        try:
            code = self._process.wait(8)
        except subprocess.TimeoutExpired:
            raise ScenarioError(f"{self.name}: did not end on close") from None
        self._reader.join(5)
        return code

    def kill(self) -> None:
        """End it by force and let go of its pipes."""
        self._process.kill()
        self._process.wait()
        self._reader.join(5)
        for stream in (self._process.stdin, self._process.stdout):
            try:
                if stream is not None:
                    stream.close()
            except BrokenPipeError:
                pass

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.strip():
                continue
            self._trace("<-", line.strip())
            event = json.loads(line)
            with self.lock:
                self.log.append(event)
                for hook in list(self.hooks):
                    hook(event)
            self._queue.put(event)
        self._queue.put({"event": "_end"})

    def _trace(self, arrow: str, line: str) -> None:
        if self._verbose:
            print(f"{time.time():.3f} {self.name} {arrow} {line}", file=sys.stderr, flush=True)


def link(source: Peer, target: Peer, *, lite: bool = False, candidates: bool = True) -> None:
    """Hand what `source` prints, so far and from now on, to `target`. `lite` tells whether `source` is lite."""

    def hand_over(event: Event) -> None:
        if event["event"] == "local":
            options = {"options": event["options"]} if "options" in event else {}
            target.send("remote", ufrag=event["ufrag"], pwd=event["pwd"], lite=lite, **options)
        elif event["event"] == "candidate" and not candidates:
            pass
        elif event["event"] == "candidate":
            target.send("remote_candidate", sdp=event["sdp"])
        elif event["event"] == "gathering_done":
            target.send("remote_candidate", sdp="")

    with source.lock:
        source.hooks.append(hand_over)
        for event in list(source.log):
            hand_over(event)


def ping(a: Peer, b: Peer, tag: str) -> None:
    """A message and its echo, both ways."""
    for sender, receiver in ((a, b), (b, a)):
        text = f"{tag}-{sender.name}"
        sender.send("send", data=text)
        receiver.wait_data(text)
        sender.wait_data("echo:" + text)


@dataclass
class Servers:
    """What scenarios with servers use; empty: not there."""

    stun: str = ""
    turn: str = ""
    turn_tcp: str = ""
    turn_tls: str = ""
    username: str = ""
    password: str = ""
    ip6: str = "::1"
    """IPv6 address of the `ipv6` and `renomination` scenarios; pion never gathers ::1."""


@dataclass
class Setup:
    """What the two peers are started with."""

    a: dict[str, Any]
    b: dict[str, Any]
    needs_a: set[str] = field(default_factory=set)
    needs_b: set[str] = field(default_factory=set)
    tell_b: bool = True
    """Whether B gets the candidates of A."""

    def need(self, *features: str) -> None:
        """Both sides must have these."""
        self.needs_a |= set(features)
        self.needs_b |= set(features)


def prepare(name: str, servers: Servers) -> Setup:
    """What a scenario starts the peers with."""
    base = {
        "network_types": ["udp4"],
        "candidate_types": ["host"],
        "include_loopback": True,
        "ips": ["127.0.0.1"],
    }
    setup = Setup({**base, "role": "controlling"}, {**base, "role": "controlled"})
    change = _CHANGES.get(name)
    if change is not None:
        change(setup, servers)
    return setup


def _both_controlling(setup: Setup, servers: Servers) -> None:
    setup.b["role"] = "controlling"


def _both_controlled(setup: Setup, servers: Servers) -> None:
    setup.a["role"] = "controlled"


def _lite_a(setup: Setup, servers: Servers) -> None:
    setup.a.update(lite=True, role="controlled")
    setup.b["role"] = "controlling"
    setup.needs_a.add("lite")


def _lite_b(setup: Setup, servers: Servers) -> None:
    setup.b["lite"] = True
    setup.needs_b.add("lite")


def _restart(setup: Setup, servers: Servers) -> None:
    setup.need("restart")


def _tcp(setup: Setup, servers: Servers) -> None:
    setup.need("tcp")
    for side in (setup.a, setup.b):
        side["network_types"] = ["tcp4"]
    setup.b["tcp_mux_port"] = 0


def _mdns(setup: Setup, servers: Servers) -> None:
    setup.need("mdns")
    for side in (setup.a, setup.b):
        side["mdns"] = True
        del side["ips"]


def _mdns_only(setup: Setup, servers: Servers) -> None:
    _mdns(setup, servers)
    for side in (setup.a, setup.b):
        side["include_loopback"] = False  # no name hides those addresses


def _mdns_resolve(setup: Setup, servers: Servers) -> None:
    """B is told no candidate of A: only A can begin, so it has to find what the names of B stand for."""
    _mdns_only(setup, servers)
    setup.tell_b = False


def _renomination(setup: Setup, servers: Servers) -> None:
    """Two pairs, one of each family, and A nominates the other one afterwards."""
    setup.need("ipv6", "renomination")
    for side in (setup.a, setup.b):
        side.update(network_types=["udp4", "udp6"], ips=["127.0.0.1", servers.ip6], renomination=True)
    setup.a["nomination"] = "continuous"


def _ipv6(setup: Setup, servers: Servers) -> None:
    setup.need("ipv6")
    for side in (setup.a, setup.b):
        side.update(network_types=["udp6"], ips=[servers.ip6])


def _srflx(setup: Setup, servers: Servers) -> None:
    setup.needs_a.add("srflx")
    setup.a.update(urls=[{"url": servers.stun}], candidate_types=["srflx"])


def _relay(attribute: str, *features: str, both: bool = False) -> Callable[[Setup, Servers], None]:
    def change(setup: Setup, servers: Servers) -> None:
        url = {
            "url": getattr(servers, attribute),
            "username": servers.username,
            "credential": servers.password,
        }
        setup.needs_a |= {"relay", *features}
        setup.a.update(urls=[url], candidate_types=["relay"])
        if both:
            setup.needs_b |= {"relay", *features}
            setup.b.update(urls=[url], candidate_types=["relay"])

    return change


def _consent(setup: Setup, servers: Servers) -> None:
    setup.needs_a |= {"consent", "timeouts"}
    setup.a["timeouts"] = {"disconnected": 2, "failed": 2, "keepalive": 0.5}


_CHANGES: dict[str, Callable[[Setup, Servers], None]] = {
    "roleconflict": _both_controlling,
    "roleconflict2": _both_controlled,
    "lite_a": _lite_a,
    "lite_b": _lite_b,
    "restart": _restart,
    "restart_media": _restart,
    "restart_stream": _restart,
    "restart_lossy": _restart,
    "tcp": _tcp,
    "mdns": _mdns,
    "mdns_only": _mdns_only,
    "mdns_resolve": _mdns_resolve,
    "renomination": _renomination,
    "ipv6": _ipv6,
    "srflx": _srflx,
    "relay": _relay("turn"),
    "relay_tcp": _relay("turn_tcp", "turn-tcp"),
    "relay_tls": _relay("turn_tls", "turn-tls"),
    "relay_both": _relay("turn", both=True),
    "consent": _consent,
}
SCENARIOS = ("host", "late_a", "late_b", *_CHANGES)
"""The name of every scenario."""


def play(
    name: str, a: Sequence[str], b: Sequence[str], servers: Servers | None = None, *, verbose: bool = False
) -> str:
    """Play one scenario between the programs `a` and `b`; gives a line about what happened.

    Raises `ScenarioError`, and `SkippedError` when a peer lacks a feature that is needed.
    """
    peers: list[Peer] = []
    try:
        for letter, command in (("A", a), ("B", b)):
            peers.append(Peer(letter, command, verbose=verbose))
        return _play(name, peers[0], peers[1], prepare(name, servers or Servers()))
    finally:
        for peer in peers:
            peer.kill()


def _play(name: str, a: Peer, b: Peer, setup: Setup) -> str:
    for peer, needs in ((a, setup.needs_a), (b, setup.needs_b)):
        if missing := needs - peer.features:
            raise SkippedError(f"{peer.ready.get('peer')} lacks {', '.join(sorted(missing))}")
    a.send("start", **setup.a)
    b.send("start", **setup.b)
    for peer in (a, b):
        peer.wait_event("local")  # a `remote` before `start` is an error
    begun = _link_both(name, a, b, setup)
    for peer in (a, b):
        peer.wait_state(*UP)
    took = time.monotonic() - begun
    ping(a, b, "one")
    _check_selected(name, a)
    for further in _AFTERWARDS.get(name, ()):
        further(a, b)
    if name == "consent":
        return _play_consent(a, b)
    codes = (a.close(), b.close())
    if codes != (0, 0):
        raise ScenarioError(f"exit codes {codes}")
    for peer in (a, b):
        if not peer.events("closed"):
            raise ScenarioError(f"{peer.name}: no closed event")
    selected = a.events("selected")[-1:]
    pair = "".join(f" [{event['local']} -> {event['remote']}]" for event in selected)
    return f"ok connect={took:.3f}s{pair}"


def _link_both(name: str, a: Peer, b: Peer, setup: Setup) -> float:
    """Begin the signalling; gives the moment at which both sides had begun to be told."""
    if name in ("late_a", "late_b"):
        # RFC 8445 7.3.1.4: triggered checks must connect the side that learns of the other late
        first, late = ((b, a), (a, b)) if name == "late_b" else ((a, b), (b, a))
        link(*first)
        time.sleep(LATE)
        link(*late)
        return time.monotonic()
    begun = time.monotonic()
    with a.lock, b.lock:
        link(a, b, lite=bool(setup.a.get("lite")), candidates=setup.tell_b)
        link(b, a, lite=bool(setup.b.get("lite")))
    return begun


def _check_selected(name: str, a: Peer) -> None:
    if name.startswith("relay"):
        selected = a.events("selected")
        if not selected or " typ relay" not in selected[-1]["local"]:
            raise ScenarioError(f"A: selected no relay candidate: {selected}")


def _play_restart(a: Peer, b: Peer) -> None:
    """Both sides restart; both forget the old generation before any new credential travels."""
    before = [len(peer.events("selected")) for peer in (a, b)]
    hooks = [peer.hooks for peer in (a, b)]
    for peer in (a, b):
        peer.hooks = []
    starts = [len(peer.log) for peer in (a, b)]
    for peer in (a, b):
        peer.send("restart")
    for peer in (a, b):
        peer.wait_event("gathering_done")
    for peer, start, kept in zip((a, b), starts, hooks, strict=True):
        with peer.lock:
            for event in peer.log[start:]:
                for hook in kept:
                    hook(event)
            peer.hooks = kept
    end = time.monotonic() + 15
    while not all(len(peer.events("selected")) > count for peer, count in zip((a, b), before, strict=True)):
        if time.monotonic() > end:
            raise ScenarioError("no new selection after the restart")
        time.sleep(0.05)
    time.sleep(0.3)
    ping(a, b, "again")


def _play_restart_media(a: Peer, b: Peer) -> None:
    """Data keeps flowing on the old pair until the new one is nominated (RFC 8445 9)."""
    for peer in (a, b):
        peer.hooks = []
    a.send("restart")
    a.wait_event("gathering_done")
    for sender, receiver in ((a, b), (b, a)):
        text = f"mid-{sender.name}"
        sender.send("send", data=text)
        receiver.wait_data(text, 2.0)


def _play_restart_stream(a: Peer, b: Peer) -> None:
    """One side restarts, the other one follows, and none of the datagrams that both send all the while is lost."""
    before = len(a.events("local")), len(b.events("local"))
    a.send("restart")
    for number in range(STREAM_LENGTH):
        for peer in (a, b):
            peer.send("send", data=f"{number}-{peer.name}")
        time.sleep(0.005)
    for peer, count in zip((a, b), before, strict=True):
        if len(peer.events("local")) != count + 1:
            raise ScenarioError(f"{peer.name}: {len(peer.events('local')) - count} restarts instead of one")
    for sender, receiver in ((a, b), (b, a)):
        sent = {f"{number}-{sender.name}" for number in range(STREAM_LENGTH)}
        end = time.monotonic() + 5
        while lost := sent - {event["data"] for event in receiver.events("data")}:
            if time.monotonic() > end:
                raise ScenarioError(
                    f"{receiver.name}: {len(lost)} of {STREAM_LENGTH} datagrams were lost: {lost}"
                )
            time.sleep(0.05)
    for peer in (a, b):
        fragments = [event["ufrag"] for event in peer.events("local")]
        if fragments[-1] not in peer.events("selected")[-1]["local"]:
            raise ScenarioError(f"{peer.name}: data does not travel on a pair of the new generation")


def _play_restart_lossy(a: Peer, b: Peer) -> None:
    """A forgets its pairs when it restarts, as pion does: what it takes for sending all the same has to arrive at B,
    which keeps its old pair, notices nothing, follows when it is told, and ends on a pair of the new generation."""
    hooks, a.hooks = a.hooks, []
    start, states = len(a.log), len(b.events("state"))
    a.send("restart")
    a.wait_event("gathering_done")
    a.send("send", data="mid-A")
    b.send("send", data="mid-B")
    b.wait_event("sent")
    time.sleep(0.5)  # nobody has told B
    if b.events("error") or len(b.events("state")) != states:
        raise ScenarioError(f"B: does not stay as it was; last={b.log[-4:]}")
    with a.lock:
        for event in a.log[start:]:
            for hook in hooks:
                hook(event)
        a.hooks = hooks
    for number in range(STREAM_LENGTH):
        for peer in (a, b):
            peer.send("send", data=f"{number}-{peer.name}")
        time.sleep(0.005)
    ping(a, b, "moved")
    taken = _taken(a)
    arrived = {event["data"] for event in b.events("data")}
    if lost := taken - arrived:
        raise ScenarioError(f"B: {len(lost)} of {len(taken)} datagrams that A sent were lost: {lost}")
    if b.events("error") or any(event["state"] in ("disconnected", "failed") for event in b.events("state")):
        raise ScenarioError(f"B: noticed the restart; last={b.log[-6:]}")
    if b.events("local")[-1]["ufrag"] not in b.events("selected")[-1]["local"]:
        raise ScenarioError("B: data does not travel on a pair of the new generation")


def _taken(peer: Peer) -> set[str]:
    """What it was told to send and did not refuse. Each `send` gives `sent` or an error, in this order."""
    outcomes = [event for event in peer.log if event["event"] == "sent" or _refusal(event)]
    return {text for text, outcome in zip(peer.sendings, outcomes, strict=True) if outcome["event"] == "sent"}


def _refusal(event: Event) -> bool:
    return event["event"] == "error" and event["message"].startswith("send:")


def _play_renomination(a: Peer, b: Peer) -> None:
    """A nominates another pair three times, and data follows, at both sides on the same pair."""
    for number in range(3):
        before = [_ports(peer) for peer in (a, b)]
        refused = len(a.events("error"))
        a.send("renominate")

        def moved(before: Sequence[tuple[str, ...]] = before) -> bool:
            return all(_ports(peer) != old for peer, old in zip((a, b), before, strict=True))

        end = time.monotonic() + 5
        while not moved():
            if time.monotonic() > end:
                raise ScenarioError(f"another pair at both sides not seen; {a.events('error')[-1:]}")
            time.sleep(0.05)
            if len(a.events("error")) > refused:  # the other pair is still being checked
                refused += 1
                a.send("renominate")
        if sorted(_ports(a)) != sorted(_ports(b)):
            raise ScenarioError(f"A selected {a.events('selected')[-1]}, B {b.events('selected')[-1]}")
        ping(a, b, f"renominated-{number}")


def _ports(peer: Peer) -> tuple[str, ...]:
    """The ports of the pair selected last."""
    event = peer.events("selected")[-1]
    return tuple(event[side].split()[5] for side in ("local", "remote"))


_AFTERWARDS: dict[str, Sequence[Callable[[Peer, Peer], None]]] = {
    "restart": (_play_restart, _play_restart),
    "restart_media": (_play_restart_media,),
    "restart_stream": (_play_restart_stream,),
    "restart_lossy": (_play_restart_lossy,),
    "renomination": (_play_renomination,),
}


def _play_consent(a: Peer, b: Peer) -> str:
    b.kill()
    first = a.wait_state("disconnected", "failed", timeout=12)
    if first["state"] != "failed":
        a.wait_state("failed", timeout=12)
    if a.close() != 0:
        raise ScenarioError("A: exit code")
    return "ok disconnected, then failed"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--a", required=True, help="command of the first peer")
    parser.add_argument("--b", required=True, help="command of the second peer")
    parser.add_argument("--stun", default="", help="URL")
    parser.add_argument("--turn", default="", help="URL,USER,PASSWORD")
    parser.add_argument("--turn-tcp", default="", help="URL")
    parser.add_argument("--turn-tls", default="", help="URL")
    parser.add_argument("--ip6", default="::1", help="IPv6 address of the ipv6 scenario")
    parser.add_argument("-v", "--verbose", action="store_true", help="trace every line of the protocol")
    parser.add_argument(
        "scenarios", nargs="*", default=["host"], metavar="scenario", help=" ".join(SCENARIOS)
    )
    args = parser.parse_args()
    turn, username, password = [*args.turn.split(","), "", ""][:3]
    servers = Servers(args.stun, turn, args.turn_tcp, args.turn_tls, username, password, args.ip6)
    failed = 0
    for name in args.scenarios:
        try:
            line = play(name, shlex.split(args.a), shlex.split(args.b), servers, verbose=args.verbose)
        except SkippedError as reason:
            line = f"SKIP {reason}"
        except ScenarioError as error:
            failed += 1
            line = f"FAIL {error}"
        print(f"{name:14s} {line}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
