"""The sockets of an agent: asked for, opened, shared by the generations of a stream, closed when nobody uses them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from fasticePy.ice.addresses import LocalAddress, address_text
from fasticePy.ice.events import CloseSocket, NeedSocket
from fasticePy.ice.session import Session
from fasticePy.machine import Address


@dataclass(slots=True, eq=False)
class Base:
    """A socket of ours: a host candidate, signalled or not (RFC 8445 5.1.1)."""

    stream: int
    component: int
    local: LocalAddress
    socket: int
    address: Address
    """Where it is bound."""
    transport: str = "udp"
    users: list[SocketUser] = field(default_factory=list, repr=False)


class SocketUser(Protocol):
    """Who asks for sockets: the gatherer of a generation."""

    def base_ready(self, base: Base, now: float) -> None:
        """It is open."""

    def base_failed(self, local: LocalAddress, transport: str, reason: str, now: float) -> None:
        """It could not be opened."""


@dataclass(slots=True)
class _Request:
    stream: int
    component: int
    local: LocalAddress
    transport: str
    user: SocketUser


class Sockets:
    """The table of them. A generation that begins while another one lives takes over its sockets: that keeps the
    mappings at NATs, and the ports that firewalls know (RFC 8445 9 leaves the choice)."""

    __slots__ = ("_next_request", "_outbox", "_placeholders", "_record", "_requests", "_shown", "open")

    def __init__(self, session: Session) -> None:
        self._outbox = session.outbox
        self._record = session.record
        self._shown = session.shown
        self._requests: dict[int, _Request] = {}
        self._next_request = 0
        self._placeholders = 0
        self.open: dict[int, Base] = {}

    def acquire(
        self,
        user: SocketUser,
        stream: int,
        component: int,
        local: LocalAddress,
        transport: str,
        now: float,
        *,
        fresh: bool,
    ) -> Base | None:
        """A socket for `user` on this address: an open one unless it has to be `fresh`; else None, and it is asked
        for and handed over by `base_ready`."""
        if not fresh:
            for base in self.open.values():
                if (base.stream, base.component, base.transport) != (stream, component, transport):
                    continue
                if base.address[0] == local.host and local.port in (0, base.address[1]):
                    base.users.append(user)
                    base.local = local
                    return base
        request = self._next_request
        self._next_request += 1
        self._requests[request] = _Request(stream, component, local, transport, user)
        self._outbox.emit(
            NeedSocket(
                at=now,
                request=request,
                component=component,
                transport=transport,
                address=(local.host, local.port),
                stream=stream,
            )
        )
        return None

    def placeholder(self, stream: int, component: int, local: LocalAddress) -> Base:
        """An address that TCP connections leave from, each by a port of its own: there is no socket yet, and a
        negative number stands for it (RFC 6544 4.1)."""
        self._placeholders += 1
        return Base(stream, component, local, -self._placeholders, (local.host, 0), "tcp")

    def opened(self, number: int, socket: int, address: Address, now: float) -> None:
        """The driver's answer to NeedSocket; a socket that nobody wants any more is closed again."""
        request = self._requests.pop(number, None)
        if request is None:
            self._outbox.emit(CloseSocket(at=now, socket=socket))
            return
        if not self._requests:
            self._requests = {}  # one that was emptied keeps its room
        base = Base(request.stream, request.component, request.local, socket, address, request.transport)
        base.users.append(request.user)
        self.open[socket] = base
        self._record.add(now, "socket", address_text(self._shown(address)), "open")
        request.user.base_ready(base, now)

    def failed(self, number: int, reason: str, now: float) -> None:
        """The driver could not open it."""
        request = self._requests.pop(number, None)
        if request is None:
            return
        local = request.local
        self._record.add(now, "socket", address_text(self._shown((local.host, local.port))), "failed", reason)
        request.user.base_failed(local, request.transport, reason, now)

    def waits(self, user: SocketUser) -> bool:
        """Whether a socket that `user` asked for is still to come."""
        return any(request.user is user for request in self._requests.values())

    def hosts_asked_for(self, user: SocketUser) -> set[str]:
        """The addresses on which sockets for `user` are still to come."""
        return {request.local.host for request in self._requests.values() if request.user is user}

    def release(self, user: SocketUser, now: float, base: Base | None = None) -> None:
        """`user` needs this socket, or all of its sockets, no more; what nobody uses is closed."""
        if base is None:
            for number in [n for n, request in self._requests.items() if request.user is user]:
                del self._requests[number]
        for each in [base] if base is not None else list(self.open.values()):
            if user in each.users:
                each.users.remove(user)
                if not each.users:
                    self.close(each, now)

    def close(self, base: Base, now: float) -> None:
        """Close a socket whoever uses it."""
        if self.open.pop(base.socket, None) is None:
            return
        base.users.clear()
        self._record.add(now, "socket", address_text(self._shown(base.address)), "closed")
        self._outbox.emit(CloseSocket(at=now, socket=base.socket))

    def clear(self, now: float) -> None:
        """Close all of them, and ask for no more."""
        self._requests.clear()
        for base in list(self.open.values()):
            self.close(base, now)
