"""`application/trickle-ice-sdpfrag`: bodies that carry trickled candidates in SIP INFO or WHIP (RFC 8840 4.4, 9)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fasticePy.errors import ParseError
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.signalling import sdp
from fasticePy.ice.signalling.description import Description

MIME_TYPE = "application/trickle-ice-sdpfrag"
DEFAULT_MEDIA = "audio 9 RTP/AVP 0"
"""The pseudo m= line when the real one is not known (RFC 8840 4.4)."""
MAX_KNOWN = 1000
"""Candidates of one generation that a reader remembers; further ones are ignored."""


@dataclass(frozen=True, slots=True)
class FragmentStream:
    """The part of a fragment that is about one m= section."""

    mid: str
    description: Description
    """Its candidates are all so far, those of earlier fragments too, in the same order."""
    media: str = DEFAULT_MEDIA
    """The m= line without `m=`."""


def write_fragment(
    streams: Iterable[FragmentStream], *, session_credentials: bool = False, complete: bool = False
) -> str:
    """The body for these streams; every fragment repeats all candidates so far (RFC 8840 4.4).

    `session_credentials` puts ufrag and pwd in front of the first m= line; they must stand where the offer or
    answer has them. `complete` says that nothing more will come for the whole session; for one stream its
    description says that. Raises ValueError when streams that shall share credentials have different ones, when
    there is no stream, or when a mid or m= line would break the body.
    """
    streams = list(streams)
    if not streams:
        raise ValueError("a fragment needs a stream: without ufrag and pwd it belongs to no generation")
    first = streams[0].description
    lines: list[str] = []
    if session_credentials:
        if any(
            (each.description.ufrag, each.description.pwd) != (first.ufrag, first.pwd) for each in streams
        ):
            raise ValueError("streams with different credentials cannot have them at session level")
        lines += sdp.credential_lines(first.ufrag, first.pwd)
    if complete:
        lines.append("a=end-of-candidates")
    for stream in streams:
        lines += _stream_lines(stream, with_credentials=not session_credentials)
    return "".join(f"{line}\r\n" for line in lines)


def _stream_lines(stream: FragmentStream, *, with_credentials: bool) -> list[str]:
    if not stream.mid or not stream.mid.isascii() or not stream.mid.isprintable() or " " in stream.mid:
        raise ValueError(f"mid {stream.mid!a} is no token")
    if not stream.media.isprintable():
        raise ValueError(f"m= line {stream.media!a} has characters that are not printable")
    description = stream.description
    lines = [f"m={stream.media}"]
    if with_credentials:
        lines += sdp.credential_lines(description.ufrag, description.pwd)
    # nothing may come between the mid and its candidates (RFC 8840 4.4)
    lines.append(f"a=mid:{stream.mid}")
    return lines + sdp.candidate_lines(description.candidates, complete=description.complete)


@dataclass(frozen=True, slots=True)
class FragmentNews:
    """What a fragment told that was not known before."""

    candidates: tuple[Candidate, ...] = ()
    """New ones, in the order of the body."""
    complete: bool = False
    """No more candidates will come."""
    ignored: tuple[tuple[str, str], ...] = ()
    """Lines, or the ufrag of a whole section, that were left out, each with the reason."""


class FragmentReader:
    """Reads the fragments that a peer sends for one of its descriptions, and hands on each candidate once.

    `description` is the peer's; candidates in it are known already. `mid` chooses one m= section; without it every
    section with the credentials of the description counts, which is right for bundled streams.
    """

    __slots__ = ("_known", "_mid", "_pwd", "_ufrag")

    def __init__(self, description: Description, mid: str | None = None) -> None:
        self._ufrag = description.ufrag
        self._pwd = description.pwd
        self._mid = mid
        self._known = {_identity(candidate) for candidate in description.candidates}

    def read(self, text: str) -> FragmentNews:
        """Take one body. Sections of another generation are ignored (RFC 8840 4.4).

        Raises ParseError when a section has no ufrag or pwd, or when the body is too long.
        """
        session, *streams = sdp.read_sections(text)
        ice = sdp.IceAttributes(self._ufrag, self._pwd)
        found: list[Candidate] = []
        complete = False
        for stream in streams or [sdp.Section()]:
            if self._mid is not None and stream.first("mid") not in (self._mid, None):
                continue
            if not self._is_current(session, stream, ice):
                continue
            complete = complete or "end-of-candidates" in session.attributes
            complete = complete or "end-of-candidates" in stream.attributes
            self._read_candidates(stream, ice, found)
        return FragmentNews(tuple(found), complete, tuple(ice.ignored))

    def _is_current(self, session: sdp.Section, stream: sdp.Section, ice: sdp.IceAttributes) -> bool:
        ufrag, pwd = sdp.credentials_of(session, stream)
        if ufrag is None or pwd is None:
            raise ParseError("fragment: no ice-ufrag or no ice-pwd, so that its generation is unknown")
        if (ufrag, pwd) == (self._ufrag, self._pwd):
            return True
        ice.ignore(f"ice-ufrag:{ufrag}", "another generation or stream (RFC 8840 4.4)")
        return False

    def _read_candidates(self, stream: sdp.Section, ice: sdp.IceAttributes, found: list[Candidate]) -> None:
        ice.candidates.clear()
        for value in stream.attributes.get("candidate", ()):
            ice.add_candidate(f"candidate:{value}")
        for candidate in ice.candidates:
            identity = _identity(candidate)
            if identity in self._known:
                continue
            if len(self._known) >= MAX_KNOWN:
                ice.ignore(candidate.to_sdp(), f"there are more than {MAX_KNOWN}")
                continue
            self._known.add(identity)
            found.append(candidate)


def _identity(candidate: Candidate) -> tuple[str, int, str, int]:
    """What makes two candidates the same for a receiver of fragments (RFC 8840 4.4)."""
    return (candidate.address, candidate.port, candidate.transport, candidate.component)
