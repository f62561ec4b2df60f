"""Two ICE agents as a target of fuzzing: the input is their network, their signalling, what their applications want,
and somebody who may know their passwords."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from fuzz_harness import COOKIE, ID, Reader, oracle
from fuzz_ice_driver import Driver
from fuzz_negotiation import changed, session_text

from fasticePy import stun
from fasticePy.errors import ParseError, StateError
from fasticePy.ice import Candidate, Change, Description, IceAgent, IceOptions, Limits, Negotiation, Pacer
from fasticePy.ice.candidate import TcpType
from fasticePy.machine import Address
from fasticePy.stun import Attribute, MessageClass, Method

HOSTS = (("10.0.0.1", "10.0.1.1"), ("10.0.0.2", "2001:db8::2"))
HIDDEN = "10.77.78.79"
"""The only address of the side that hides its own behind names: nothing else ever mentions it."""
CREDENTIALS = (("left", "leftleftleftleftleftleft"), ("rght", "rightrightrightrightright"))
PLACES: tuple[Address, ...] = (
    ("10.0.0.1", 5000),
    ("10.0.0.2", 5000),
    ("198.51.100.9", 9),
    ("2001:db8::9", 9),
    ("0.0.0.0", 0),
)
COMMON = (
    *(Attribute.USERNAME, Attribute.PRIORITY, Attribute.USE_CANDIDATE, Attribute.ICE_CONTROLLING),
    *(Attribute.ICE_CONTROLLED, Attribute.XOR_MAPPED_ADDRESS, Attribute.ERROR_CODE, Attribute.SOFTWARE),
    *(Attribute.UNKNOWN_ATTRIBUTES, Attribute.ALTERNATE_SERVER, Attribute.GOOG_NETWORK_INFO, 0x7FFF),
    *(Attribute.NOMINATION, 0xC001),
)
LIMITS = Limits(
    pairs=20,
    remote_candidates=12,
    remote_names=3,
    early_checks=8,
    validated_addresses=8,
    connections=6,
    unproven_connections=4,
    unproven_connections_per_address=2,
    record=64,
)
TCP: frozenset[TcpType] = frozenset({"active", "passive", "so"})
STEPS = 64
MAX_STREAMS = 3
"""Streams of an agent here, in the course of one input."""


def ice(data: bytes) -> None:
    """Nothing raises; what agents hold stays within their limits; what they send is STUN; closed ones are silent and
    leave nothing open; data comes through from addresses only that proved to know the password; an address that is
    hidden behind a name is nowhere to be read."""
    reader = Reader(data)
    run = _Run(reader.number(), reader.number(), reader.number())
    for _ in range(STEPS):
        if not reader:
            break
        run.step(reader.number(), reader)
        run.check()
    run.end()


class _Run:
    def __init__(self, variant: int, kind: int, more: int) -> None:
        numbers = count(variant)

        def rng(size: int) -> bytes:
            return (next(numbers) * 0x9E3779B97F4A7C15 % (1 << 8 * size)).to_bytes(size, "big")

        self.now = 0.0
        self.proven: set[tuple[int, int, Address]] = set()
        self.drivers = tuple(
            Driver(
                side,
                IceAgent(self.options(side, variant, kind, more), rng=rng, pacer=Pacer()),
                CREDENTIALS[side],
            )
            for side in (0, 1)
        )
        self.hidden = bool(kind & 32)
        for driver in self.drivers:
            driver.peer = self.drivers[1 - driver.side]
            hosts = (
                (HIDDEN,) if self.hidden and driver.side == 0 else HOSTS[driver.side][: 1 + (more >> 4 & 1)]
            )
            driver.agent.gather([(host, 0) for host in hosts], [], self.now)
            driver.collect(self.now)
        self.negotiations = (Negotiation(), Negotiation())
        self.sections = 0
        for driver in self.drivers:
            self.begin(driver, variant)
        for driver in self.drivers:
            driver.collect(self.now)

    @staticmethod
    def options(side: int, variant: int, kind: int, more: int) -> IceOptions:
        ufrag, pwd = CREDENTIALS[side]
        return IceOptions(
            controlling=side == 0 if variant & 1 else bool(variant & 2),
            local_ufrag=ufrag,
            local_pwd=pwd,
            limits=LIMITS,
            streams=1 + (kind & 1),
            components=1 + (kind >> 1 & 1),
            tcp=TCP if kind & 4 else None if variant & 128 else frozenset(),
            nomination="continuous" if kind & 8 else "fastest" if variant & 4 else "regular",
            renomination=bool(kind & 16),
            mdns="publish" if kind & 32 and side == 0 else "resolve",
            lite=bool(more & 1 << side),
            continual=bool(kind & 64),
            auto_restart=bool(kind & 128),
            resolve_names=bool(more & 4),
            local_candidate=(lambda each: replace(each, priority=1 + each.priority % 1000))
            if more & 8
            else None,
        )

    def begin(self, driver: Driver, variant: int) -> None:
        """What each side knows of the other at the start: everything, or a part."""
        assert driver.peer is not None
        agent, peer, side = driver.agent, driver.peer, driver.side
        credentials, candidates = not variant & 8 << side, not variant & 32 << side
        peer.signals.clear()
        for stream in range(len(agent.streams)):
            description = peer.agent.description_of(stream)
            if credentials and candidates:
                agent.set_remote_description(description, self.now, stream=stream)
            elif credentials:
                agent.set_remote_credentials(description.ufrag, description.pwd, self.now, stream=stream)
            elif candidates:
                for candidate in description.candidates:
                    agent.add_remote_candidate(candidate, self.now, stream=stream)

    # -- steps -----------------------------------------------------------------------------------------------------

    def step(self, what: int, reader: Reader) -> None:
        action, driver, variant = what % 16, self.drivers[what // 16 % 2], what // 32
        (self.network if action < 7 else self.signalling if action < 11 else self.host)(
            action, driver, variant, reader
        )
        for each in self.drivers:
            each.collect(self.now)

    def network(self, action: int, driver: Driver, variant: int, reader: Reader) -> None:
        if action == 0:
            self.wait(variant)
        elif action == 1:
            self.deliver(variant, reader)
        elif action == 2:
            self.receive(driver, variant, reader.piece(), PLACES[reader.number() % len(PLACES)])
        elif action in (3, 4):
            data = self.built(driver, variant, reader)
            self.receive(driver, variant >> 2, data, PLACES[reader.number() % len(PLACES)])
        elif action == 5:
            driver.odd_connection(variant, reader, self.now)
        else:
            place = None if variant == 0 else PLACES[variant % len(PLACES)]
            driver.agent.socket_error(driver.socket(reader.number()), place, "fuzzed", self.now)

    def signalling(self, action: int, driver: Driver, variant: int, reader: Reader) -> None:
        agent, stream = driver.agent, variant % len(driver.agent.streams)
        if action == 7:
            credentials = driver.peer_credentials(stream, reader.number())
            agent.set_remote_credentials(*credentials, self.now, stream=stream)
        elif action == 8:
            self.signal(driver, variant, reader)
        elif action == 9:
            self.exchange(driver, variant, reader)
        else:
            text = reader.piece().decode("latin-1")
            (self.description if "ice-ufrag" in text else self.candidate)(agent, text, stream)

    def host(self, action: int, driver: Driver, variant: int, reader: Reader) -> None:
        agent, stream = driver.agent, variant % len(driver.agent.streams)
        if action == 11:
            driver.odd_name(variant, reader, self.now)
        elif action == 12:
            self.addresses(driver, variant)
        elif action == 13:
            self.wish(agent, variant, reader)
        elif agent.streams[stream].state != "closed":
            agent.restart(self.now, stream=stream)

    def wait(self, variant: int) -> None:
        """What drivers were asked for is done, and time goes on."""
        for driver in self.drivers:
            driver.do_all(self.now)
        due = [at for driver in self.drivers if (at := driver.agent.next_timer()) is not None]
        self.now = max(self.now, min(due)) if due and variant % 4 else self.now + variant * variant
        for driver in self.drivers:
            driver.agent.handle_timer(self.now)

    def deliver(self, variant: int, reader: Reader) -> None:
        """What was sent first arrives, by either side: as it is, changed, twice, late, or from elsewhere."""
        for driver in self.drivers:
            if not driver.sent:
                continue
            socket, data, source = driver.sent.pop(0)
            if variant & 1:
                at = reader.number() % len(data)
                data = data[:at] + bytes([reader.number()]) + data[at + 1 :]
            if variant & 2:
                driver.sent.append((socket, data, source))
            if variant & 4:
                source = PLACES[reader.number() % len(PLACES)]
            assert driver.peer is not None
            self.receive_on(driver.peer, socket, data, source)

    def built(self, driver: Driver, variant: int, reader: Reader) -> bytes:
        """A message to this side, with a right user name or none, signed with one of the passwords or not at all."""
        assert driver.peer is not None
        own = driver.credentials[0]
        peer = driver.peer.credentials[0]
        attributes: list[tuple[int, bytes]] = (
            [] if variant & 1 else [(Attribute.USERNAME, f"{own[0]}:{peer[0]}".encode())]
        )
        what = reader.number()
        while reader and len(attributes) < 12 and (attribute := reader.number()) != 0xFF:
            attributes.append((COMMON[attribute % len(COMMON)], reader.piece()))
        kind = what % 4
        identifier = driver.last_id if driver.last_id and kind >= MessageClass.SUCCESS else ID
        secret = (None, own[1].encode(), peer[1].encode(), CREDENTIALS[driver.side][1].encode())[
            what // 4 % 4
        ]
        return bytes(
            oracle.build(Method.BINDING, kind, identifier, attributes, secret, fingerprint=not variant & 2)
        )

    def candidate(self, agent: IceAgent, text: str, stream: int) -> None:
        try:
            found = Candidate.parse(text)
        except ParseError:
            return
        agent.add_remote_candidate(found, self.now, stream=stream)

    def description(self, agent: IceAgent, text: str, stream: int) -> None:
        try:
            description = Description.parse(text)
        except ParseError:
            return
        agent.set_remote_description(description, self.now, stream=stream)

    def signal(self, driver: Driver, variant: int, reader: Reader) -> None:
        """What the peer has signalled first, or last, arrives: as it is, changed, or twice."""
        assert driver.peer is not None
        if not (signals := driver.peer.signals):
            return
        stream, text = signals[0] if variant & 4 else signals.pop(-1 if variant & 2 else 0)
        if stream >= len(driver.agent.streams):
            return
        text = changed(text, reader) if variant & 1 else text
        if "ice-ufrag" in text:
            self.description(driver.agent, text, stream)
        else:
            self.candidate(driver.agent, text, stream)

    def addresses(self, driver: Driver, variant: int) -> None:
        hosts = (HIDDEN,) if self.hidden and driver.side == 0 else HOSTS[driver.side]
        now_there = [host for index, host in enumerate(hosts) if variant & 1 << index]
        driver.lost_addresses(now_there)
        driver.agent.addresses_changed([(host, 0) for host in now_there], self.now)

    def wish(self, agent: IceAgent, variant: int, reader: Reader) -> None:
        """What else applications may want."""
        pairs = agent.pairs
        if variant < 4 and pairs:
            pair = pairs[reader.number() % len(pairs)]
            try:
                agent.select(pair, self.now)
            except StateError:
                assert not pair.valid or pair.expired or agent.streams[pair.stream].ended
        elif variant == 4 and len(agent.streams) < MAX_STREAMS and agent.state != "closed":
            agent.add_stream(self.now)
        elif variant == 5:
            agent.close_stream(reader.number() % len(agent.streams), self.now)
        elif variant == 6:
            agent.switch_role("fuzzed", self.now)
        elif variant == 7 and reader.number() % 4 == 0:
            agent.close(self.now)

    def exchange(self, driver: Driver, variant: int, reader: Reader) -> None:
        """An offer of this side and its answer, whole or with changes on the way; agents are told what it means."""
        assert driver.peer is not None
        ours, theirs = self.negotiations[driver.side], self.negotiations[1 - driver.side]
        try:
            offer = session_text(ours.offer(driver.facts(self.sections)))
            offer = changed(offer, reader) if variant & 1 else offer
            news = theirs.remote_offer(offer)
            self.tell(driver.peer, [each.description for each in news.streams])
            answer = session_text(theirs.answer(driver.peer.facts(len(news.streams))[: len(news.streams)]))
            self.sections = max(self.sections, len(news.streams))
            answer = changed(answer, reader) if variant & 2 else answer
            news = ours.remote_answer(answer)
        except (ParseError, StateError):
            pass
        except ValueError:
            # a restart of ours may be told by an offer of ours only; and streams of lite agents may become full ones
            # for a peer whose offer was changed on its way
            assert variant & 1 or driver.restarted or driver.peer.restarted or driver.lite
        else:
            assert all(each.change in Change for each in news.streams)
            self.tell(driver, [each.description for each in news.streams])
            driver.restarted = False
        ours.rollback()
        theirs.rollback()

    def tell(self, driver: Driver, descriptions: list[Description | None]) -> None:
        for stream, description in enumerate(descriptions[: len(driver.agent.streams)]):
            if description is not None:
                driver.agent.set_remote_description(description, self.now, stream=stream)
        driver.collect(self.now)

    # -- what agents receive -----------------------------------------------------------------------------------------

    def receive(self, driver: Driver, which: int, data: bytes, source: Address) -> None:
        self.receive_on(driver, driver.socket(which), data, source)

    def receive_on(self, driver: Driver, socket: int, data: bytes, source: Address) -> None:
        is_stun = len(data) > 7 and data[0] < 4 and data[4:8] == COOKIE
        try:
            message = stun.parse(data)
        except ParseError:
            pass
        else:
            if any(message.verify_integrity(key) for each in self.drivers for key in each.keys.values()):
                self.proven.add((driver.side, socket, source))
        given = driver.agent.datagram_received(socket, data, source, self.now)
        assert given is None or (given is data and not is_stun)
        # two lite agents have no checks: candidates are all that they know of each other (RFC 8445 6.1.1)
        assert given is None or driver.lite or (driver.side, socket, source) in self.proven

    # -- what always holds -------------------------------------------------------------------------------------------

    def check(self) -> None:
        for driver in self.drivers:
            agent = driver.agent
            # those of streams that have failed are there to be looked at, and are not checked any more
            assert sum(len(each.pairs) for each in agent._session.checklists.lists) <= LIMITS.pairs
            assert len(agent.pairs) <= LIMITS.pairs * len(agent.streams)
            assert len(agent.remote_candidates) <= LIMITS.remote_candidates * len(agent.streams)
            assert driver.accepted <= LIMITS.connections
            for stream in agent.streams:
                for component in range(1, agent.options.components + 1):
                    route, pair = stream.route(component), stream.selected_pair(component)
                    assert route is None or route.socket in driver.sockets
                    assert pair is None or pair.valid

    def end(self) -> None:
        for driver in self.drivers:
            agent, now = driver.agent, self.now
            report = agent.report(now)
            seen = [str(report), report.to_json(), str(agent.stats(now))]
            for stream in range(len(agent.streams)):
                description = agent.description_of(stream)
                seen.append(str(description))
                assert Description.parse(str(description)).ufrag == description.ufrag
                agent.facts(stream)
            if self.hidden and driver.side == 0:
                assert not any(HIDDEN in text for text in seen)
            agent.close(now)
            agent.take_transmits()
            driver.collect(now)
            driver.end(now)
            assert agent.next_timer() is None
            assert agent.route(1) is None
            agent.datagram_received(1, b"\x80data", PLACES[0], now)
            agent.handle_timer(now + 100)
            assert agent.take_transmits() == []
