"""The STUN client as a machine: requests and indications out, answers in (RFC 8489 6, 9, 10)."""

from __future__ import annotations

from typing import TypeAlias

from fasticePy._native.integrity import MacKey
from fasticePy._native.stun import Message, MessageBuilder, ParseError, parse
from fasticePy.machine import Address, Rng, RootMachine
from fasticePy.stun.client_auth import (
    Credentials,
    KeyMechanism,
    Mechanism,
    Proof,
    ShortTermCredentials,
    mechanism_for,
)
from fasticePy.stun.events import IndicationReceived
from fasticePy.stun.registry import MAGIC_COOKIE, MessageClass, Method
from fasticePy.stun.requests import SOFTWARE, TI, Attributes, Requester
from fasticePy.stun.responses import KNOWN
from fasticePy.stun.rto import RtoEstimator
from fasticePy.stun.transaction import RC, RM

__all__ = ["MAX_MECHANISMS", "Attributes", "StunAgent"]

MAX_MECHANISMS = 256
"""Servers at which credentials were used, and are remembered with realm and nonce; the one used longest ago goes."""

_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")
_Place: TypeAlias = tuple[int | None, Address, Credentials]


class StunAgent(RootMachine):
    """Sends STUN requests and indications and tells what became of them, each request exactly once: ResponseReceived or
    RequestFailed. Challenged and Redirected tell what happens to one on its way.

    With credentials, requests carry the proof of the mechanism that these are for, and answers without the right
    integrity are not believed (RFC 8489 9): short-term ones from the start, long-term ones and tokens after the
    challenge of the server. What was learnt at a server goes for later requests there.
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
        self._requester = Requester(
            self._outbox, rng, self._outbox.emit, software=software, rto=rto, rc=rc, rm=rm, ti=ti
        )
        self.rto = self._requester.rto
        self._mechanisms: dict[_Place, Mechanism] = {}  # the one used longest ago first
        self._closed = False

    def request(
        self,
        socket: int,
        address: Address,
        method: int,
        attributes: Attributes,
        now: float,
        *,
        credentials: Credentials | None = None,
        key: MacKey | None = None,
        sha1: bool = True,
        sha256: bool = False,
        fingerprint: bool = False,
        stream: bool = False,
        count_sends: bool = False,
        redirects: bool = False,
    ) -> int:
        """Send a request to a server, or queue it while 10 others are on their way there; gives its number.

        `credentials` are used by the rules of their mechanism. `key` is instead of them, where the attributes that go
        with it are the caller's: it signs by MESSAGE-INTEGRITY (`sha1`), MESSAGE-INTEGRITY-SHA256 (`sha256`) or both.
        `stream` is for TCP and TLS: it is sent once. `count_sends` numbers the sends, so that answers after
        retransmissions have a round-trip time too (RFC 7982). `redirects` lets the server send us to another one: the
        driver acts on the event Redirected. Raises ValueError or TypeError when the attributes cannot be encoded.
        """
        if credentials is not None and key is not None:
            raise ValueError("a request is signed with credentials or with a key")
        mechanism: Mechanism | None = None
        if credentials is not None:
            mechanism = self._mechanism_at(socket, address, credentials)
        elif key is not None:
            mechanism = KeyMechanism(key, sha1=sha1, sha256=sha256)
        return self._requester.request(
            socket,
            address,
            method,
            attributes,
            now,
            mechanism=mechanism,
            fingerprint=fingerprint,
            stream=stream,
            count_sends=count_sends,
            redirects=redirects,
        )

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
        credentials: ShortTermCredentials | None = None,
        fingerprint: bool = False,
    ) -> None:
        """Send an indication, once (RFC 8489 6.2.1). Only short-term credentials can protect one: nobody can challenge
        an indication (RFC 8489 9.2). Raises ValueError or TypeError when it cannot be encoded."""
        builder = MessageBuilder(method, MessageClass.INDICATION, self._rng(12))
        proof = Proof()
        if credentials is not None:
            proof = self._mechanism_at(socket, address, credentials).proof(method)
        for attribute, value in (*attributes, *proof.attributes):
            builder.add(attribute, value)
        data = builder.build(proof.key, fingerprint=fingerprint, sha1=proof.sha1, sha256=proof.sha256)
        if not self._closed:
            self._outbox.send(socket, address, data)

    def follow(self, request: int, socket: int, now: float) -> None:
        """Answer to Redirected: go on with the request at the other server, over `socket`: the same one for UDP, a new
        connection for TCP and TLS. Nothing happens when the request has ended."""
        redirected = self._requester.redirected(request)
        if redirected is None or self._closed:
            return
        address, mechanism = redirected
        if mechanism is not None and mechanism.credentials is not None:
            mechanism = self._mechanism_at(socket, address, mechanism.credentials)
        self._requester.follow(request, socket, mechanism, now)

    def decline(self, request: int, reason: str, now: float) -> None:
        """Answer to Redirected: there is no way to the other server. The request fails, with this reason."""
        self._requester.decline(request, reason, now)

    def cancel(self, request: int, now: float) -> None:
        """Forget a request: no event comes of it. Nothing happens when it has ended already."""
        self._requester.cancel(request, now)

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
            self._requester.response(message, socket, address, now)
        return None

    def socket_error(self, socket: int, address: Address | None, reason: str, now: float) -> None:
        """What was sent from `socket` to `address` came to nothing (a hard ICMP error), or, with None, the socket is
        broken or the connection closed: the requests that this concerns fail at once (RFC 8489 6.2.1, 6.2.2)."""
        self._requester.socket_error(socket, address, reason, now)

    def close(self, now: float) -> None:
        """End all requests as failed; input is ignored from now on."""
        if self._closed:
            return
        self._closed = True
        self._requester.close(now)
        self._outbox.timers.clear()

    def _mechanism_at(self, socket: int, address: Address, credentials: Credentials) -> Mechanism:
        """What was learnt of a server with these credentials. A nonce is for the address that asked (RFC 8489 9.2.4),
        so each socket has its own; which hash a server uses does not depend on it (RFC 8489 9.1.5)."""
        place = (None if isinstance(credentials, ShortTermCredentials) else socket, address, credentials)
        mechanism = self._mechanisms.pop(place, None) or mechanism_for(credentials)
        self._mechanisms[place] = mechanism
        while len(self._mechanisms) > MAX_MECHANISMS:
            del self._mechanisms[next(iter(self._mechanisms))]
        return mechanism

    def _indication(self, message: Message, socket: int, address: Address, now: float) -> None:
        if message.has_fingerprint and not message.verify_fingerprint():
            self._outbox.count("bad fingerprint")
        elif message.unknown_required(KNOWN):
            self._outbox.count("indication with unknown attribute")
        else:
            self._outbox.emit(IndicationReceived(at=now, message=message, socket=socket, address=address))
