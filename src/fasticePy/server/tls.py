"""TLS for the connections of a server (RFC 8489 6.2.3, RFC 7443), as a filter over memory: the sockets stay asyncio's.

So one port can take TLS and plain STUN: what a connection carries is known when its first byte has come.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

from fasticePy.server.certificate import Certificate, as_file

ALPN = ("stun.nat-discovery", "stun.turn")
"""What clients may name (RFC 7443); naming nothing, or something else, is no error."""
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL"
"""DHE- and ECDHE-RSA-AES128-GCM-SHA256 are among them; ephemeral keys only, the cheaper ones first."""
HANDSHAKE_BYTE = 0x16
"""How a TLS or DTLS handshake begins. No STUN message does."""

# the group ffdhe2048 of RFC 7919, which DHE suites need
DH_PARAMETERS = b"""-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""

_PLAINTEXT = 65536


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """TLS 1.2 or later with this certificate, AEAD ciphers and ephemeral keys only, no compression and no
    renegotiation. Raises ValueError when the certificate cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(list(ALPN))
    with as_file(DH_PARAMETERS) as path:
        context.load_dh_params(path)
    certificate.load_into(context)
    return context


class TlsFilter:
    """The server's end of one TLS connection: ciphertext in, plaintext out, and the other way round."""

    __slots__ = ("_incoming", "_object", "_outgoing", "ended", "established")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.established = False
        """Whether the handshake is over."""
        self.ended = False
        """Whether the client has said that nothing more comes."""

    @property
    def alpn(self) -> str | None:
        """The protocol that was agreed on (RFC 7301), if one was."""
        return self._object.selected_alpn_protocol()

    def receive(self, data: bytes) -> bytes:
        """The plaintext in what came. Raises ssl.SSLError when that is no TLS; `take` then gives the alert to send."""
        self._incoming.write(data)
        plaintext = bytearray()
        try:
            if not self.established:
                self._object.do_handshake()
                self.established = True
            while not self.ended:
                chunk = self._object.read(_PLAINTEXT)
                plaintext += chunk
                self.ended = not chunk
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        return bytes(plaintext)

    def send(self, data: bytes) -> None:
        """Encrypt; `take` gives the result. Raises ssl.SSLError when there is no connection."""
        self._object.write(data)

    def finish(self) -> None:
        """Say that nothing more comes."""
        with suppress(
            ssl.SSLError, ValueError
        ):  # it wants the client's goodbye too; or there was no handshake
            self._object.unwrap()

    def take(self) -> bytes:
        """What is to be sent now, perhaps nothing."""
        return self._outgoing.read()
