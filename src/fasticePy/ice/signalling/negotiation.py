"""What lasts from one offer or answer to the next: the ICE half of a session with several streams (RFC 8839 4).

`Negotiation` writes the ICE lines of our offers and answers and tells what those of the peer mean. It signals nothing
and makes no checks: an application puts the lines into its SDP, and hands the news on to its agents.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from fasticePy.errors import ParseError, StateError
from fasticePy.ice.candidate_line import shown
from fasticePy.ice.signalling.description import Description
from fasticePy.ice.signalling.offer_lines import SessionLines, StreamFacts, write_session
from fasticePy.ice.signalling.remote_session import MAX_STREAMS, RemoteStream, read_streams
from fasticePy.ice.signalling.stream_negotiation import (
    Change,
    NegotiationError,
    NextStep,
    StreamNews,
    StreamState,
    conclusion_step,
    judge,
    plan_answer,
    plan_offer,
    restart_step,
    sent,
    switched_off,
)

RemoteSession: TypeAlias = str | Sequence["RemoteStream | Description | None"]
"""A peer's offer or answer: its SDP, or what is known of each m= section in order; None has port 0."""
Facts: TypeAlias = Sequence[StreamFacts | None]
"""Our streams in the order of the m= sections; None for one that is to have port 0."""


@dataclass(frozen=True, slots=True)
class SessionNews:
    """What an offer or answer of the peer means."""

    streams: tuple[StreamNews, ...]
    reason: str = ""
    """Why the whole session does without ICE, or nothing."""

    @property
    def uses_ice(self) -> bool:
        """Whether any stream uses ICE."""
        return any(each.description is not None for each in self.streams)


class Negotiation:
    """The ICE state of one offer/answer dialogue.

    We offer: `offer(facts)`, then `remote_answer(...)` or `rollback()`. The peer offers: `remote_offer(...)`, then
    `answer(facts)` or `rollback()`. `next_steps(facts)` tells what is due between two exchanges. With forking, each
    answer has a Negotiation of its own (RFC 8839 7). Calls in another order raise StateError.
    """

    __slots__ = ("_offered", "_pending", "_streams")

    def __init__(self) -> None:
        self._streams: list[StreamState] = []
        self._pending: list[StreamState] | None = None  # as they are once this exchange is over
        self._offered: tuple[RemoteStream, ...] | None = None  # the peer's offer that has no answer yet

    # -- what we send ----------------------------------------------------------------------------------------------

    def offer(self, facts: Facts) -> SessionLines:
        """The lines of our next offer (RFC 8839 4.2.1, 4.4.1). It may be asked for again before the answer comes.

        A stream whose description has another ufrag and pwd than before restarts. Raises ValueError when facts break
        the rules: fewer streams than before, one of ufrag and pwd changed, other options, pace or lite without a
        restart, more candidates of a lite agent that had told all. Raises StateError when an offer of the peer waits
        for its answer, and when a stream that has lost ICE does not restart (RFC 8839 4.4.3.1).
        """
        if self._offered is not None:
            raise StateError("the peer's offer has to be answered, or rolled back, before we can make one")
        if not len(self._streams) <= len(facts) <= MAX_STREAMS:
            raise ValueError(f"an offer cannot have {len(facts)} streams after {len(self._streams)}")
        _check_shared_ufrags([each.description for each in facts if each is not None])
        known = [*self._streams, *[StreamState()] * (len(facts) - len(self._streams))]
        pairs = [plan_offer(stream, each) for stream, each in zip(known, facts, strict=True)]
        lines = write_session([plan for _, plan in pairs])
        self._pending = [
            sent(stream, plan, line) for (stream, plan), line in zip(pairs, lines.streams, strict=True)
        ]
        return lines

    def answer(self, facts: Facts) -> SessionLines:
        """The lines of our answer to the peer's offer (RFC 8839 4.3.2, 4.4.2); the exchange is over then.

        One facts entry for each m= section of the offer; what is given for a section with port 0 does not matter. An
        agent has to have restarted where the offer does; one that did so by itself is answered for with its previous
        description, and `next_steps` tells to offer the restart. Raises ValueError when facts break the rules (see
        `offer`), StateError when there is no offer.
        """
        if self._offered is None or self._pending is None:
            raise StateError("there is no offer of the peer to answer")
        if len(facts) != len(self._offered):
            raise ValueError(f"the offer has {len(self._offered)} streams, and these are {len(facts)}")
        pairs = []
        for index, (offered, each) in enumerate(zip(self._offered, facts, strict=True)):
            old = self._streams[index] if index < len(self._streams) else StreamState()
            pairs.append(plan_answer(old, self._pending[index], offered, each))
        lines = write_session([plan for _, plan in pairs])
        self._streams = [
            sent(stream, plan, line) for (stream, plan), line in zip(pairs, lines.streams, strict=True)
        ]
        self._pending = self._offered = None
        return lines

    def rollback(self) -> None:
        """Forget the offer that is under way, ours or the peer's: it was rejected, or crossed another
        (RFC 8839 4.4)."""
        self._pending = self._offered = None

    # -- what the peer sends ---------------------------------------------------------------------------------------

    def remote_offer(self, remote: RemoteSession) -> SessionNews:
        """What an offer means for each stream (RFC 8839 4.2.5, 4.4.2).

        Raises ParseError when it cannot be read, and its subclass NegotiationError when it is to be rejected; then
        nothing has changed. Raises StateError while our own offer waits for its answer.
        """
        if self._pending is not None and self._offered is None:
            raise StateError("our own offer waits for its answer: roll it back to take the peer's")
        streams = _remote_streams(remote, answer=False)
        if len(streams) < len(self._streams):
            raise NegotiationError(f"{len(streams)} m= sections after {len(self._streams)}: none may vanish")
        known = [*self._streams, *[StreamState()] * (len(streams) - len(self._streams))]
        judged = [judge(old, old, stream, answer=False) for old, stream in zip(known, streams, strict=True)]
        self._pending = [stream for stream, _ in judged]
        self._offered = streams
        return _session_news([news for _, news in judged], "no stream of the offer can use ICE")

    def remote_answer(self, remote: RemoteSession) -> SessionNews:
        """What the answer to our offer means for each stream (RFC 8839 4.3.3, 4.4.3); the exchange is over then.

        Raises ParseError when it cannot be read, and its subclass NegotiationError when it breaks the rules; then
        nothing has changed, and `rollback` goes back to what was before the offer. Raises StateError when there is no
        offer of ours.
        """
        if self._pending is None or self._offered is not None:
            raise StateError("we have no offer that waits for an answer")
        streams = _remote_streams(remote, answer=True)
        if len(streams) != len(self._pending):
            raise NegotiationError(
                f"the answer has {len(streams)} m= sections, the offer {len(self._pending)}"
            )
        known = [*self._streams, *[StreamState()] * (len(streams) - len(self._streams))]
        judged = [
            judge(old, offered, stream, answer=True)
            for old, offered, stream in zip(known, self._pending, streams, strict=True)
        ]
        off = _session_off(known, judged)
        if off:
            judged = [_without_ice(old, *each, off) for old, each in zip(known, judged, strict=True)]
        self._streams = [stream for stream, _ in judged]
        self._pending = None
        return _session_news([news for _, news in judged], off)

    # -- what is known ---------------------------------------------------------------------------------------------

    def next_steps(self, facts: Facts) -> tuple[NextStep, ...]:
        """What is to be done now, nothing while an exchange is under way; facts as they are at this moment."""
        if self._pending is not None:
            return ()
        known = [
            (index, stream, each)
            for index, (stream, each) in enumerate(zip(self._streams, facts, strict=False))
            if each is not None and each.bundled_with is None
        ]
        steps = [
            step for index, stream, each in known if (step := restart_step(index, stream, each)) is not None
        ]
        running = [(index, stream, each) for index, stream, each in known if stream.runs]
        # nothing is concluded before everything is (RFC 8839 4.3.4)
        if all(each.concluded or each.checklist == "failed" for _, _, each in running):
            steps += [step for entry in running if (step := conclusion_step(*entry)) is not None]
        return tuple(steps)

    def uses_ice(self, index: int) -> bool:
        """Whether a stream uses ICE after the last exchange that is over."""
        return index < len(self._streams) and self._streams[index].runs

    def local_description(self, index: int) -> Description | None:
        """What we sent last for a stream, in an exchange that is over; None when there is no such stream."""
        return self._streams[index].local if index < len(self._streams) else None

    def remote_description(self, index: int) -> Description | None:
        """The peer's last description of a stream with which ICE was used."""
        return self._streams[index].remote if index < len(self._streams) else None


def _remote_streams(remote: RemoteSession, *, answer: bool) -> tuple[RemoteStream, ...]:
    if isinstance(remote, str):
        return read_streams(remote, answer=answer)
    if len(remote) > MAX_STREAMS:
        raise ParseError(f"{len(remote)} streams, the limit is {MAX_STREAMS}")
    streams = tuple(_remote_stream(index, each) for index, each in enumerate(remote))
    try:
        _check_shared_ufrags([each.description for each in streams if each.description is not None])
    except ValueError as error:
        raise ParseError(str(error)) from None
    return streams


def _remote_stream(index: int, given: RemoteStream | Description | None) -> RemoteStream:
    if isinstance(given, RemoteStream):
        return replace(given, index=index)
    return RemoteStream(index, given, rejected=given is None)


def _check_shared_ufrags(descriptions: Iterable[Description]) -> None:
    """Raise ValueError when two streams have the same ufrag but different passwords (RFC 8839 5.4)."""
    known: dict[str, str] = {}
    for each in descriptions:
        if known.setdefault(each.ufrag, each.pwd) != each.pwd:
            raise ValueError(f"two streams with the ice-ufrag {shown(each.ufrag)} have different ice-pwd")


def _session_off(known: Sequence[StreamState], judged: Sequence[tuple[StreamState, StreamNews]]) -> str:
    """Why an answer ends ICE for the whole session, or nothing (RFC 8839 4.3.3)."""
    active = [(state, news) for state, news in judged if news.change not in (Change.REMOVED, Change.BUNDLED)]
    if not active or any(old.runs for old in known):
        return ""  # that goes for the initial answer only: later on each stream counts for itself
    mismatch = next((news for state, news in active if state.mismatch), None)
    if mismatch is not None:
        return f"stream {mismatch.index}: {mismatch.reason}"
    return "the answer uses ICE for no stream" if all(state.off for state, _ in active) else ""


def _without_ice(
    old: StreamState, state: StreamState, news: StreamNews, reason: str
) -> tuple[StreamState, StreamNews]:
    if news.change in (Change.REMOVED, Change.BUNDLED):
        return state, news
    reason = news.reason if news.change is Change.OFF else f"ICE is not used in the session: {reason}"
    off = StreamNews(news.index, Change.OFF, reason, mid=news.mid)
    return switched_off(old, state, reason), off


def _session_news(streams: Sequence[StreamNews], reason: str) -> SessionNews:
    uses_ice = any(each.description is not None for each in streams)
    return SessionNews(tuple(streams), "" if uses_ice else reason)
