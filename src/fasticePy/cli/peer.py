"""`fasticepy peer`: one agent driven by JSON lines, so that a harness can connect it to any other implementation.

The protocol is "peer v1", which the peers in tests/interop speak too (tests/interop/peers/README.md describes it).
One process is one agent with one component: commands come on standard input, events go to standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from fasticePy._version import __version__
from fasticePy.aio import Agent, IceServer
from fasticePy.cli.command import Command, ExitCode
from fasticePy.cli.output import host_port, print_json
from fasticePy.cli.stdio import open_reader
from fasticePy.errors import IceError, ParseError
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.events import ServerFinished
from fasticePy.ice.options import Timeouts
from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.signalling.description import Description

FEATURES = (
    "restart",
    "lite",
    "trickle",
    "mdns",
    "tcp",
    "srflx",
    "ipv6",
    "consent",
    "timeouts",
    "stats",
    "renomination",
    "continual",
    "auto_restart",
)
"""What of the protocol's optional features is built; a harness leaves out the scenarios of the others."""

ECHO = b"echo:"
_NETWORKS = ("udp4", "udp6", "tcp4", "tcp6")
_CANDIDATE_TYPES = ("host", "srflx", "relay")
_SWITCHES = ("lite", "continual", "auto_restart", "renomination")


class CommandError(Exception):
    """A command that cannot be done; the text says why."""


class Peer:
    """The protocol's state: commands go into `handle`, events come out of `emit`."""

    def __init__(self, emit: Callable[[Mapping[str, object]], None]) -> None:
        self._emit = emit
        self._agent: Agent | None = None
        self._gathering: asyncio.Task[None] | None = None
        self._servers: list[dict[str, object]] = []
        self._echo = True
        self.failed = False
        """A fatal error was told: nothing can be done after it."""

    def greet(self) -> None:
        """The first event: who we are."""
        self._emit(
            {"event": "ready", "peer": "fasticePy", "version": __version__, "features": list(FEATURES)}
        )

    def handle_line(self, line: bytes) -> bool:
        """Do one line of input; False when it asks to end, or when nothing can be done after it."""
        try:
            command = json.loads(line)
        except (ValueError, RecursionError) as error:
            self.error(f"bad JSON: {error}")
            return True
        if not isinstance(command, dict):
            self.error("a command is a JSON object")
            return True
        return self.handle(command)

    def handle(self, command: Mapping[str, Any]) -> bool:
        """Do one command; False when it asks to end, or when nothing can be done after it."""
        name = command.get("cmd")
        if name == "close":
            return False
        try:
            if name == "start":
                self._start(command)
            elif not isinstance(name, str) or name not in self._COMMANDS:
                raise CommandError(f"unknown cmd {name!r}")
            else:
                self._COMMANDS[name](self, self._started(name), command)
        except (CommandError, ParseError, IceError, OSError, ValueError, TypeError) as error:
            self.error(f"{name}: {error}", fatal=name == "start")
            return name != "start"
        return True

    def error(self, message: str, *, fatal: bool = False) -> None:
        """Tell the harness what went wrong."""
        self.failed = self.failed or fatal
        self._emit({"event": "error", "message": message, "fatal": fatal})

    async def close(self) -> None:
        """End the agent."""
        if self._gathering is not None:
            self._gathering.cancel()
            await asyncio.gather(self._gathering, return_exceptions=True)
        if self._agent is not None:
            await self._agent.close()

    # -- commands

    def _started(self, name: str) -> Agent:
        if self._agent is None:
            raise CommandError("comes before start")
        return self._agent

    def _start(self, command: Mapping[str, Any]) -> None:
        if self._agent is not None:
            raise CommandError("already started")
        agent = Agent(**agent_options(command))
        self._agent = agent
        self._echo = bool(command.get("echo", True))
        agent.on_candidate = self._candidate
        agent.on_data = self._data
        agent.on_state = self._state
        agent.on_selected = self._selected
        agent.on_server = self._server
        agent.on_restart = self._restarted
        self._local(agent.local_description)
        self._gathering = asyncio.ensure_future(agent.gather())

    def _remote(self, agent: Agent, command: Mapping[str, Any]) -> None:
        ufrag, pwd = _text(command, "ufrag"), _text(command, "pwd")
        options, lite = _options(command), bool(command.get("lite"))
        if lite or options is not None:
            named = ("trickle",) if options is None else options
            description = Description(ufrag=ufrag, pwd=pwd, options=named, lite=lite, pacing_ms=None)
            agent.set_remote_description(description)
        else:
            agent.set_remote_credentials(ufrag, pwd)

    def _remote_candidate(self, agent: Agent, command: Mapping[str, Any]) -> None:
        agent.add_remote_candidate(_text(command, "sdp").strip() or None)

    def _remote_gathering_done(self, agent: Agent, command: Mapping[str, Any]) -> None:
        agent.add_remote_candidate(None)

    def _send(self, agent: Agent, command: Mapping[str, Any]) -> None:
        as_hex = isinstance(command.get("hex"), str)
        data = bytes.fromhex(command["hex"]) if as_hex else _text(command, "data").encode()
        if not agent.send(data):
            raise CommandError("the datagram was dropped: the send buffer is full")
        self._emit({"event": "sent", "n": len(data)})

    def _restart(self, agent: Agent, command: Mapping[str, Any]) -> None:
        agent.restart(command.get("ufrag"), command.get("pwd"))

    def _renominate(self, agent: Agent, command: Mapping[str, Any]) -> None:
        others = [pair for pair in agent.pairs if pair.valid and pair is not agent.selected]
        if not others:
            raise CommandError("no other pair works")
        agent.select(others[0])

    def _stats(self, agent: Agent, command: Mapping[str, Any]) -> None:
        pair = agent.selected
        self._emit(
            {
                "event": "stats",
                "selected": None if pair is None else _ends(pair),
                "stats": agent.get_stats(),
                "report": agent.report().to_dict(),
            }
        )

    _COMMANDS: Mapping[str, Callable[[Any, Agent, Mapping[str, Any]], None]] = {
        "remote": _remote,
        "remote_candidate": _remote_candidate,
        "remote_gathering_done": _remote_gathering_done,
        "send": _send,
        "restart": _restart,
        "renominate": _renominate,
        "stats": _stats,
    }

    # -- events

    def _local(self, description: Description) -> None:
        self._emit(
            {
                "event": "local",
                "ufrag": description.ufrag,
                "pwd": description.pwd,
                "options": list(description.options),
            }
        )

    def _restarted(self, description: Description) -> None:
        self._servers.clear()
        self._local(description)

    def _candidate(self, candidate: Candidate | None) -> None:
        if candidate is not None:
            self._emit({"event": "candidate", "sdp": candidate.to_sdp()})
            return
        self._emit({"event": "gathering_done", "servers": self._servers})

    def _server(self, outcome: ServerFinished) -> None:
        self._servers.append(
            {
                "url": outcome.url,
                "base": host_port(outcome.base) if outcome.base else None,
                "ok": outcome.ok,
                "reason": outcome.reason,
                "mapped": host_port(outcome.mapped) if outcome.mapped else None,
                "rtt": outcome.rtt,
            }
        )
        if not outcome.ok:
            self.error(f"{outcome.url}: {outcome.reason}")

    def _state(self, state: str, reason: str) -> None:
        self._emit({"event": "state", "state": state, "reason": reason})

    def _selected(self, pair: CandidatePair) -> None:
        self._emit({"event": "selected", **_ends(pair)})

    def _data(self, data: bytes, pair: CandidatePair | None) -> None:
        self._emit({"event": "data", "data": data.decode("utf-8", "replace"), "hex": data.hex()})
        if self._echo and not data.startswith(ECHO) and self._agent is not None:
            try:
                self._agent.send(ECHO + data)
            except (IceError, OSError) as error:
                self.error(f"echo: {error}")


def _ends(pair: CandidatePair) -> dict[str, str]:
    return {"local": pair.local.to_sdp(), "remote": pair.remote.to_sdp()}


def agent_options(command: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `fasticePy.Agent` that a `start` command asks for. Raises `CommandError` for nonsense, so that
    nothing is taken silently."""
    if command.get("role") not in ("controlling", "controlled"):
        raise CommandError(f"bad role {command.get('role')!r}")
    options: dict[str, Any] = {
        "controlling": command["role"] == "controlling",
        "servers": _servers(command),
        "include_loopback": bool(command.get("include_loopback", False)),
        "candidate_types": _choice(command, "candidate_types", _CANDIDATE_TYPES, _CANDIDATE_TYPES),
        "mdns": _mdns(command.get("mdns")),
        **{name: bool(command.get(name, False)) for name in _SWITCHES},
        "timeouts": timeouts(command.get("timeouts") or {}),
        "nomination": command.get("nomination"),
        **_networks(command),
    }
    optional = {"interfaces": "interfaces", "ips": "addresses", "ufrag": "local_ufrag", "pwd": "local_pwd"}
    options.update({option: command[key] for key, option in optional.items() if command.get(key)})
    return options


def _mdns(wish: object) -> str:
    if wish == "query":
        return "resolve"
    if wish is not None and not isinstance(wish, bool):
        raise CommandError(f"bad mdns {wish!r}")
    return "publish" if wish else "off"


def timeouts(wishes: Mapping[str, Any]) -> Timeouts:
    """The times (seconds) of the protocol as ours; what is absent keeps its default."""
    times = {}
    for key in (
        "disconnected",
        "failed",
        "keepalive",
        "check_interval",
        "host_wait",
        "srflx_wait",
        "relay_wait",
    ):
        if wishes.get(key) is not None:
            times[key] = _seconds(wishes, key)
    defaults = Timeouts()
    changes: dict[str, float] = {}
    if "disconnected" in times:
        changes["disconnected"] = times["disconnected"]
    if (
        "failed" in times
    ):  # counts from `disconnected`, our times from the last answer and from the first check
        expiry = changes.get("disconnected", defaults.disconnected) + times["failed"]
        changes["consent_expiry"] = changes["patience"] = expiry
    if "keepalive" in times:
        changes["keepalive"] = times["keepalive"]
        changes["consent_interval"] = min(times["keepalive"], defaults.consent_interval)
    if "check_interval" in times:
        changes["pacing"] = times["check_interval"]
    if "host_wait" in times or "srflx_wait" in times:
        changes["nomination_direct"] = max(times.get("host_wait", 0.0), times.get("srflx_wait", 0.0))
    if "relay_wait" in times:
        changes["nomination_relay"] = times["relay_wait"]
    return replace(defaults, **changes)


def _servers(command: Mapping[str, Any]) -> list[IceServer]:
    servers = []
    for entry in command.get("urls") or []:
        if not isinstance(entry, dict):
            raise CommandError(f"bad urls entry {entry!r}")
        names = (str(entry.get("username", "")), str(entry.get("credential", "")))
        servers.append(IceServer(_text(entry, "url"), *names))
    return servers


def _networks(command: Mapping[str, Any]) -> dict[str, Any]:
    """Address families and TCP: the agent has one choice of families, so what is left is taken from the candidates."""
    wanted = _choice(command, "network_types", _NETWORKS, ("udp4",))
    transports, families = {name[:3] for name in wanted}, {name[3:] for name in wanted}
    options: dict[str, Any] = {"ipv4": "4" in families, "ipv6": "6" in families, "tcp": ()}
    port = command.get("tcp_mux_port")
    if "tcp" in transports:
        options.update(_tcp(port, lite=bool(command.get("lite", False))))
    elif port is not None:
        raise CommandError("tcp_mux_port: network_types has no tcp4 or tcp6")
    if "udp" not in transports or len(wanted) < len(transports) * len(families):
        options["local_candidate"] = partial(_of_networks, wanted)
    return options


def _tcp(port: object, *, lite: bool) -> dict[str, Any]:
    if port is None:
        return {"tcp": () if lite else ("active",)}
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise CommandError(f"bad tcp_mux_port {port!r}")
    if (
        port
    ):  # the range is for connections that we open, too, and they would have to share the listener's port
        return {"tcp": ("passive",), "ports": range(port, port + 1)}
    return {"tcp": ("passive",) if lite else ("active", "passive")}


def _of_networks(wanted: frozenset[str], candidate: Candidate) -> Candidate | None:
    """The candidate, if it is of a wanted transport and family; a name's family is not known."""
    named = candidate.address.endswith(".local")
    families = ("4", "6") if named else ("6",) if ":" in candidate.address else ("4",)
    return candidate if any(candidate.transport + family in wanted for family in families) else None


def _choice(
    command: Mapping[str, Any], key: str, known: tuple[str, ...], default: tuple[str, ...]
) -> frozenset[str]:
    chosen = command.get(key) or default
    if not isinstance(chosen, list | tuple) or not all(name in known for name in chosen):
        raise CommandError(f"bad {key} {chosen!r}")
    return frozenset(chosen)


def _options(command: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The other side's ICE options; None when they are not told."""
    options = command.get("options")
    if options is None:
        return None
    if not isinstance(options, list | tuple) or not all(isinstance(name, str) for name in options):
        raise CommandError(f"bad options {options!r}")
    return tuple(options)


def _text(command: Mapping[str, Any], key: str) -> str:
    value = command.get(key)
    if not isinstance(value, str):
        raise CommandError(f"{key} is missing or no text")
    return value


def _seconds(wishes: Mapping[str, Any], key: str) -> float:
    value = wishes[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise CommandError(f"timeouts: {key} is no number of seconds")
    return float(value)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`fasticepy peer` takes no arguments: everything comes by commands."""


def run(args: argparse.Namespace) -> int:
    """Speak the protocol until `close`, the end of input, or a fatal error."""
    return asyncio.run(_run())


def _print_event(event: Mapping[str, object]) -> None:
    # a harness that has gone also ends our input, and so us: no need to fail in a callback of the agent
    with suppress(BrokenPipeError):
        print_json(event)


async def _run() -> int:
    peer = Peer(_print_event)
    peer.greet()
    reader = open_reader()
    try:
        while line := await reader.readline():
            if line.strip() and not peer.handle_line(line):
                break
    except ValueError:
        peer.error("a command longer than the limit", fatal=True)
    finally:
        await peer.close()
    if peer.failed:
        return ExitCode.FAILED
    print_json({"event": "closed"})
    return ExitCode.OK


COMMAND = Command("peer", "run an agent that JSON lines drive, for test harnesses", add_arguments, run)
