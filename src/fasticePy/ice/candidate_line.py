"""The grammar of candidate lines (RFC 8839 5.1, RFC 6544 4.5): reading them, and the parts of what we print.

Reading is tolerant of everything that browsers and other stacks are known to print; printing keeps to the letter
of the grammar. `fasticePy.ice.candidate.Candidate` has the methods that people call.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from typing import Literal, TypeAlias

from fasticePy.errors import ParseError
from fasticePy.ice.addresses import is_host_name, parse_ip, refusal

CandidateType: TypeAlias = Literal["host", "srflx", "prflx", "relay"]
TcpType: TypeAlias = Literal["active", "passive", "so"]

MAX_LINE_LENGTH = 1024
"""Longest candidate line that is read; the longest real ones have about 300 characters."""
MAX_FOUNDATION_LENGTH = 128
"""Longest foundation that is read; we print 32 at most (RFC 8839 5.1)."""
MAX_PAIRS = 32
"""Name and value pairs after the type that are read from one line."""
MAX_COMPONENT = 256
MAX_PRIORITY_SENT = 2**31 - 1
MAX_PRIORITY_READ = 2**32 - 1
"""Some peers exceed 2**31 - 1; PRIORITY in a check has 32 bits (RFC 8445 16.1)."""
MAX_PORT = 65535
DISCARD_PORT = 9
"""The port that says "none", in TCP-active candidates (RFC 6544 4.5) and hidden addresses (RFC 8839 5.1)."""

_TYPES: dict[str, CandidateType] = {"host": "host", "srflx": "srflx", "prflx": "prflx", "relay": "relay"}
_TCP_TYPES: dict[str, TcpType] = {"active": "active", "passive": "passive", "so": "so"}
_NAMED = frozenset({"raddr", "rport", "tcptype", "ufrag"})  # the pairs that have a field of their own
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4_TEXT = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_IPV4 = re.compile(_IPV4_TEXT)
_FOUNDATION = re.compile(r"[A-Za-z0-9+/]{1,32}")
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,253}")
_MDNS_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.local")
_SHOWN = 40  # characters of a bad value that an error text repeats

# Nearly all lines have the shape of `_COMMON`, and one match takes them apart. It accepts nothing that reading word by
# word would refuse or read otherwise; what it does not match is read word by word, which finds the words for errors.
_IPV4_UNICAST = rf"(?!0\.0\.0\.0 |2(?:2[4-9]|3[0-9])\.|255\.255\.255\.255 ){_IPV4_TEXT}"
# global and unique local ones in the spelling that needs no change (RFC 5952 4): all eight groups and no two zeros side
# by side, or six at most, none of them zero, and a gap
_IPV6_FIRST = r"(?:[23][0-9a-f]{3}|f[cd][0-9a-f]{2})"
_GROUP = r"[1-9a-f][0-9a-f]{0,3}"
_IPV6_WHOLE = rf"(?![0-9a-f:]*:0:0[: ]){_IPV6_FIRST}(?::(?:0|{_GROUP})){{7}}"
_IPV6_GAP = rf"(?!(?:[0-9a-f]*:){{7}}){_IPV6_FIRST}(?::{_GROUP})*::(?:{_GROUP}(?::{_GROUP})*)?"
_IPV6_UNICAST = rf"{_IPV6_WHOLE}|{_IPV6_GAP}"
_UUID_NAME = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.local"
_NO_PAIRS: tuple[None, None, tuple[tuple[str, str], ...]] = (None, None, ())
_COMMON = re.compile(
    r"(?:a=)?(?i:candidate:)?"
    rf"([!-~]{{0,{MAX_FOUNDATION_LENGTH}}}) "
    r"([0-9]{1,3}) "
    r"(udp|tcp|UDP|TCP) "
    r"([0-9]{1,10}) "
    rf"(?:({_IPV4_UNICAST}|{_IPV6_UNICAST}|{_UUID_NAME})|([!-~]+)) "
    r"([0-9]{1,5}) "
    r"typ (host|srflx|prflx|relay)"
    rf"(?: raddr (?:({_IPV4_TEXT})|([!-~]+)) rport ([0-9]{{1,5}}))?"
    r"(?: ([ -~]+))?",
    re.ASCII,
)


class UnsupportedCandidate(ParseError):
    """The line is well formed, but this is no candidate that we can use: an unknown transport or type, an address
    that is not one host's, or a name that is not an mDNS one. RFC 8839 5.1 asks to ignore such candidates and to
    use the others."""


Fields: TypeAlias = tuple[
    str,
    int,
    str,
    int,
    str,
    int,
    CandidateType,
    str | None,
    int | None,
    TcpType | None,
    str | None,
    tuple[tuple[str, str], ...],
]
"""What a candidate line says, in the order of the fields of `Candidate`."""


def shown(value: str) -> str:
    """`value` as an error text shows it: printable and short."""
    return ascii(value if len(value) <= _SHOWN else value[:_SHOWN] + "...")


def read_number(what: str, text: str, low: int, high: int) -> int:
    """A decimal number within limits. Raises ParseError, for digits that are not ASCII too: int() takes those."""
    # no number has more than 10 digits (RFC 8839 5.1), and int() of very many is slow
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ParseError(f"{what}: {shown(text)} is not a number of 1 to 10 digits")
    number = int(text)
    if not low <= number <= high:
        raise ParseError(f"{what}: {number} is not between {low} and {high}")
    return number


def read_candidate(line: str, *, names: bool = False) -> Fields:
    """Take a candidate line apart. `a=` or `a=candidate:` in front of it and blanks around it may be there or not. With
    `names`, any host name may stand in the place of the address.

    Raises ParseError when it breaks the grammar, `UnsupportedCandidate` when we cannot use what it says.
    """
    text = line.strip(" \t\r\n")
    return (None if names else _read_at_once(text)) or _read_words(text, names)


def _read_at_once(text: str) -> Fields | None:
    """A line of the common shape; None for all others, and for most that have an error in them."""
    match = _COMMON.fullmatch(text) if len(text) <= MAX_LINE_LENGTH else None
    if match is None:
        return None
    (
        foundation,
        component_text,
        transport,
        priority_text,
        address,
        other_address,
        port_text,
        type,
        related_address,
        other_related,
        related_port_text,
        rest,
    ) = match.groups()
    component, priority, port = int(component_text), int(priority_text), int(port_text)
    if not (0 < component <= MAX_COMPONENT and 0 < priority <= MAX_PRIORITY_READ and port <= MAX_PORT):
        return None
    related_port = None if related_port_text is None else int(related_port_text)
    if related_port is not None and related_port > MAX_PORT:
        return None
    pairs = _NO_PAIRS if rest is None else _read_pairs(rest)
    if pairs is None:
        return None
    tcptype, ufrag, extensions = pairs
    if other_related is not None:
        related_address = _read_related_address(other_related)
    transport = transport.lower()
    return (
        foundation,
        component,
        transport,
        priority,
        address or _read_address(other_address),
        port,
        _TYPES[type],
        related_address,
        related_port,
        _read_tcptype(tcptype, port) if transport == "tcp" else None,
        ufrag,
        extensions,
    )


@lru_cache(maxsize=256)  # the candidates of a session end alike
def _read_pairs(text: str) -> tuple[str | None, str | None, tuple[tuple[str, str], ...]] | None:
    """What follows the related address: `tcptype`, `ufrag`, the unknown pairs. None when it takes a closer look."""
    words = text.split()
    pairs = tuple(zip(words[::2], words[1::2], strict=False))  # a last name without a value says nothing
    named = dict(pairs)
    ufrag = named.get("ufrag")
    # of the pairs that a line may have, the related address may be two, if it is in its place
    if len(words) > 2 * (MAX_PAIRS - 2) or "raddr" in named or "rport" in named:
        return None
    if ufrag is not None and not _UFRAG.fullmatch(ufrag):
        return None
    return named.get("tcptype"), ufrag, tuple(pair for pair in pairs if pair[0] not in _NAMED)


def _read_words(text: str, names: bool = False) -> Fields:
    foundation, words = _split(text)
    component = read_number("component", words[0], 1, MAX_COMPONENT)
    priority = read_number("priority", words[2], 1, MAX_PRIORITY_READ)
    port = read_number("port", words[4], 0, MAX_PORT)
    pairs = tuple(zip(words[7::2], words[8::2], strict=False))  # a last name without a value says nothing
    named = dict(pairs)  # known names may come in any order
    related_address = _read_related_address(named["raddr"]) if "raddr" in named else None
    related_port = read_number("rport", named["rport"], 0, MAX_PORT) if "rport" in named else None
    ufrag = read_ufrag(named["ufrag"]) if "ufrag" in named else None
    # the grammar has been kept so far; from here on it is about what we support
    transport = words[1].lower()
    if transport not in ("udp", "tcp"):
        raise UnsupportedCandidate(f"transport: {shown(words[1])} is neither UDP nor TCP")
    type = _TYPES.get(words[6].lower())
    if type is None:
        raise UnsupportedCandidate(f"type: {shown(words[6])} is not host, srflx, prflx or relay")
    return (
        foundation,
        component,
        transport,
        priority,
        words[3].lower() if names and is_host_name(words[3]) else _read_address(words[3]),
        port,
        type,
        related_address,
        related_port,
        _read_tcptype(named.get("tcptype"), port) if transport == "tcp" else None,
        ufrag,
        tuple(pair for pair in pairs if pair[0] not in _NAMED),
    )


def _split(text: str) -> tuple[str, list[str]]:
    """The foundation of a candidate line and the words after it, at least seven, the sixth of them `typ`."""
    if len(text) > MAX_LINE_LENGTH:
        raise ParseError(f"candidate line: {len(text)} characters, the limit is {MAX_LINE_LENGTH}")
    if not (text.isascii() and text.isprintable()):
        raise ParseError(f"candidate line: {shown(text)} has characters that are not printable ASCII")
    text = text.removeprefix("a=")
    if text[:10].lower() == "candidate:":  # aioice and pion hand out lines without it
        text = text[10:]
    # the foundation goes up to the first blank, so that an empty one, as some peers print, does not shift the others
    foundation, _, rest = text.partition(" ")
    words = rest.split()
    if len(words) < 7:
        raise ParseError(f"candidate line: {len(words) + 1} fields, 8 are needed at least: {shown(text)}")
    if words[5].lower() != "typ":
        raise ParseError(f"candidate line: {shown(words[5])} in the place of 'typ'")
    if len(foundation) > MAX_FOUNDATION_LENGTH:
        raise ParseError(f"foundation: {len(foundation)} characters, the limit is {MAX_FOUNDATION_LENGTH}")
    if len(words) > 7 + 2 * MAX_PAIRS:
        raise ParseError(f"candidate line: more than {MAX_PAIRS} pairs after the type")
    return foundation, words


def read_ufrag(text: str) -> str:
    """A user fragment as it comes with a candidate. Raises ParseError."""
    if not _UFRAG.fullmatch(text):
        raise ParseError(f"ufrag: {shown(text)} is not 4 to 256 of A-Z a-z 0-9 + /")
    return text


def _read_tcptype(name: str | None, port: int) -> TcpType:
    if name is None:
        # peers older than RFC 6544 leave it out; who names no port can only be the one that connects
        return "active" if port in (0, DISCARD_PORT) else "passive"
    tcptype = _TCP_TYPES.get(name.lower())
    if tcptype is None:
        raise UnsupportedCandidate(f"tcptype: {shown(name)} is not active, passive or so")
    return tcptype


def canonical_ip(text: str) -> str | None:
    """A numeric IPv4 or IPv6 address in its usual spelling and without a scope, or None when it is none."""
    if _IPV4.fullmatch(text):  # most are: this is quicker than making an address object
        return text
    if ":" not in text:
        return None
    # the scope names an interface of the one who wrote it (RFC 4007 11), which tells us nothing
    ip = parse_ip(text)
    return None if ip is None else str(ip)


@lru_cache(maxsize=1024)
def _read_address(text: str) -> str:
    address = canonical_ip(text)
    if address is None:
        name = text.lower()
        # names of one label before ".local" are resolved by multicast DNS, all others are ignored
        # (draft-ietf-mmusic-mdns-ice-candidates 3.2.1)
        if _MDNS_NAME.fullmatch(name):
            return name
        raise UnsupportedCandidate(f"address: {shown(text)} is no IP address and no name under .local")
    reason = refusal(address)
    if reason is not None:
        raise UnsupportedCandidate(f"address: {shown(text)}: {reason}")
    return address


def _read_related_address(text: str) -> str:
    """It is for diagnostics only, so that names and unspecified addresses do no harm."""
    address = canonical_ip(text)
    if address is not None:
        return address
    if _NAME.fullmatch(text):
        return text.lower()
    raise ParseError(f"raddr: {shown(text)} is no address")


def printed_foundation(foundation: str) -> str:
    """A foundation that keeps to the grammar: the same for equal ones, another for others."""
    if _FOUNDATION.fullmatch(foundation):
        return foundation
    return sha256(foundation.encode()).hexdigest()[:32]


def printed_address(address: str) -> str:
    """An address as others may read it: without the scope, which is ours alone."""
    return address.partition("%")[0]


def printed_related(address: str, related_address: str | None, related_port: int | None) -> str:
    """`raddr` and `rport` of a candidate with this address; hidden when they are unknown (RFC 8839 5.1)."""
    related = printed_address(related_address or "")
    if related_port is None or canonical_ip(related) is None or related in ("0.0.0.0", "::"):
        return f"raddr {'::' if ':' in address else '0.0.0.0'} rport {DISCARD_PORT}"
    return f"raddr {related} rport {related_port}"


def printed_extension(name: str, value: str) -> str:
    """One extension pair. Raises ValueError when a part is empty or has a blank, which would shift the rest."""
    if not name or not value or " " in name or " " in value:
        raise ValueError(f"candidate extension: {shown(name)} {shown(value)} is not a name and a value")
    return f"{name} {value}"
