"""A server that asks for credentials, on every transport, with the client that people use."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Any

import pytest
from server_harness import ask_udp, connection, read_message, request, run, udp_client, until

from fasticePy import stun
from fasticePy.server import ServerLimits, StunServer, self_signed_certificate
from fasticePy.stun import Attribute, LongTermCredentials, MessageClass, ShortTermCredentials, StunError
from fasticePy.stun.server_auth import Authenticator

TRANSPORTS = ("udp", "tcp", "tls", "dtls")
USERS = {"alice": "wonderland", "bob": "builder"}


def secured(transport: str, **options: Any) -> tuple[StunServer, dict[str, Any]]:
    """A server, and what a client needs to ask it over this transport."""
    if transport in ("udp", "tcp"):
        return StunServer(**options), {}
    pytest.importorskip("cryptography", reason="certificates for the tests are made with cryptography")
    if transport == "dtls":
        pytest.importorskip("OpenSSL", reason="DTLS needs pyOpenSSL")
        options["dtls"] = True
    certificate = self_signed_certificate()
    context = ssl.create_default_context(cadata=certificate.chain.decode())
    return StunServer(certificate=certificate, **options), {
        "ssl_context": context,
        "server_hostname": "localhost",
    }


def url(server: StunServer, transport: str) -> str:
    host, port = server.udp_addresses[0]
    return f"{'stuns' if transport in ('tls', 'dtls') else 'stun'}:{host}:{port}"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("realm", "credentials"),
    [
        ("example.org", LongTermCredentials("alice", "wonderland")),
        (None, ShortTermCredentials("bob", "builder")),
    ],
    ids=["long-term", "short-term"],
)
def test_credentials_over_every_transport(transport: Any, realm: str | None, credentials: Any) -> None:
    """8489-32, 8489-42, 8489-48: asked for, given, and the answer proven."""

    async def main() -> None:
        server, options = secured(transport, users=USERS, realm=realm)
        async with server:
            result = await stun.query(
                url(server, transport), transport=transport, credentials=credentials, **options
            )
            assert result.mapped_address is not None
            assert result.mapped_address[0] == "127.0.0.1"
            assert server.counters["answered"] == 1
            assert server.counters["401: without integrity"] == (1 if realm else 0)

    run(main)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_wrong_passwords_over_every_transport(transport: Any) -> None:
    """8489-46: wrong integrity is a 401."""

    async def main() -> None:
        server, options = secured(transport, users=USERS, realm="example.org")
        async with server:
            wrong = LongTermCredentials("alice", "looking-glass")
            with pytest.raises(StunError, match="401"):
                await stun.query(url(server, transport), transport=transport, credentials=wrong, **options)
            assert server.counters["answered"] == 0
            assert server.counters["401: wrong integrity"] >= 1

    run(main)


def test_by_default_nobody_is_asked() -> None:
    """8489-58: a stand-alone server does not authenticate."""

    async def main() -> None:
        async with StunServer() as server:
            with udp_client() as client:
                data, _ = await ask_udp(client, request(), server.udp_addresses[0])
                assert stun.parse(data).message_class == MessageClass.SUCCESS

    run(main)


def test_challenges_are_small_and_few() -> None:
    """The 401 is at most 3.6 times the shortest request, and a source gets ten at once; then there is silence."""

    async def main() -> None:
        async with StunServer(users=USERS, realm="example.org", tcp=False) as server:
            with udp_client() as client:
                data, _ = await ask_udp(client, request(), server.udp_addresses[0])
                message = stun.parse(data)
                assert message.get(Attribute.ERROR_CODE) == (401, "")
                assert len(data) <= 72
                for _ in range(20):
                    client.sendto(request(), server.udp_addresses[0])
                counters = server.counters
                while sum(counters.values()) < 21:
                    await asyncio.sleep(0.005)
                    counters = server.counters
                assert counters["401 over budget"] >= 5
                assert counters["401: without integrity"] + counters["401 over budget"] == 21

    run(main)


def test_the_budget_is_one_for_all_ports_and_transports_of_a_source() -> None:
    """Nor does it end a connection: a client that knows the password gets its answer in between."""

    async def main() -> None:
        authentication = Authenticator("realm", USERS, rng=os.urandom, challenges_per_second=1e-9)
        async with (
            StunServer(authentication=authentication) as server,
            connection(server) as (reader, writer),
        ):
            writer.write(request())
            challenge = stun.parse(await read_message(reader))
            for _ in range(3):
                with udp_client() as client:
                    client.sendto(request(), server.udp_addresses[0])
            await until(lambda: server.counters["401 over budget"] == 3)
            builder = stun.MessageBuilder(stun.Method.BINDING, MessageClass.REQUEST)
            builder.add(Attribute.USERNAME, "bob")
            builder.add(Attribute.REALM, challenge.get(Attribute.REALM))
            builder.add(Attribute.NONCE, challenge.get(Attribute.NONCE))
            key = stun.IntegrityKey.long_term("bob", "realm", "builder")
            writer.write(builder.build(key))
            answer = stun.parse(await read_message(reader))
            assert answer.message_class == MessageClass.SUCCESS
            assert answer.verify_integrity(key)

    run(main)


def test_a_nonce_is_good_at_its_transport_and_address_alone() -> None:
    """8489-43, 8489-47: B using A's nonce gets 438, and a new one."""

    async def main() -> None:
        key = stun.IntegrityKey.long_term("bob", "realm", "builder")

        def signed(nonce: str) -> bytes:
            builder = stun.MessageBuilder(stun.Method.BINDING, MessageClass.REQUEST)
            for attribute, value in ((Attribute.USERNAME, "bob"), (Attribute.REALM, "realm")):
                builder.add(attribute, value)
            builder.add(Attribute.NONCE, nonce)
            return builder.build(key)

        async with StunServer(users=USERS, realm="realm") as server:
            address = server.udp_addresses[0]
            with udp_client() as one, udp_client() as other:
                data, _ = await ask_udp(one, request(), address)
                nonce = stun.parse(data).get(Attribute.NONCE)
                data, _ = await ask_udp(other, signed(nonce), address)
                refused = stun.parse(data)
                assert refused.get(Attribute.ERROR_CODE) == (438, "")
                assert refused.get(Attribute.NONCE) != nonce
                assert len(data) <= len(signed(nonce))
                data, _ = await ask_udp(other, signed(refused.get(Attribute.NONCE)), address)
                assert stun.parse(data).message_class == MessageClass.SUCCESS
                data, _ = await ask_udp(one, signed(nonce), address)
                assert stun.parse(data).message_class == MessageClass.SUCCESS

    run(main)


def test_requests_that_nobody_authenticated_end_as_other_connections_do() -> None:
    """A connection that is sent nothing, for its budget is spent, is idle all the same."""

    async def main() -> None:
        authentication = Authenticator("realm", USERS, rng=os.urandom, challenges_per_second=1e-9)
        limits = ServerLimits(idle=0.05)
        async with (
            StunServer(authentication=authentication, limits=limits) as server,
            connection(server) as (reader, writer),
        ):
            writer.write(request() * 5)
            await read_message(reader)
            assert await reader.read() == b""
            assert server.counters["401 over budget"] == 4

    run(main)
