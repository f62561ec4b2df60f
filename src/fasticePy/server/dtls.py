"""DTLS for the UDP ports of a server (RFC 7350), through pyOpenSSL: the extra `fasticePy[dtls]`.

This module needs pyOpenSSL and cryptography, so it is imported when a server with DTLS is made. OpenSSL works on
memory; the sockets are those of plain UDP, and the first byte tells both apart.

A ClientHello costs no memory until its sender has proven its address by the cookie exchange of RFC 6347 4.2.1: all
of them are read by the same OpenSSL object, which becomes the association of whoever brings the right cookie.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections import Counter
from contextlib import suppress
from typing import Protocol, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from fasticePy.aio.dtls import MTU, split_records
from fasticePy.machine import Address
from fasticePy.server.certificate import Certificate, as_file
from fasticePy.server.limits import ServerLimits
from fasticePy.server.tls import ALPN, CIPHERS, DH_PARAMETERS, HANDSHAKE_BYTE

COOKIE_LIFE = 60.0
"""Seconds in which a cookie is good, and as many more at most."""
MAX_HELLO = 4096
"""Bytes of a datagram with a ClientHello; OpenSSL takes none that is in several."""

_DTLS_1_2 = 0xFEFD
_CLIENT_HELLO = 1
_RECORD_HEADER = 13
_MAX_PLAINTEXT = 16384

Flow: TypeAlias = "tuple[int, Address]"
"""A UDP socket of ours and an address: between both, one association."""


class DtlsOwner(Protocol):
    """Who the associations report to, and send through."""

    def send_datagram(self, socket: int, data: bytes, address: Address) -> bool:
        """Send one datagram from this UDP socket."""
        ...

    def admit(self, address: Address) -> bool:
        """Whether there is room for another connection of this client; if so, it is taken until `leave`."""
        ...

    def leave(self, address: Address) -> None:
        """This connection is gone."""

    def association_opened(self, association: Association) -> None:
        """The handshake is over: it needs an `id`."""

    def message_received(self, association: Association, data: bytes) -> None:
        """One message came in it."""

    def association_ended(self, association: Association) -> None:
        """It is gone; it was opened before."""


def server_context(certificate: Certificate) -> SSL.Context:
    """DTLS 1.2 with this certificate, and the ciphers of TLS. Raises ValueError when the certificate cannot be used."""
    context = SSL.Context(SSL.DTLS_SERVER_METHOD)
    context.set_min_proto_version(_DTLS_1_2)
    context.set_options(
        SSL.OP_NO_QUERY_MTU | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_cipher_list(CIPHERS.encode())
    context.set_alpn_select_callback(_select_alpn)
    with as_file(DH_PARAMETERS) as path:
        context.load_tmp_dh(path)
    chain = x509.load_pem_x509_certificates(certificate.chain)
    context.use_certificate(chain[0])
    for issuer in chain[1:]:
        context.add_extra_chain_cert(issuer)
    context.use_privatekey(load_pem_private_key(certificate.key, None))  # type: ignore[arg-type]
    return context


class DtlsServer:
    """All associations on the UDP sockets of a server."""

    def __init__(
        self,
        context: SSL.Context,
        owner: DtlsOwner,
        limits: ServerLimits,
        counters: Counter[str],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.limits = limits
        self.counters = counters
        self.loop = loop
        self._context = context
        self._owner = owner
        self._secret = os.urandom(32)
        self._asking = ""  # who sent the ClientHello that OpenSSL is reading
        self._associations: dict[Flow, Association] = {}
        context.set_cookie_generate_callback(lambda _: self._cookie(self._period))
        context.set_cookie_verify_callback(self._verify_cookie)
        self._listening = self._new_connection()

    def __len__(self) -> int:
        return len(self._associations)

    def datagram_received(self, socket: int, data: bytes, address: Address) -> None:
        """One datagram that is DTLS by its first byte."""
        association = self._associations.get((socket, address))
        hello = _is_client_hello(data)
        if association is not None and not (hello and association.established):
            association.receive(data)
        elif not hello or len(data) > MAX_HELLO:
            self.counters["dtls without an association"] += 1
        elif self._proves_address(socket, data, address):
            # RFC 6347 4.2.8: a client that begins anew at the same port replaces what it had
            if association is not None:
                association.end("dtls association begun anew")
            self._associate(socket, address)

    def close(self) -> None:
        """End all associations, and tell the clients."""
        for association in tuple(self._associations.values()):
            association.end("server closed")

    # -- before there is an association

    @property
    def _period(self) -> int:
        return int(self.loop.time() // COOKIE_LIFE)

    def _cookie(self, period: int) -> bytes:
        return hmac.digest(self._secret, f"{self._asking} {period}".encode(), "sha256")[:16]

    def _verify_cookie(self, _: SSL.Connection, cookie: bytes) -> bool:
        return any(hmac.compare_digest(self._cookie(self._period - age), cookie) for age in (0, 1))

    def _new_connection(self) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_accept_state()
        connection.set_ciphertext_mtu(MTU)
        return connection

    def _proves_address(self, socket: int, data: bytes, address: Address) -> bool:
        """Whether a ClientHello has the cookie for its address; if not, the cookie is sent, which is shorter."""
        self._asking = f"{socket} {address[0]} {address[1]}"
        self._listening.bio_write(data)
        try:
            self._listening.DTLSv1_listen()
        except SSL.WantReadError:
            answer = read_all(self._listening)
            if answer:
                self.counters["dtls cookies"] += 1
                self._owner.send_datagram(socket, answer, address)
            else:
                self.counters["dtls hello that cannot be read"] += 1
            return False
        except SSL.Error:
            self.counters["dtls hello that cannot be read"] += 1
            self._listening = self._new_connection()
            return False
        return True

    def _associate(self, socket: int, address: Address) -> None:
        connection, self._listening = self._listening, self._new_connection()
        if not self._owner.admit(address):
            return
        association = Association(self, self._owner, connection, socket, address)
        self._associations[socket, address] = association
        association.advance()

    def forget(self, association: Association) -> None:
        """This association is gone."""
        del self._associations[association.socket, association.remote]


class Association:
    """DTLS with one client. `id` is the socket's number for the machine, 0 before the handshake is over."""

    def __init__(
        self, server: DtlsServer, owner: DtlsOwner, connection: SSL.Connection, socket: int, remote: Address
    ) -> None:
        self.id = 0
        self.socket = socket
        self.remote = remote
        self.established = False
        self._server = server
        self._owner = owner
        self._connection = connection
        self._ended = False
        self._retransmission: asyncio.TimerHandle | None = None
        # `_expires` moves with each message, the timer itself only when it fires
        self._expires = server.loop.time() + server.limits.handshake
        self._expiry = server.loop.call_at(self._expires, self._expiry_fired)

    def send(self, data: bytes, address: Address) -> bool:
        """Send one message; False when it was not sent."""
        if self._ended:
            return False
        try:
            self._connection.send(data)
        except SSL.Error:
            return False
        return self._flush()

    def receive(self, data: bytes) -> None:
        """One datagram from the client."""
        self._connection.bio_write(data)
        self.advance()

    def advance(self) -> None:
        """Go on with the handshake, or read what came."""
        reason = None
        try:
            if not self.established:
                self._connection.do_handshake()
                self._establish()
            while not self._ended:
                self._message(self._connection.recv(_MAX_PLAINTEXT))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            reason = "dtls association closed by the client"
        except SSL.Error:
            reason = "dtls association broken" if self.established else "dtls handshake failed"
        self._flush()
        if reason is not None:
            self.end(reason)
        self._schedule_retransmission()

    def end(self, reason: str) -> None:
        """Say goodbye and be gone."""
        if self._ended:
            return
        self._server.counters[reason] += 1
        if self.established:
            with suppress(SSL.Error):  # nothing more can be said
                self._connection.shutdown()
            self._flush()
        self._ended = True
        self._expiry.cancel()
        if self._retransmission is not None:
            self._retransmission.cancel()
        self._server.forget(self)
        self._owner.leave(self.remote)
        if self.established:
            self._owner.association_ended(self)

    def _establish(self) -> None:
        self.established = True
        self._server.counters["dtls associations"] += 1
        self._expire_in(self._server.limits.first_message)
        self._owner.association_opened(self)

    def _message(self, data: bytes) -> None:
        self._expire_in(self._server.limits.idle)
        self._owner.message_received(self, data)

    def _flush(self) -> bool:
        """Send what OpenSSL has written; False when nothing got out."""
        datagrams = split_records(read_all(self._connection), MTU)
        sent = [self._owner.send_datagram(self.socket, each, self.remote) for each in datagrams]
        return any(sent)

    # -- timers

    def _expire_in(self, seconds: float) -> None:
        self._expires = self._server.loop.time() + seconds
        if self._expiry.when() > self._expires:
            self._expiry.cancel()
            self._expiry = self._server.loop.call_at(self._expires, self._expiry_fired)

    def _expiry_fired(self) -> None:
        if self._server.loop.time() >= self._expires:
            self.end("idle dtls association" if self.established else "dtls handshake that does not end")
        else:
            self._expiry = self._server.loop.call_at(self._expires, self._expiry_fired)

    def _schedule_retransmission(self) -> None:
        """OpenSSL sends handshake messages again (RFC 6347 4.2.4)."""
        if self._retransmission is not None:
            self._retransmission.cancel()
            self._retransmission = None
        if self._ended or self.established:
            return
        delay = self._connection.DTLSv1_get_timeout()
        if delay is not None:
            self._retransmission = self._server.loop.call_later(delay, self._retransmit)

    def _retransmit(self) -> None:
        self._retransmission = None
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error:
            self.end("dtls handshake failed")
            return
        self._flush()
        self._schedule_retransmission()


def read_all(connection: SSL.Connection) -> bytes:
    """What OpenSSL has written."""
    written = bytearray()
    try:
        while True:
            written += connection.bio_read(65536)
    except SSL.WantReadError:
        return bytes(written)


def _is_client_hello(data: bytes) -> bool:
    """A handshake record of epoch 0 that begins with a ClientHello (RFC 6347 4.1, 4.2.2)."""
    return (
        len(data) > _RECORD_HEADER
        and data[0] == HANDSHAKE_BYTE
        and data[3:5] == b"\0\0"
        and data[_RECORD_HEADER] == _CLIENT_HELLO
    )


def _select_alpn(_: SSL.Connection, offered: list[bytes]) -> bytes | SSL._NoOverlappingProtocols:
    for name in ALPN:
        if name.encode() in offered:
            return name.encode()
    return SSL.NO_OVERLAPPING_PROTOCOLS  # no error: the handshake goes on without (RFC 7443 3)
