"""Two ICE agents as a target of fuzzing: the input is their network, and somebody who may know their passwords."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from fuzz_harness import COOKIE, ID, Reader, oracle

from fasticePy import stun
from fasticePy.errors import ParseError
from fasticePy.ice import Candidate, IceAgent, IceOptions, Limits, NeedSocket, Pacer
from fasticePy.machine import Address
from fasticePy.stun import Attribute, MessageClass, Method

HOSTS = ("10.0.0.1", "10.0.0.2")
PASSWORDS = ("leftleftleftleftleftleft", "rightrightrightrightright")
KEYS = tuple(map(stun.IntegrityKey.short_term, PASSWORDS))
UFRAGS = ("left", "rght")
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
)
LIMITS = Limits(pairs=20, remote_candidates=12, early_checks=8, validated_addresses=8)
STEPS = 64


def ice(data: bytes) -> None:
    """Nothing raises; what agents hold stays within their limits; what they send is STUN; closed ones are silent; and
    data comes through from addresses only that proved to know the password."""
    reader = Reader(data)
    run = _Run(reader.number())
    for _ in range(STEPS):
        if not reader:
            break
        run.step(reader.number(), reader)
        run.check()
    run.end()


class _Run:
    def __init__(self, variant: int) -> None:
        numbers = count(variant)

        def rng(size: int) -> bytes:
            return (next(numbers) * 0x9E3779B97F4A7C15 % (1 << 8 * size)).to_bytes(size, "big")

        self.now = 0.0
        self.wire: list[tuple[int, bytes, Address]] = []  # to whom, what, from where
        self.proven: set[tuple[int, Address]] = set()
        self.agents = tuple(self.agent(side, variant, rng) for side in (0, 1))
        for side, agent in enumerate(self.agents):
            agent.gather([(HOSTS[side], 0)], [], self.now)
            self.collect(side)
        for side, agent in enumerate(self.agents):
            if not variant & 8 << side:
                agent.set_remote_credentials(UFRAGS[1 - side], PASSWORDS[1 - side], self.now)
            if not variant & 32 << side:
                agent.add_remote_candidate(self.agents[1 - side].local_candidates[0], self.now)
        self.variant = variant

    def agent(self, side: int, variant: int, rng: Callable[[int], bytes]) -> IceAgent:
        controlling = side == 0 if variant & 1 else bool(variant & 2)
        options = IceOptions(
            controlling=controlling,
            local_ufrag=UFRAGS[side],
            local_pwd=PASSWORDS[side],
            limits=LIMITS,
            nomination="fastest" if variant & 4 else "regular",
        )
        return IceAgent(options, rng=rng, pacer=Pacer())

    def step(self, what: int, reader: Reader) -> None:
        action, side = what % 8, what // 8 % 2
        agent, variant = self.agents[side], what // 16
        if action == 0:
            self.wait(variant)
        elif action == 1:
            self.deliver(variant, reader)
        elif action == 2:
            self.receive(side, reader.piece(), PLACES[variant % len(PLACES)])
        elif action in (3, 4):
            self.receive(side, self.built(side, variant, reader), PLACES[reader.number() % len(PLACES)])
        elif action == 5:
            self.candidate(agent, reader.piece().decode("latin-1"))
        elif action == 6:
            place = None if variant == 0 else PLACES[variant % len(PLACES)]
            agent.socket_error(1, place, "fuzzed", self.now)
        else:
            agent.set_remote_credentials(UFRAGS[1 - side], PASSWORDS[1 - side], self.now)
        for each in (0, 1):
            self.collect(each)

    def wait(self, variant: int) -> None:
        due = [at for agent in self.agents if (at := agent.next_timer()) is not None]
        self.now = max(self.now, min(due)) if due and variant % 4 else self.now + variant
        for agent in self.agents:
            agent.handle_timer(self.now)

    def deliver(self, variant: int, reader: Reader) -> None:
        """What was sent first arrives: as it is, changed, twice, late, or from elsewhere."""
        if not self.wire:
            return
        side, data, source = self.wire.pop(0)
        if variant & 1:
            at = reader.number() % len(data)
            data = data[:at] + bytes([reader.number()]) + data[at + 1 :]
        if variant & 2:
            self.wire.append((side, data, source))
        if variant & 4:
            source = PLACES[reader.number() % len(PLACES)]
        self.receive(side, data, source)

    def built(self, side: int, variant: int, reader: Reader) -> bytes:
        """A message to this side, with a right user name or none, signed with one of the passwords or not at all."""
        attributes = (
            [] if variant & 1 else [(Attribute.USERNAME, f"{UFRAGS[side]}:{UFRAGS[1 - side]}".encode())]
        )
        what = reader.number()
        while reader and len(attributes) < 12 and (attribute := reader.number()) != 0xFF:
            attributes.append((COMMON[attribute % len(COMMON)], reader.piece()))
        sent = [data for to, data, _ in self.wire if to != side]
        kind = what % 4
        identifier = sent[-1][8:20] if sent and kind >= MessageClass.SUCCESS else ID
        secret = (None, PASSWORDS[side].encode(), PASSWORDS[1 - side].encode())[what // 4 % 3]
        return bytes(
            oracle.build(Method.BINDING, kind, identifier, attributes, secret, fingerprint=not variant & 2)
        )

    def candidate(self, agent: IceAgent, text: str) -> None:
        try:
            found = Candidate.parse(text)
        except ParseError:
            return
        agent.add_remote_candidate(found, self.now)

    def receive(self, side: int, data: bytes, source: Address) -> None:
        agent = self.agents[side]
        is_stun = len(data) > 7 and data[0] < 4 and data[4:8] == COOKIE
        try:
            message = stun.parse(data)
        except ParseError:
            pass
        else:
            if any(map(message.verify_integrity, KEYS)):
                self.proven.add((side, source))
        given = agent.datagram_received(1, data, source, self.now)
        assert given is None or (given is data and not is_stun)
        assert given is None or (side, source) in self.proven

    def collect(self, side: int) -> None:
        agent = self.agents[side]
        for event in agent.take_events():
            repr(event)
            if isinstance(event, NeedSocket):
                agent.socket_opened(event.request, 1, (HOSTS[side], 5000), self.now)
        for transmit in agent.take_transmits():
            assert transmit.socket == 1
            assert stun.parse(transmit.data).method == Method.BINDING
            if transmit.address[0] in HOSTS:
                self.wire.append((HOSTS.index(transmit.address[0]), transmit.data, (HOSTS[side], 5000)))
        del self.wire[:-64]

    def check(self) -> None:
        for agent in self.agents:
            assert len(agent.pairs) <= LIMITS.pairs
            assert len(agent.remote_candidates) <= LIMITS.remote_candidates
            route = agent.route(1)
            assert route is None or route.socket == 1

    def end(self) -> None:
        for agent in self.agents:
            str(agent.report(self.now))
            agent.report(self.now).to_json()
            agent.stats(self.now)
            agent.close(self.now)
            agent.take_transmits()
            agent.take_events()
            assert agent.next_timer() is None
            assert agent.route(1) is None
            agent.datagram_received(1, b"\x80data", PLACES[0], self.now)
            agent.handle_timer(self.now + 100)
            assert agent.take_transmits() == []
