"""The STUN Binding server as a machine: it tells each client the address that it is seen at (RFC 8489 6.3.1, 12)."""

from __future__ import annotations

from collections.abc import Callable

from fasticePy._native.stun import Message, MessageBuilder, ParseError, parse
from fasticePy.machine import Address, RootMachine
from fasticePy.stun.discovery import SECURE, Transport
from fasticePy.stun.redirect import Alternate
from fasticePy.stun.registry import MAGIC_COOKIE, Attribute, ErrorCode, MessageClass, Method
from fasticePy.stun.server_auth import Authentication, Grant, Refusal

COOKIE = MAGIC_COOKIE.to_bytes(4, "big")
MAX_UNKNOWN_LISTED = 250
"""Types in one UNKNOWN-ATTRIBUTES: with them the response still fits the 548 bytes of RFC 8489 6.1."""

KNOWN = frozenset(Attribute) - {
    # what only a NAT discovery server understands (RFC 5780); that machine will have a set of its own
    Attribute.CHANGE_REQUEST,
    Attribute.RESPONSE_PORT,
    Attribute.PADDING,
    # RFC 3489, gone since
    Attribute.RESPONSE_ADDRESS,
    Attribute.SOURCE_ADDRESS,
    Attribute.CHANGED_ADDRESS,
    Attribute.PASSWORD,
    Attribute.REFLECTED_FROM,
    # only where tokens were asked for (RFC 7635 7)
    Attribute.ACCESS_TOKEN,
}
"""Attributes that a request may have without being answered by a 420. Most mean nothing here and are ignored."""


class BindingServer(RootMachine):
    """Answers Binding requests, each from the socket that it came to, to where it came from. It keeps no state of them.

    Everything else is dropped and counted: indications and responses are never answered (RFC 8489 6.3.2), nor is
    what fails a check before the attributes are looked at (6.3). Without authentication, an answer is 12 bytes longer
    than the shortest request over IPv4, 24 over IPv6, and never longer than that beyond any request, so nobody is worth
    spoofing; with it, a challenge is longer, and each source gets few (see `Authenticator`).

    For streams, feed it whole messages: a connection is a socket like any other, its address that of the client.
    """

    def __init__(
        self,
        *,
        software: str | None = None,
        classic: bool = True,
        authentication: Authentication | None = None,
        alternate: Alternate | None = None,
        transport_of: Callable[[int], Transport] = lambda _socket: "udp",
    ) -> None:
        """`software` goes into SOFTWARE when given; it makes answers longer and tells attackers what they face.
        `classic` lets clients of RFC 3489 be answered too, where nothing is authenticated (RFC 8489 12).
        `authentication` is who judges requests; a stand-alone server needs none (RFC 8489 12). `alternate` is where
        authenticated clients are sent instead. `transport_of` tells what a socket carries. Raises ValueError for a
        `software` that cannot be sent."""
        super().__init__()
        if software is not None:
            MessageBuilder(Method.BINDING, MessageClass.SUCCESS).add(Attribute.SOFTWARE, software)
        self._software = software
        self._classic = classic and authentication is None
        self._authentication = authentication
        self._alternate = alternate
        self._transport_of = transport_of
        self._known = KNOWN if authentication is None else KNOWN | authentication.attributes
        self._closed = False

    def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> bytes | None:
        """Take one datagram or message; the answer, if it deserves one, is in `take_transmits`. Always None."""
        reply = None if self._closed else self._answer(socket, data, address, now)
        if reply is not None:
            self._outbox.send(socket, address, reply)
        return None

    def close(self, now: float) -> None:
        """Answer nobody any more."""
        self._closed = True

    # --- what deserves an answer

    def _answer(self, socket: int, data: bytes, source: Address, now: float) -> bytes | None:
        classic = data[4:8] != COOKIE
        try:
            # the cookie was part of a longer transaction id in RFC 3489; apart from that the form is the same
            message = parse(data[:4] + COOKIE + data[8:] if classic else data)
        except ParseError:
            self._outbox.count("malformed")
            return None
        transport = self._transport_of(socket)
        reason = self._objection(message, source, classic, transport)
        if reason:
            self._outbox.count(reason)
            return None
        if not classic:
            return self._reply(message, source, transport, now)
        if transport == "dtls":
            self._outbox.count("500: no cookie over DTLS")
            reply = self._builder(message, ErrorCode.SERVER_ERROR).build()
        else:
            reply = self._classic_reply(message, source)
        return reply[:4] + data[4:8] + reply[8:]

    def _objection(self, message: Message, source: Address, classic: bool, transport: Transport) -> str:
        """Why nothing is answered (RFC 8489 6.3: method, class, fingerprint, in this order), or ""."""
        refused = classic and transport == "dtls"  # RFC 8489 11: answered, but with an error
        if classic and not self._classic and not refused:
            return "no cookie"
        if message.method != Method.BINDING and not refused:
            return "unknown method"
        if message.message_class == MessageClass.INDICATION:
            return "indication"
        if message.message_class != MessageClass.REQUEST:
            return "response"
        if not classic and message.has_fingerprint and not message.verify_fingerprint():
            return "bad fingerprint"
        return "" if source[1] else "source port 0"

    # --- answers

    def _reply(self, message: Message, source: Address, transport: Transport, now: float) -> bytes | None:
        grant: Grant | None = None
        if self._authentication is not None:
            verdict = self._authentication.check(message, source, now, context=transport)
            if isinstance(verdict, Refusal):
                return self._refuse(message, verdict)
            grant = verdict
        builder = self._redirection(message, source, transport, grant) or self._result(message, source)
        self._add_common(builder, message)
        if grant is None:
            return builder.build(fingerprint=message.has_fingerprint)
        return grant.sign(builder, fingerprint=message.has_fingerprint)

    def _refuse(self, message: Message, refusal: Refusal) -> bytes | None:
        self._outbox.count(refusal.reason)
        if refusal.code is None:
            return None
        builder = self._builder(message, refusal.code)
        for attribute, value in refusal.attributes:
            builder.add(attribute, value)
        self._add_common(builder, message)
        return builder.build(fingerprint=message.has_fingerprint)

    def _redirection(
        self, message: Message, source: Address, transport: Transport, grant: Grant | None
    ) -> MessageBuilder | None:
        if self._alternate is None or grant is None:  # RFC 8489 14.8: only for authenticated requests
            return None
        if message.unknown_required(self._known):
            return None
        alternates = self._alternate.attributes(source, secure=transport in SECURE, sha256=grant.sha256)
        if not alternates:
            return None
        self._outbox.count("redirected")
        builder = self._builder(message, ErrorCode.TRY_ALTERNATE)
        for attribute, value in alternates:
            builder.add(attribute, value)
        return builder

    def _result(self, message: Message, source: Address) -> MessageBuilder:
        unknown = message.unknown_required(self._known)
        if unknown:
            return self._unknown(message, unknown)
        self._outbox.count("answered")
        builder = MessageBuilder(Method.BINDING, MessageClass.SUCCESS, message.transaction_id)
        builder.add(Attribute.XOR_MAPPED_ADDRESS, _seen_as(source))
        return builder

    def _classic_reply(self, message: Message, source: Address) -> bytes:
        unknown = message.unknown_required(self._known)
        if unknown:
            return self._unknown(message, unknown).build()
        self._outbox.count("answered without cookie")
        builder = MessageBuilder(Method.BINDING, MessageClass.SUCCESS, message.transaction_id)
        builder.add(Attribute.MAPPED_ADDRESS, _seen_as(source))
        return builder.build()

    def _unknown(self, message: Message, unknown: tuple[int, ...]) -> MessageBuilder:
        self._outbox.count("unknown attribute")
        builder = self._builder(message, ErrorCode.UNKNOWN_ATTRIBUTE)
        builder.add(Attribute.UNKNOWN_ATTRIBUTES, unknown[:MAX_UNKNOWN_LISTED])
        return builder

    @staticmethod
    def _builder(message: Message, code: int) -> MessageBuilder:
        builder = MessageBuilder(message.method, MessageClass.ERROR, message.transaction_id)
        builder.add(Attribute.ERROR_CODE, (code, ""))
        return builder

    def _add_common(self, builder: MessageBuilder, message: Message) -> None:
        if self._software is not None:
            builder.add(Attribute.SOFTWARE, self._software)
        counter: tuple[int, int] | None = message.get(Attribute.TRANSACTION_TRANSMIT_COUNTER)
        if counter is not None:  # RFC 7982 3.3: which send this answers; 0, for we do not count our answers
            builder.add(Attribute.TRANSACTION_TRANSMIT_COUNTER, (counter[0], 0))


def _seen_as(source: Address) -> Address:
    """The address as the client should read it: without a scope, and IPv4 where a dual-stack socket maps it."""
    host = source[0].partition("%")[0]
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]
    return (host, source[1])
