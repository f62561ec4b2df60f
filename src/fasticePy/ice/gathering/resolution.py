"""Host names that the driver is asked about: of servers, and in candidates of the peer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fasticePy.ice.events import NeedAddresses
from fasticePy.ice.reporting.record import Record
from fasticePy.machine import Address, Outbox


@dataclass(slots=True)
class _Question:
    owner: object
    host: str
    on_found: Callable[[Sequence[Address], bool, float], None]
    on_failed: Callable[[str, float], None]


class Resolutions:
    """The questions that are open, by the number of their `NeedAddresses`."""

    __slots__ = ("_next", "_open", "_outbox", "_record")

    def __init__(self, outbox: Outbox, record: Record) -> None:
        self._outbox = outbox
        self._record = record
        self._next = 0
        self._open: dict[int, _Question] = {}

    def ask(
        self,
        owner: object,
        host: str,
        port: int,
        on_found: Callable[[Sequence[Address], bool, float], None],
        on_failed: Callable[[str, float], None],
        now: float,
    ) -> None:
        """Ask for a host's addresses: `on_found(addresses, final, now)`, once or more, or `on_failed(reason, now)`."""
        request = self._next
        self._next += 1
        self._open[request] = _Question(owner, host, on_found, on_failed)
        self._record.add(now, "name", host, "asked")
        self._outbox.emit(NeedAddresses(at=now, request=request, host=host, port=port))

    def resolved(self, request: int, addresses: Sequence[Address], final: bool, now: float) -> None:
        """The driver has found some."""
        question = self._open.pop(request, None) if final else self._open.get(request)
        if question is not None:
            self._record.add(now, "name", question.host, f"{len(addresses)} addresses")
            question.on_found(addresses, final, now)

    def failed(self, request: int, reason: str, now: float) -> None:
        """The driver has found none."""
        question = self._open.pop(request, None)
        if question is not None:
            self._record.add(now, "name", question.host, "failed", reason)
            question.on_failed(reason, now)

    def forget(self, owner: object) -> None:
        """Answers to the questions of `owner` are of no use any more."""
        self._open = {
            number: question for number, question in self._open.items() if question.owner is not owner
        }
