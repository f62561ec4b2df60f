"""Checks that the peer sends: authentication, role conflicts, and the answer (RFC 8445 7.3)."""

from __future__ import annotations

from dataclasses import dataclass

from fasticePy.ice.session import Generation, Session
from fasticePy.machine import Address
from fasticePy.stun import Attribute, ErrorCode, IntegrityKey, Message, MessageBuilder, MessageClass, Method

KNOWN_REQUIRED = frozenset(
    {
        Attribute.USERNAME,
        Attribute.MESSAGE_INTEGRITY,
        Attribute.MESSAGE_INTEGRITY_SHA256,
        Attribute.PRIORITY,
        Attribute.USE_CANDIDATE,
    }
)
"""Comprehension-required attributes that a check may carry (RFC 8445 7.1)."""
KNOWN_WITH_RENOMINATION = KNOWN_REQUIRED | {Attribute.NOMINATION}
MAX_REPORTED_UNKNOWN = 16
"""A 420 lists so many attributes at most, so that it never outgrows the request."""


@dataclass(frozen=True, slots=True)
class InboundCheck:
    """An authenticated check of the peer, already answered."""

    socket: int
    address: Address
    ufrag: str
    """The second half of USERNAME: whose check it is."""
    priority: int
    use_candidate: bool
    nomination: int | None = None
    """The number of the nomination (renomination)."""
    early: bool = False
    """It came before the peer's credentials and options were known."""


class RequestHandler:
    """Answers Binding requests. What is not authenticated teaches us nothing: it is refused and counted."""

    __slots__ = ("_generation", "_session")

    def __init__(self, session: Session, generation: Generation) -> None:
        self._session = session
        self._generation = generation

    def handle(self, message: Message, socket: int, address: Address) -> tuple[InboundCheck | None, bool]:
        """Answer one request. Gives the check when it was good, and whether our role has to change because of it."""
        error = self._authentication_error(message)
        if error is not None:
            self._refuse(message, socket, address, error, None)
            return None, False
        renomination = self._generation.renomination
        known = KNOWN_WITH_RENOMINATION if renomination.understands_attribute else KNOWN_REQUIRED
        unknown = message.unknown_required(known)
        if unknown:
            self._refuse(
                message, socket, address, ErrorCode.UNKNOWN_ATTRIBUTE, self._generation.local_key, unknown
            )
            return None, False
        priority = message.get(Attribute.PRIORITY)
        theirs_controlling = message.get(Attribute.ICE_CONTROLLING)
        theirs_controlled = message.get(Attribute.ICE_CONTROLLED)
        both = theirs_controlling is not None and theirs_controlled is not None
        if not priority or both:  # above 2**31 - 1 is wrong too, but seen in the field and harmless
            self._refuse(message, socket, address, ErrorCode.BAD_REQUEST, self._generation.local_key)
            return None, False
        switch = False
        if self._session.options.lite:
            # RFC 8445 6.1.1: who checks is full, and a full peer of a lite agent controls; 487 makes it do so
            if theirs_controlled is not None:
                self._refuse(message, socket, address, ErrorCode.ROLE_CONFLICT, self._generation.local_key)
                return None, False
            switch = self._session.controlling
        elif self._conflict(theirs_controlling, theirs_controlled):
            # RFC 8445 7.3.1.1: whose tie-breaker is larger becomes or stays controlling
            theirs = theirs_controlling if theirs_controlling is not None else theirs_controlled
            larger = self._session.tiebreaker >= (theirs or 0)
            if larger == self._session.controlling:
                self._refuse(message, socket, address, ErrorCode.ROLE_CONFLICT, self._generation.local_key)
                return None, False
            switch = True
        self._accept(message, socket, address)
        # a controlled peer has nothing to nominate: tolerated and ignored (RFC 8445 7.1.2)
        use_candidate = message.get(Attribute.USE_CANDIDATE) is not None and theirs_controlled is None
        _, _, ufrag = (message.get(Attribute.USERNAME) or "").partition(":")
        early = self._generation.remote is None
        nomination = renomination.number_in(message) if use_candidate else None
        return InboundCheck(socket, address, ufrag, priority, use_candidate, nomination, early), switch

    def _authentication_error(self, message: Message) -> ErrorCode | None:
        # RFC 8489 9.1.3 in the order of its checks
        username = message.get(Attribute.USERNAME)
        if not message.has_integrity or username is None:
            return ErrorCode.BAD_REQUEST
        own, separator, _ = username.partition(":")
        if not separator or own != self._generation.local.ufrag:
            return ErrorCode.UNAUTHENTICATED
        if not message.verify_integrity(self._generation.local_key):
            return ErrorCode.UNAUTHENTICATED
        return None

    def _conflict(self, theirs_controlling: int | None, theirs_controlled: int | None) -> bool:
        if self._session.controlling:
            return theirs_controlling is not None
        return theirs_controlled is not None

    def _accept(self, message: Message, socket: int, address: Address) -> None:
        builder = MessageBuilder(Method.BINDING, MessageClass.SUCCESS, message.transaction_id)
        builder.add(Attribute.XOR_MAPPED_ADDRESS, address)
        self._session.outbox.count("request.answered")
        self._session.outbox.send(socket, address, self._sign(builder, message))

    def _sign(self, builder: MessageBuilder, request: Message) -> bytes:
        # RFC 8489 9.1.3: the answer is protected as the request was
        sha256 = request.integrity_kind == "sha256"
        return builder.build(self._generation.local_key, fingerprint=True, sha1=not sha256, sha256=sha256)

    def _refuse(
        self,
        message: Message,
        socket: int,
        address: Address,
        code: ErrorCode,
        key: IntegrityKey | None,
        unknown: tuple[int, ...] = (),
    ) -> None:
        self._session.outbox.count(f"request.refused.{int(code)}")
        builder = MessageBuilder(Method.BINDING, MessageClass.ERROR, message.transaction_id)
        builder.add(Attribute.ERROR_CODE, (int(code), ""))
        if unknown:
            builder.add(Attribute.UNKNOWN_ATTRIBUTES, unknown[:MAX_REPORTED_UNKNOWN])
        data = self._sign(builder, message) if key is not None else builder.build(fingerprint=True)
        if len(data) > len(message.data):
            self._session.outbox.count("drop.request.reply-too-large")  # nobody gets amplification from us
            return
        self._session.outbox.send(socket, address, data)
