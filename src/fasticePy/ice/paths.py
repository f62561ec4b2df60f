"""Validated paths: from where application data is taken (a check with our password or an answer with the peer's has
come from there; nobody else can send us data)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasticePy.ice.pair import CandidatePair
from fasticePy.machine import Address

if TYPE_CHECKING:
    from fasticePy.ice.session import Generation


@dataclass(slots=True, eq=False)
class Path:
    """A socket and a remote address between which an authenticated message has passed."""

    socket: int
    address: Address
    vouchers: list[Generation]
    """The generations with whose credentials a message has come this way."""
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

    def validate(self, socket: int, address: Address, generation: Generation, now: float) -> Path | None:
        """An authenticated check came this way. None when there are too many of them."""
        path = self.by_key.get((socket, address))
        if path is None:
            if len(self.by_key) >= self._limit:
                return None
            path = self.by_key[(socket, address)] = Path(socket, address, [], now)
        _vouch(path, generation)
        path.last_received = now
        return path

    def forget(self, key: tuple[int, Address], generation: Generation) -> None:
        """It was not the peer who sent that check."""
        if (path := self.by_key.get(key)) is not None:
            self._withdraw(path, generation)

    def of_pair(self, pair: CandidatePair, generation: Generation, now: float) -> Path:
        """The path of a valid pair: always there, for pairs have a limit of their own."""
        path = self.by_key.get(pair.path)
        if path is None:
            path = self.by_key[pair.path] = Path(pair.socket, pair.destination, [], now)
        _vouch(path, generation)
        path.pair = pair
        return path

    def drop_generation(self, generation: Generation) -> None:
        """A generation is over: what only it has vouched for is not taken any more."""
        for path in list(self.by_key.values()):
            self._withdraw(path, generation)

    def drop_socket(self, socket: int) -> None:
        """A socket is no more."""
        for key in [key for key in self.by_key if key[0] == socket]:
            del self.by_key[key]

    def _withdraw(self, path: Path, generation: Generation) -> None:
        if generation in path.vouchers:
            path.vouchers.remove(generation)
        if not path.vouchers:
            del self.by_key[path.socket, path.address]


def _vouch(path: Path, generation: Generation) -> None:
    if generation not in path.vouchers:
        path.vouchers.append(generation)
