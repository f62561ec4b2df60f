"""Validated paths: from where application data is taken (a check with our password or an answer with the peer's has
come from there; nobody else can send us data)."""

from __future__ import annotations

from dataclasses import dataclass

from fasticePy.ice.pair import CandidatePair
from fasticePy.machine import Address


@dataclass(slots=True, eq=False)
class Path:
    """A socket and a remote address between which an authenticated message has passed."""

    socket: int
    address: Address
    last_received: float
    pair: CandidatePair | None = None
    silent: bool = False
    """Selected, and nothing has come for so long that the state is `disconnected`."""
    packets_received: int = 0
    bytes_received: int = 0


class Paths:
    """The table that each received datagram is looked up in."""

    __slots__ = ("_limit", "by_key")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.by_key: dict[tuple[int, Address], Path] = {}

    def validate(self, socket: int, address: Address, now: float) -> Path | None:
        """An authenticated check came this way. None when there are too many of them."""
        path = self.by_key.get((socket, address))
        if path is None:
            if len(self.by_key) >= self._limit:
                return None
            path = self.by_key[(socket, address)] = Path(socket, address, now)
        path.last_received = now
        return path

    def forget(self, key: tuple[int, Address]) -> None:
        """It was not the peer who sent that check."""
        self.by_key.pop(key, None)

    def of_pair(self, pair: CandidatePair, now: float) -> Path:
        """The path of a valid pair: always there, for pairs have a limit of their own."""
        path = self.by_key.get(pair.path)
        if path is None:
            path = self.by_key[pair.path] = Path(pair.socket, pair.destination, now)
        path.pair = pair
        return path
