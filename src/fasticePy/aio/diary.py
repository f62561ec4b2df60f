"""What was tried so far, while something is being found out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fasticePy.machine import Address
from fasticePy.stun import Message
from fasticePy.stun.discovery import Transport
from fasticePy.stun.outcome import Attempt, Outcome


def printable(text: str) -> str:
    """Without what a server could do to a terminal or a log by its words."""
    return "".join(each if each.isprintable() else "?" for each in text)


@dataclass(slots=True)
class Diary:
    """Attempts as they end; times count from `begun` (seconds, the event loop's clock)."""

    begun: float
    attempts: list[Attempt] = field(default_factory=list)

    def note(
        self,
        what: Literal["dns"] | Transport,
        target: str,
        outcome: Outcome,
        detail: str,
        began: float,
        now: float,
        *,
        address: Address | None = None,
        code: int | None = None,
        response: Message | None = None,
    ) -> None:
        """An attempt that began at `began` has ended; the rest is as in `Attempt`."""
        self.attempts.append(
            Attempt(
                what=what,
                target=target,
                outcome=outcome,
                detail=printable(detail),
                began=began - self.begun,
                took=now - began,
                address=address,
                code=code,
                response=response,
            )
        )

    def in_order(self) -> tuple[Attempt, ...]:
        """All of it, in the order in which it began."""
        return tuple(sorted(self.attempts, key=lambda attempt: attempt.began))
