"""The STUN Binding server as a machine: it tells each client the address that it is seen at (RFC 8489 6.3.1, 12)."""

from __future__ import annotations

from fasticePy._native.stun import Message, MessageBuilder, ParseError, parse
from fasticePy.machine import Address, RootMachine
from fasticePy.stun.registry import MAGIC_COOKIE, Attribute, ErrorCode, MessageClass, Method

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
}
"""Attributes that a request may have without being answered by a 420. Most mean nothing here and are ignored."""


class BindingServer(RootMachine):
    """Answers Binding requests, each from the socket that it came to, to where it came from. It keeps no state.

    Everything else is dropped and counted: indications and responses are never answered (RFC 8489 6.3.2), nor is
    what fails a check before the attributes are looked at (6.3). An answer is 12 bytes longer than the shortest
    request over IPv4, 24 over IPv6, and never longer than that beyond any request, so nobody is worth spoofing.

    For streams, feed it whole messages: a connection is a socket like any other, its address that of the client.
    Authentication and TURN are other machines in front of this one.
    """

    def __init__(self, *, software: str | None = None, classic: bool = True) -> None:
        """`software` goes into SOFTWARE when given; it makes answers longer and tells attackers what they face.
        `classic` lets clients of RFC 3489 be answered too (RFC 8489 12)."""
        super().__init__()
        self._software = software
        self._classic = classic
        self._closed = False

    def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> bytes | None:
        """Take one datagram or message; the answer, if it deserves one, is in `take_transmits`. Always None."""
        reply = None if self._closed else self._answer(data, address)
        if reply is not None:
            self._outbox.send(socket, address, reply)
        return None

    def close(self, now: float) -> None:
        """Answer nobody any more."""
        self._closed = True

    def _answer(self, data: bytes, source: Address) -> bytes | None:
        classic = data[4:8] != COOKIE
        try:
            # the cookie was part of a longer transaction id in RFC 3489; apart from that the form is the same
            message = parse(data[:4] + COOKIE + data[8:] if classic else data)
        except ParseError:
            self._outbox.count("malformed")
            return None
        reason = self._objection(message, source, classic)
        if reason:
            self._outbox.count(reason)
            return None
        reply = self._reply(message, source, classic)
        return reply[:4] + data[4:8] + reply[8:] if classic else reply

    def _objection(self, message: Message, source: Address, classic: bool) -> str:
        """Why nothing is answered (RFC 8489 6.3: method, class, fingerprint, in this order), or ""."""
        if classic and not self._classic:
            return "no cookie"
        if message.method != Method.BINDING:
            return "unknown method"
        if message.message_class == MessageClass.INDICATION:
            return "indication"
        if message.message_class != MessageClass.REQUEST:
            return "response"
        if not classic and message.has_fingerprint and not message.verify_fingerprint():
            return "bad fingerprint"
        return "" if source[1] else "source port 0"

    def _reply(self, message: Message, source: Address, classic: bool) -> bytes:
        unknown = message.unknown_required(KNOWN)
        kind = MessageClass.ERROR if unknown else MessageClass.SUCCESS
        builder = MessageBuilder(Method.BINDING, kind, message.transaction_id)
        if unknown:
            self._outbox.count("unknown attribute")
            builder.add(Attribute.ERROR_CODE, (ErrorCode.UNKNOWN_ATTRIBUTE, ""))
            builder.add(Attribute.UNKNOWN_ATTRIBUTES, unknown[:MAX_UNKNOWN_LISTED])
        else:
            self._outbox.count("answered without cookie" if classic else "answered")
            attribute = Attribute.MAPPED_ADDRESS if classic else Attribute.XOR_MAPPED_ADDRESS
            builder.add(attribute, _seen_as(source))
        if self._software is not None and not classic:
            builder.add(Attribute.SOFTWARE, self._software)
        return builder.build(fingerprint=message.has_fingerprint and not classic)


def _seen_as(source: Address) -> Address:
    """The address as the client should read it: without a scope, and IPv4 where a dual-stack socket maps it."""
    host = source[0].partition("%")[0]
    if host.startswith("::ffff:") and "." in host:
        host = host[7:]
    return (host, source[1])
