"""`fasticepy gather`: the candidates of this host as they are found, and why others are missing."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence

from fasticePy.aio import Agent
from fasticePy.aio.interfaces import Decision
from fasticePy.cli.command import Command, ExitCode
from fasticePy.cli.options import add_agent_arguments, agent_options
from fasticePy.cli.output import host_port, milliseconds, print_json, table
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.events import ServerFinished


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `fasticepy gather`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    add_agent_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Gather; DEGRADED when a server failed, FAILED when there is no candidate at all."""
    return asyncio.run(_gather(args))


async def _gather(args: argparse.Namespace) -> int:
    async with Agent(controlling=True, **agent_options(args)) as agent:
        printer: _Printer = _JsonPrinter(agent) if args.json else _TextPrinter(agent)
        agent.on_candidate = printer.candidate
        agent.on_server = printer.server
        await agent.gather()
        printer.conclude()
        if not agent.local_candidates:
            return ExitCode.FAILED
        return ExitCode.DEGRADED if printer.failed_servers else ExitCode.OK


class _Printer:
    """Hears of candidates and servers while they come; subclasses print."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._begun = time.perf_counter()
        self._outcomes: dict[str, list[tuple[ServerFinished, float]]] = {}

    @property
    def failed_servers(self) -> list[str]:
        """The servers that nobody could use from any local address."""
        return [
            url for url, outcomes in self._outcomes.items() if not any(outcome.ok for outcome, _ in outcomes)
        ]

    def candidate(self, candidate: Candidate | None) -> None:
        """A candidate was found; None: there are no more."""
        if candidate is not None:
            self.print_candidate(candidate, self._elapsed())

    def server(self, outcome: ServerFinished) -> None:
        """A server answered a local address, or did not."""
        elapsed = self._elapsed()
        self._outcomes.setdefault(outcome.url, []).append((outcome, elapsed))
        self.print_server(outcome, elapsed)

    def print_candidate(self, candidate: Candidate, elapsed: float) -> None:
        """Print it at once."""

    def print_server(self, outcome: ServerFinished, elapsed: float) -> None:
        """Print it at once, if at all."""

    def conclude(self) -> None:
        """Print what is only known at the end."""

    def interface(self, candidate: Candidate) -> str | None:
        """The interface that a candidate is on."""
        base = candidate.address if candidate.type == "host" else candidate.related_address
        return next((entry.interface for entry in self._agent.decisions if entry.address == base), None)

    def left_out(self) -> list[Decision]:
        """Addresses of this host that are not candidates."""
        return [decision for decision in self._agent.decisions if not decision.used]

    def _elapsed(self) -> float:
        return time.perf_counter() - self._begun


class _JsonPrinter(_Printer):
    def print_candidate(self, candidate: Candidate, elapsed: float) -> None:
        print_json(
            {
                "event": "candidate",
                "after_ms": round(elapsed * 1000, 3),
                "sdp": candidate.to_sdp(),
                "type": candidate.type,
                "address": candidate.address,
                "port": candidate.port,
                "interface": self.interface(candidate),
            }
        )

    def print_server(self, outcome: ServerFinished, elapsed: float) -> None:
        print_json(
            {
                "event": "server",
                "after_ms": round(elapsed * 1000, 3),
                "url": outcome.url,
                "ok": outcome.ok,
                "reason": outcome.reason,
                "base": host_port(outcome.base) if outcome.base else None,
                "mapped": host_port(outcome.mapped) if outcome.mapped else None,
                "rtt_ms": None if outcome.rtt is None else round(outcome.rtt * 1000, 3),
            }
        )

    def conclude(self) -> None:
        for decision in self.left_out():
            print_json(
                {
                    "event": "left_out",
                    "interface": decision.interface,
                    "address": decision.address,
                    "kind": decision.kind,
                    "reason": decision.reason,
                }
            )
        print_json(
            {
                "event": "done",
                "after_ms": round(self._elapsed() * 1000, 3),
                "candidates": len(self._agent.local_candidates),
                "failed_servers": self.failed_servers,
            }
        )


class _TextPrinter(_Printer):
    def print_candidate(self, candidate: Candidate, elapsed: float) -> None:
        # printed one by one as they come, so the columns have fixed widths
        address = host_port(candidate.transport_address)
        line = f" {milliseconds(elapsed):>9}  {candidate.type:5}  {address:28}  {self._origin(candidate)}"
        print(line, flush=True)

    def conclude(self) -> None:
        if not self._agent.local_candidates:
            print(" no candidates")
        for title, rows in (("servers", self._server_rows()), ("left out", self._left_out_rows())):
            if rows:
                print(f"\n {title}\n{table(rows, indent=3)}")
        print(f"\n finished in {milliseconds(self._elapsed())}")

    def _origin(self, candidate: Candidate) -> str:
        interface = self.interface(candidate) or ""
        if candidate.type == "host" or candidate.related_address is None:
            return interface
        base = host_port((candidate.related_address, candidate.related_port or 0))
        return f"of {base} on {interface}" if interface else f"of {base}"

    def _server_rows(self) -> list[Sequence[object]]:
        rows: list[Sequence[object]] = []
        for url, outcomes in self._outcomes.items():
            title = url
            for outcome, elapsed in outcomes:
                base = f"from {host_port(outcome.base)}" if outcome.base else ""
                if outcome.ok and outcome.mapped is not None:
                    seen = f"you are {host_port(outcome.mapped)}"
                    rows.append([title, "ok", milliseconds(outcome.rtt), base, seen])
                else:
                    rows.append([title, "FAILED", milliseconds(elapsed), base, outcome.reason])
                title = ""
        return rows

    def _left_out_rows(self) -> list[Sequence[object]]:
        return [[entry.interface, entry.address, _as_option(entry.reason)] for entry in self.left_out()]


def _as_option(reason: str) -> str:
    """The same advice, for those who type and do not program."""
    return reason.replace("include_loopback=True", "--include-loopback").replace(
        "give it in addresses", "--address"
    )


COMMAND = Command("gather", "show the candidates of this host and why others are missing", add_arguments, run)
