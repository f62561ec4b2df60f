"""Checks of the peer before they teach anything: answered, and sorted by whom they come from (RFC 8445 7.3, 5.3)."""

from __future__ import annotations

from fasticePy.ice.checking.requests import InboundCheck, RequestHandler
from fasticePy.ice.session import Generation, Session
from fasticePy.machine import Address
from fasticePy.stun import Message


class InboundChecks:
    """Answers the checks for one generation, and remembers those that came before it was known whose they are."""

    __slots__ = ("_early", "_generation", "_requests", "_session", "_strangers")

    def __init__(self, session: Session, generation: Generation) -> None:
        self._session = session
        self._generation = generation
        self._requests = RequestHandler(session, generation)
        self._early: dict[tuple[int, Address], InboundCheck] = {}
        self._strangers: dict[tuple[int, Address], InboundCheck] = {}

    def handle(self, message: Message, socket: int, address: Address) -> tuple[InboundCheck | None, bool]:
        """See `RequestHandler.handle`."""
        return self._requests.handle(message, socket, address)

    def is_foreign(self, check: InboundCheck) -> bool:
        """Whether it is not the peer's, as far as we know its credentials."""
        # RFC 8445 7.3 has it answered, for the first half of USERNAME is ours. But our password came to somebody who
        # is not this peer (another branch of a forked call, an earlier generation): that teaches us nothing.
        remote = self._generation.remote
        if remote is None or check.ufrag == remote.ufrag:
            return False
        self._session.outbox.count("drop.request.other-peer")
        key = (check.socket, check.address)
        if key in self._strangers or len(self._strangers) < self._session.options.limits.early_checks:
            known = self._strangers.get(key)
            if known is None or check.ufrag != known.ufrag or check.use_candidate:
                self._strangers[key] = check
        return True

    def remember(self, check: InboundCheck) -> None:
        """Keep a check until the peer's credentials are known."""
        # RFC 8445 5.3: checks may be there before the answer is; what they teach waits for the credentials
        key = (check.socket, check.address)
        known = self._early.get(key)
        if known is None and len(self._early) >= self._session.options.limits.early_checks:
            self._session.outbox.count("drop.request.too-many-early")
            plain = next((each for each, kept in self._early.items() if not kept.use_candidate), None)
            if not check.use_candidate or plain is None:
                return
            del self._early[plain]  # a nomination is answered, and so not said again
        self._session.outbox.count("request.early")
        if known is None or check.use_candidate or not known.use_candidate:
            self._early[key] = check

    def take_remembered(self) -> list[InboundCheck]:
        """What was kept, now that it is known who the peer is."""
        early, self._early = self._early, {}
        return list(early.values())

    @property
    def remembered(self) -> int:
        """How many are kept, by their sources."""
        return len(self._early)

    @property
    def stranger_ufrags(self) -> list[str]:
        """The fragments of those who are not the peer, as far as we know, but have our password."""
        return [check.ufrag for check in self._strangers.values()]

    def take_over(self, other: InboundChecks) -> None:
        """Checks that came for the same credentials of ours before the peer's were known."""
        self._early.update(other._strangers)
