"""ICE attributes in SDP: finding them in a session description, and writing them (RFC 8839 5, RFC 9143).

This is no SDP library: whatever is not about ICE is passed over. People use `Description` of
`fasticePy.ice.signalling.description`; `application/trickle-ice-sdpfrag` is in `fasticePy.ice.signalling.sdpfrag`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from fasticePy.errors import ParseError
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.candidate_line import (
    MAX_COMPONENT,
    MAX_PORT,
    canonical_ip,
    printed_address,
    read_number,
    shown,
)
from fasticePy.ice.credentials import Credentials

MAX_SDP_LENGTH = 1 << 20
"""Longest session description, in characters, that is read."""
MAX_CANDIDATES = 200
"""Candidates that are taken from one description; the agent's own limit is no higher by default."""
MAX_OPTIONS = 32
"""Tags of `ice-options` that are taken from one description."""
MAX_IGNORED = 50
"""Lines left out that are recorded with their reason."""
MAX_IGNORED_LINE = 200
"""Characters of a line left out that are recorded."""
MAX_PACING = 10**10 - 1
"""The largest number that `ice-pacing` can carry (RFC 8839 5.5)."""

RemoteCandidate: TypeAlias = tuple[int, str, int]
"""Component, address and port in `remote-candidates`; the address may be a name in lower case."""

_LINE_END = re.compile(r"\r\n|\n|\r")  # not str.splitlines, which also splits at U+2028 and the like
_OPTION = re.compile(r"[A-Za-z0-9+/]{1,64}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,253}")


@dataclass(slots=True)
class Section:
    """One level of a session description: the session itself, or what one m= line begins."""

    media: str | None = None
    """The m= line without `m=`; None for the session level."""
    connection: str | None = None
    """The c= line without `c=`."""
    attributes: dict[str, list[str]] = field(default_factory=dict)
    """Values by the attribute's name in lower case; an attribute without a value has an empty one."""

    def first(self, name: str) -> str | None:
        """The first value of an attribute, or None."""
        values = self.attributes.get(name)
        return None if values is None else values[0].strip()

    @property
    def port(self) -> str | None:
        """The port of the m= line as it is written, `9` or `49170/2`."""
        words = (self.media or "").split(maxsplit=2)
        return words[1] if len(words) > 1 else None

    @property
    def rejected(self) -> bool:
        """Port 0 disables a stream (RFC 3264 8.2), unless it shares another one's transport (RFC 9143 6)."""
        return self.port == "0" and "bundle-only" not in self.attributes


@dataclass(slots=True)
class IceAttributes:
    """What one stream of a session description says about ICE, both levels taken together."""

    ufrag: str
    pwd: str = field(repr=False)
    candidates: list[Candidate] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    lite: bool = False
    pacing_ms: int | None = None
    complete: bool = False
    ignored: list[tuple[str, str]] = field(default_factory=list)

    def ignore(self, line: str, reason: str) -> None:
        """Record a line that is left out."""
        if len(self.ignored) < MAX_IGNORED:
            shortened = line if len(line) <= MAX_IGNORED_LINE else line[:MAX_IGNORED_LINE] + "..."
            self.ignored.append((shortened, reason))

    def add_candidate(self, line: str) -> None:
        """Add the candidate of a candidate line, or record why it is left out (RFC 8839 5.1)."""
        try:
            candidate = Candidate.from_sdp(line)
        except ParseError as error:
            self.ignore(line, str(error))
            return
        if candidate.ufrag not in (None, self.ufrag):
            self.ignore(line, "it belongs to another generation (RFC 8838 9)")
        elif len(self.candidates) >= MAX_CANDIDATES:
            self.ignore(line, f"there are more than {MAX_CANDIDATES}")
        else:
            self.candidates.append(candidate)

    def add_options(self, tags: Iterable[str]) -> None:
        """Add tags of `ice-options`. Unknown ones stay in: they may mean something to the application."""
        for tag in tags:
            if not _OPTION.fullmatch(tag):
                self.ignore(f"ice-options:{tag}", "this is no option tag (RFC 8839 5.6)")
            elif tag not in self.options and len(self.options) >= MAX_OPTIONS:
                self.ignore(f"ice-options:{tag}", f"there are more than {MAX_OPTIONS}")
            elif tag not in self.options:
                self.options.append(tag)

    def set_pacing(self, text: str) -> None:
        """Take over a wish for the pace in milliseconds, or record why not: then the default counts."""
        try:
            self.pacing_ms = read_number("ice-pacing", text, 0, MAX_PACING)
        except ParseError as error:
            self.ignore(f"ice-pacing:{text}", str(error))


def read_sections(text: str) -> list[Section]:
    """Split a description into its levels, the session's first. Raises ParseError when it is too long."""
    if len(text) > MAX_SDP_LENGTH:
        raise ParseError(f"SDP: {len(text)} characters, the limit is {MAX_SDP_LENGTH}")
    sections = [Section()]
    for raw in _LINE_END.split(text):
        line = raw.strip(" \t")
        kind, value = line[:2], line[2:]
        if kind == "m=":
            sections.append(Section(media=value))
        elif kind == "c=":
            sections[-1].connection = value
        elif kind == "a=" or line[1:2] != "=":  # attributes are often passed around without their a=
            name, _, value = (value if kind == "a=" else line).partition(":")
            sections[-1].attributes.setdefault(name.strip().lower(), []).append(value)
    return sections


def read_ice(text: str, mid: str | None = None) -> IceAttributes:
    """The ICE attributes of one stream of a description, or of plain attribute lines without any m= line.

    `mid` chooses the stream, or, when that is bundled, the one whose transport it shares; without it the first
    stream that uses ICE is meant. Candidates that we cannot use are left out and recorded in `ignored`.
    Raises ParseError when there is no such stream, or when it has no proper ufrag and pwd.
    """
    session, *streams = read_sections(text)
    check_passwords(session, streams)
    stream = _chosen(session, streams, mid) if streams else Section()
    ufrag, pwd = credentials_of(session, stream)
    if ufrag is None or pwd is None:
        missing = "ice-ufrag" if ufrag is None else "ice-pwd"
        raise ParseError(f"SDP: no {missing}: this description does not offer ICE (RFC 8839 4.2.5)")
    check_credentials(ufrag, pwd)
    ice = IceAttributes(ufrag, pwd)
    for section in (session, stream):
        _read_attributes(ice, section)
    return ice


def session_ice(session: Section) -> IceAttributes:
    """What the session level says for all streams, without credentials. Candidates are no part of it: they belong to
    a stream (RFC 8839 5.1)."""
    common = IceAttributes("", "")
    _read_attributes(common, session, with_candidates=False)
    return common


def stream_ice(common: IceAttributes, session: Section, stream: Section) -> IceAttributes | None:
    """The ICE attributes of one of many streams, `common` being those of the session level; None when it does not
    offer ICE (RFC 8839 4.2.5). Raises ParseError when ufrag or pwd are not proper ones."""
    ufrag, pwd = credentials_of(session, stream)
    if ufrag is None or pwd is None:
        return None
    check_credentials(ufrag, pwd)
    ice = replace(
        common, ufrag=ufrag, pwd=pwd, candidates=[], options=[*common.options], ignored=[*common.ignored]
    )
    _read_attributes(ice, stream)
    return ice


def _read_attributes(ice: IceAttributes, section: Section, *, with_candidates: bool = True) -> None:
    attributes = section.attributes
    if with_candidates:
        for value in attributes.get("candidate", ()):
            ice.add_candidate(f"candidate:{value}")
    for value in attributes.get("ice-options", ()):
        ice.add_options(value.split())
    pacing = section.first("ice-pacing")
    if pacing is not None:
        ice.set_pacing(pacing)
    ice.lite = ice.lite or "ice-lite" in attributes
    ice.complete = ice.complete or "end-of-candidates" in attributes


def credentials_of(session: Section, stream: Section) -> tuple[str | None, str | None]:
    """The ufrag and pwd of a stream; its own level has precedence over the session's (RFC 8839 5.4)."""
    ufrag, pwd = stream.first("ice-ufrag"), stream.first("ice-pwd")
    return (
        session.first("ice-ufrag") if ufrag is None else ufrag,
        session.first("ice-pwd") if pwd is None else pwd,
    )


def check_credentials(ufrag: str, pwd: str) -> None:
    """Raise ParseError when one is too short, too long or has other characters (RFC 8839 5.4)."""
    try:
        Credentials(ufrag, pwd)
    except ValueError as error:  # its text repeats neither of them
        raise ParseError(f"description: {error}") from None


def check_passwords(session: Section, streams: Sequence[Section]) -> None:
    """Raise ParseError when two streams have the same ufrag but different passwords (RFC 8839 5.4)."""
    known: dict[str, str | None] = {}
    for stream in streams:
        ufrag, pwd = credentials_of(session, stream)
        if ufrag is not None and not stream.rejected and known.setdefault(ufrag, pwd) != pwd:
            raise ParseError(f"SDP: two streams with the ice-ufrag {shown(ufrag)} have different ice-pwd")


def _chosen(session: Section, streams: Sequence[Section], mid: str | None) -> Section:
    if mid is None:
        for stream in streams:
            if not stream.rejected and None not in credentials_of(session, stream):
                return stream
        raise ParseError("SDP: no m= section has ice-ufrag and ice-pwd (RFC 8839 4.2.5)")
    by_mid = {stream.first("mid"): stream for stream in reversed(streams)}
    if mid not in by_mid:
        raise ParseError(f"SDP: no m= section has the mid {shown(mid)}")
    # the first of a group that is not disabled has the transport of all (RFC 9143 7.2, 7.3.1)
    group = next((mids for mids in bundle_groups(session) if mid in mids), [mid])
    shared = (by_mid[name] for name in group if name in by_mid)
    return next((stream for stream in shared if stream.port != "0"), by_mid[mid])


def bundle_groups(session: Section) -> list[list[str]]:
    """The mids of each BUNDLE group, in order (RFC 9143 5)."""
    groups = [value.split() for value in session.attributes.get("group", ())]
    return [words[1:] for words in groups if words and words[0].upper() == "BUNDLE"]


def session_lines(options: Sequence[str], *, lite: bool, pacing_ms: int | None) -> list[str]:
    """The attribute lines of the session level (RFC 8839 5.3, 5.5, 5.6). Raises ValueError for a bad option."""
    lines = ["a=ice-lite"] if lite else []
    if options:
        lines.append("a=ice-options:" + " ".join(_printed_option(tag) for tag in options))
    # a lite agent makes no checks, so it has no pace (RFC 8839 4.3.1)
    if pacing_ms is not None and not lite:
        lines.append(f"a=ice-pacing:{pacing_ms}")
    return lines


def _printed_option(tag: str) -> str:
    if not _OPTION.fullmatch(tag):
        raise ValueError(f"ICE option {shown(tag)} may only have the characters A-Z a-z 0-9 + /, 64 at most")
    return tag


def credential_lines(ufrag: str, pwd: str) -> list[str]:
    """User fragment and password, for either level (RFC 8839 5.4)."""
    return [f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{pwd}"]


def candidate_lines(candidates: Iterable[Candidate], *, complete: bool) -> list[str]:
    """Candidates in their order, and end-of-candidates when these are all (RFC 8839 5.1, RFC 8840 8.2)."""
    lines = [f"a={candidate.to_sdp()}" for candidate in candidates]
    return [*lines, "a=end-of-candidates"] if complete else lines


def read_remote_candidates(values: Iterable[str]) -> tuple[RemoteCandidate, ...]:
    """What the `remote-candidates` attributes of one m= section say, by component (RFC 8839 5.2).

    `values` are those of all its lines: peers print one line for each component, or one for all. Raises ParseError
    when a part is missing or wrong, or a component is there twice.
    """
    words = [word for value in values for word in value.split()]
    if len(words) > 3 * MAX_COMPONENT or len(words) % 3:
        raise ParseError(f"remote-candidates: {len(words)} words, not three for each of 1 to 256 components")
    found: dict[int, RemoteCandidate] = {}
    for component_text, address, port in zip(words[::3], words[1::3], words[2::3], strict=True):
        component = read_number("remote-candidates: component", component_text, 1, MAX_COMPONENT)
        if component in found:
            raise ParseError(f"remote-candidates: component {component} is there twice")
        host = read_host("remote-candidates", address)
        found[component] = (component, host, read_number("remote-candidates: port", port, 0, MAX_PORT))
    return tuple(found[component] for component in sorted(found))


def read_host(what: str, text: str) -> str:
    """A numeric address in its usual spelling, or a name in lower case. Raises ParseError when it is neither."""
    host = canonical_ip(text)
    if host is None and not _NAME.fullmatch(text):
        raise ParseError(f"{what}: {shown(text)} is no address")
    return text.lower() if host is None else host


def remote_candidates_line(candidates: Iterable[RemoteCandidate]) -> str:
    """One `remote-candidates` line for all components (RFC 8839 5.2)."""
    parts = (f"{component} {printed_address(host)} {port}" for component, host, port in sorted(candidates))
    return "a=remote-candidates:" + " ".join(parts)
