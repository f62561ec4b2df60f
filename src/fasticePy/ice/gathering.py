"""Gathering: host candidates from sockets, server-reflexive ones from the same sockets (RFC 8445 5.1.1).

A stream of results, never a barrier: each server and each socket ends by itself, with a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from fasticePy.ice.addresses import (
    UNREACHABLE,
    address_text,
    is_loopback,
    normalize,
    parse_ip,
    refusal,
    unreachable,
)
from fasticePy.ice.candidate import MAX_LOCAL_PREFERENCE, Candidate, CandidateType, candidate_priority
from fasticePy.ice.events import (
    GatheringState,
    GatheringStateChanged,
    NeedAddresses,
    NeedSocket,
    ServerFinished,
)
from fasticePy.ice.pair import LocalCandidate
from fasticePy.ice.servers import Ask, Base, Server, ServerResult
from fasticePy.ice.session import Session
from fasticePy.machine import Address
from fasticePy.stun import Attribute, Message, MessageBuilder, MessageClass, Method
from fasticePy.stun.transaction import RC, RTO, Transaction
from fasticePy.stun.uri import ServerUrl


class GatheringObserver(Protocol):
    """Who takes the results."""

    def candidate_found(self, candidate: LocalCandidate, now: float) -> None:
        """A new local candidate, to be signalled and paired."""

    def gathering_ended(self, now: float) -> None:
        """Nothing more will be found."""


class Gatherer:
    """Turns addresses and servers into local candidates."""

    __slots__ = (
        "_asks",
        "_next_request",
        "_observer",
        "_refreshing",
        "_requests",
        "_servers",
        "_session",
        "_stopped",
        "bases",
        "candidates",
        "failures",
        "state",
    )

    def __init__(self, session: Session, observer: GatheringObserver) -> None:
        self._session = session
        self._observer = observer
        self._requests: dict[int, tuple[int, int, Address]] = {}
        self._next_request = 0
        self._servers: dict[int, Server] = {}
        self._asks: list[Ask] = []
        self._stopped = False
        self._refreshing = True
        self.state: GatheringState = "new"
        self.bases: dict[int, Base] = {}
        self.candidates: list[LocalCandidate] = []
        self.failures: list[tuple[str, str]] = []
        """Sockets that could not be opened: address and reason."""

    @property
    def results(self) -> list[ServerResult]:
        """What became of each server, in the order given."""
        return [server.result for server in self._servers.values()]

    def start(self, addresses: Sequence[Address], servers: Sequence[ServerUrl], now: float) -> None:
        """Ask for a socket per component and address, and for the addresses of each server."""
        self._set_state("gathering", now)
        for index, url in enumerate(servers):
            self._add_server(index, url, now)
        for rank, address in enumerate(addresses):
            for component in range(1, self._session.options.components + 1):
                request = self._next_request
                self._next_request += 1
                self._requests[request] = (component, rank, address)
                self._session.outbox.emit(
                    NeedSocket(at=now, request=request, component=component, transport="udp", address=address)
                )
        self._check_all(now)

    def stop(self, now: float) -> None:
        """Gather no more: what is pending is forgotten."""
        self._stopped = True
        self._refreshing = False
        for ask in self._asks:
            if ask.transaction is not None:
                self._session.transactions.forget(ask.transaction)

    # -- sockets ---------------------------------------------------------------------------------------------------

    def socket_opened(self, request: int, socket: int, address: Address, now: float) -> bool:
        """The driver's answer to NeedSocket. False when it was not asked for."""
        wanted = self._requests.pop(request, None)
        if wanted is None or self._stopped:
            return False
        component, rank, _ = wanted
        base = Base(component, rank, socket, address)
        self.bases[socket] = base
        host = self._make(base, "host", address, None, rank)
        self._session.record.add(now, "socket", address_text(address), "open")
        self._offer(host, now)
        for server in self._servers.values():
            for server_address in server.addresses:
                self._ask(server, server_address, base, now)
        self._check_all(now)
        return True

    def socket_failed(self, request: int, reason: str, now: float) -> None:
        """The driver could not open it."""
        wanted = self._requests.pop(request, None)
        if wanted is None:
            return
        self.failures.append((address_text(wanted[2]), reason))
        self._session.record.add(now, "socket", address_text(wanted[2]), f"failed: {reason}")
        self._check_all(now)

    def socket_error(self, socket: int, address: Address | None, reason: str, now: float) -> None:
        """An ICMP error for what was sent to `address`, or a broken socket (RFC 8489 6.2.1: the transaction fails)."""
        for ask in self._asks:
            transaction = ask.transaction
            if (
                transaction is not None
                and transaction.socket == socket
                and address in (None, transaction.address)
            ):
                self._session.transactions.forget(transaction)
                self._ended(ask, reason, now)

    # -- servers ---------------------------------------------------------------------------------------------------

    def server_resolved(self, index: int, addresses: Sequence[Address], now: float, final: bool) -> None:
        """The driver's answer to NeedAddresses."""
        server = self._servers.get(index)
        if server is None or self._stopped or not server.resolving:
            return
        server.resolving = not final
        for address in addresses:
            self._add_address(server, normalize(address), now)
        self._check_server(server, now)
        self._check_ended(now)

    def server_failed(self, index: int, reason: str, now: float) -> None:
        """The driver could not find its addresses."""
        server = self._servers.get(index)
        if server is None or self._stopped or not server.resolving:
            return
        server.resolving = False
        if not server.addresses:
            self._finish_server(server, reason, now)
        self._check_server(server, now)
        self._check_ended(now)

    def _resolution_timed_out(self, server: Server, now: float) -> None:
        self.server_failed(
            server.index, f"not resolved in {self._session.options.timeouts.gathering:g} s", now
        )

    def _add_address(self, server: Server, address: Address, now: float) -> None:
        if address in server.addresses:
            return
        reason = refusal(address[0])
        if reason is None and len(server.addresses) >= self._session.options.limits.server_addresses:
            reason = f"more than {self._session.options.limits.server_addresses} addresses"
        if reason is not None:
            self._session.outbox.count("server-address.ignored")
            return
        server.addresses.append(address)
        server.result.resolved += (address[0],)
        for base in list(self.bases.values()):
            self._ask(server, address, base, now)

    def _add_server(self, index: int, url: ServerUrl, now: float) -> None:
        server = Server(index, url, ServerResult(str(url)))
        self._servers[index] = server
        options = self._session.options
        if index >= options.limits.servers:
            self._finish_server(server, f"more than {options.limits.servers} servers: left out", now)
        elif (url.scheme, url.transport) != ("stun", "udp"):
            self._finish_server(server, f"{url.scheme} over {url.transport} is not supported", now)
        elif "srflx" not in options.candidate_types:
            self._finish_server(server, "candidates of type srflx are not wanted", now)
        elif parse_ip(url.host) is not None:
            server.resolving = False
            self._add_address(server, (url.host, url.port), now)
        else:
            self._session.outbox.emit(NeedAddresses(at=now, request=index, host=url.host, port=url.port))
            self._session.outbox.timers.schedule(
                now + options.timeouts.gathering, partial(self._resolution_timed_out, server)
            )

    def _ask(self, server: Server, address: Address, base: Base, now: float) -> None:
        ask = Ask(server, base, address)
        reason = unreachable(base.address[0], address[0])
        if reason is not None:
            server.result.outcomes.append((ask.name, reason))
            return
        server.pending += 1
        self._asks.append(ask)
        moment = now if is_loopback(address[0]) else self._session.pacer.reserve(now)
        self._session.outbox.timers.schedule(moment, partial(self._send, ask))

    def _send(self, ask: Ask, now: float) -> None:
        if self._stopped:
            return
        session = self._session
        # RFC 8445 14.3 for the RTO. Silence is given up before the 39.5 s of RFC 8489: end-of-candidates has to
        # come while somebody still waits for it.
        rto = max(RTO, session.pacing * sum(each.transaction is not None for each in self._asks))
        patience = max(session.options.timeouts.gathering, rto)
        sends = 1
        while sends < RC and rto * (2**sends - 1) < patience:
            sends += 1
        ask.transaction = Transaction(
            id=session.rng(12),
            socket=ask.base.socket,
            address=ask.address,
            data=b"",
            on_response=partial(self._response_received, ask),
            on_timeout=partial(self._timed_out, ask),
            rto=rto,
            max_sends=sends,
            final_wait=patience - rto * (2 ** (sends - 1) - 1),
        )
        builder = MessageBuilder(Method.BINDING, MessageClass.REQUEST, ask.transaction.id)
        if session.options.software:
            builder.add(Attribute.SOFTWARE, session.options.software)
        ask.transaction.data = builder.build()
        session.outbox.count("gathering.sent")
        session.transactions.start(ask.transaction, now)

    def _response_received(
        self, ask: Ask, transaction: Transaction, message: Message, socket: int, address: Address, now: float
    ) -> None:
        if (socket, address) != (transaction.socket, transaction.address):
            self._session.outbox.count("drop.response.source")
            return
        rtt = self._session.transactions.finish(transaction, now)
        ask.transaction = None
        if message.message_class == MessageClass.ERROR:
            # RFC 8445 5.1.1.2: ALTERNATE-SERVER is not followed while gathering
            code, text = message.get(Attribute.ERROR_CODE) or (0, "without ERROR-CODE")
            self._ended(ask, f"error {code} {text}".rstrip(), now)
            return
        # RFC 8445 5.1.1.2: servers of RFC 3489 send MAPPED-ADDRESS only
        mapped = message.get(Attribute.XOR_MAPPED_ADDRESS) or message.get(Attribute.MAPPED_ADDRESS)
        if mapped is None:
            self._ended(ask, "the answer has no mapped address", now)
        elif refusal(mapped[0]) is not None:
            self._ended(ask, f"the answer maps to {mapped[0]}: {refusal(mapped[0])}", now)
        elif mapped[1] == 0:
            self._ended(ask, "the answer maps to port 0", now)
        else:
            self._found(ask, normalize(mapped), rtt, now)

    def _timed_out(self, ask: Ask, transaction: Transaction, now: float) -> None:
        waited = now - transaction.started_at
        self._ended(ask, f"no answer to {transaction.sends} requests in {waited:.1f} s", now)

    def _found(self, ask: Ask, mapped: Address, rtt: float | None, now: float) -> None:
        self._keep(ask, now)
        if ask.mapped is not None:
            self._refreshed(ask, mapped, now)
            return
        server, base, limits = ask.server, ask.base, self._session.options.limits
        server.result.ok = True
        ask.mapped = mapped
        rank = (base.rank * limits.servers + server.index) * limits.server_addresses
        rank += server.addresses.index(ask.address)
        ask.held = self._make(base, "srflx", mapped, server, rank, ask.address[0])
        self._report(ask, "ok", now, mapped, rtt)
        self._asked(ask, now)

    def _ended(self, ask: Ask, reason: str, now: float) -> None:
        ask.transaction = None
        if ask.mapped is not None:  # the refresh of a candidate that we have: the mapping may live on
            self._session.record.add(now, "server", ask.server.result.url, f"refresh of {ask.name}: {reason}")
            self._keep(ask, now)
            return
        self._report(ask, reason, now)
        self._asked(ask, now)

    def _asked(self, ask: Ask, now: float) -> None:
        ask.done = True
        ask.server.pending -= 1
        self._offer_held(ask, now)
        self._check_server(ask.server, now)
        self._check_ended(now)

    def _offer_held(self, ask: Ask, now: float) -> None:
        # RFC 8838 17: of one foundation, the candidate of the lower component is told first
        for each in sorted(self._asks, key=lambda each: each.base.component):
            if (each.address, each.base.rank) != (ask.address, ask.base.rank):
                continue
            if not each.done:
                return
            if each.held is not None:
                held, each.held = each.held, None
                self._offer(held, now)

    def _report(
        self, ask: Ask, reason: str, now: float, mapped: Address | None = None, rtt: float | None = None
    ) -> None:
        text = reason if mapped is None else f"you are {address_text(mapped)}"
        url = ask.server.result.url
        ask.server.result.outcomes.append((ask.name, text))
        self._session.record.add(now, "server", url, f"{ask.name}: {text}")
        self._session.outbox.emit(
            ServerFinished(
                at=now,
                url=url,
                base=ask.base.address,
                ok=mapped is not None,
                reason=reason,
                mapped=mapped,
                rtt=rtt,
            )
        )

    # -- refreshing (RFC 8445 5.1.1.4: reflexive candidates are kept alive until ICE has concluded) --------------------

    def release(self) -> None:
        """ICE has concluded: mappings at NATs are kept by the selected pairs from now on, and no candidate is told
        any more (RFC 8838 13)."""
        self._refreshing = False

    def _keep(self, ask: Ask, now: float) -> None:
        self._session.outbox.timers.schedule(
            now + self._session.options.timeouts.keepalive, partial(self._refresh, ask)
        )

    def _refresh(self, ask: Ask, now: float) -> None:
        if self._refreshing:
            self._send(ask, now)

    def _refreshed(self, ask: Ask, mapped: Address, now: float) -> None:
        if mapped == ask.mapped:
            return
        self._session.outbox.count("gathering.mapping-changed")
        text = f"the mapping of {address_text(ask.base.address)} changed to {address_text(mapped)}"
        self._session.record.add(now, "server", ask.server.result.url, text)
        ask.mapped = mapped

    def _check_server(self, server: Server, now: float) -> None:
        if server.result.finished or server.resolving or server.pending or self._requests:
            return
        if server.result.ok:
            server.result.finished = True
            return
        reasons = list(dict.fromkeys(reason for _, reason in server.result.outcomes))
        reasons = [reason for reason in reasons if reason not in UNREACHABLE] or reasons
        self._finish_server(server, "; ".join(reasons) or "no local address to ask from", now)

    def _finish_server(self, server: Server, reason: str, now: float) -> None:
        if server.result.finished:
            return
        server.result.finished = True
        server.resolving = False
        server.result.reason = reason
        self._session.record.add(now, "server", server.result.url, f"failed: {reason}")
        self._session.outbox.emit(
            ServerFinished(at=now, url=server.result.url, base=None, ok=False, reason=reason)
        )

    # -- candidates ------------------------------------------------------------------------------------------------

    def _make(
        self,
        base: Base,
        type: CandidateType,
        address: Address,
        server: Server | None,
        rank: int,
        server_host: str = "",
    ) -> LocalCandidate:
        # the scope of a link-local address is ours alone: the base keeps it, the candidate is as the peer sees it
        host, related = address[0].partition("%")[0], base.address[0].partition("%")[0]
        candidate = Candidate(
            foundation=self._session.foundations.foundation(type, base.address[0], server_host, "udp"),
            component=base.component,
            transport="udp",
            # RFC 8445 5.1.2.1: unique local preferences, in the order of the addresses
            priority=candidate_priority(type, max(0, MAX_LOCAL_PREFERENCE - rank), base.component),
            address=host,
            port=address[1],
            type=type,
            related_address=None if type == "host" else related,
            related_port=None if type == "host" else base.address[1],
            ufrag=self._session.local.ufrag,  # RFC 8838 9: trickled, it is tied to its generation
        )
        return LocalCandidate(
            candidate, base.socket, base.address, None if server is None else server.result.url
        )

    def _offer(self, candidate: LocalCandidate, now: float) -> None:
        text = f"{candidate.candidate.type} {address_text(candidate.candidate.transport_address)}"
        if candidate.candidate.type not in self._session.options.candidate_types:
            self._session.record.add(now, "local", text, "left out: this type is not wanted")
            return
        if not self._refreshing:
            self._session.record.add(now, "local", text, "left out: the pairs have been nominated")
            return
        if self._redundant(candidate):
            # RFC 8445 5.1.3, RFC 8838 9: same address and same base as one that the peer has already
            self._session.record.add(
                now, "local", text, "left out: same address and base as another candidate"
            )
            return
        self.candidates.append(candidate)
        self._session.record.add(now, "local", text, "found")
        self._observer.candidate_found(candidate, now)

    def _redundant(self, new: LocalCandidate) -> bool:
        return any(
            known.base == new.base and known.candidate.transport_address == new.candidate.transport_address
            for known in self.candidates
        )

    # -- end -------------------------------------------------------------------------------------------------------

    def _check_all(self, now: float) -> None:
        for server in self._servers.values():
            self._check_server(server, now)
        self._check_ended(now)

    def _check_ended(self, now: float) -> None:
        if self.state != "gathering" or self._requests or self._stopped:
            return
        if any(not server.result.finished for server in self._servers.values()):
            return
        self._set_state("complete", now)
        self._observer.gathering_ended(now)

    def _set_state(self, state: GatheringState, now: float) -> None:
        self.state = state
        self._session.record.add(now, "agent", "gathering", state)
        self._session.outbox.emit(GatheringStateChanged(at=now, state=state))
