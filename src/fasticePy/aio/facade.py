"""`FirstStream`: what an `Agent` offers of its first stream, as if there were no others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Literal

from fasticePy.aio.callbacks import FirstStreamCallback, HasCallbacks
from fasticePy.aio.stream import Data, Stream
from fasticePy.ice import Candidate, CandidatePair, Description, GatheringState, StreamFacts


class FirstStream(HasCallbacks):
    """The base of `Agent`; `fasticePy.aio.Stream` describes each of these in full."""

    streams: tuple[Stream, ...]
    """The data streams of the session, in the order that both sides have them."""

    on_candidate = FirstStreamCallback[[Candidate | None]]()
    """`on_candidate(candidate)`: pass it on to the peer; None says that there will be no more in this generation."""
    on_data = FirstStreamCallback[[bytes, CandidatePair | None]]()
    """`on_data(data, pair)`: the fast way to receive. `pair` is None while the peer's credentials are not known yet.
    What has come before it is set is delivered first. Setting it while someone awaits `recv()` raises StateError."""
    on_selected = FirstStreamCallback[[CandidatePair]]()
    """`on_selected(pair)`: data of the pair's component travels on it from now on."""
    on_gathering_state = FirstStreamCallback[[GatheringState]]()
    """`on_gathering_state(state)`."""
    on_restart = FirstStreamCallback[[Description]]()
    """`on_restart(description)`: ICE restarts, because `restart()` was called, because the peer does so, or by itself.
    Send the description to the peer, and the candidates that follow."""
    on_writable = FirstStreamCallback[[]]()
    """`on_writable()`: sending is worth another try after `send` gave False."""

    def set_remote_description(self, description: Description | str | Mapping[str, Any]) -> None:
        """The peer's description: an object, SDP, JSON, or what JSON holds: a browser's RTCSessionDescriptionInit
        (`type`, `sdp`) or what `Description.to_json` gives. Raises ParseError for other text and mappings, TypeError
        for other things.

        Other credentials than before mean that the peer restarts ICE. Unless this is the answer to a restart of ours,
        we restart too: `on_restart` is called with the description to send back (RFC 8445 9)."""
        self.streams[0].set_remote_description(description)

    def set_remote_credentials(self, ufrag: str, pwd: str) -> None:
        """The peer's credentials, for signalling that sends them by themselves; see `set_remote_description`.
        Raises ValueError when they are malformed."""
        self.streams[0].set_remote_credentials(ufrag, pwd)

    def add_remote_candidate(self, candidate: Candidate | str | Mapping[str, Any] | None) -> None:
        """A candidate of the peer: an object, a candidate line, or a browser's RTCIceCandidateInit (`candidate`,
        `usernameFragment`), as JSON or as a mapping. None and empty text say that there will be no more. In any order
        with everything else. Raises ParseError for text and mappings that are none of these, TypeError for other
        things; what is well formed and cannot be used is recorded in the report."""
        self.streams[0].add_remote_candidate(candidate)

    def restart(self, ufrag: str | None = None, pwd: str | None = None) -> Description:
        """Restart ICE with these credentials, or fresh ones, on the addresses that the host has now (RFC 8445 9).

        Gives the new description at once; `on_restart` gets it too, and the candidates follow. Data goes on
        travelling on the old pair until the new generation has one. Raises ValueError for malformed credentials,
        StateError once the agent is closed, and what callables among the options raise.
        """
        return self.streams[0].restart(ufrag, pwd)

    def send(self, data: Data, component: int = 1, pair: CandidatePair | None = None) -> bool:
        """Send one datagram now: on the selected pair of the component, or on any other valid `pair`.

        False when it was dropped for want of buffer space or by the operating system, which `report().counters`
        counts: slow down, and go on when `on_writable` is called or `drain()` returns. Nothing is queued, except a
        little on a TCP pair.

        Raises StateError before there is a path, IceFailed when there is none any more (closed, failed, consent
        expired), ValueError for more than 65507 bytes.
        """
        return self.streams[0].send(data, component, pair)

    def send_many(
        self, datagrams: Iterable[Data], component: int = 1, pair: CandidatePair | None = None
    ) -> int:
        """Send several datagrams in order and give the number of those that were sent: it stops at the first
        that was dropped. Raises what `send` raises."""
        return self.streams[0].send_many(datagrams, component, pair)

    async def drain(self, component: int = 1, pair: CandidatePair | None = None) -> None:
        """Return when sending is worth a try: at once, unless a `send` has found no room and there is still none.
        Raises what `send` raises when there is no path."""
        await self.streams[0].drain(component, pair)

    async def recv(self) -> bytes:
        """The next datagram of any component. Cancelling loses none. Raises IceFailed when ICE has failed,
        once what came before is read, or the agent is closed; StateError while `on_data` is set."""
        return await self.streams[0].recv()

    async def recvfrom(self) -> tuple[bytes, int]:
        """As `recv`, with the component."""
        return await self.streams[0].recvfrom()

    def select(self, pair: CandidatePair) -> None:
        """Let data of the pair's component travel on this pair; the controlling agent nominates it, so that the peer
        follows. Raises ValueError for a pair of another stream, StateError for one that is not valid."""
        self.streams[0].select(pair)

    def candidates(self) -> AsyncIterator[Candidate | None]:
        """Our candidates of the latest generation, from the first on, as they are found; None at the end of
        candidates (RFC 8838 13), after which the iterator ends. A restart and closing end it too: ask for a new one
        in `on_restart`.

        An agent that gathers continually finds more whenever the network changes: there the iterator goes on after
        None, and through restarts, until the agent is closed."""
        return self.streams[0].candidates()

    @property
    def local_description(self) -> Description:
        """What the peer has to be told: credentials, options, and the candidates so far."""
        return self.streams[0].local_description

    def facts(self, *, mid: str | None = None, transport: Literal["udp", "tcp"] | None = None) -> StreamFacts:
        """What `Negotiation` needs to know of the first stream for the next offer or answer: description, selected
        pairs, role. `mid` is that of its m= section, `transport` what is spoken there when no pair says it."""
        return self.streams[0].facts(mid=mid, transport=transport)

    @property
    def local_candidates(self) -> list[Candidate]:
        """The candidates found so far."""
        return self.streams[0].local_candidates

    @property
    def remote_candidates(self) -> list[Candidate]:
        """The peer's candidates, signalled and peer-reflexive ones."""
        return self.streams[0].remote_candidates

    @property
    def pairs(self) -> list[CandidatePair]:
        """All pairs, best first."""
        return self.streams[0].pairs

    @property
    def selected(self) -> CandidatePair | None:
        """The pair that carries the data of component 1."""
        return self.streams[0].selected

    def selected_pair(self, component: int = 1) -> CandidatePair | None:
        """The pair that carries the data of a component."""
        return self.streams[0].selected_pair(component)
