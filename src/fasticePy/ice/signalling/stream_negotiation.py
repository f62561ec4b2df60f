"""One stream between offers and answers: what is remembered of it, and what follows (RFC 8839 4.2.5 to 4.4.3).

People use `fasticePy.ice.Negotiation`. Everything here is a function from a `StreamState` to the next one, so that an
offer that fails leaves no trace (RFC 8839 4.4).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

from fasticePy.errors import ParseError, StateError
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.signalling.description import DEFAULT_PACING_MS, Description
from fasticePy.ice.signalling.destination import Transport, default_destination, is_unknown
from fasticePy.ice.signalling.nomination_race import (
    AnnouncedPair,
    NominationRace,
    RaceDecision,
    announced_pairs,
)
from fasticePy.ice.signalling.offer_lines import StreamFacts, StreamLines, StreamPlan, Usage, shown_form
from fasticePy.ice.signalling.remote_session import RemoteStream
from fasticePy.machine import Address

Plan: TypeAlias = StreamPlan | int | None
"""What to write for a stream; a number is the stream that it is bundled with, None is port 0."""


class NegotiationError(ParseError):
    """An offer or answer that can be read, but breaks the rules between offers and answers; the text says which. An
    offer has to be rejected (RFC 8839 4.4.2.1). Everything stays as it was before."""


class Change(Enum):
    """What an offer or answer means for the ICE of one stream."""

    NEW = "new"
    """ICE begins: a new checklist (RFC 8839 4.4.3.1)."""
    UNCHANGED = "unchanged"
    """ICE goes on; the description may have more candidates, or fewer after nomination."""
    RESTART = "restart"
    """The peer's credentials are new: lists are flushed, and the selected pair carries data meanwhile
    (RFC 8839 4.4.3.1.1)."""
    REMOVED = "removed"
    """Port 0: flush the valid list, end all transactions (RFC 8839 4.4.3.1)."""
    BUNDLED = "bundled"
    """It uses the transport of another stream, and needs none of its own (RFC 9143 10)."""
    OFF = "off"
    """ICE is not used: the default destinations count (RFC 3264); the call goes on."""


@dataclass(frozen=True, slots=True)
class StreamNews:
    """What an offer or answer of the peer means for one stream."""

    index: int
    change: Change
    reason: str
    description: Description | None = None
    """For the agent of this stream, unless ICE is not used."""
    mid: str | None = None
    carrier: int | None = None
    """The stream that it is bundled with."""
    announced: tuple[AnnouncedPair, ...] = ()
    """The pairs that a controlling peer has nominated, by its `remote-candidates`."""
    race: NominationRace | None = None
    """To be decided before the answer, when there are announced pairs and we are a full agent."""
    completes: bool = False
    """We are lite: the announced pairs are the valid list, the checklist is Completed, and our role is controlled,
    whatever it was (RFC 8839 4.4.2.2)."""
    notes: tuple[str, ...] = ()
    """What else the peer has done that it should not have, and that was passed over."""


class Action(Enum):
    """What an application has to do."""

    UPDATED_OFFER = "updated offer"
    """Send an offer: its default destinations will be the nominated candidates (RFC 8839 4.3.4)."""
    OFFER_PORT_0 = "offer port 0"
    """Send an offer that removes this stream, whose checks have failed (RFC 8839 4.3.4)."""
    RESTART = "restart"
    """Restart ICE for this stream, and send an offer."""


@dataclass(frozen=True, slots=True)
class NextStep:
    """One thing to do for one stream."""

    action: Action
    index: int
    reason: str
    at_once: bool = True
    """False: it can wait until an offer is sent anyway."""


@dataclass(frozen=True, slots=True)
class StreamState:
    """What is remembered of one m= section."""

    local: Description | None = None
    """Our last description, with the candidates that were sent; None before and while there is no such stream."""
    remote: Description | None = None
    """The peer's last one with which ICE was used."""
    mid: str | None = None
    off: str = ""
    """Why ICE is not used, or nothing."""
    mismatch: bool = False
    lost: bool = False
    """ICE was used before, and an answer ended that."""
    local_defaults: tuple[Address, ...] = ()
    local_transport: Transport = "udp"
    remote_stream: RemoteStream | None = None
    aligned: tuple[tuple[Address, Address], ...] = ()
    """The nominated pairs that our last offer had."""
    race: NominationRace | None = None
    """Of the offer that has no answer yet."""
    bundled: int | None = None
    """The stream whose transport our description shares."""
    restart_due: str = ""
    """Why a restart has to follow, or nothing."""

    @property
    def runs(self) -> bool:
        """Whether both sides use ICE."""
        return self.local is not None and self.remote is not None and not self.off


# -- comparing descriptions --------------------------------------------------------------------------------------------


def is_restart(old: Description, new: Description) -> bool:
    """Whether both ufrag and pwd are other ones; at which level of the SDP they stood does not matter
    (RFC 8839 4.4.1.1.1). Raises ValueError when only one of them is."""
    changed = {old.ufrag != new.ufrag, old.pwd != new.pwd}
    if len(changed) > 1:
        what = "ice-pwd" if old.ufrag == new.ufrag else "ice-ufrag"
        raise ValueError(
            f"only {what} has changed: a restart changes ice-ufrag and ice-pwd (RFC 8839 4.4.1.1.1)"
        )
    return True in changed


def changed_without_restart(old: Description, new: Description) -> str:
    """Which attributes differ that only a restart may change, in words, or nothing (RFC 8839 4.4.1.1.1)."""
    changed = [
        name
        for name, before, after in (
            ("ice-options", frozenset(old.options), frozenset(new.options)),
            ("ice-pacing", _pacing(old), _pacing(new)),
            ("ice-lite", old.lite, new.lite),
        )
        if before != after
    ]
    return " and ".join(changed)


def _pacing(description: Description) -> int | None:
    if description.lite:
        return None  # it has none, whatever it says (RFC 8839 4.3.1)
    return DEFAULT_PACING_MS if description.pacing_ms is None else description.pacing_ms


# -- what we send ------------------------------------------------------------------------------------------------------


def plan_offer(stream: StreamState, facts: StreamFacts | None) -> tuple[StreamState, Plan]:
    """What our offer says of a stream (RFC 8839 4.4.1). Raises ValueError and StateError as `Negotiation.offer`."""
    if facts is None:
        return StreamState(mid=stream.mid), None
    if facts.bundled_with is not None:
        return StreamState(mid=facts.mid, bundled=facts.bundled_with), facts.bundled_with
    fresh = _is_fresh(stream, facts)
    if stream.off and not fresh:
        if stream.lost:
            raise StateError(f"ICE was lost ({stream.off}): a new offer has to restart it (RFC 8839 4.4.3.1)")
        return stream, StreamPlan(facts, "plain", facts.description.candidates)
    if fresh:
        stream = replace(stream, off="", mismatch=False, lost=False, aligned=(), restart_due="")
        return replace(stream, mid=facts.mid), _initial_plan(facts)
    aligned = nominated_addresses(facts) if facts.concluded else ()
    return replace(stream, aligned=aligned, mid=facts.mid), _subsequent_plan(stream, facts)


def plan_answer(
    old: StreamState, judged: StreamState, offered: RemoteStream, facts: StreamFacts | None
) -> tuple[StreamState, Plan]:
    """What our answer says of a stream (RFC 8839 4.3.2, 4.4.2); `judged` is what `judge` made of `old` and the offer.
    Raises ValueError as `Negotiation.answer`."""
    if offered.rejected or facts is None:
        return StreamState(mid=offered.mid), None
    carrier = offered.carrier if facts.bundled_with is None else facts.bundled_with
    if carrier is not None:
        return StreamState(mid=offered.mid, bundled=carrier), carrier
    if judged.off:
        usage: Usage = "mismatch" if judged.mismatch else "plain"
        plan = StreamPlan(facts, usage, facts.description.candidates, offered=offered)
        return judged, plan
    if old.local is None or old.remote is None or judged.remote is None:
        return judged, _initial_plan(facts, offered)
    if is_restart(old.remote, judged.remote):
        if not _is_fresh(old, facts):
            raise ValueError(
                "the offer restarts ICE: restart this stream too, then answer (RFC 8839 4.4.2.1)"
            )
        return replace(judged, aligned=(), restart_due=""), _initial_plan(facts, offered)
    return _plan_plain_answer(old, judged, offered, facts)


def _plan_plain_answer(
    old: StreamState, judged: StreamState, offered: RemoteStream, facts: StreamFacts
) -> tuple[StreamState, Plan]:
    """The answer to an offer that does not restart."""
    if _is_fresh(old, facts) and old.local is not None:
        # the agent restarted while this offer was on its way, and only an offer of ours may say so
        facts = replace(facts, description=old.local, nominated=(), checklist="running")
        judged = replace(judged, restart_due="the agent restarted before the peer's offer came")
    plan = _subsequent_plan(old, facts, offered)
    race = judged.race
    if race is not None and race.decision is RaceDecision.ANSWER:
        shown = {
            component: form
            for component, winner in race.winners.items()
            if (form := shown_form(winner, facts.description.candidates)) is not None
        }
        plan = replace(plan, candidates=tuple(shown.values()), defaults=shown)
    elif race is not None and race.decision is RaceDecision.ANSWER_THEN_RESTART:
        judged = replace(judged, restart_due=race.reason)
    return judged, plan


def _is_fresh(stream: StreamState, facts: StreamFacts) -> bool:
    """Whether these facts begin ICE, or begin it again. Raises ValueError for changes that ask for that."""
    old, new = stream.local, facts.description
    if old is None or is_restart(old, new):
        return True
    changed = changed_without_restart(old, new)
    if changed:
        raise ValueError(f"{changed} cannot change without a restart (RFC 8839 4.4.1.1.1)")
    # sent as complete, so this is no trickling
    known = {_key(each) for each in old.candidates}
    told_all = new.lite and old.complete and not stream.off and not facts.concluded
    if told_all and stream.runs and any(_key(each) not in known for each in new.candidates):
        raise ValueError("a lite agent adds candidates with a restart only (RFC 8839 4.4.1.3)")
    return False


def _initial_plan(facts: StreamFacts, offered: RemoteStream | None = None) -> StreamPlan:
    # a pair that is still nominated belongs to what was before the restart
    return StreamPlan(facts, "ice", facts.description.candidates, offered=offered)


def _subsequent_plan(
    stream: StreamState, facts: StreamFacts, offered: RemoteStream | None = None
) -> StreamPlan:
    defaults = {
        component: local
        for component in range(1, facts.components + 1)
        if (local := facts.local(component)) is not None
    }
    if not facts.concluded:  # the same again, and what is new (RFC 8839 4.4.1.2.1)
        before = () if stream.local is None else stream.local.candidates
        candidates = _merged(before, facts.description.candidates, defaults.values())
        return StreamPlan(facts, "ice", candidates, defaults, offered=offered)
    remote = () if offered is not None or not facts.controlling else _remote_candidates(facts)
    return StreamPlan(facts, "ice", tuple(defaults.values()), defaults, remote, offered)


HIDDEN = ("0.0.0.0", "::")
"""In the place of an address that may not be seen."""


def _remote_candidates(facts: StreamFacts) -> tuple[tuple[int, str, int], ...]:
    """Only a controlling agent tells them, in an offer, for a Completed checklist (RFC 8839 5.2)."""
    if any(remote.address in HIDDEN for _, remote in facts.nominated):
        return ()  # what the peer hides (mDNS) is not for the signalling, and 0.0.0.0 would name another place
    return tuple((remote.component, remote.address, remote.port) for _, remote in facts.nominated)


def _merged(*groups: Iterable[Candidate]) -> tuple[Candidate, ...]:
    found: dict[object, Candidate] = {}
    for group in groups:
        for candidate in group:
            found.setdefault(_key(candidate), candidate)
    return tuple(found.values())


def _key(candidate: Candidate) -> tuple[object, ...]:
    return (candidate.component, candidate.transport, candidate.address, candidate.port, candidate.tcptype)


def sent(stream: StreamState, plan: Plan, lines: StreamLines) -> StreamState:
    """The state once these lines are sent."""
    if not isinstance(plan, StreamPlan):
        return stream
    return replace(
        stream,
        local=plan.facts.description.with_candidates(plan.candidates),
        local_defaults=lines.destinations,
        local_transport=lines.transport,
        race=None,
    )


# -- what the peer sends -----------------------------------------------------------------------------------------------


def judge(
    old: StreamState, current: StreamState, remote: RemoteStream, *, answer: bool
) -> tuple[StreamState, StreamNews]:
    """What the peer's section means. `old` is the state of the last exchange that is over, `current` the one with our
    offer in it, when this is the answer to that. Raises NegotiationError when it breaks the rules."""
    settled = _without_ice(old, current, remote, answer=answer)
    if settled is not None:
        return settled
    if answer and remote.ice_mismatch:
        return _off(
            old, current, remote, "the peer found our default destination changed on the way (ice-mismatch)"
        )
    description = remote.description
    if description is None:
        return _off(old, current, remote, "it has no ice-ufrag and ice-pwd (RFC 8839 4.2.5)")
    if remote.mismatch:
        state, news = _off(old, current, remote, f"{remote.mismatch} (RFC 8839 4.2.5)")
        return replace(state, mismatch=True), news
    return _with_ice(old, current, remote, description, answer=answer)


def _without_ice(
    old: StreamState, current: StreamState, remote: RemoteStream, *, answer: bool
) -> tuple[StreamState, StreamNews] | None:
    """The cases in which ICE attributes would not matter."""
    if remote.rejected or (answer and current.local is None and current.bundled is None):
        reason = "port 0 in the " + ("answer or in our offer" if answer else "offer")
        return StreamState(mid=remote.mid), StreamNews(remote.index, Change.REMOVED, reason, mid=remote.mid)
    carrier = current.bundled if answer and remote.carrier is None else remote.carrier
    if carrier is not None:
        reason = f"bundled with stream {carrier} (RFC 9143)"
        news = StreamNews(remote.index, Change.BUNDLED, reason, mid=remote.mid, carrier=carrier)
        return StreamState(mid=remote.mid, bundled=carrier), news
    if answer and current.off:
        return _off(old, current, remote, current.off)
    return None


def _off(
    old: StreamState, current: StreamState, remote: RemoteStream, reason: str
) -> tuple[StreamState, StreamNews]:
    news = StreamNews(remote.index, Change.OFF, reason, mid=remote.mid)
    return switched_off(old, replace(current, remote_stream=remote), reason), news


def switched_off(old: StreamState, current: StreamState, reason: str) -> StreamState:
    """The state without ICE. The peer's last credentials stay known: if ICE comes back with them, it goes on."""
    lost = old.runs or old.lost
    return replace(current, off=reason, mismatch=False, lost=lost, remote=old.remote, race=None)


def _with_ice(
    old: StreamState, current: StreamState, remote: RemoteStream, description: Description, *, answer: bool
) -> tuple[StreamState, StreamNews]:
    notes: list[str] = []
    change, reason = _change(old, current, description, answer=answer)
    restart_due = current.restart_due
    if change is Change.UNCHANGED and old.remote is not None:
        description = _kept(old.remote, description, notes, answer=answer)
    if change is Change.RESTART and answer and not _has_restarted(old, current):
        notes.append("the credentials in the answer are new, though our offer did not ask for a restart")
        restart_due = notes[-1]
    news = StreamNews(remote.index, change, reason, description, remote.mid, notes=tuple(notes))
    if not answer and change is Change.UNCHANGED and current.local is not None:
        news = _announced(news, remote, lite=current.local.lite)
    state = replace(
        current,
        remote=description,
        mid=remote.mid,
        off="",
        mismatch=False,
        lost=False,
        remote_stream=remote,
        race=news.race,
        restart_due=restart_due,
    )
    return state, news


def _change(
    old: StreamState, current: StreamState, description: Description, *, answer: bool
) -> tuple[Change, str]:
    if old.remote is None:
        return Change.NEW, "the first description with ICE for this stream"
    try:
        restart = is_restart(old.remote, description)
    except ValueError as error:
        raise NegotiationError(str(error)) from None
    if restart:
        return Change.RESTART, "ice-ufrag and ice-pwd are other ones"
    if answer and _has_restarted(old, current):
        raise NegotiationError(
            "our offer restarts ICE, and the answer has the old credentials (RFC 8839 4.4.2.1)"
        )
    return Change.UNCHANGED, "the same ice-ufrag and ice-pwd as before"


def _has_restarted(old: StreamState, current: StreamState) -> bool:
    return old.local is not None and current.local is not None and is_restart(old.local, current.local)


def _kept(old: Description, new: Description, notes: list[str], *, answer: bool) -> Description:
    """The new description with what may not have changed in it. Raises NegotiationError for an offer, which is to be
    rejected (RFC 8839 4.4.2.1); an answer is too late for that."""
    changed = changed_without_restart(old, new)
    if not changed:
        return new
    problem = f"{changed} changed without a restart (RFC 8839 4.4.1.1.1)"
    if not answer:
        raise NegotiationError(problem)
    notes.append(problem + ": what was before stays")
    return replace(new, options=old.options, lite=old.lite, pacing_ms=old.pacing_ms)


def _announced(news: StreamNews, remote: RemoteStream, *, lite: bool) -> StreamNews:
    """With the pairs that the offer announces, if it does (RFC 8839 4.4.2, 4.4.2.2)."""
    pairs = announced_pairs(remote)
    if not pairs:
        return news
    if lite:
        return replace(news, announced=pairs, completes=True)
    return replace(news, announced=pairs, race=NominationRace(pairs))


# -- what to do next ---------------------------------------------------------------------------------------------------


def restart_step(index: int, stream: StreamState, facts: StreamFacts) -> NextStep | None:
    """Whether ICE of a stream has to restart, or a restart has to be offered."""
    if stream.restart_due:
        return NextStep(Action.RESTART, index, stream.restart_due)
    if stream.lost:
        reason = f"ICE was lost ({stream.off}): the next offer restarts it (RFC 8839 4.4.3.1)"
        return NextStep(Action.RESTART, index, reason, at_once=False)
    if stream.runs and stream.local is not None and stream.local.ufrag != facts.description.ufrag:
        return NextStep(Action.RESTART, index, "the agent has restarted, which the peer was not told yet")
    return None


def conclusion_step(index: int, stream: StreamState, facts: StreamFacts) -> NextStep | None:
    """What a controlling agent does when all checklists are Completed or Failed (RFC 8839 4.3.4)."""
    if not facts.controlling or stream.remote is None:
        return None
    if facts.checklist == "failed":
        return NextStep(Action.OFFER_PORT_0, index, "its checks have failed (RFC 8839 4.3.4)")
    if stream.aligned == nominated_addresses(facts):
        return None
    if (
        stream.remote.lite
        and facts.description.lite
        and facts.nominated
        and _had_choice(stream.remote, facts)
    ):
        # nobody has checked anything: only this tells the peer which of several pairs it is
        return NextStep(Action.UPDATED_OFFER, index, "two lite agents with several pairs (RFC 8445 8.2)")
    if stream.remote.has_option("ice2"):
        return None
    if all(_is_default(stream, *pair) for pair in facts.nominated):
        return None
    reason = "the peer does not know ice2, and the nominated pair is not the default one (RFC 8839 4.3.4)"
    return NextStep(Action.UPDATED_OFFER, index, reason)


def _had_choice(remote: Description, facts: StreamFacts) -> bool:
    """Whether some component has more than one pair of candidates that fit."""
    fitting = [
        ours.component
        for ours in facts.description.candidates
        for theirs in remote.candidates
        if (ours.component, ours.transport, ":" in ours.address)
        == (theirs.component, theirs.transport, ":" in theirs.address)
    ]
    return len(fitting) != len(set(fitting))


def nominated_addresses(facts: StreamFacts) -> tuple[tuple[Address, Address], ...]:
    """Both addresses of each nominated pair."""
    return tuple((local.transport_address, remote.transport_address) for local, remote in facts.nominated)


def _is_default(stream: StreamState, local: Candidate, remote: Candidate) -> bool:
    index = local.component - 1
    ours = stream.local_defaults[index] if index < len(stream.local_defaults) else None
    same_local = ours is not None and _stands_for(ours, local) and stream.local_transport == local.transport
    theirs = None if stream.remote_stream is None else stream.remote_stream.destination(remote.component)
    return same_local and (theirs is None or _stands_for(theirs, remote))


def _stands_for(destination: Address, candidate: Candidate) -> bool:
    expected = default_destination((), nominated=candidate)  # a name stands behind an unknown address
    return destination == expected or (is_unknown(expected) and is_unknown(destination))
