"""SRV and NAPTR records, from a name server of the test that speaks real DNS on loopback."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from fasticePy.aio import UdpEndpoint, open_udp_socket
from fasticePy.aio.dns import DnsError, DnsResolver, RecordResolver
from fasticePy.aio.resolver import SystemResolver
from fasticePy.machine import Address
from fasticePy.stun.discovery import MAX_RECORDS, NaptrRecord, Question, SrvRecord

Run = Callable[..., Any]


class NameServer:
    """Answers from `zone`: record lines by question, a response code, or None for silence."""

    def __init__(self, zone: dict[str, Any]) -> None:
        self.zone = zone
        self.asked: list[str] = []
        loop = asyncio.get_running_loop()
        self.endpoint = UdpEndpoint(loop, 1, open_udp_socket(("127.0.0.1", 0)), self, Counter())
        self.address = self.endpoint.address

    def datagram_received(self, socket: int, data: bytes, address: Address) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        name = f"{kind} {question.name.to_text()}"
        self.asked.append(name)
        told = self.zone.get(name, dns.rcode.NXDOMAIN)
        if told is None:
            return
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if isinstance(told, dns.rcode.Rcode):
            answer.set_rcode(told)
        elif told:
            answer.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", kind, told))
        self.endpoint.send(answer.to_wire(), address)

    def batch_ended(self) -> None:
        """All was answered."""

    def socket_error(self, socket: int, address: Address | None, reason: str) -> None:
        """The client went away."""

    async def __aenter__(self) -> NameServer:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.endpoint.close()


def test_srv_and_naptr_records(run: Run) -> None:
    """8489-28, 5928-3: as they are, targets as names."""

    async def body() -> None:
        zone = {
            "SRV _stun._udp.example.test.": ["10 60 3478 a.example.test.", "20 0 0 ."],
            "NAPTR example.test.": ['100 10 "S" "RELAY:turn.udp" "" _turn._udp.example.test.'],
        }
        async with NameServer(zone) as server:
            resolver = DnsResolver(name_servers=[server.address])
            assert isinstance(resolver, RecordResolver)
            records = await resolver.records(Question("SRV", "_stun._udp.example.test"))
            assert sorted(records, key=str) == [
                SrvRecord(10, 60, 3478, "a.example.test."),
                SrvRecord(20, 0, 0, "."),
            ]
            assert await resolver.records(Question("NAPTR", "example.test.")) == [
                NaptrRecord(100, 10, "S", "RELAY:turn.udp", "", "_turn._udp.example.test.")
            ]
            assert server.asked == ["SRV _stun._udp.example.test.", "NAPTR example.test."]

    run(body())


def test_no_records_and_no_answers(run: Run) -> None:
    """8489-29: none is an answer; a failure says what it was."""

    async def body() -> None:
        zone = {
            "SRV _stun._udp.empty.test.": [],
            "SRV _stun._udp.broken.test.": dns.rcode.SERVFAIL,
            "SRV _stun._udp.silent.test.": None,
        }
        async with NameServer(zone) as server:
            resolver = DnsResolver(name_servers=[server.address], records_timeout=0.2)
            assert await resolver.records(Question("SRV", "_stun._udp.empty.test")) == []
            assert await resolver.records(Question("SRV", "_stun._udp.nowhere.test")) == []
            with pytest.raises(DnsError, match=r"answered with failures|did not answer"):
                await resolver.records(Question("SRV", "_stun._udp.broken.test"))
            with pytest.raises(DnsError, match=r"did not answer within 0\.2 s"):
                await resolver.records(Question("SRV", "_stun._udp.silent.test"))
            with pytest.raises(DnsError, match="the question failed"):
                await resolver.records(Question("SRV", f"_stun._udp.{'x' * 80}.test"))

    run(body())


def test_many_records_are_not_all_taken(run: Run) -> None:
    async def body() -> None:
        lines = [f"1 1 {port} t.test." for port in range(1, 200)]
        async with NameServer({"SRV _stun._udp.many.test.": lines[: MAX_RECORDS + 20]}) as server:
            resolver = DnsResolver(name_servers=[server.address])
            assert len(await resolver.records(Question("SRV", "_stun._udp.many.test"))) == MAX_RECORDS

    run(body())


def test_cancelling_a_question_leaves_nothing_behind(run: Run) -> None:
    async def body() -> None:
        async with NameServer({"SRV _stun._udp.silent.test.": None}) as server:
            resolver = DnsResolver(name_servers=[server.address])
            asking = asyncio.ensure_future(resolver.records(Question("SRV", "_stun._udp.silent.test")))
            while not server.asked:  # noqa: ASYNC110 - the server has no hook for tests
                await asyncio.sleep(0.005)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

    run(body())


def test_without_dnspython_or_name_servers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import dns.resolver

    async def body() -> None:
        question = Question("SRV", "_stun._udp.example.test")
        with monkeypatch.context() as patch:
            patch.setattr(
                dns.resolver.BaseResolver,
                "read_resolv_conf",
                lambda *_: (_ for _ in ()).throw(dns.resolver.NoResolverConfiguration()),
            )
            patch.setattr(sys, "platform", "linux")
            with pytest.raises(DnsError, match="name servers are not known"):
                await DnsResolver().records(question)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "dns", None)
            with pytest.raises(DnsError, match="need the package dnspython"):
                await DnsResolver(name_servers=[("127.0.0.1", 1)]).records(question)

    run(body())


def test_numeric_uris_import_no_dnspython() -> None:
    """`dnspython` is imported for service records alone."""
    import subprocess

    program = (
        "import asyncio, sys\n"
        "from fasticePy import stun\n"
        "from fasticePy.server import StunServer\n"
        "async def main():\n"
        "    async with StunServer() as server:\n"
        "        await stun.query(server.urls[0])\n"
        "        await stun.query(f'stun:localhost:{server.udp_addresses[0][1]}', family=4)\n"
        "asyncio.run(main())\n"
        "print('dns' in sys.modules, 'OpenSSL' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_addresses_come_from_the_operating_system() -> None:
    assert issubclass(DnsResolver, SystemResolver)
    assert not isinstance(SystemResolver(), RecordResolver)
