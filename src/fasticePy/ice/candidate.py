"""Candidates: what they are, their priorities and foundations (RFC 8445 5.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from fasticePy.errors import ParseError
from fasticePy.ice import candidate_line
from fasticePy.ice.candidate_line import CandidateType, TcpType, UnsupportedCandidate
from fasticePy.machine import Address

__all__ = [
    "MAX_LOCAL_PREFERENCE",
    "TYPE_PREFERENCES",
    "Candidate",
    "CandidateType",
    "FoundationTable",
    "TcpType",
    "UnsupportedCandidate",
    "candidate_priority",
    "prflx_priority",
    "tcp_preference",
]

MAX_JSON_LENGTH = 2 * candidate_line.MAX_LINE_LENGTH
"""Longest JSON of a single candidate that is read."""
TYPE_PREFERENCES: dict[CandidateType, int] = {"host": 126, "prflx": 110, "srflx": 100, "relay": 0}
"""Recommended type preferences (RFC 8445 5.1.2.2)."""
TCP_TYPE_PREFERENCES: dict[CandidateType, int] = {"host": 90, "prflx": 80, "srflx": 70, "relay": 0}
"""Below those of all direct UDP candidates, as real-time media wants it (RFC 6544 4.2)."""
MAX_LOCAL_PREFERENCE = 65535
_TCP_DIRECTIONS: dict[TcpType, int] = {"active": 6, "passive": 4, "so": 2}


def candidate_priority(
    type: CandidateType, local_preference: int, component: int, transport: str = "udp"
) -> int:
    """The priority of a candidate (RFC 8445 5.1.2.1, RFC 6544 4.2): 1 to 2**31 - 1, higher is better."""
    preferences = TYPE_PREFERENCES if transport == "udp" else TCP_TYPE_PREFERENCES
    return (preferences[type] << 24) | (local_preference << 8) | (256 - component)


def tcp_preference(tcptype: TcpType, other: int) -> int:
    """The local preference of a TCP host candidate: its direction, and 0 to 8191 for all else (RFC 6544 4.2)."""
    return (_TCP_DIRECTIONS[tcptype] << 13) + other


def prflx_priority(priority: int, transport: str = "udp") -> int:
    """The same with the peer-reflexive type preference: what a check puts in PRIORITY (RFC 8445 7.1.1)."""
    preferences = TYPE_PREFERENCES if transport == "udp" else TCP_TYPE_PREFERENCES
    return (preferences["prflx"] << 24) | (priority & 0xFFFFFF)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A transport address at which an agent may be reached (RFC 8445 5.1, RFC 8839 5.1).

    `address` is a numeric IP address, or, in a candidate from a peer only, a name such as `uuid.local`.
    `related_address` and `related_port` are None for host candidates.
    """

    foundation: str
    component: int
    transport: str
    """Lower case: "udp" or "tcp"."""
    priority: int
    address: str
    port: int
    type: CandidateType
    related_address: str | None = None
    related_port: int | None = None
    tcptype: TcpType | None = None
    ufrag: str | None = None
    """The generation that it belongs to (RFC 8838 9); None when the signalling does not say."""
    extensions: tuple[tuple[str, str], ...] = ()
    """Other name and value pairs of the candidate line, in order (RFC 8839 5.1)."""

    def __str__(self) -> str:
        return self.to_sdp()

    @property
    def transport_address(self) -> Address:
        """Address and port as machines use them."""
        return (self.address, self.port)

    @property
    def ip_version(self) -> int:
        """4 or 6; a colon means IPv6 (RFC 8839 5.1)."""
        return 6 if ":" in self.address else 4

    @classmethod
    def from_sdp(cls, line: str, *, names: bool = False) -> Candidate:
        """Read a candidate line, with or without `a=` in front (RFC 8839 5.1). With `names`, any host name may stand
        in the place of the address (`IceOptions.resolve_names`), else only those of mDNS.

        Raises ParseError, whose text says which field was wrong. When the line is well formed, and the candidate
        of a kind that we cannot use and that RFC 8839 asks to ignore, it is its subclass `UnsupportedCandidate`.
        """
        return _of_fields(cls, candidate_line.read_candidate(line, names=names))

    @classmethod
    def parse(cls, text: str | Mapping[str, Any], *, names: bool = False) -> Candidate | None:
        """Read what signalling carries: a candidate line, or W3C's RTCIceCandidateInit as JSON or as a mapping
        (`candidate`, `usernameFragment`; `sdpMid` and others are left to the caller). For `names` see `from_sdp`.

        None means end-of-candidates: empty text, JSON `null`, an empty candidate, or `end-of-candidates`.
        Raises ParseError as `from_sdp` does.
        """
        if not isinstance(text, str):
            return cls._from_init(text, names)
        text = text.strip()
        if text.startswith("{") or text == "null":
            return cls._from_json(text, names)
        if text in ("", "end-of-candidates", "a=end-of-candidates"):
            return None
        return cls.from_sdp(text, names=names)

    @classmethod
    def _from_json(cls, text: str, names: bool) -> Candidate | None:
        if len(text) > MAX_JSON_LENGTH:
            raise ParseError(f"candidate JSON: {len(text)} characters, the limit is {MAX_JSON_LENGTH}")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ParseError(f"candidate JSON: {error}") from None
        return None if value is None else cls._from_init(value, names)

    @classmethod
    def _from_init(cls, value: Mapping[str, Any], names: bool) -> Candidate | None:
        line = value.get("candidate")
        if not isinstance(line, str):
            raise ParseError("candidate JSON: no text under the key 'candidate'")
        if not line.strip():
            return None
        candidate = cls.from_sdp(line, names=names)
        ufrag = value.get("usernameFragment")
        if candidate.ufrag is None and isinstance(ufrag, str) and ufrag:
            return replace(candidate, ufrag=candidate_line.read_ufrag(ufrag))
        return candidate

    def to_sdp(self) -> str:
        """The candidate line, without `a=` (RFC 8839 5.1).

        It keeps to the grammar whatever a peer's line was like: no scope, no priority above 2**31 - 1, a
        foundation of ice-chars, related address and port for all but host candidates. Raises ValueError when a
        field that the application made has characters that would break the line.
        """
        foundation = candidate_line.printed_foundation(self.foundation)
        priority = min(self.priority, candidate_line.MAX_PRIORITY_SENT)
        address = candidate_line.printed_address(self.address)
        parts = [
            f"candidate:{foundation} {self.component} {self.transport} {priority} {address} {self.port}",
            f"typ {self.type}",
        ]
        if self.type != "host":
            parts.append(candidate_line.printed_related(address, self.related_address, self.related_port))
        if self.tcptype is not None:
            parts.append(f"tcptype {self.tcptype}")
        if self.ufrag is not None:
            parts.append(f"ufrag {self.ufrag}")
        parts.extend(candidate_line.printed_extension(name, value) for name, value in self.extensions)
        line = " ".join(parts)
        if not (line.isascii() and line.isprintable()):
            raise ValueError(f"candidate line: {line!a} has characters that are not printable ASCII")
        return line

    def to_json(self) -> str:
        """W3C's RTCIceCandidateInit, for a browser's `new RTCIceCandidate()` once `sdpMid` is added."""
        return json.dumps({"candidate": self.to_sdp(), "usernameFragment": self.ufrag})


# A frozen dataclass sets its fields by `object.__setattr__`, which takes longer than reading a line; its slots do not.
(
    _set_foundation,
    _set_component,
    _set_transport,
    _set_priority,
    _set_address,
    _set_port,
    _set_type,
    _set_related_address,
    _set_related_port,
    _set_tcptype,
    _set_ufrag,
    _set_extensions,
) = (getattr(Candidate, each.name).__set__ for each in fields(Candidate))


def _of_fields(cls: type[Candidate], values: candidate_line.Fields) -> Candidate:
    """What `cls(*values)` makes."""
    candidate = object.__new__(cls)
    (
        foundation,
        component,
        transport,
        priority,
        address,
        port,
        type,
        raddr,
        rport,
        tcptype,
        ufrag,
        others,
    ) = values
    _set_foundation(candidate, foundation)
    _set_component(candidate, component)
    _set_transport(candidate, transport)
    _set_priority(candidate, priority)
    _set_address(candidate, address)
    _set_port(candidate, port)
    _set_type(candidate, type)
    _set_related_address(candidate, raddr)
    _set_related_port(candidate, rport)
    _set_tcptype(candidate, tcptype)
    _set_ufrag(candidate, ufrag)
    _set_extensions(candidate, others)
    return candidate


class FoundationTable:
    """Gives equal foundations to candidates of equal type, base address, server address and transport, and to
    no others (RFC 8445 5.1.1.3)."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str, str], str] = {}

    def foundation(self, type: CandidateType, base_address: str, server_address: str, transport: str) -> str:
        """The foundation of these four; `server_address` is empty for host and peer-reflexive candidates."""
        key = (type, base_address, server_address, transport)
        return self._known.setdefault(key, str(len(self._known) + 1))
