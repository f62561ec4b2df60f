"""Trying the addresses of one server until one answers: all at once over UDP, by RFC 8305 over what connects."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fasticePy.aio.diary import Diary
from fasticePy.aio.discover import address_question
from fasticePy.aio.host import source_towards
from fasticePy.aio.resolver import Lookup, Resolver
from fasticePy.aio.trial import Ending, Trial, TrialOptions
from fasticePy.machine import Address
from fasticePy.stun.discovery import Target
from fasticePy.stun.happy_eyeballs import ATTEMPT_DELAY, RESOLUTION_DELAY, Attempts
from fasticePy.stun.outcome import Outcome


class Race:
    """Finds the addresses of `target` and tries them until `deadline` (loop time). It is the handler of its lookup."""

    def __init__(
        self,
        target: Target,
        options: TrialOptions,
        *,
        resolver: Resolver,
        families: frozenset[int],
        deadline: float,
        diary: Diary,
    ) -> None:
        at_once = target.transport in ("udp", "dtls")  # one small datagram each
        self._target = target
        self._options = options
        self._resolver = resolver
        self._families = families
        self._deadline = deadline
        self._diary = diary
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._schedule = Attempts(
            source_towards,
            delay=0.0 if at_once else ATTEMPT_DELAY,
            resolution_delay=0.0 if at_once else RESOLUTION_DELAY,
        )
        self._found: list[Address] = []
        self._resolved = False
        self._news: asyncio.Future[None] = (
            self._loop.create_future()
        )  # done when the lookup has found something
        self._running: dict[asyncio.Task[Ending], tuple[Trial, float]] = {}

    async def run(self) -> tuple[Trial, Ending] | None:
        """The first trial that got an answer, and the answer; None when none did."""
        lookup: Lookup | None = None
        won: tuple[Trial, Ending] | None = None
        try:
            lookup = self._look_up()
            while won is None and not self._schedule.exhausted and self._loop.time() < self._deadline:
                self._begin_trials()
                won = await self._wait()
            return won
        finally:
            if lookup is not None:
                lookup.cancel()
            await self._end(expired=won is None)

    # -- addresses

    def _look_up(self) -> Lookup | None:
        target, families = self._target, self._families
        if target.numeric:
            self._resolved = True
            family = 6 if ":" in target.host else 4
            if family in families:
                self._schedule.add([(target.host, target.port)], self._loop.time(), final=True)
                return None
            self._schedule.add((), self._loop.time(), final=True)
            self._note_lookup("unusable", f"the address is not an IPv{10 - family} address")
            return None
        try:
            return self._resolver.resolve(
                target.host, target.port, self, ipv4=4 in families, ipv6=6 in families
            )
        except Exception as error:  # noqa: BLE001 - an application's resolver may do anything
            self.lookup_failed(f"the resolver failed: {error!r}")
            return None

    def addresses_found(self, addresses: Sequence[Address], final: bool) -> None:
        """See `LookupHandler`."""
        self._found += addresses
        self._schedule.add(addresses, self._loop.time(), final=final)
        self._tell()
        if final:
            self._resolved = True
            self._note_lookup("ok" if self._found else "unresolved", self._hosts() or "no addresses")

    def lookup_failed(self, reason: str) -> None:
        """See `LookupHandler`."""
        self._resolved = True
        self._schedule.add((), self._loop.time(), final=True)
        self._tell()
        self._note_lookup("unresolved", reason)

    def _tell(self) -> None:
        if not self._news.done():
            self._news.set_result(None)

    def _note_unfinished(self, expired: bool, now: float) -> None:
        if self._found or not expired:
            self._note_lookup("ok", f"{self._hosts()}, and more may have come")
        else:
            self._note_lookup("timeout", f"no answer within {now - self._begun:.1f} s")

    def _hosts(self) -> str:
        return ", ".join(dict.fromkeys(host for host, _ in self._found))

    def _note_lookup(self, outcome: Outcome, detail: str) -> None:
        question = address_question(self._target.host, self._families)
        self._diary.note("dns", question, outcome, detail, self._begun, self._loop.time())

    # -- trials

    def _begin_trials(self) -> None:
        while (address := self._schedule.begin(self._loop.time())) is not None:
            trial = Trial(self._target.transport, address, self._options, self._established)
            self._running[self._loop.create_task(trial.run())] = (trial, self._loop.time())

    async def _wait(self) -> tuple[Trial, Ending] | None:
        """Wait until something happens. Gives the trial that won, if one did."""
        at = self._schedule.next_timer()
        until = self._deadline if at is None else min(at, self._deadline)
        endings: set[asyncio.Future[Any]] = {self._news, *self._running}
        await asyncio.wait(
            endings,
            timeout=max(0.0, until - self._loop.time()),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if self._news.done():
            self._news = self._loop.create_future()
        for task in [task for task in self._running if task.done()]:
            won = self._ended(task, *self._running.pop(task))
            if won is not None:
                return won
        return None

    def _ended(self, task: asyncio.Task[Ending], trial: Trial, began: float) -> tuple[Trial, Ending] | None:
        ending = trial.overtaken() if task.cancelled() else task.result()
        self._note(trial, ending, began)
        if ending.outcome == "ok":
            return trial, ending
        if not task.cancelled():
            self._schedule.failed(trial.address, self._loop.time())
        return None

    def _note(self, trial: Trial, ending: Ending, began: float) -> None:
        self._diary.note(
            trial.transport,
            str(Target(trial.transport, *trial.address)).partition(" ")[2],
            ending.outcome,
            ending.detail,
            began,
            self._loop.time(),
            address=trial.address,
            code=ending.code,
            response=ending.response,
        )

    def _established(self, winner: Trial) -> None:
        """A connection stands: the others end (RFC 8305 5)."""
        losers = self._schedule.established(winner.address)
        for task, (trial, _) in self._running.items():
            if trial.address in losers:
                task.cancel()

    async def _end(self, *, expired: bool) -> None:
        """End what still runs."""
        now = self._loop.time()
        if not self._resolved:
            self._note_unfinished(expired, now)
        for trial, began in self._running.values():
            ending = trial.expired(now - began) if expired else trial.overtaken()
            self._note(trial, ending, began)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
