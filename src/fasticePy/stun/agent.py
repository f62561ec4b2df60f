"""The STUN client as a machine: requests with their retransmissions, queues and checks (RFC 8489 6, 9.1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from fasticePy._native.integrity import MacKey
from fasticePy._native.stun import Message, MessageBuilder, ParseError, parse
from fasticePy._version import __version__
from fasticePy.machine import Address, Event, Rng, RootMachine, Timer
from fasticePy.stun.registry import MAGIC_COOKIE, Attribute, MessageClass, Method
from fasticePy.stun.rto import RtoEstimator
from fasticePy.stun.transaction import RC, RM, Transaction, Transactions

SOFTWARE = f"fasticePy {__version__}"
"""What SOFTWARE says in requests (RFC 8489 14.14)."""
MAX_OUTSTANDING = 10
"""Requests on their way to one server at a time (RFC 8489 6.2)."""
MAX_RESENDS = 4
"""How often a request is sent anew after a 5xx (RFC 8489 6.3.4)."""
TI = 39.5
"""Seconds until a request over a stream fails (RFC 8489 6.2.2)."""

Attributes: TypeAlias = Sequence[tuple[int, object]]
"""Attributes and their values, in order, as `MessageBuilder.add` takes them."""
FailureReason: TypeAlias = Literal[
    "timeout", "integrity violated", "error response", "bad response", "unreachable", "closed"
]

_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")
_KNOWN = frozenset(Attribute)  # what RFC 3489 servers still add is among them, and ignored (RFC 5389 12.1)


@dataclass(slots=True, kw_only=True)
class ResponseReceived(Event):
    """A request was answered with success."""

    request: int
    message: Message
    socket: int
    address: Address
    sends: int
    """How often the request was sent, all resends after a 5xx included."""
    rtt: float | None
    """Round-trip time in seconds; None when retransmissions leave open which send was answered."""


@dataclass(slots=True, kw_only=True)
class RequestFailed(Event):
    """A request came to nothing. `reason` is the kind of failure, `detail` says it in words."""

    request: int
    reason: FailureReason
    detail: str
    socket: int
    address: Address
    sends: int
    code: int | None = None
    """The code of the error response."""
    message: Message | None = None
    """The response, when there was one."""


@dataclass(slots=True, kw_only=True)
class IndicationReceived(Event):
    """Somebody sent an indication; it is not answered."""

    message: Message
    socket: int
    address: Address


@dataclass(slots=True, eq=False)
class _Request:
    number: int
    socket: int
    address: Address
    method: int
    attributes: tuple[tuple[int, object], ...]
    key: MacKey | None
    sha1: bool
    sha256: bool
    fingerprint: bool
    stream: bool
    id: bytes = b""
    data: bytes = b""
    sends: int = 0  # those of earlier transactions
    resends: int = 0
    discarded: str = ""  # why an answer was not believed
    transaction: Transaction | None = None
    timer: Timer | None = None  # the next resend


@dataclass(slots=True)
class _Server:
    outstanding: int = 0
    waiting: deque[_Request] = field(default_factory=deque)


class StunAgent(RootMachine):
    """Sends STUN requests and indications and tells what became of them, each request exactly once: ResponseReceived or
    RequestFailed.

    With a key, requests carry the short-term mechanism's integrity and answers without the right one are not
    believed (RFC 8489 9.1); the USERNAME is the caller's to add. The long-term mechanism, redirection and the
    discovery of servers by name build on this machine.
    """

    def __init__(
        self,
        rng: Rng,
        *,
        software: str | None = SOFTWARE,
        rto: RtoEstimator | None = None,
        rc: int = RC,
        rm: float = RM,
        ti: float = TI,
    ) -> None:
        """`rng` gives the transaction ids and must be unpredictable (RFC 8489 5). `software` None leaves SOFTWARE
        out. `rto` may be shared between agents. `rc`, `rm` and `ti` (seconds) are those of RFC 8489 6.2."""
        super().__init__()
        self._rng = rng
        self._software = software
        self.rto = rto if rto is not None else RtoEstimator()
        self._rc = rc
        self._rm = rm
        self._ti = ti
        self._transactions = Transactions(self._outbox)
        self._requests: dict[int, _Request] = {}  # all that have not ended, by number
        self._servers: dict[Address, _Server] = {}
        self._last = 0
        self._closed = False

    def request(
        self,
        socket: int,
        address: Address,
        method: int,
        attributes: Attributes,
        now: float,
        *,
        key: MacKey | None = None,
        sha1: bool = True,
        sha256: bool = False,
        fingerprint: bool = False,
        stream: bool = False,
    ) -> int:
        """Send a request to a server, or queue it while 10 others are on their way there; gives its number.

        `key` signs it by MESSAGE-INTEGRITY (`sha1`), MESSAGE-INTEGRITY-SHA256 (`sha256`) or both. `stream` is for
        TCP and TLS: it is sent once. Raises ValueError or TypeError when the attributes cannot be encoded.
        """
        self._last += 1
        request = _Request(
            number=self._last,
            socket=socket,
            address=address,
            method=method,
            attributes=tuple(attributes),
            key=key,
            sha1=sha1,
            sha256=sha256,
            fingerprint=fingerprint,
            stream=stream,
        )
        self._build(request)
        if self._closed:
            self._emit_failure(request, "closed", "the agent was closed before", now)
            return request.number
        self._requests[request.number] = request
        server = self._servers.setdefault(address, _Server())
        server.waiting.append(request)
        self._start_waiting(address, server, now)
        return request.number

    def binding(self, socket: int, address: Address, now: float) -> int:
        """Ask a server for the address that we are seen at: `mapped_address(event.message)` of the answer."""
        return self.request(socket, address, Method.BINDING, (), now)

    def indicate(
        self,
        socket: int,
        address: Address,
        method: int,
        attributes: Attributes = (),
        *,
        fingerprint: bool = False,
    ) -> None:
        """Send an indication, once (RFC 8489 6.2.1). Raises ValueError or TypeError when it cannot be encoded."""
        builder = MessageBuilder(method, MessageClass.INDICATION, self._rng(12))
        for attribute, value in attributes:
            builder.add(attribute, value)
        if not self._closed:
            self._outbox.send(socket, address, builder.build(fingerprint=fingerprint))

    def cancel(self, request: int, now: float) -> None:
        """Forget a request: no event comes of it. Nothing happens when it has ended already."""
        entry = self._requests.get(request)
        if entry is not None:
            self._end(entry, now)

    def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> bytes | None:
        """Take one datagram, or one whole message of a stream. What is not STUN is given back, unless it is empty."""
        if self._closed or not data:
            return None
        if data[0] > 3 or data[4:8] != _COOKIE:  # RFC 7983: STUN begins with 0 to 3
            return data
        try:
            message = parse(data)
        except ParseError:
            self._outbox.count("malformed")
            return None
        if message.message_class == MessageClass.REQUEST:
            self._outbox.count("unexpected request")
        elif message.message_class == MessageClass.INDICATION:
            self._indication(message, socket, address, now)
        else:
            self._response(message, socket, address, now)
        return None

    def socket_error(self, socket: int, address: Address | None, reason: str, now: float) -> None:
        """What was sent from `socket` to `address` came to nothing (a hard ICMP error), or, with None, the socket is
        broken or the connection closed: the requests that this concerns fail at once (RFC 8489 6.2.1, 6.2.2)."""
        concerned = [
            request
            for request in self._requests.values()
            if request.socket == socket and (address is None or request.address == address)
        ]
        if address is None:  # those that wait first, or they would be sent when the others make room
            concerned.sort(key=self._on_its_way)
        else:
            concerned = [request for request in concerned if self._on_its_way(request)]
        for request in concerned:
            self._fail(request, "unreachable", reason, now)

    def close(self, now: float) -> None:
        """End all requests as failed; input is ignored from now on."""
        if self._closed:
            return
        self._closed = True
        self._servers.clear()
        for request in list(self._requests.values()):
            self._fail(request, "closed", "the agent was closed", now)
        self._outbox.timers.clear()

    # --- sending

    def _build(self, request: _Request) -> None:
        request.id = self._rng(12)
        builder = MessageBuilder(request.method, MessageClass.REQUEST, request.id)
        if self._software is not None:
            builder.add(Attribute.SOFTWARE, self._software)
        for attribute, value in request.attributes:
            builder.add(attribute, value)
        request.data = builder.build(
            request.key, fingerprint=request.fingerprint, sha1=request.sha1, sha256=request.sha256
        )

    def _start_waiting(self, address: Address, server: _Server, now: float) -> None:
        while server.waiting and server.outstanding < MAX_OUTSTANDING:
            server.outstanding += 1
            self._start(server.waiting.popleft(), now)
        if not server.outstanding:
            del self._servers[address]

    def _start(self, request: _Request, now: float) -> None:
        request.timer = None
        rto = self.rto.rto(request.address[0], now)
        transaction = request.transaction = Transaction(
            id=request.id,
            socket=request.socket,
            address=request.address,
            data=request.data,
            on_response=lambda *arguments: self._answered(request, *arguments),
            on_timeout=lambda transaction, at: self._timed_out(request, transaction, at),
            rto=rto,
            max_sends=1 if request.stream else self._rc,
            final_wait=self._ti if request.stream else self._rm * rto,
        )
        self._transactions.start(transaction, now)

    def _resend(self, request: _Request, now: float) -> None:
        self._build(request)  # a new transaction with a new id (RFC 8489 5)
        self._start(request, now)

    # --- receiving

    def _indication(self, message: Message, socket: int, address: Address, now: float) -> None:
        if message.has_fingerprint and not message.verify_fingerprint():
            self._outbox.count("bad fingerprint")
        elif message.unknown_required(_KNOWN):
            self._outbox.count("indication with unknown attribute")
        else:
            self._outbox.emit(IndicationReceived(at=now, message=message, socket=socket, address=address))

    def _response(self, message: Message, socket: int, address: Address, now: float) -> None:
        transaction = self._transactions.find(message.transaction_id)
        if transaction is None:
            self._outbox.count("unknown transaction")
        elif transaction.socket != socket or transaction.address != address:
            self._outbox.count("response from elsewhere")
        elif message.has_fingerprint and not message.verify_fingerprint():
            self._outbox.count("bad fingerprint")
        else:
            transaction.on_response(transaction, message, socket, address, now)

    def _answered(
        self,
        request: _Request,
        transaction: Transaction,
        message: Message,
        _socket: int,
        _address: Address,
        now: float,
    ) -> None:
        if message.method != request.method:
            self._outbox.count("response of another method")
            return
        doubt = self._doubt(request, message)
        if doubt:
            self._disbelieve(request, transaction, doubt, now)
            return
        rtt = self._transactions.finish(transaction, now)
        if not request.stream:
            self.rto.sample(request.address[0], rtt, now)
        failure = _failure_of(message)
        if failure:
            self._fail(request, "bad response", failure, now, message)
        elif message.message_class == MessageClass.ERROR:
            self._error_response(request, message, now)
        else:
            sends = self._end(request, now)
            self._outbox.emit(
                ResponseReceived(
                    at=now,
                    request=request.number,
                    message=message,
                    socket=request.socket,
                    address=request.address,
                    sends=sends,
                    rtt=rtt,
                )
            )

    def _doubt(self, request: _Request, message: Message) -> str:
        """Why the answer cannot be believed (RFC 8489 9.1.4), or ""."""
        if request.key is None:
            return ""
        what = "an answer"
        if message.message_class == MessageClass.ERROR and (error := message.get(Attribute.ERROR_CODE)):
            what = f"error {error[0]}"
        if not message.has_integrity:
            return f"{what} came without integrity"
        sent = "sha1" if request.sha1 else "sha256"
        if request.sha1 != request.sha256 and message.integrity_kind != sent:
            return f"{what} came with integrity by {message.integrity_kind} instead of {sent}"
        return "" if message.verify_integrity(request.key) else f"{what} came with wrong integrity"

    def _disbelieve(self, request: _Request, transaction: Transaction, doubt: str, now: float) -> None:
        self._outbox.count("integrity violated")
        if request.stream:  # nobody else can have written into the stream: it ends here (RFC 8489 9.1.4)
            self._fail(request, "integrity violated", doubt, now)
            return
        transaction.violated = True
        request.discarded = doubt

    def _error_response(self, request: _Request, message: Message, now: float) -> None:
        code, phrase = message.get(Attribute.ERROR_CODE)
        if code // 100 == 5 and request.resends < MAX_RESENDS:  # RFC 8489 6.3.4
            assert request.transaction is not None
            wait = request.transaction.rto * 2**request.resends
            request.sends += request.transaction.sends
            request.resends += 1
            request.transaction = None
            request.timer = self._outbox.timers.schedule(now + wait, lambda at: self._resend(request, at))
            self._outbox.count("resent after 5xx")
            return
        self._fail(request, "error response", f"error {code} {phrase}".strip(), now, message, code)

    def _timed_out(self, request: _Request, transaction: Transaction, now: float) -> None:
        if transaction.violated:
            self._fail(request, "integrity violated", request.discarded, now)
        else:
            after = f"no answer within {now - transaction.started_at:.1f} s"
            self._fail(request, "timeout", after, now)

    # --- ending

    @staticmethod
    def _on_its_way(request: _Request) -> bool:
        return request.transaction is not None or request.timer is not None

    def _end(self, request: _Request, now: float) -> int:
        """Take a request out of everything, let the next one start, and give how often it was sent."""
        del self._requests[request.number]
        on_its_way = self._on_its_way(request)
        sends = request.sends
        self._outbox.timers.cancel(request.timer)
        if request.transaction is not None:
            sends += request.transaction.sends
            self._transactions.forget(request.transaction)
        server = self._servers.get(request.address)
        if server is not None:
            if on_its_way:
                server.outstanding -= 1
            else:
                server.waiting.remove(request)
            self._start_waiting(request.address, server, now)
        return sends

    def _fail(
        self,
        request: _Request,
        reason: FailureReason,
        detail: str,
        now: float,
        message: Message | None = None,
        code: int | None = None,
    ) -> None:
        request.sends = self._end(request, now)
        self._emit_failure(request, reason, detail, now, message, code)

    def _emit_failure(
        self,
        request: _Request,
        reason: FailureReason,
        detail: str,
        now: float,
        message: Message | None = None,
        code: int | None = None,
    ) -> None:
        self._outbox.emit(
            RequestFailed(
                at=now,
                request=request.number,
                reason=reason,
                detail=detail,
                socket=request.socket,
                address=request.address,
                sends=request.sends,
                code=code,
                message=message,
            )
        )


def mapped_address(message: Message) -> Address | None:
    """The address in a Binding response: XOR-MAPPED-ADDRESS, or MAPPED-ADDRESS as old servers have it, of whichever
    family (RFC 8489 6.3.3); None when neither is there and understood."""
    for attribute in (Attribute.XOR_MAPPED_ADDRESS, Attribute.MAPPED_ADDRESS):
        address: Address | None = message.get(attribute)
        if address is not None:
            return address
    return None


def _failure_of(message: Message) -> str:
    """Why a response is a failure whatever it says (RFC 8489 6.3.3, 6.3.4), or ""."""
    unknown = message.unknown_required(_KNOWN)
    if unknown:
        return "unknown attributes " + ", ".join(f"0x{attribute:04x}" for attribute in unknown[:10])
    if message.message_class == MessageClass.ERROR:
        return (
            "" if message.get(Attribute.ERROR_CODE) is not None else "an error response without a valid code"
        )
    if message.method == Method.BINDING and mapped_address(message) is None:
        return "a Binding response without a mapped address"
    return ""
