"""DTLS towards STUN and TURN servers (RFC 7350), through pyOpenSSL: the extra `fasticePy[dtls]`.

This module needs pyOpenSSL and cryptography, so it is imported when the first DTLS connection is made. OpenSSL works on
memory; the datagrams go through a UDP endpoint as all others do.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections import Counter
from contextlib import suppress

from cryptography import x509
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from fasticePy.aio.endpoint import MAX_DATAGRAM, Endpoint, EndpointHandler
from fasticePy.aio.endpoint_transport import open_endpoint
from fasticePy.aio.tls import Alpn, TlsError, bad_certificate
from fasticePy.aio.udp_socket import open_udp_socket
from fasticePy.machine import Address

MTU = 1200
"""Bytes of a datagram of the handshake, which fits any path that IPv6 knows."""
CIPHERS = b"ECDHE+AESGCM:DHE+AESGCM:ECDHE+CHACHA20:!aNULL"
"""DHE- and ECDHE-RSA-AES128-GCM-SHA256 are among them; ephemeral keys only (RFC 8489 6.2.3)."""

_DTLS_1_2 = 0xFEFD
_RECORD_HEADER = 13


class DtlsChannel:
    """One association with a server. What arrives in it goes to `handler`, as from socket `id`."""

    def __init__(self, id: int, remote: Address, handler: EndpointHandler, counters: Counter[str]) -> None:
        self.id = id
        self.remote = remote
        self._handler = handler
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._endpoint: Endpoint | None = None
        self._connection: SSL.Connection | None = None
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._name = ""
        self._refused = ""  # why the certificate is not accepted

    @property
    def local(self) -> Address:
        """Where its socket is bound."""
        assert self._endpoint is not None
        return self._endpoint.address

    async def open(
        self,
        local: Address,
        name: str,
        *,
        alpn: Alpn = "stun.nat-discovery",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Bind to `local` and shake hands; return when the server has proven that it is `name`. Authorities come from
        `tls`, which also says whether to verify at all, or from the system. Raises TlsError, or another OSError
        when the server cannot be reached."""
        self._name = name
        context = await asyncio.to_thread(self._context, alpn, name, tls)  # it reads hundreds of certificates
        self._endpoint = self._open_endpoint(local)
        self._connection = _connect(context, name)
        self._advance()
        await self._done

    def send(self, data: bytes, address: Address) -> bool:
        """Send one message; False when there is no association."""
        if self._connection is None or self._endpoint is None or not self._done.done():
            return False
        try:
            self._connection.send(data)
        except SSL.Error:
            return False
        return self._flush(self._connection)

    async def close(self) -> None:
        """Say goodbye and close the socket. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connection, self._connection = self._connection, None
        if self._endpoint is None:
            return
        if connection is not None and not self._endpoint.closed:
            with suppress(SSL.Error):  # there is no association yet
                connection.shutdown()
            self._flush(connection)
        self._endpoint.close()
        await self._endpoint.wait_closed()
        if not self._done.cancel() and not self._done.cancelled():
            self._done.exception()  # perhaps nobody waits for it any more

    # -- EndpointHandler, of its own socket

    def datagram_received(self, socket: int, data: bytes, address: Address) -> None:
        """One datagram; what is not from the server means nothing."""
        if address != self.remote or self._connection is None:
            self._counters["datagram from elsewhere"] += 1
            return
        self._connection.bio_write(data)
        self._advance()

    def batch_ended(self) -> None:
        """No more for now."""
        self._handler.batch_ended()

    def socket_error(self, socket: int, address: Address | None, reason: str) -> None:
        """What was sent did not get there."""
        if not self._done.done():
            self._done.set_exception(ConnectionRefusedError(None, reason))
        else:
            self._handler.socket_error(self.id, None, reason)

    # -- OpenSSL

    def _context(self, alpn: Alpn, name: str, tls: ssl.SSLContext | None) -> SSL.Context:
        context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
        context.set_min_proto_version(_DTLS_1_2)
        context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_COMPRESSION)
        context.set_cipher_list(CIPHERS)
        context.set_alpn_protos([alpn.encode()])
        if tls is None:
            context.set_default_verify_paths()
        else:
            store = context.get_cert_store()
            for der in tls.get_ca_certs(binary_form=True):
                certificate = crypto.load_certificate(crypto.FILETYPE_ASN1, der)
                if store is not None:
                    store.add_cert(certificate)
        checks_name = tls is None or tls.check_hostname
        verifies = tls is None or tls.verify_mode != ssl.CERT_NONE

        def accept(_: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int) -> bool:
            if not ok:
                self._refused = self._refused or _VERIFY_ERRORS.get(code, f"verification error {code}")
                return False
            if depth == 0 and checks_name and not matches(certificate.to_cryptography(), name):
                self._refused = f"it is not for {name}"
                return False
            return True

        context.set_verify(SSL.VERIFY_PEER if verifies else SSL.VERIFY_NONE, accept if verifies else None)
        return context

    def _open_endpoint(self, local: Address) -> Endpoint:
        return open_endpoint(self._loop, self.id, open_udp_socket(local), self, self._counters)

    def _advance(self) -> None:
        """Go on with the handshake, or read what came."""
        connection = self._connection
        assert connection is not None
        try:
            if not self._done.done():
                connection.do_handshake()
                self._done.set_result(None)
            while True:
                self._handler.datagram_received(self.id, connection.recv(MAX_DATAGRAM), self.remote)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self._ended("the server closed the association")
        except SSL.Error as error:
            self._ended(_words(error))
        self._flush(connection)
        self._reschedule()

    def _ended(self, reason: str) -> None:
        if self._done.done():
            self._handler.socket_error(self.id, None, reason)
        elif self._refused:
            self._done.set_exception(bad_certificate(self._name, self._refused))
        else:
            self._done.set_exception(TlsError(f"the DTLS handshake failed: {reason}"))

    def _flush(self, connection: SSL.Connection) -> bool:
        """Send what OpenSSL has written; False when nothing got out."""
        assert self._endpoint is not None
        written = bytearray()
        try:
            while True:
                written += connection.bio_read(MAX_DATAGRAM)
        except SSL.WantReadError:
            pass
        sent = [self._endpoint.send(datagram, self.remote) for datagram in split_records(bytes(written), MTU)]
        return any(sent)

    def _reschedule(self) -> None:
        """OpenSSL sends handshake messages again (RFC 6347 4.2.4)."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connection is None or self._done.done():
            return
        delay = self._connection.DTLSv1_get_timeout()
        if delay is not None:
            self._timer = self._loop.call_later(delay, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        if self._connection is None:
            return
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error as error:
            self._ended(_words(error))
        self._flush(self._connection)
        self._reschedule()


def _connect(context: SSL.Context, name: str) -> SSL.Connection:
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    connection.set_ciphertext_mtu(MTU)
    if not _is_address(name):
        connection.set_tlsext_host_name(name.encode())
    return connection


def split_records(data: bytes, mtu: int) -> list[bytes]:
    """DTLS records in a row as datagrams of at most `mtu` bytes, each record whole (RFC 6347 4.1.1)."""
    datagrams: list[bytes] = []
    start = end = 0
    while end + _RECORD_HEADER <= len(data):
        after = end + _RECORD_HEADER + int.from_bytes(data[end + 11 : end + 13], "big")
        if after - start > mtu and end > start:
            datagrams.append(data[start:end])
            start = end
        end = after
    if end > start:
        datagrams.append(data[start:end])
    return datagrams


def matches(certificate: x509.Certificate, name: str) -> bool:
    """Whether a certificate is for `name`, by its DNS names, where the leftmost label may be a wildcard, or by its
    common name when it has none (RFC 8489 6.2.3, RFC 6125); for an address, by its IP addresses."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns, addresses = names.get_values_for_type(x509.DNSName), names.get_values_for_type(x509.IPAddress)
    except x509.ExtensionNotFound:
        dns, addresses = [], []
    if _is_address(name):
        return ipaddress.ip_address(name) in addresses
    if not dns and not addresses:
        dns = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return any(_name_matches(pattern.lower(), name.lower().removesuffix(".")) for pattern in dns)


def _name_matches(pattern: str, name: str) -> bool:
    if not pattern.startswith("*."):
        return pattern == name
    label, _, rest = name.partition(".")
    return bool(label) and "." in rest and pattern[2:] == rest


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _words(error: SSL.Error) -> str:
    """OpenSSL's reason."""
    entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return str(entries[-1][2]).lower() if entries else "the handshake failed"


_VERIFY_ERRORS = {
    2: "its issuer is not known",
    9: "certificate is not yet valid",
    10: "certificate has expired",
    18: "self-signed certificate",
    19: "self-signed certificate in certificate chain",
    20: "unable to get local issuer certificate",
    21: "unable to verify the first certificate",
    23: "certificate was revoked",
    24: "invalid certificate authority",
    26: "it is not for servers",
    66: "its key is too small",
}
"""X509_V_ERR_* in words, as Python's `ssl` says them."""
