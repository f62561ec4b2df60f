"""ICE attributes in SDP: finding them in a session description, and writing them (RFC 8839 5, RFC 8838 13, RFC 9143).

This is no SDP library: whatever is not about ICE is passed over. `fasticePy.ice.description.Description` is what
people use; `application/trickle-ice-sdpfrag` is in `fasticePy.ice.sdpfrag`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from fasticePy.errors import ParseError
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.candidate_line import read_number, shown
from fasticePy.ice.credentials import Credentials

MAX_SDP_LENGTH = 1 << 20
"""Longest session description, in characters, that is read."""
MAX_CANDIDATES = 200
"""Candidates that are taken from one description; the agent's own limit is no higher by default."""
MAX_IGNORED = 50
"""Lines left out that are recorded with their reason."""
MAX_OPTIONS = 32
"""Tags of `ice-options` that are read."""
MAX_IGNORED_LINE = 200
"""Characters of a line left out that are recorded."""

MAX_PACING = 10**10 - 1
"""The largest number that `ice-pacing` can carry (RFC 8839 5.5)."""

_LINE_END = re.compile(r"\r\n|\n|\r")  # not str.splitlines, which also splits at U+2028 and the like
# "-" and the like are no ice-chars, yet there are tags with them
_OPTION = re.compile(r"[A-Za-z0-9+/_.:-]{1,64}")


@dataclass(slots=True)
class Section:
    """One level of a session description: the session itself, or what one m= line begins."""

    media: str | None = None
    """The m= line without `m=`; None for the session level."""
    connection: str | None = None
    """The c= line without `c=`."""
    attributes: list[tuple[str, str]] = field(default_factory=list)
    """Names in lower case, and values; an attribute without value has an empty one."""

    def values(self, name: str) -> Iterator[str]:
        """All values of an attribute, in order."""
        return (value for key, value in self.attributes if key == name)

    def first(self, name: str) -> str | None:
        """The first value of an attribute, or None."""
        return next(self.values(name), None)

    @property
    def port(self) -> str | None:
        """The port of the m= line as it is written, `9` or `49170/2`."""
        words = (self.media or "").split()
        return words[1] if len(words) > 1 else None

    @property
    def rejected(self) -> bool:
        """Port 0 disables a stream (RFC 3264 8.2), unless it shares the transport of another one (RFC 9143 6)."""
        return self.port == "0" and self.first("bundle-only") is None


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


def read_sections(text: str) -> list[Section]:
    """Split a description into its levels; the first is the session's. Raises ParseError when it is too long."""
    if len(text) > MAX_SDP_LENGTH:
        raise ParseError(f"SDP: {len(text)} characters, the limit is {MAX_SDP_LENGTH}")
    sections = [Section()]
    for raw in _LINE_END.split(text):
        line = raw.strip(" \t")
        kind, value = line[:2].lower(), line[2:]
        if kind == "m=":
            sections.append(Section(media=value))
        elif kind == "c=":
            sections[-1].connection = value
        elif kind == "a=" or line[1:2] != "=":  # attribute lines are often passed around without their a=
            name, _, value = (value if kind == "a=" else line).partition(":")
            if name:
                sections[-1].attributes.append((name.strip().lower(), value))
    return sections


def bundle_groups(session: Section) -> list[list[str]]:
    """The mids of each BUNDLE group; the first one of a group has the transport of all (RFC 9143 7.2)."""
    words = (value.split() for value in session.values("group"))
    return [mids[1:] for mids in words if mids and mids[0].upper() == "BUNDLE"]


def read_ice(text: str, mid: str | None = None) -> IceAttributes:
    """The ICE attributes of one stream of a description, or of plain attribute lines without any m= line.

    `mid` chooses the stream, or, when that is bundled, the one whose transport it shares; without it the first stream
    that uses ICE is meant. Candidates that we cannot use are left out and recorded in `ignored`.
    Raises ParseError when there is no such stream or it has no proper ufrag and pwd.
    """
    session, *streams = read_sections(text)
    check_passwords([session, *streams])
    stream = _chosen(session, streams, mid) if streams else Section()
    ufrag, pwd = _both(session, stream, "ice-ufrag"), _both(session, stream, "ice-pwd")
    if ufrag is None or pwd is None:
        missing = "ice-ufrag" if ufrag is None else "ice-pwd"
        raise ParseError(f"SDP: no {missing}: this description does not offer ICE (RFC 8839 4.2.5)")
    check_credentials(ufrag, pwd)
    ice = IceAttributes(ufrag, pwd)
    for section in (session, stream):
        _read_attributes(ice, section)
    return ice


def check_credentials(ufrag: str, pwd: str) -> None:
    """Raise ParseError when a ufrag or pwd is too short, too long or has other characters (RFC 8839 5.4)."""
    try:
        Credentials(ufrag, pwd)
    except ValueError as error:  # its text repeats neither of them
        raise ParseError(f"SDP: {error}") from None


def check_passwords(sections: Sequence[Section]) -> None:
    """Raise ParseError when two streams have the same ufrag but different passwords (RFC 8839 5.4)."""
    session = sections[0]
    known: dict[str, str | None] = {}
    for section in sections[1:]:
        ufrag, pwd = _both(session, section, "ice-ufrag"), _both(session, section, "ice-pwd")
        if ufrag is not None and known.setdefault(ufrag, pwd) != pwd:
            raise ParseError(f"SDP: two streams with the ice-ufrag {shown(ufrag)} have different ice-pwd")


def _both(session: Section, stream: Section, name: str) -> str | None:
    """An attribute of a stream; its own level has precedence (RFC 8839 5.4)."""
    value = stream.first(name)
    value = session.first(name) if value is None else value
    return None if value is None else value.strip()


def _chosen(session: Section, streams: list[Section], mid: str | None) -> Section:
    if mid is None:
        for stream in streams:
            usable = not stream.rejected and _both(session, stream, "ice-ufrag") is not None
            if usable and _both(session, stream, "ice-pwd") is not None:
                return stream
        raise ParseError("SDP: no m= section has ice-ufrag and ice-pwd (RFC 8839 4.2.5)")
    by_mid = {stream.first("mid"): stream for stream in reversed(streams)}
    if mid not in by_mid:
        raise ParseError(f"SDP: no m= section has the mid {shown(mid)}")
    group = next((group for group in bundle_groups(session) if mid in group), [mid])
    shared = (by_mid[name] for name in group if name in by_mid)
    return next((stream for stream in shared if stream.port != "0"), by_mid[mid])


def _read_attributes(ice: IceAttributes, section: Section) -> None:
    for name, value in section.attributes:
        if name == "candidate":
            add_candidate(ice, f"candidate:{value}")
        elif name == "ice-options":
            add_options(ice, value.split())
        elif name == "ice-lite":
            ice.lite = True
        elif name == "ice-pacing":
            add_pacing(ice, value.strip())
        elif name == "end-of-candidates":
            ice.complete = True


def add_candidate(ice: IceAttributes, line: str) -> None:
    """Add the candidate of a candidate line, or record why it is left out (RFC 8839 5.1)."""
    try:
        candidate = Candidate.from_sdp(line)
    except ParseError as error:
        ice.ignore(line, str(error))
        return
    if candidate.ufrag not in (None, ice.ufrag):
        ice.ignore(line, "it belongs to another generation (RFC 8838 9)")
    elif len(ice.candidates) >= MAX_CANDIDATES:
        ice.ignore(line, f"there are more than {MAX_CANDIDATES}")
    else:
        ice.candidates.append(candidate)


def add_options(ice: IceAttributes, tags: Iterable[str]) -> None:
    """Add tags of `ice-options`. Unknown ones stay in: they may mean something to the application (RFC 8839 5.6)."""
    for tag in tags:
        if not _OPTION.fullmatch(tag):
            ice.ignore(f"ice-options:{tag}", "this is no option tag")
        elif tag not in ice.options and len(ice.options) >= MAX_OPTIONS:
            ice.ignore(f"ice-options:{tag}", f"there are more than {MAX_OPTIONS}")
        elif tag not in ice.options:
            ice.options.append(tag)


def add_pacing(ice: IceAttributes, text: str) -> None:
    """Take over a wish for the pace in milliseconds, or record why not: then the default counts (RFC 8839 5.5)."""
    try:
        ice.pacing_ms = read_number("ice-pacing", text, 0, MAX_PACING)
    except ParseError as error:
        ice.ignore(f"ice-pacing:{text}", str(error))


def session_lines(options: Sequence[str], *, lite: bool, pacing_ms: int | None) -> list[str]:
    """The attribute lines of the session level. Raises ValueError when an option is no tag (RFC 8839 5.3, 5.5, 5.6)."""
    lines = ["a=ice-lite"] if lite else []
    if options:
        lines.append("a=ice-options:" + " ".join(printed_option(tag) for tag in options))
    # a lite agent makes no checks, so it has no pace (RFC 8839 4.3.1)
    if pacing_ms is not None and not lite:
        lines.append(f"a=ice-pacing:{pacing_ms}")
    return lines


def media_lines(ufrag: str, pwd: str, candidates: Iterable[Candidate], *, complete: bool) -> list[str]:
    """The attribute lines of a stream (RFC 8839 5.1, 5.4, RFC 8838 13)."""
    lines = [f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{pwd}"]
    lines.extend(candidate_lines(candidates, complete=complete))
    return lines


def candidate_lines(candidates: Iterable[Candidate], *, complete: bool) -> list[str]:
    """Candidates in their order, and end-of-candidates when they are all."""
    lines = [f"a={candidate.to_sdp()}" for candidate in candidates]
    if complete:
        lines.append("a=end-of-candidates")
    return lines


def printed_option(tag: str) -> str:
    """A tag of `ice-options`. Raises ValueError when it is none, for it would break the line."""
    if not _OPTION.fullmatch(tag):
        raise ValueError(f"ICE option {shown(tag)} is no tag")
    return tag
