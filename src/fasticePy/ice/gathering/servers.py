"""STUN servers while gathering: every server is asked from every base, and each question ends by itself, with a reason
(RFC 8445 5.1.1.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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
from fasticePy.ice.events import ServerFinished
from fasticePy.ice.gathering.resolution import Resolutions
from fasticePy.ice.gathering.sockets import Base
from fasticePy.ice.pair import LocalCandidate
from fasticePy.ice.session import Session
from fasticePy.machine import Address, Timer
from fasticePy.stun import Attribute, Message, MessageBuilder, MessageClass, Method
from fasticePy.stun.transaction import RC, RTO, Transaction
from fasticePy.stun.uri import ServerUrl


@dataclass(slots=True)
class ServerResult:
    """What became of one server: one entry for each local base that asked it."""

    url: str
    finished: bool = False
    ok: bool = False
    reason: str = ""
    """Why there is no answer at all; empty when some base has got one or is still waiting."""
    resolved: tuple[str, ...] = ()
    outcomes: list[tuple[str, str]] = field(default_factory=list)
    """Base and outcome, in words."""


@dataclass(slots=True, eq=False)
class Server:
    """A server while it is asked."""

    index: int
    url: ServerUrl
    result: ServerResult
    addresses: list[Address] = field(default_factory=list)
    resolving: bool = True
    pending: int = 0
    """Requests to it that have not ended."""
    timer: Timer | None = None


@dataclass(slots=True, eq=False)
class Ask:
    """One Binding request to one address of a server from one base."""

    server: Server
    base: Base
    address: Address
    shown: Address
    """The base as others may see it."""
    transaction: Transaction | None = None
    timer: Timer | None = None
    mapped: Address | None = None
    held: LocalCandidate | None = None
    """Found, and told once those of the lower components have been (RFC 8838 17)."""
    done: bool = False
    """It has had its first result; what follows are refreshes."""

    @property
    def name(self) -> str:
        """For the record."""
        return f"{address_text(self.shown)} -> {address_text(self.address)}"


class ServerObserver(Protocol):
    """Who takes the results."""

    @property
    def sockets_pending(self) -> bool:
        """Whether a base may still come that will ask the servers too."""
        ...

    @property
    def bases(self) -> Iterable[Base]:
        """The bases that are there."""
        ...

    def progressed(self, now: float) -> None:
        """A server may have had its chance."""

    def mapped(self, ask: Ask, address: Address, now: float) -> None:
        """A server says how it sees a base: for the first time, or, `ask.done`, anew and otherwise than before."""

    def ask_ended(self, ask: Ask, now: float) -> None:
        """The first result is there, or there is none."""


class ServerQueries:
    """Asks servers from bases, and goes on asking to keep the mappings alive (RFC 8445 5.1.1.4)."""

    __slots__ = ("_observer", "_resolutions", "_session", "asks", "refreshing", "servers")

    def __init__(self, session: Session, resolutions: Resolutions, observer: ServerObserver) -> None:
        self._session = session
        self._resolutions = resolutions
        self._observer = observer
        self.servers: list[Server] = []
        self.asks: list[Ask] = []
        self.refreshing = True

    @property
    def results(self) -> list[ServerResult]:
        """What became of each server, in the order given."""
        return [server.result for server in self.servers]

    @property
    def finished(self) -> bool:
        """Whether each server has had its chance."""
        return all(server.result.finished for server in self.servers)

    def stop(self) -> None:
        """Ask no more: what is pending is forgotten."""
        self.refreshing = False
        self._resolutions.forget(self)
        for server in self.servers:
            self._session.outbox.timers.cancel(server.timer)
        for ask in self.asks:
            self._forget(ask)

    def add(self, url: ServerUrl, now: float) -> None:
        """Ask one more server, from every base that comes."""
        server = Server(len(self.servers), url, ServerResult(str(url)))
        self.servers.append(server)
        options = self._session.options
        if server.index >= options.limits.servers:
            self._finish(server, f"more than {options.limits.servers} servers: left out", now)
        elif options.lite:
            self._finish(server, "a lite agent has host candidates only (RFC 8445 5.2)", now)
        elif (url.scheme, url.transport) != ("stun", "udp"):
            self._finish(server, f"{url.scheme} over {url.transport} is not supported", now)
        elif "srflx" not in options.candidate_types:
            self._finish(server, "candidates of type srflx are not wanted", now)
        elif parse_ip(url.host) is not None:
            server.resolving = False
            self._add_address(server, (url.host, url.port), now)
        else:
            self._resolutions.ask(
                self,
                url.host,
                url.port,
                partial(self._resolved, server),
                partial(self._unresolved, server),
                now,
            )
            patience = options.timeouts.gathering
            server.timer = self._session.outbox.timers.schedule(
                now + patience, partial(self._unresolved, server, f"not resolved in {patience:g} s")
            )

    def base_ready(self, base: Base, now: float) -> None:
        """Ask all servers from one more base."""
        for server in self.servers:
            for address in server.addresses:
                self._ask(server, address, base, now)

    def base_gone(self, base: Base, now: float) -> None:
        """A base is no more: what it asked ends."""
        for ask in [each for each in self.asks if each.base is base]:
            if ask.done:
                self._forget(ask)
                self.asks.remove(ask)
            else:
                self._session.outbox.timers.cancel(ask.timer)
                if ask.transaction is not None:
                    self._session.transactions.forget(ask.transaction)
                self._ended(ask, "the local address is gone", now)

    def socket_error(self, socket: int, address: Address | None, reason: str, now: float) -> None:
        """An ICMP error for what was sent to `address`, or a broken socket (RFC 8489 6.2.1: the transaction fails)."""
        for ask in list(self.asks):
            transaction = ask.transaction
            if transaction is None or transaction.socket != socket:
                continue
            if address in (None, transaction.address):
                self._session.transactions.forget(transaction)
                self._ended(ask, reason, now)

    def check_all(self, now: float) -> None:
        """Find out which servers have had their chance."""
        for server in self.servers:
            self._check(server, now)

    # -- names -----------------------------------------------------------------------------------------------------

    def _resolved(self, server: Server, addresses: Sequence[Address], final: bool, now: float) -> None:
        if not server.resolving:
            return
        server.resolving = not final
        if final:
            self._session.outbox.timers.cancel(server.timer)
        for address in addresses:
            self._add_address(server, normalize(address), now)
        self._server_progressed(server, now)

    def _unresolved(self, server: Server, reason: str, now: float) -> None:
        if not server.resolving:
            return
        self._session.outbox.timers.cancel(server.timer)
        server.resolving = False
        if not server.addresses:
            self._finish(server, reason, now)
        self._server_progressed(server, now)

    def _server_progressed(self, server: Server, now: float) -> None:
        self._check(server, now)
        self._observer.progressed(now)

    def _add_address(self, server: Server, address: Address, now: float) -> None:
        if address in server.addresses:
            return
        limit = self._session.options.limits.server_addresses
        if refusal(address[0]) is not None or len(server.addresses) >= limit:
            self._session.outbox.count("server-address.ignored")
            return
        server.addresses.append(address)
        server.result.resolved += (address[0],)
        for base in self._observer.bases:
            self._ask(server, address, base, now)

    # -- requests --------------------------------------------------------------------------------------------------

    def _ask(self, server: Server, address: Address, base: Base, now: float) -> None:
        if base.transport != "udp":
            return
        ask = Ask(server, base, address, self._session.shown(base.address))
        reason = unreachable(base.address[0], address[0])
        if reason is not None:
            server.result.outcomes.append((ask.name, reason))
            return
        server.pending += 1
        self.asks.append(ask)
        moment = now if is_loopback(address[0]) else self._session.pacer.reserve(now)
        ask.timer = self._session.outbox.timers.schedule(moment, partial(self._send, ask))

    def _send(self, ask: Ask, now: float) -> None:
        session = self._session
        # RFC 8445 14.3 for the RTO. Silence is given up before the 39.5 s of RFC 8489: end-of-candidates has to
        # come while somebody still waits for it.
        rto = max(RTO, session.pacing * sum(each.transaction is not None for each in self.asks))
        patience = session.options.timeouts.gathering
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
        sends = transaction.sends
        text = "no answer to 1 request in" if sends == 1 else f"no answer to {sends} requests in"
        self._ended(ask, f"{text} {waited:.1f} s", now)

    def _found(self, ask: Ask, mapped: Address, rtt: float | None, now: float) -> None:
        self._keep(ask, now)
        if ask.done and ask.mapped is not None:
            self._refreshed(ask, mapped, now)
            return
        ask.server.result.ok = True
        ask.mapped = mapped
        self._observer.mapped(ask, mapped, now)
        self._report(ask, "ok", now, mapped, rtt)
        self._asked(ask, now)

    def _ended(self, ask: Ask, reason: str, now: float) -> None:
        ask.transaction = None
        if ask.mapped is not None:  # the refresh of a candidate that we have: the mapping may live on
            self._session.record.add(
                now, "server", ask.server.result.url, f"{ask.name}: refresh failed", reason
            )
            self._keep(ask, now)
            return
        if ask.done:  # what failed before and was tried again
            return
        self._report(ask, reason, now)
        self._asked(ask, now)

    def _asked(self, ask: Ask, now: float) -> None:
        ask.done = True
        ask.server.pending -= 1
        self._observer.ask_ended(ask, now)
        self._check(ask.server, now)
        self._observer.progressed(now)

    # -- refreshing ------------------------------------------------------------------------------------------------

    def refresh_all(self, now: float) -> None:
        """Ask again from everywhere at once: a mapping may have changed."""
        for ask in self.asks:
            if ask.done and ask.transaction is None:
                self._session.outbox.timers.cancel(ask.timer)
                moment = now if is_loopback(ask.address[0]) else self._session.pacer.reserve(now)
                ask.timer = self._session.outbox.timers.schedule(moment, partial(self._send, ask))

    def _keep(self, ask: Ask, now: float) -> None:
        if self.refreshing:
            ask.timer = self._session.outbox.timers.schedule(
                now + self._session.options.timeouts.keepalive, partial(self._refresh, ask)
            )

    def _refresh(self, ask: Ask, now: float) -> None:
        if self.refreshing:
            self._send(ask, now)

    def _refreshed(self, ask: Ask, mapped: Address, now: float) -> None:
        if mapped == ask.mapped:
            return
        self._session.outbox.count("gathering.mapping-changed")
        text = f"the mapping of {address_text(ask.shown)} changed to {address_text(mapped)}"
        self._session.record.add(now, "server", ask.server.result.url, text)
        ask.mapped = mapped
        self._observer.mapped(ask, mapped, now)

    def _forget(self, ask: Ask) -> None:
        self._session.outbox.timers.cancel(ask.timer)
        if ask.transaction is not None:
            self._session.transactions.forget(ask.transaction)
            ask.transaction = None

    # -- ends ------------------------------------------------------------------------------------------------------

    def _report(
        self, ask: Ask, reason: str, now: float, mapped: Address | None = None, rtt: float | None = None
    ) -> None:
        text = reason if mapped is None else f"you are {address_text(mapped)}"
        url = ask.server.result.url
        ask.server.result.outcomes.append((ask.name, text))
        self._session.record.add(
            now, "server", url, f"{ask.name}: {'failed' if mapped is None else 'ok'}", text
        )
        self._session.outbox.emit(
            ServerFinished(
                at=now,
                url=url,
                base=ask.shown,
                ok=mapped is not None,
                reason=reason,
                mapped=mapped,
                rtt=rtt,
            )
        )

    def _check(self, server: Server, now: float) -> None:
        if server.result.finished or server.resolving or server.pending or self._observer.sockets_pending:
            return
        if server.result.ok:
            server.result.finished = True
            return
        reasons = list(dict.fromkeys(reason for _, reason in server.result.outcomes))
        reasons = [reason for reason in reasons if reason not in UNREACHABLE] or reasons
        self._finish(server, "; ".join(reasons) or "no local address to ask from", now)

    def _finish(self, server: Server, reason: str, now: float) -> None:
        if server.result.finished:
            return
        server.result.finished = True
        server.resolving = False
        server.result.reason = reason
        self._session.record.add(now, "server", server.result.url, "failed", reason)
        self._session.outbox.emit(
            ServerFinished(at=now, url=server.result.url, base=None, ok=False, reason=reason)
        )
