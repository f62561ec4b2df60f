"""Requests on their way: queues, transactions, resends, and what each answer leads to (RFC 8489 6, 9, 10).

A part of a machine, for `StunAgent` and for machines of other usages of STUN: it shares the outbox of its owner, and
tells it by events what becomes of each request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from fasticePy._native.stun import Message, MessageBuilder
from fasticePy._version import __version__
from fasticePy.machine import Address, Event, Outbox, Rng, Timer
from fasticePy.stun.client_auth import CHALLENGES, Mechanism, Proof
from fasticePy.stun.events import Challenged, FailureReason, Redirected, RequestFailed, ResponseReceived
from fasticePy.stun.redirect import RedirectGuard
from fasticePy.stun.registry import Attribute, ErrorCode, MessageClass
from fasticePy.stun.responses import error_code, failure_of
from fasticePy.stun.rto import RtoEstimator
from fasticePy.stun.transaction import RC, RM, Transaction, Transactions

SOFTWARE = f"fasticePy {__version__}"
"""What SOFTWARE says in requests (RFC 8489 14.14)."""
MAX_OUTSTANDING = 10
"""Requests on their way to one server at a time (RFC 8489 6.2)."""
MAX_RESENDS = 4
"""How often a request is sent anew after a 5xx (RFC 8489 6.3.4)."""
MAX_CHALLENGES = 3
"""How often a request is sent anew to one server after a 401 or 438: an honest one needs the 401, and a 438 when its
nonce grew old meanwhile (RFC 8489 9.2.5)."""
TI = 39.5
"""Seconds until a request over a stream fails (RFC 8489 6.2.2)."""
MAX_DATAGRAM = 548
MAX_DATAGRAM_IPV6 = 1232
"""Bytes of a message that fit any path (RFC 8489 6.1); longer ones are sent all the same, and counted."""

MAX_MESSAGE = 60_000
"""Bytes of a request without credentials: with any, it can be encoded."""

Attributes: TypeAlias = Sequence[tuple[int, object]]
"""Attributes and their values, in order, as `MessageBuilder.add` takes them."""


@dataclass(slots=True, eq=False)
class _Request:
    number: int
    socket: int
    address: Address
    method: int
    attributes: Attributes
    mechanism: Mechanism | None
    fingerprint: bool
    stream: bool
    count_sends: bool
    guard: RedirectGuard | None
    id: bytes = b""
    proof: Proof = field(default_factory=Proof)
    sends: int = 0  # those of earlier transactions
    resends: int = 0
    challenges: int = 0
    sent_at: list[float] = field(default_factory=list)  # of this transaction, with count_sends
    discarded: str = ""  # why an answer was not believed
    outstanding: bool = False  # whether it takes one of the places at its server
    transaction: Transaction | None = None
    timer: Timer | None = None  # the next resend, or the end of waiting for a way to another server
    alternate: Address | None = None  # where it is to go on


@dataclass(slots=True)
class _Server:
    outstanding: int = 0
    waiting: deque[_Request] = field(default_factory=deque)


class Requester:
    """Sends requests and tells what became of them, each exactly once by ResponseReceived or RequestFailed, unless it
    is cancelled. Challenged and Redirected come before that."""

    def __init__(
        self,
        outbox: Outbox,
        rng: Rng,
        emit: Callable[[Event], None],
        *,
        software: str | None = SOFTWARE,
        rto: RtoEstimator | None = None,
        rc: int = RC,
        rm: float = RM,
        ti: float = TI,
    ) -> None:
        """`emit` takes the events; `outbox.emit` is one. The rest is as for `StunAgent`."""
        self.rto = rto if rto is not None else RtoEstimator()
        self._outbox = outbox
        self._rng = rng
        self._emit = emit
        self._software = software
        self._rc = rc
        self._rm = rm
        self._ti = ti
        self._transactions = Transactions(outbox)
        self._requests: dict[int, _Request] = {}  # all that have not ended, by number
        self._servers: dict[Address, _Server] = {}
        self._last = 0
        self._closed = False

    # --- what the owner calls

    def request(
        self,
        socket: int,
        address: Address,
        method: int,
        attributes: Attributes,
        now: float,
        *,
        mechanism: Mechanism | None = None,
        fingerprint: bool = False,
        stream: bool = False,
        count_sends: bool = False,
        redirects: bool = False,
    ) -> int:
        """Send a request, or queue it; gives its number. `mechanism` signs it and judges the answers; the rest is as
        for `StunAgent.request`. Raises ValueError or TypeError when the attributes cannot be encoded."""
        request = _Request(
            number=self._last + 1,
            socket=socket,
            address=address,
            method=method,
            attributes=tuple(attributes),
            mechanism=mechanism,
            fingerprint=fingerprint,
            stream=stream,
            count_sends=count_sends,
            guard=RedirectGuard() if redirects else None,
        )
        # the caller's mistakes are found now, wherever it queues
        size = len(self._builder(request, bytes(12)))
        if size > MAX_MESSAGE:
            raise ValueError(f"the request would have {size} bytes, {MAX_MESSAGE} are allowed")
        self._last += 1
        self._requests[request.number] = request
        if self._closed:
            self._fail(request, "closed", "the agent was closed before", now)
        else:
            self._enqueue(request, now)
        return request.number

    def cancel(self, number: int, now: float) -> None:
        """Forget a request: no event comes of it. Nothing happens when it has ended already."""
        request = self._requests.get(number)
        if request is not None:
            self._end(request, now)

    def redirected(self, number: int) -> tuple[Address, Mechanism | None] | None:
        """Where a request is to go on, and the mechanism that it had; None when it is not redirected."""
        request = self._requests.get(number)
        if request is None or request.alternate is None:
            return None
        return request.alternate, request.mechanism

    def follow(self, number: int, socket: int, mechanism: Mechanism | None, now: float) -> None:
        """Go on with a redirected request at the other server, from `socket`, with the same credentials in a mechanism
        for that server. Nothing happens when it has ended."""
        request = self._requests.get(number)
        if request is None or request.alternate is None:
            return
        self._outbox.timers.cancel(request.timer)
        request.timer = None
        request.socket = socket
        request.address = request.alternate
        request.alternate = None
        request.mechanism = mechanism
        request.challenges = 0
        self._enqueue(request, now)

    def decline(self, number: int, reason: str, now: float) -> None:
        """A redirected request cannot go on: it fails. Nothing happens when it has ended or is not redirected."""
        request = self._requests.get(number)
        if request is not None and request.alternate is not None:
            self._fail(request, "unreachable", reason, now)

    def response(self, message: Message, socket: int, address: Address, now: float) -> None:
        """Take a response; what is no answer to any request is counted and forgotten."""
        transaction = self._transactions.find(message.transaction_id)
        if transaction is None:
            self._outbox.count("unknown transaction")
        elif transaction.socket != socket or transaction.address != address:
            self._outbox.count("response from elsewhere")
        elif message.has_fingerprint and not message.verify_fingerprint():
            self._outbox.count("bad fingerprint")
        else:
            transaction.on_response(transaction, message, socket, address, now)

    def socket_error(self, socket: int, address: Address | None, reason: str, now: float) -> None:
        """What was sent from `socket` to `address` came to nothing, or, with None, the socket is broken."""
        concerned = [
            request
            for request in self._requests.values()
            if request.socket == socket
            and request.alternate is None
            and (request.outstanding if address is not None else True)
            and address in (None, request.address)
        ]
        # those that wait first, or they would be sent when the others make room
        for request in sorted(concerned, key=lambda request: request.outstanding):
            self._fail(request, "unreachable", reason, now)

    def close(self, now: float) -> None:
        """End all requests as failed."""
        self._closed = True
        self._servers.clear()
        for request in list(self._requests.values()):
            self._fail(request, "closed", "the agent was closed", now)

    # --- sending

    def _enqueue(self, request: _Request, now: float) -> None:
        server = self._servers.setdefault(request.address, _Server())
        server.waiting.append(request)
        self._start_waiting(request.address, server, now)

    def _start_waiting(self, address: Address, server: _Server, now: float) -> None:
        while server.waiting and server.outstanding < MAX_OUTSTANDING:
            server.outstanding += 1
            request = server.waiting.popleft()
            request.outstanding = True
            self._start(request, now)
        if not server.outstanding:
            del self._servers[address]

    def _start(self, request: _Request, now: float) -> None:
        """Send it as a new transaction with a new id (RFC 8489 5)."""
        request.timer = None
        request.id = self._rng(12)
        request.proof = Proof() if request.mechanism is None else request.mechanism.proof(request.method)
        request.sent_at.clear()
        if request.guard is not None:
            request.guard.asked(request.address, now)
        rto = self.rto.rto(request.address[0], now)
        counts = request.count_sends
        transaction = request.transaction = Transaction(
            id=request.id,
            socket=request.socket,
            address=request.address,
            data=b"" if counts else self._encode(request, 1),
            encode=(lambda send, at: self._encode_send(request, send, at)) if counts else None,
            on_response=lambda transaction, message, _socket, _address, at: self._answered(
                request, transaction, message, at
            ),
            on_timeout=lambda transaction, at: self._timed_out(request, transaction, at),
            rto=rto,
            max_sends=1 if request.stream else self._rc,
            final_wait=self._ti if request.stream else self._rm * rto,
        )
        self._transactions.start(transaction, now)

    def _start_again(self, request: _Request, now: float) -> None:
        """A new transaction after the one that has just ended."""
        assert request.transaction is not None
        request.sends += request.transaction.sends
        request.transaction = None
        self._start(request, now)

    def _builder(self, request: _Request, transaction_id: bytes) -> MessageBuilder:
        builder = MessageBuilder(request.method, MessageClass.REQUEST, transaction_id)
        if self._software is not None:
            builder.add(Attribute.SOFTWARE, self._software)
        for attribute, value in request.attributes:
            builder.add(attribute, value)
        return builder

    def _encode(self, request: _Request, send: int) -> bytes:
        builder, proof = self._builder(request, request.id), request.proof
        if request.count_sends:
            builder.add(Attribute.TRANSACTION_TRANSMIT_COUNTER, (min(send, 255), 0))
        for attribute, value in proof.attributes:
            builder.add(attribute, value)
        data = builder.build(proof.key, fingerprint=request.fingerprint, sha1=proof.sha1, sha256=proof.sha256)
        limit = MAX_DATAGRAM_IPV6 if ":" in request.address[0] else MAX_DATAGRAM
        if len(data) > limit and not request.stream:
            self._outbox.count("request longer than a safe datagram")
        return data

    def _encode_send(self, request: _Request, send: int, now: float) -> bytes:
        request.sent_at.append(now)
        return self._encode(request, send)

    # --- receiving

    def _answered(self, request: _Request, transaction: Transaction, message: Message, now: float) -> None:
        if message.method != request.method:
            self._outbox.count("response of another method")
            return
        mechanism = request.mechanism
        doubt = "" if mechanism is None else mechanism.doubt(request.proof, message)
        if doubt:
            self._disbelieve(request, transaction, doubt, now)
            return
        rtt = self._transactions.finish(transaction, now)
        counter = self._counter(request, message)
        if counter is not None and 1 <= counter[0] <= len(request.sent_at):
            rtt = now - request.sent_at[counter[0] - 1]  # RFC 7982 3.3: no doubt which send it answers
        if not request.stream:
            self.rto.sample(request.address[0], rtt, now)
        failure = failure_of(message)
        if failure:
            self._fail(request, "bad response", failure, now, message)
            return
        code = error_code(message)
        if mechanism is not None and code in CHALLENGES:
            self._challenged(request, mechanism, message, now)
            return
        if mechanism is not None and request.proof.key is not None:
            mechanism.accepted(request.proof, message)
        if code is None:
            self._succeed(request, message, rtt, counter, now)
        else:
            self._error_response(request, message, code, now)

    @staticmethod
    def _counter(request: _Request, message: Message) -> tuple[int, int] | None:
        if not request.count_sends:
            return None
        counter: tuple[int, int] | None = message.get(Attribute.TRANSACTION_TRANSMIT_COUNTER)
        return counter

    def _disbelieve(self, request: _Request, transaction: Transaction, doubt: str, now: float) -> None:
        self._outbox.count("integrity violated")
        if request.stream:  # nobody else can have written into the stream: it ends here (RFC 8489 9.1.4)
            self._fail(request, "integrity violated", doubt, now)
            return
        transaction.violated = True
        request.discarded = doubt

    def _challenged(self, request: _Request, mechanism: Mechanism, message: Message, now: float) -> None:
        code = error_code(message)
        assert code is not None
        answer = mechanism.challenge(request.proof, message)
        if not isinstance(answer, str) and request.challenges == MAX_CHALLENGES:
            answer = f"error {code}: challenged more than {MAX_CHALLENGES} times"
        if isinstance(answer, str):
            self._fail(request, "unauthenticated", answer, now, message)
            return
        request.challenges += 1
        self._start_again(request, now)
        self._emit(
            Challenged(
                at=now,
                request=request.number,
                socket=request.socket,
                address=request.address,
                code=code,
                realm=answer.realm,
                mechanism=answer.mechanism,
                anonymous=answer.anonymous,
            )
        )

    def _error_response(self, request: _Request, message: Message, code: int, now: float) -> None:
        if code == ErrorCode.TRY_ALTERNATE and request.guard is not None:
            self._redirected(request, request.guard, message, now)
            return
        if code // 100 == 5 and request.resends < MAX_RESENDS:  # RFC 8489 6.3.4
            assert request.transaction is not None
            wait = request.transaction.rto * 2**request.resends
            request.resends += 1
            request.timer = self._outbox.timers.schedule(
                now + wait, lambda at: self._start_again(request, at)
            )
            self._outbox.count("resent after 5xx")
            return
        phrase = message.get(Attribute.ERROR_CODE)[1]
        self._fail(request, "error response", f"error {code} {phrase}".strip(), now, message)

    def _redirected(self, request: _Request, guard: RedirectGuard, message: Message, now: float) -> None:
        if request.proof.key is None:  # RFC 8489 14.8: anybody could aim us at a victim
            self._fail(
                request, "error response", "error 300: nobody vouches for the redirection", now, message
            )
            return
        redirect = guard.judge(message, request.address, now)
        if isinstance(redirect, str):
            self._fail(request, "error response", f"error 300: {redirect}", now, message)
            return
        self._leave(request, now)
        request.alternate = redirect.address
        request.timer = self._outbox.timers.schedule(
            now + self._ti, lambda at: self._fail(request, "timeout", "the redirection was not followed", at)
        )
        self._emit(
            Redirected(
                at=now,
                request=request.number,
                socket=request.socket,
                address=request.address,
                alternate=redirect.address,
                domain=redirect.domain,
            )
        )

    def _timed_out(self, request: _Request, transaction: Transaction, now: float) -> None:
        if transaction.violated:
            self._fail(request, "integrity violated", request.discarded, now)
        else:
            after = f"no answer within {now - transaction.started_at:.1f} s"
            self._fail(request, "timeout", after, now)

    # --- ending

    def _leave(self, request: _Request, now: float) -> None:
        """Take it out of the queue or the transactions of its server, and let the next one start."""
        if request.transaction is not None:
            request.sends += request.transaction.sends
            self._transactions.forget(request.transaction)
            request.transaction = None
        outstanding, request.outstanding = request.outstanding, False
        server = self._servers.get(request.address)
        if server is None or request.alternate is not None:
            return
        if outstanding:
            server.outstanding -= 1
        else:
            server.waiting.remove(request)
        self._start_waiting(request.address, server, now)

    def _end(self, request: _Request, now: float) -> None:
        del self._requests[request.number]
        self._outbox.timers.cancel(request.timer)
        self._leave(request, now)

    def _succeed(
        self,
        request: _Request,
        message: Message,
        rtt: float | None,
        counter: tuple[int, int] | None,
        now: float,
    ) -> None:
        self._end(request, now)
        self._emit(
            ResponseReceived(
                at=now,
                request=request.number,
                message=message,
                socket=request.socket,
                address=request.address,
                sends=request.sends,
                rtt=rtt,
                authenticated=request.proof.key is not None,
                counter=counter,
            )
        )

    def _fail(
        self,
        request: _Request,
        reason: FailureReason,
        detail: str,
        now: float,
        message: Message | None = None,
    ) -> None:
        self._end(request, now)
        self._emit(
            RequestFailed(
                at=now,
                request=request.number,
                reason=reason,
                detail=detail,
                socket=request.socket,
                address=request.address,
                sends=request.sends,
                code=None if message is None else error_code(message),
                message=message,
            )
        )
