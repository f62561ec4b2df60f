"""What one side tells the other about its ICE: credentials, options, candidates (RFC 8445 5.3, RFC 8839)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fasticePy.errors import ParseError
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.candidate_line import shown
from fasticePy.ice.credentials import Credentials
from fasticePy.ice.signalling import sdp

DEFAULT_OPTIONS = ("ice2", "trickle")
"""What we support: RFC 8445 (RFC 8839 4.2.1.5) and trickle (RFC 8838 3)."""
DEFAULT_PACING_MS = 50
"""Ta in milliseconds when a description does not say (RFC 8839 5.5)."""
MAX_PACING_MS = 2000
"""The slowest pace that a peer can impose on us: at more, 100 pairs would take longer than anybody waits."""


@dataclass(frozen=True, slots=True)
class Description:
    """The ICE half of an offer or answer. Immutable, hashable, picklable; `==` compares what it says.

    `str()` and `to_sdp()` give SDP attribute lines, `to_json()` gives one JSON object; `parse` reads either of
    them, a whole SDP, or a browser's `{"type": ..., "sdp": ...}`. Text and JSON contain the password, `repr()`
    does not. Raises ValueError when ufrag or pwd are not what RFC 8839 5.4 allows.
    """

    ufrag: str
    pwd: str = field(repr=False)
    candidates: tuple[Candidate, ...] = ()
    options: tuple[str, ...] = DEFAULT_OPTIONS
    """Tags of `ice-options`, those that we do not know too."""
    lite: bool = False
    pacing_ms: int | None = DEFAULT_PACING_MS
    """Wanted time between two checks in milliseconds; None when the description does not say."""
    complete: bool = False
    """Whether end-of-candidates came with it (RFC 8838 13)."""
    ignored: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    """Lines that were left out when it was read, each with the reason."""

    def __post_init__(self) -> None:
        Credentials(self.ufrag, self.pwd)

    def __str__(self) -> str:
        return self.to_sdp()

    @property
    def components(self) -> int:
        """How many components its candidates are for, 1 while there are none. Whether RTP and RTCP share one
        (rtcp-mux) is between the applications."""
        return max((candidate.component for candidate in self.candidates), default=1)

    @property
    def expects_more(self) -> bool:
        """Whether more candidates may come: it does not say that these are all, and either it trickles
        (RFC 8838 3, 13) or has none at all, so that others would have to come later (RFC 8839 4.3.1)."""
        return not self.complete and (self.has_option("trickle") or not self.candidates)

    def has_option(self, tag: str) -> bool:
        """Whether `ice-options` has this tag; without `ice2` the peer keeps to RFC 5245 (RFC 8839 4.2.5)."""
        return tag in self.options

    def agreed_pacing_ms(self, other: Description) -> int:
        """Milliseconds between two checks that both sides use, the larger of both wishes (RFC 8839 5.5)."""
        wishes = (DEFAULT_PACING_MS if side.pacing_ms is None else side.pacing_ms for side in (self, other))
        return min(max(wishes), MAX_PACING_MS)

    def with_candidates(
        self, candidates: Iterable[Candidate], *, complete: bool | None = None
    ) -> Description:
        """The same with these candidates, and with another `complete` unless that is None."""
        complete = self.complete if complete is None else complete
        return replace(self, candidates=tuple(candidates), complete=complete)

    def session_lines(self) -> list[str]:
        """Its attribute lines for the session level of an SDP: ice-lite, ice-options, ice-pacing."""
        return sdp.session_lines(self.options, lite=self.lite, pacing_ms=self.pacing_ms)

    def media_lines(self) -> list[str]:
        """Its attribute lines for an m= section: ufrag, pwd, candidates, end-of-candidates."""
        lines = sdp.credential_lines(self.ufrag, self.pwd)
        return lines + sdp.candidate_lines(self.candidates, complete=self.complete)

    def to_sdp(self) -> str:
        """All attribute lines, each with `a=` in front and ended by CRLF."""
        return "".join(f"{line}\r\n" for line in self.session_lines() + self.media_lines())

    def to_json(self) -> str:
        """One JSON object with the fields of this class but `ignored`; `candidates` are candidate lines.

        `{"ufrag": "8hhY", "pwd": "asd88fgpdd777uzjYhagZg", "candidates": ["candidate:1 1 udp ..."],
        "options": ["ice2", "trickle"], "lite": false, "pacing_ms": 50, "complete": true}`
        """
        return json.dumps(
            {
                "ufrag": self.ufrag,
                "pwd": self.pwd,
                "candidates": [candidate.to_sdp() for candidate in self.candidates],
                "options": list(self.options),
                "lite": self.lite,
                "pacing_ms": self.pacing_ms,
                "complete": self.complete,
            }
        )

    @classmethod
    def parse(cls, text: str | Mapping[str, Any], *, mid: str | None = None) -> Description:
        """Read SDP attribute lines, a whole SDP, our JSON, or JSON with an SDP under the key `sdp`; of both kinds of
        JSON also what `json.loads` makes of it.

        `mid` chooses the m= section of an SDP; without it the first one that uses ICE counts. Candidates of kinds
        that we do not know, and malformed ones, are left out and listed in `ignored`.
        Raises ParseError when it is none of these, or has no proper ufrag and pwd.
        """
        if not isinstance(text, str):
            return cls._from_mapping(text, mid)
        if text.lstrip().startswith("{"):
            return cls._from_json(text, mid)
        return cls.from_attributes(sdp.read_ice(text, mid))

    @classmethod
    def from_attributes(cls, ice: sdp.IceAttributes) -> Description:
        """From what was read of one stream of an SDP."""
        return cls(
            ufrag=ice.ufrag,
            pwd=ice.pwd,
            candidates=tuple(ice.candidates),
            options=tuple(ice.options),
            lite=ice.lite,
            pacing_ms=ice.pacing_ms,
            complete=ice.complete,
            ignored=tuple(ice.ignored),
        )

    @classmethod
    def _from_json(cls, text: str, mid: str | None) -> Description:
        if len(text) > sdp.MAX_SDP_LENGTH:
            raise ParseError(f"description: {len(text)} characters, the limit is {sdp.MAX_SDP_LENGTH}")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ParseError(f"description: not JSON: {error}") from None
        return cls._from_mapping(value, mid)

    @classmethod
    def _from_mapping(cls, value: Mapping[str, Any], mid: str | None) -> Description:
        if "sdp" in value:
            return cls.from_attributes(sdp.read_ice(_typed(value, "sdp", str), mid))
        ufrag, pwd = _typed(value, "ufrag", str), _typed(value, "pwd", str)
        sdp.check_credentials(ufrag, pwd)
        ice = sdp.IceAttributes(ufrag, pwd)
        ice.lite = _typed(value, "lite", bool, False)
        ice.complete = _typed(value, "complete", bool, False)
        ice.add_options(_texts(value, "options"))
        if value.get("pacing_ms") is not None:
            ice.set_pacing(str(_typed(value, "pacing_ms", int)))
        for line in _texts(value, "candidates"):
            ice.add_candidate(line)
        return cls.from_attributes(ice)


def _typed(value: Mapping[str, Any], key: str, kind: type, default: object = None) -> Any:
    found = value.get(key, default)
    if type(found) is not kind:  # a bool is no int here
        problem = "missing" if found is None else f"of type {type(found).__name__}, not {kind.__name__}"
        raise ParseError(f"description: {key} is {problem}")
    return found


def _texts(value: Mapping[str, Any], key: str) -> list[str]:
    found = value.get(key, [])
    if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
        raise ParseError(f"description: {key} is not a list of texts: {shown(str(found)[:100])}")
    return found
