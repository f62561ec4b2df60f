"""What a peer's session description says about the ICE of each of its streams (RFC 8839 4.2.5, RFC 9143)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fasticePy.errors import ParseError
from fasticePy.ice.addresses import address_text
from fasticePy.ice.candidate_line import canonical_ip, shown
from fasticePy.ice.signalling import sdp
from fasticePy.ice.signalling.description import Description
from fasticePy.ice.signalling.destination import (
    Transport,
    is_mismatch,
    is_unknown,
    read_destination,
    transport_of,
)
from fasticePy.machine import Address

MAX_STREAMS = 1000
"""m= sections that are read from one session description."""


@dataclass(frozen=True, slots=True)
class RemoteStream:
    """One m= section of a peer's offer or answer, as far as ICE is concerned."""

    index: int
    """Its place among the m= sections, from 0."""
    description: Description | None = None
    """Its ICE; None when the section does not offer ICE, or shares the transport of another."""
    mid: str | None = None
    rejected: bool = False
    """The section has port 0: the stream is removed, rejected, or was never in use (RFC 3264 8.2)."""
    destinations: tuple[tuple[int, Address], ...] = ()
    """Component and default destination, for those that are told; the host may be a name."""
    transport: Transport = "udp"
    """The transport of the m= line."""
    remote_candidates: tuple[sdp.RemoteCandidate, ...] = ()
    """Those of our candidates that the peer has nominated (RFC 8839 5.2)."""
    ice_mismatch: bool = False
    """The peer has found our default destination changed, and does not use ICE for this stream (RFC 8839 5.3)."""
    mismatch: str = ""
    """Why its own default destination cannot be trusted, or nothing (RFC 8839 4.2.5)."""
    setup: str = "active"
    """a=setup, which only matters with TCP (RFC 4145 4)."""
    connection: str = "new"
    """a=connection, which only matters with TCP (RFC 4145 5)."""
    carrier: int | None = None
    """The section whose transport it shares, when it is bundled (RFC 9143 7.1.3)."""

    def destination(self, component: int) -> Address | None:
        """The default destination of a component, or None when it was not told."""
        return dict(self.destinations).get(component)


def read_streams(text: str, *, answer: bool = False) -> tuple[RemoteStream, ...]:
    """Read every m= section of an offer, or of an answer. Attribute lines without any m= line are one stream.

    In an answer all sections of a BUNDLE group share the transport of its first one that is not disabled; in an offer
    only those that have no ICE of their own do (RFC 9143 7.2, 7.3.1, 7.5). Raises ParseError when there are more than
    `MAX_STREAMS`, when the text is too long, and when ufrag or pwd of a stream are no proper ones.
    """
    session, *streams = sdp.read_sections(text)
    if len(streams) > MAX_STREAMS:
        raise ParseError(f"SDP: {len(streams)} m= sections, the limit is {MAX_STREAMS}")
    if not streams:
        session, streams = sdp.Section(), [session]
    sdp.check_passwords(session, streams)
    common = sdp.session_ice(session)
    carriers = _carriers(session, streams)
    read = []
    for index, section in enumerate(streams):
        carrier = carriers.get(index)
        if carrier is not None and not answer and _has_own_ice(session, section, streams[carrier]):
            carrier = None
        read.append(_read_stream(index, session, section, common, carrier))
    return tuple(read)


def _carriers(session: sdp.Section, streams: Sequence[sdp.Section]) -> dict[int, int]:
    """For each section of a BUNDLE group but the one that carries it, the index of that one."""
    by_mid: dict[str, int] = {}
    for index, section in enumerate(streams):
        by_mid.setdefault(section.first("mid") or "", index)
    carriers: dict[int, int] = {}
    for group in sdp.bundle_groups(session):
        members = [by_mid[mid] for mid in group if mid in by_mid]
        tagged = next((index for index in members if streams[index].port != "0"), None)
        for index in members:
            if tagged is not None and index != tagged and not streams[index].rejected:
                carriers.setdefault(index, tagged)
    return carriers


def _has_own_ice(session: sdp.Section, section: sdp.Section, tagged: sdp.Section) -> bool:
    """Whether a section of an offered group has a transport of its own; bundle-only ones have not (RFC 9143 7.1.3)."""
    if section.port == "0":
        return False
    if "ice-ufrag" in section.attributes or "candidate" in section.attributes:
        return True
    # credentials of the session level say nothing; a transport of its own would have candidates as the other has
    return None not in sdp.credentials_of(session, section) and "candidate" not in tagged.attributes


def _read_stream(
    index: int, session: sdp.Section, section: sdp.Section, common: sdp.IceAttributes, carrier: int | None
) -> RemoteStream:
    mid = section.first("mid")
    if section.rejected or carrier is not None:
        return RemoteStream(index, mid=mid, rejected=section.rejected, carrier=carrier)
    ice = sdp.stream_ice(common, session, section)
    remote_candidates = () if ice is None else _remote_candidates(ice, section)
    description = None if ice is None else Description.from_attributes(ice)
    destinations = _destinations(session, section, description)
    transport = transport_of(section.media or "")
    return RemoteStream(
        index,
        description,
        mid=mid,
        destinations=destinations,
        transport=transport,
        remote_candidates=remote_candidates,
        ice_mismatch="ice-mismatch" in section.attributes,
        mismatch="" if description is None else _mismatch(section, description, destinations, transport),
        setup=(section.first("setup") or "active").lower(),
        connection=(section.first("connection") or "new").lower(),
    )


def _remote_candidates(ice: sdp.IceAttributes, section: sdp.Section) -> tuple[sdp.RemoteCandidate, ...]:
    values = section.attributes.get("remote-candidates", [])
    try:
        return sdp.read_remote_candidates(values)
    except ParseError as error:
        ice.ignore(f"remote-candidates:{values[0]}", str(error))
        return ()


def _destinations(
    session: sdp.Section, section: sdp.Section, description: Description | None
) -> tuple[tuple[int, Address], ...]:
    connection = session.connection if section.connection is None else section.connection
    rtp = read_destination(connection, section.port)
    if rtp is None or section.port == "0":
        return ()
    two = description is not None and description.components > 1 and "rtcp-mux" not in section.attributes
    known = [(1, rtp), (2, _rtcp_destination(section, connection, rtp) if two else None)]
    return tuple((component, each) for component, each in known if each is not None)


def _rtcp_destination(section: sdp.Section, connection: str | None, rtp: Address) -> Address | None:
    """Where RTCP goes: what a=rtcp says, else the next port (RFC 3605 2.1); None while nothing is known."""
    line = section.first("rtcp")
    if line is None:
        return None if is_unknown(rtp) else (rtp[0], rtp[1] + 1)
    words = line.split(maxsplit=1)
    own = words[1] if len(words) > 1 else connection
    return read_destination(own, words[0]) if words else None


def _mismatch(
    section: sdp.Section,
    description: Description,
    destinations: Iterable[tuple[int, Address]],
    transport: Transport,
) -> str:
    for component, destination in destinations:
        if not is_mismatch(destination, description.candidates, component, transport=transport):
            continue
        if not _is_listed(section, component, destination, transport):
            where = f"{transport} {address_text(destination)}"
            return (
                f"the default destination {shown(where)} of component {component} is none of its candidates"
            )
    return ""


def _is_listed(section: sdp.Section, component: int, destination: Address, transport: str) -> bool:
    """Whether a candidate line has this address, though it is of a kind that we left out, or beyond our limit."""
    wanted = [str(component), transport, destination[0], str(destination[1])]
    for line in section.attributes.get("candidate", ()):
        words = line.split(maxsplit=6)
        if len(words) > 6 and [words[1], words[2].lower(), canonical_ip(words[4]), words[5]] == wanted:
            return True
    return False
