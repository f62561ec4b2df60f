"""Multicast DNS as a target of fuzzing: the input is the local network, and what the application wants."""

from __future__ import annotations

import ipaddress

from fuzz_harness import Reader, exact

from fasticePy.errors import ParseError
from fasticePy.machine import Address
from fasticePy.mdns import GROUPS, PORT, Limits, MdnsMachine, NameFailed, NameResolved
from fasticePy.mdns.codec import Message, build, parse

NAMES = tuple(f"0000000{number}-0000-4000-8000-000000000000.local" for number in range(8))
HOSTS = ("10.0.0.1", "2001:db8::1", "fe80::1%eth0", "203.0.113.9")
PLACES: tuple[Address, ...] = (
    ("10.0.0.2", PORT),
    ("fe80::2%eth0", PORT),
    ("10.0.0.2", 40000),
    ("10.0.0.2", 0),
)
LIMITS = Limits(sockets=3, names=3, requests=4, cached=4, answers=2)
STEPS = 64


def mdns(data: bytes) -> None:
    """The codec by itself, then a machine: nothing raises, what it holds stays within its limits, what it sends can be
    read and is about names that were asked for or are its own, every request ends exactly once."""
    codec(data)
    reader = Reader(data)
    run = _Run()
    for _ in range(STEPS):
        if not reader:
            break
        run.step(reader.number(), reader)
        run.check()
    run.end()


def codec(data: bytes) -> None:
    try:
        message = parse(bytes(exact(data)))
    except ParseError:
        return
    repr(message)
    try:
        again = build(message)
    except ValueError:  # names with bytes that we do not send; uncompressed it may be too long
        return
    assert parse(again) == message


class _Run:
    def __init__(self) -> None:
        self.now = 0.0
        self.machine = MdnsMachine(limits=LIMITS)
        self.requests: dict[int, bool] = {}  # whether it has had an address
        self.next_request = 0
        self.published: dict[str, str] = {}
        self.asked: set[str] = set()
        self.sent: list[bytes] = []
        self.machine.socket_opened(1, 0.0, addresses=HOSTS[:3], scope="eth0")

    def step(self, what: int, reader: Reader) -> None:
        action, variant = what % 8, what // 8
        name = NAMES[variant % len(NAMES)]
        machine, now = self.machine, self.now
        if action == 0:
            due = machine.next_timer()
            self.now = max(now, due) if due is not None and variant % 4 else now + variant / 4
            machine.handle_timer(self.now)
        elif action == 1:
            self.requests[self.next_request] = False
            self.asked.add(name)
            machine.resolve(
                self.next_request, name, now, ipv4=bool(variant & 8) or not variant & 16, ipv6=variant < 24
            )
            self.next_request += 1
        elif action == 2:
            self.publish(name, HOSTS[reader.number() % len(HOSTS)])
        elif action == 3:
            machine.withdraw(name, now)
            self.collect()
            self.published.pop(name, None)
        elif action == 4:
            self.sockets(variant)
        elif action == 5:
            number = reader.number()
            machine.cancel(number)
            self.requests.pop(number, None)
        elif action == 6:
            self.receive(reader.piece(), variant)
        else:
            self.receive(self.changed(reader, variant & 16 != 0), variant)
        self.collect()

    def publish(self, name: str, address: str) -> None:
        known = self.published.get(name, address)
        try:
            accepted = self.machine.publish(name, address, self.now)
        except ValueError:
            assert known != address
            return
        assert known == address
        if accepted:
            self.published[name] = address

    def sockets(self, variant: int) -> None:
        socket = 1 + variant % 4
        if variant & 8:
            self.machine.socket_closed(socket, self.now)
        else:
            self.machine.socket_opened(socket, self.now, ipv6=bool(variant & 4), addresses=HOSTS[1:2])

    def changed(self, reader: Reader, answer: bool) -> bytes:
        """What the machine sent last: as it is, as a response, or with a byte replaced."""
        data = bytearray(self.sent[-1] if self.sent else build(Message(False)))
        if answer:
            data[2] ^= 0x80
        if (at := reader.number()) < len(data):
            data[at] = reader.number()
        return bytes(data)

    def receive(self, data: bytes, variant: int) -> None:
        source = PLACES[variant // 4 % len(PLACES)]
        assert self.machine.datagram_received(1 + variant % 4, data, source, self.now) is None

    def collect(self) -> None:
        for transmit in self.machine.take_transmits():
            message = parse(transmit.data)
            for question in message.questions:
                assert question.name in (self.published if message.response else self.asked)
            for record in message.records:
                assert record.address == self.published[record.name].partition("%")[0]
            place = (transmit.address[0].partition("%")[0], transmit.address[1])
            assert place in {(host, PORT) for host in GROUPS} or transmit.address in PLACES
            self.sent.append(transmit.data)
        for event in self.machine.take_events():
            repr(event)
            if isinstance(event, NameResolved):
                self.resolved(event)
            elif isinstance(event, NameFailed):
                assert not self.requests.pop(event.request)

    def resolved(self, event: NameResolved) -> None:
        assert event.addresses or (event.final and self.requests[event.request])
        for address in event.addresses:
            ip = ipaddress.ip_address(address)
            assert not (ip.is_unspecified or ip.is_loopback or ip.is_multicast)
        families = [":" in address for address in event.addresses]
        assert len(set(families)) == len(families)
        self.requests[event.request] = True
        if event.final:
            del self.requests[event.request]

    def check(self) -> None:
        machine = self.machine
        assert machine.published <= LIMITS.names
        assert machine.resolving == len(self.requests) <= LIMITS.requests
        assert machine.cached <= LIMITS.cached
        assert machine.next_timer() is not None or not self.requests

    def end(self) -> None:
        self.machine.close(self.now)
        self.collect()
        assert not any(not found for found in self.requests.values())
        assert self.machine.next_timer() is None
        self.machine.datagram_received(1, build(Message(False)), PLACES[0], self.now)
        self.machine.handle_timer(self.now + 100)
        assert self.machine.take_transmits() == []
