"""TCP connections of an agent: asked for, accepted, and closed when nobody uses them (RFC 6544)."""

from __future__ import annotations

from fasticePy.ice.events import CloseSocket
from fasticePy.ice.session import Session
from fasticePy.machine import Address


class Connections:
    """The table of them."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def accepted(self, listener: int, socket: int, peer: Address, now: float) -> bool:
        """See `IceAgent.connection_accepted`."""
        self._session.outbox.count("drop.connection.no-candidate")
        return False

    def opened(self, request: int, socket: int, address: Address, now: float) -> None:
        """See `IceAgent.connection_opened`."""
        self._session.outbox.emit(CloseSocket(at=now, socket=socket))

    def failed(self, request: int, reason: str, now: float) -> None:
        """See `IceAgent.connection_failed`."""
        self._session.outbox.count("connection.failed")

    def closed(self, socket: int, reason: str, now: float) -> None:
        """See `IceAgent.connection_closed`."""
        self._session.outbox.count("connection.closed")
