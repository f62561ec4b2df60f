"""The sentence at the end of a report: the cause of where an agent stands, and what to change.

Rules are asked in turn, from what explains everything else to what is left when nothing does; the first that has
something to say is the conclusion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fasticePy.ice.addresses import parse_ip
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.events import IceState
from fasticePy.ice.gathering.servers import ServerResult
from fasticePy.ice.pair import CandidatePair

TOO_LATE = "came after ICE had failed"
"""Why a candidate was ignored that came too late."""
STOOD_STILL = "stood still"
"""What consent says of a program that did not run its timers."""
NO_PORT = "no free port in"
"""What a driver's reason has in it when a port range is exhausted; the range follows."""
ROLE_CONFLICTS = 3
"""So many answers 487 are no conflict that gets repaired."""


@dataclass(slots=True, kw_only=True)
class Situation:
    """What the conclusion is drawn from: one stream."""

    now: float
    state: IceState
    reason: str
    local: Sequence[Candidate] = ()
    remote: Sequence[Candidate] = ()
    pairs: Sequence[CandidatePair] = ()
    """Of all generations that are there."""
    servers: Sequence[ServerResult] = ()
    ignored: Sequence[tuple[str, str]] = ()
    """Candidates of the peer that were not taken, and why."""
    sockets_failed: Sequence[tuple[str, str]] = ()
    addresses_given: bool = True
    """Whether there was a local address to gather from."""
    credentials_known: bool = True
    echo: bool = False
    """The peer's credentials are ours."""
    generation: int = 0
    early_checks: int = 0
    """Checks that came before the peer's credentials."""
    strangers: Sequence[str] = ()
    """Fragments of others than the peer who have checked us with our password."""
    lite: bool = False
    """We are lite."""
    peer_lite: bool = False
    heard_at: float | None = None
    """When a packet came on a path that worked."""
    counters: Mapping[str, int] = field(default_factory=dict)


def conclude(situation: Situation) -> str:
    """The sentence."""
    return next(text for rule in _RULES if (text := rule(situation)))


# -- no failure at all -------------------------------------------------------------------------------------------------


def _at_rest(s: Situation) -> str:
    if s.state in ("connected", "completed"):
        return "A path works."
    if s.state == "closed":
        return "The agent was closed."
    if s.state == "disconnected":
        text = f"The path went silent: {s.reason}. It may come back as long as there is consent to send."
        return text + _stalled(s)
    return ""


# -- signalling --------------------------------------------------------------------------------------------------------


def _no_ports(s: Situation) -> str:
    """What no signalling can help against."""
    reasons = [reason for _, reason in s.sockets_failed if NO_PORT in reason]
    if s.local or not reasons:
        return ""
    what = "; ".join(dict.fromkeys(reasons))
    return f"There is no local candidate: {what}: widen the port range, or end what holds its ports."


def _no_description(s: Situation) -> str:
    if s.credentials_known:
        return ""
    if s.generation:
        return (
            "The restart was never answered: the peer has to take our new description and to send its own, with a new "
            "ufrag and password; look at the signalling."
        )
    if s.early_checks:
        return (
            f"The peer's description never came, though {_count(s.early_checks, 'check')} of the peer did: "
            "it has ours; check the signalling of its answer."
        )
    return "The peer's description never came: check the signalling."


def _own_description(s: Situation) -> str:
    if not s.echo:
        return ""
    return "The peer's description is our own: the signalling hands it back to us instead of to the peer."


# -- candidates --------------------------------------------------------------------------------------------------------


def _no_local(s: Situation) -> str:
    if s.local:
        return ""
    why = _because(s.servers, s.sockets_failed)
    if not s.addresses_given:
        return (
            f"There is no local candidate{why}: interface and address filters have left no address of this host "
            "(`decisions` has the reason for each); relax them."
        )
    return f"There is no local candidate{why}: check interfaces, address filters and port range."


def _no_usable_remote(s: Situation) -> str:
    if not s.ignored or s.pairs or any(parse_ip(candidate.address) is not None for candidate in s.remote):
        return ""
    name, why = s.ignored[0]
    others = f" and {len(s.ignored) - 1} more" if len(s.ignored) > 1 else ""
    text = f"None of the peer's candidates can be used ({name}: {why}{others}), and no check of it came"
    if any(reason == TOO_LATE for _, reason in s.ignored):
        return f"{text}: signal them sooner, raise Timeouts.patience, or restart ICE."
    if any(".local" in name for name, _ in s.ignored):
        return (
            f"{text}: it hides its addresses behind mDNS names, which are found only in its own local network, where "
            "multicast to UDP port 5353 passes, and not with mdns off; everywhere else a STUN or TURN server is needed."
        )
    return f"{text}."


def _no_remote(s: Situation) -> str:
    if s.remote:
        return ""
    return "The peer sent no candidate and no check came: look at the signalling and at the peer's gathering."


def _lite(s: Situation) -> str:
    """What we wait for as a lite agent: nothing that is wrong with our own checks or with the peer's candidates."""
    if not s.lite:
        return ""
    if any(pair.validated_at is not None for pair in s.pairs):
        return f"A path worked and was lost: {s.reason}.{_stalled(s)} Restart ICE once the peer can reach us again."
    if s.peer_lite:
        missing = "Both sides are lite, and one of them has not told all candidates."
        return _no_remote(s) or _no_pairs(s) or missing
    if why := _strangers(s) or _refused_theirs(s):
        return why
    if s.counters.get("request.refused.487") and not _came(s):
        return (
            "The peer wants to be controlled, which with a lite agent it cannot be: its signalling has to keep our "
            "ice-lite."
        )
    if came := _came(s):
        arrived = f"{_count(came, 'check')} of the peer arrived"
        return f"{arrived}, none of which nominated a pair: our answers do not reach it, or it has not decided yet."
    ours = " and ".join(dict.fromkeys(candidate.address for candidate in s.local))
    return (
        f"No check of the peer arrived, and a lite agent sends none: the peer has to reach us at {ours}; look at "
        "firewalls, and run lite only where there is no NAT."
    )


def _lost(s: Situation) -> str:
    worked = [pair for pair in s.pairs if pair.validated_at is not None]
    if not worked:
        return ""
    since = min(pair.validated_at for pair in worked if pair.validated_at is not None)
    answered = max(pair.consent_at or since for pair in worked)
    text = f"A path worked for {answered - since:.1f} s and was lost: {s.reason}"
    if s.heard_at is not None and s.heard_at > answered:
        text += (
            f"; the peer's packets came until {s.now - s.heard_at:.1f} s ago, but no answer to our checks for "
            f"{s.now - answered:.1f} s: what we send does not arrive"
        )
    else:
        text += f"; the last thing heard was its answer {s.now - answered:.1f} s ago"
    return f"{text}.{_stalled(s)}" + (
        "" if s.counters.get("restart") else " Restart ICE to look for another path."
    )


def _no_pairs(s: Situation) -> str:
    if s.pairs:
        return ""
    ours, theirs = _kinds(s.local), _kinds(s.remote)
    differences = [
        f"we have only {' and '.join(our)}, the peer only {' and '.join(their)}{advice}"
        for our, their, advice in zip(ours, theirs, _ADVICE, strict=True)
        if our and their and not set(our) & set(their)
    ]
    if not differences:
        return (
            f"No candidates fit together (families, components): we have {_types(s.local)}, the peer "
            f"{_types(s.remote)}: both need one of the same address family, transport, component and scope."
        )
    return f"No candidates fit together (families, components): {'; '.join(differences)}."


_ADVICE = (
    ": turn on the other family on one side, or add a TURN server, which has both",
    ": offer the same transport on both sides",
    ": both sides need the same components, or RTCP multiplexing",
)


def _kinds(candidates: Sequence[Candidate]) -> tuple[list[str], list[str], list[str]]:
    versions = {ip.version for each in candidates if (ip := parse_ip(each.address)) is not None}
    transports = {each.transport.upper() for each in candidates}
    components = {f"component {each.component}" for each in candidates}
    return [f"IPv{each}" for each in sorted(versions)], sorted(transports), sorted(components)


# -- credentials and roles ---------------------------------------------------------------------------------------------


def _refused(s: Situation) -> str:
    refused = [pair for pair in s.pairs if pair.refused]
    if not refused:
        return ""
    return (
        f"The peer refuses our checks ({refused[0]}: {refused[0].failure}): "
        "look at ufrag and password in the signalling."
    )


def _strangers(s: Situation) -> str:
    if not s.strangers or _came(s):
        return ""
    return (
        f"Checks came with our password, but from ufrag {s.strangers[0]} instead of that of the peer's description: it "
        "is an old one, or that of another device of the peer; look at which answer the signalling passes on."
    )


def _refused_theirs(s: Situation) -> str:
    number = s.counters.get("request.refused.401", 0)
    if not number or _came(s):
        return ""
    return (
        f"{_count(number, 'check')} of the peer came with another ufrag or password than ours and had to be refused: "
        "the peer has an old description of us, or another agent's; look at the signalling."
    )


def _role_conflict(s: Situation) -> str:
    number = s.counters.get("check.role-conflict", 0)
    if number < ROLE_CONFLICTS:
        return ""
    return (
        f"The peer answered 487 Role Conflict {number} times: both sides keep claiming the same role; set controlling "
        "on one side only, and see that no checks of ours come back to ourselves."
    )


# -- the network -------------------------------------------------------------------------------------------------------


def _nothing_left(s: Situation) -> str:
    tried = [pair for pair in s.pairs if pair.requests_sent or pair.error]
    if not tried or any(not pair.error or pair.responses_received for pair in tried) or _came(s):
        return ""
    reasons = "; ".join(dict.fromkeys(pair.error for pair in tried))
    return (
        f"No check could be sent, or the network sent it back, on {_count(len(tried), 'pair')} ({reasons}); the peer's "
        "checks never arrived: look at routes, firewalls and the VPN of this host, and at whether the peer listens."
    )


def _unanswered(s: Situation) -> str:
    sent = sum(pair.requests_sent for pair in s.pairs)
    came = _came(s)
    theirs = f"{_count(came, 'check')} of the peer arrived" if came else "the peer's checks never arrived"
    if came and sent:
        advice = (
            "our checks do not reach the peer, or its answers not us: look at firewalls and at the password"
        )
    elif _relayed(s):
        advice = "even the relay does not carry: look at the TURN server's peer permissions and at firewalls"
    elif _udp_blocked(s):
        advice = (
            "nothing at all came back over UDP, which seems to be blocked here: offer TCP candidates, or add a TURN "
            "server over TCP or TLS"
        )
    else:
        ours, others = _types(s.local), _types(s.remote)
        advice = f"we have {ours}, the peer {others} candidates: a relay is needed, add a TURN server"
    checks = f"{_count(sent, 'check')} sent on {_count(len(s.pairs), 'pair')}, none answered"
    return f"{checks}; {theirs}; {advice}{_because(s.servers)}.{_stalled(s)}"


_RULES: tuple[Callable[[Situation], str], ...] = (
    _at_rest,
    _no_ports,
    _no_description,
    _own_description,
    _no_local,
    _lite,
    _no_usable_remote,
    _no_remote,
    _lost,
    _no_pairs,
    _refused,
    _strangers,
    _refused_theirs,
    _role_conflict,
    _nothing_left,
    _unanswered,
)


# -- words -------------------------------------------------------------------------------------------------------------


def _relayed(s: Situation) -> bool:
    return any(candidate.type == "relay" for candidate in (*s.local, *s.remote))


def _udp_blocked(s: Situation) -> bool:
    """Whether several were asked over UDP, none has answered, and nobody could have answered over TCP."""
    tcp = any(candidate.transport == "tcp" for candidate in (*s.local, *s.remote))
    asked = [server for server in s.servers if server.outcomes]
    return not tcp and bool(asked) and all("no answer" in server.reason for server in asked)


def _came(s: Situation) -> int:
    return sum(pair.requests_received for pair in s.pairs)


def _stalled(s: Situation) -> str:
    number = s.counters.get("loop.stalled", 0)
    if not number and STOOD_STILL not in s.reason:
        return ""
    times = f" ({_count(number, 'time')})" if number else ""
    return f" The event loop of this program was blocked{times}: move long work into threads or processes."


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _because(servers: Sequence[ServerResult], sockets: Sequence[tuple[str, str]] = ()) -> str:
    failed = [f"{name}: {why}" for name, why in sockets]
    failed += [f"{server.url}: {server.reason}" for server in servers if server.finished and not server.ok]
    return f" ({'; '.join(failed)})" if failed else ""


def _types(candidates: Sequence[Candidate]) -> str:
    return "only " + " and ".join(dict.fromkeys(candidate.type for candidate in candidates))
