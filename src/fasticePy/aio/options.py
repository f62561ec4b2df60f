"""The options of an `Agent`: which there are, and which do not go together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from fasticePy.aio.advertise import as_rules
from fasticePy.aio.interfaces import MAX_ADDRESSES, AddressPolicy, AddressTest, Exposure, Ipv6Choice
from fasticePy.aio.servers import IceServer, ServerLike, as_servers
from fasticePy.aio.udp_socket import check_ports
from fasticePy.ice import Candidate, CandidateType, IceOptions, Timeouts, checked
from fasticePy.ice.candidate import TcpType
from fasticePy.ice.gathering.rewrite import Rewrite

Policy: TypeAlias = Literal["all", "relay"]
MdnsMode: TypeAlias = Literal["resolve", "publish", "off"]
TcpChoice: TypeAlias = bool | TcpType | Iterable[TcpType]

MAX_DSCP = 63
"""The largest DSCP: it has six bits (RFC 2474 3)."""

_TIMEOUTS = Timeouts()
_ALL_TYPES: frozenset[CandidateType] = frozenset({"host", "srflx", "relay"})
_TCP: frozenset[TcpType] = frozenset({"active", "passive"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """What `Agent` is called with, checked. Raises ValueError or TypeError for what cannot be, and says what to
    change."""

    controlling: bool
    servers: ServerLike | Iterable[ServerLike]
    policy: Policy
    interfaces: Sequence[str] | AddressTest | None
    addresses: Sequence[str] | AddressTest | None
    ports: range | None
    include_loopback: bool
    ipv4: bool
    ipv6: bool | Ipv6Choice
    exposure: Exposure
    max_addresses: int = MAX_ADDRESSES
    candidate_types: Iterable[CandidateType] | None
    tcp: TcpChoice | None
    mdns: MdnsMode
    resolve_names: bool
    advertise: Rewrite | str | Iterable[Rewrite | str]
    local_candidate: Callable[[Candidate], Candidate | None] | None
    lite: bool
    streams: int
    components: int
    local_ufrag: str | None
    local_pwd: str | None = field(repr=False)
    nomination: str | None
    renomination: bool
    continual: bool
    auto_restart: bool
    timeouts: Timeouts | None
    dscp: int | None

    ice_servers: tuple[IceServer, ...] = field(init=False)
    rules: tuple[Rewrite, ...] = field(init=False)
    types: frozenset[CandidateType] = field(init=False)
    tcp_types: frozenset[TcpType] | None = field(init=False)

    def __post_init__(self) -> None:
        check_ports(self.ports)
        checked.one_of("policy", self.policy, get_args(Policy))
        checked.one_of("mdns", self.mdns, get_args(MdnsMode))
        for name in ("controlling", "lite", "include_loopback", "ipv4"):
            checked.flag(name, getattr(self, name))
        checked.count("max_addresses", self.max_addresses, 1)
        checked.instance("timeouts", self.timeouts, Timeouts, optional=True)
        checked.function("local_candidate", self.local_candidate)
        if self.dscp is not None:
            checked.count("dscp", self.dscp, 0, MAX_DSCP, ", without the two bits that ECN has")
        set_ = object.__setattr__
        set_(self, "ice_servers", as_servers(self.servers))
        set_(self, "rules", as_rules(self.advertise))
        set_(self, "types", self._candidate_types())
        set_(self, "tcp_types", self._tcp_types())
        self._check_relay()
        if self.lite:
            self._check_lite()

    @property
    def way_of_nominating(self) -> str:
        """What was asked for; else an agent that follows the network follows a peer that moves too: with one nomination
        only, a pair whose far end has gone would be held until consent expires (RFC 7675 5.1)."""
        if self.nomination is not None:
            return self.nomination
        return "continuous" if self.continual and not self.lite else "regular"

    @property
    def address_policy(self) -> AddressPolicy:
        """Which local addresses are used."""
        return AddressPolicy(
            interfaces=self.interfaces,
            addresses=self.addresses,
            include_loopback=self.include_loopback,
            ipv4=self.ipv4,
            ipv6=self.ipv6,
            exposure=self.exposure,
            max_addresses=self.max_addresses,
        )

    def machine_options(self, hook: Callable[[Candidate], Candidate | None] | None) -> IceOptions:
        """What the machine has to know; `hook` sees its candidates before the peer does."""
        options = IceOptions(
            controlling=self.controlling,
            streams=self.streams,
            components=self.components,
            lite=self.lite,
            local_ufrag=self.local_ufrag,
            local_pwd=self.local_pwd,
            candidate_types=self.types,
            local_candidate=hook,
            tcp=self.tcp_types,
            mdns=self.mdns,
            resolve_names=self.resolve_names,
            continual=self.continual,
            auto_restart=self.auto_restart,
            nomination=self.way_of_nominating,
            renomination=self.renomination,
            timeouts=self.timeouts or _TIMEOUTS,
        )
        return options if self.local_pwd is not None else _shared(options)

    def _candidate_types(self) -> frozenset[CandidateType]:
        if isinstance(self.candidate_types, str):
            kind = self.candidate_types
            raise TypeError(f"candidate_types takes several types, as in [{kind!r}], not the text {kind!r}")
        types = _ALL_TYPES if self.candidate_types is None else frozenset(self.candidate_types)
        if not types:
            raise ValueError("candidate_types is empty: there would be no candidate")
        if unknown := types - _ALL_TYPES:
            raise ValueError(f"candidate_types: {', '.join(sorted(map(str, unknown)))} cannot be gathered")
        if self.policy == "relay" or self.exposure == "relay":
            types &= {"relay"}
            if not types:
                raise ValueError(
                    "a relay-only agent with candidate_types without relay: leave one of them out"
                )
        return types

    def _tcp_types(self) -> frozenset[TcpType] | None:
        if self.tcp is None:
            return None
        if isinstance(self.tcp, bool):
            if self.lite:  # RFC 6544 4.2: a lite agent connects to nobody
                return frozenset({"passive"}) if self.tcp else frozenset()
            return _TCP if self.tcp else frozenset()
        types: frozenset[TcpType] = frozenset((self.tcp,) if isinstance(self.tcp, str) else self.tcp)
        if unknown := types - set(get_args(TcpType)):
            raise ValueError(f"tcp: {', '.join(sorted(map(str, unknown)))} is none of active, passive and so")
        return types

    def _check_relay(self) -> None:
        if "relay" not in (self.policy, self.exposure):
            return
        if not any(url.relay for server in self.ice_servers for url in server.parsed):
            raise ValueError("a relay-only agent needs a relay: add a TURN server to servers")

    def _check_lite(self) -> None:
        """RFC 8445 2.5: a lite agent has host candidates and answers."""
        if self.ice_servers:
            raise ValueError(
                "a lite agent asks no servers: leave servers out, or lite if others cannot reach it"
            )
        if "host" not in self.types:
            raise ValueError("a lite agent has host candidates only: leave policy and candidate_types out")
        if self.mdns == "publish":
            raise ValueError('a lite agent is for everybody to reach: leave mdns="publish" out')
        if self.tcp_types is not None and self.tcp_types - {"passive"}:
            raise ValueError("a lite agent connects to nobody: of tcp it can have passive only")
        if self.nomination == "continuous" or self.renomination:
            raise ValueError("a lite agent nominates nothing anew: leave nomination and renomination out")


_latest: dict[bool, IceOptions] = {}


def _shared(options: IceOptions) -> IceOptions:
    """The same as one object for all agents of the process that are made alike, by role: a server has thousands."""
    if _latest.get(options.controlling) != options:
        _latest[options.controlling] = options
    return _latest[options.controlling]
