"""STUN client transactions: sending a request, retransmitting it, and matching its response (RFC 8489 6.2, 6.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fasticePy._native.stun import Message
from fasticePy.machine import Address, Outbox, Timer

RTO = 0.5
"""Initial retransmission timeout in seconds (RFC 8489 6.2.1)."""
RC = 7
"""How often a request is sent at most (RFC 8489 6.2.1)."""
RM = 16
"""After the last send, the wait for a response is RM times the initial RTO (RFC 8489 6.2.1)."""


@dataclass(slots=True, eq=False)
class Transaction:
    """One request on its way, with what to do when it ends.

    `on_response(transaction, message, socket, address, now)` is called for any message that carries its id: the
    owner checks the source and the integrity, for it alone knows the key and what a forged answer means, and then
    calls `Transactions.finish`. `on_timeout(transaction, now)` is called once when nobody answered in time.
    """

    id: bytes
    socket: int
    address: Address
    data: bytes
    on_response: Callable[[Transaction, Message, int, Address, float], None]
    on_timeout: Callable[[Transaction, float], None]
    rto: float = RTO
    max_sends: int = RC
    final_wait: float = RM * RTO
    encode: Callable[[int, float], bytes] | None = None
    """`encode(send, now)` makes the bytes of each send, counted from 1, where they differ (RFC 7982); `data` has the
    last ones. Without it, every send is the same."""
    started_at: float = 0.0
    sends: int = 0
    cancelled: bool = False
    violated: bool = False
    """A response came whose integrity did not verify (RFC 8489 9.1.4): reported instead of a timeout."""
    timer: Timer | None = field(default=None, repr=False)


class Transactions:
    """The table of a machine's running transactions, by transaction id."""

    __slots__ = ("_by_id", "_outbox")

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._by_id: dict[bytes, Transaction] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def start(self, transaction: Transaction, now: float) -> None:
        """Send the request and keep it going until `finish`, `cancel` or its timeout."""
        transaction.started_at = now
        self._by_id[transaction.id] = transaction
        self._send(transaction, now)

    def find(self, transaction_id: bytes) -> Transaction | None:
        """The transaction that a response with this id answers."""
        return self._by_id.get(transaction_id)

    def finish(self, transaction: Transaction, now: float) -> float | None:
        """End it: it was answered. Gives the round-trip time in seconds, or None when it was sent more than once,
        because then nobody knows which send was answered (Karn's algorithm, RFC 8489 6.2.1)."""
        self.forget(transaction)
        # never negative, though a clock may have gone back
        return max(0.0, now - transaction.started_at) if transaction.sends == 1 else None

    def cancel(self, transaction: Transaction, now: float) -> None:
        """Stop retransmitting. A late response still counts, for as long as the transaction would have lasted;
        silence is no longer a failure (RFC 8445 7.3.1.4). Nothing happens when it has ended already."""
        if self._by_id.get(transaction.id) is not transaction:
            return
        transaction.cancelled = True
        self._outbox.timers.cancel(transaction.timer)
        left = transaction.started_at + self._lifetime(transaction)
        transaction.timer = self._outbox.timers.schedule(
            max(left, now), lambda _now: self.forget(transaction)
        )

    def forget(self, transaction: Transaction) -> None:
        """Drop it at once; a response to it is unknown from now on."""
        self._outbox.timers.cancel(transaction.timer)
        transaction.timer = None
        if self._by_id.get(transaction.id) is transaction:
            del self._by_id[transaction.id]
            if not self._by_id:
                self._by_id = {}  # one that was emptied keeps its room

    def clear(self) -> None:
        """Drop all of them."""
        for transaction in list(self._by_id.values()):
            self.forget(transaction)

    @staticmethod
    def _lifetime(transaction: Transaction) -> float:
        return transaction.rto * float(2 ** (transaction.max_sends - 1) - 1) + transaction.final_wait

    def _send(self, transaction: Transaction, now: float) -> None:
        transaction.sends += 1
        if transaction.encode is not None:
            transaction.data = transaction.encode(transaction.sends, now)
        self._outbox.send(transaction.socket, transaction.address, transaction.data)
        # Intervals double: sends at 0, 1, 3, 7, ... times the RTO (RFC 8489 6.2.1). All moments count from the
        # start, so that timers which run late do not add up; but two sends, and the last one and the end, are at
        # least one RTO apart, or what a stalled loop has missed would leave in a burst and not be waited for.
        if transaction.sends < transaction.max_sends:
            due = transaction.started_at + transaction.rto * (2**transaction.sends - 1)
            pause = transaction.rto
            then = self._send
        else:
            due = transaction.started_at + self._lifetime(transaction)
            pause = min(transaction.rto, transaction.final_wait)
            then = self._expire
        transaction.timer = self._outbox.timers.schedule(
            max(due, now + pause), lambda at: then(transaction, at)
        )

    def _expire(self, transaction: Transaction, now: float) -> None:
        self.forget(transaction)
        transaction.on_timeout(transaction, now)
