"""STUN and TURN URIs (RFC 7064, RFC 7065): `stun:host[:port]`, `turns:host[:port][?transport=tcp]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from fasticePy.errors import ParseError

MAX_URL_LENGTH = 512
MAX_HOST_LENGTH = 253
"""Longest host name in text form (RFC 1035 2.3.4)."""
DEFAULT_PORT = 3478
DEFAULT_TLS_PORT = 5349

_SCHEMES = ("stun", "stuns", "turn", "turns")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_SCOPE = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_TRANSPORT = re.compile(r"[A-Za-z0-9_.~-]{1,16}")
_PORT = re.compile(r"[0-9]{1,5}")
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """Where a STUN or TURN server is. `str()` gives the URI."""

    scheme: str
    """"stun", "stuns", "turn" or "turns"; those with an s run over TLS or DTLS."""
    host: str
    """A host name in lower case, or a numeric address, IPv6 without brackets."""
    port: int
    """The default one when the URI has none; `port_given` tells."""
    transport: str
    """"udp", "tcp" or an extension; without one in the URI, UDP, and TCP for the schemes with an s."""
    port_given: bool = True
    """A port that was given leaves no room for SRV records (RFC 8489 8.1, RFC 5928 3)."""
    transport_given: bool = True
    """A transport that was given leaves no room for others (RFC 5928 3)."""
    tls_name: str | None = None
    """The name that the server's certificate must have, when it is not `host`."""

    @property
    def secure(self) -> bool:
        """Whether it runs over TLS or DTLS."""
        return self.scheme in ("stuns", "turns")

    @property
    def relay(self) -> bool:
        """Whether it is a TURN server."""
        return self.scheme in ("turn", "turns")

    @property
    def numeric(self) -> bool:
        """Whether the host is an IP address, which needs no resolution."""
        return _numeric(self.host) is not None

    def __str__(self) -> str:
        host = f"[{self.host.replace('%', '%25')}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port_given else ""
        transport = f"?transport={self.transport}" if self.transport_given and self.relay else ""
        return f"{self.scheme}:{host}{port}{transport}"


def parse_server_url(text: str, *, tls_name: str | None = None) -> ServerUrl:
    """Read a STUN or TURN URI.

    `tls_name` is the name to verify in the server's certificate; `stuns:` and `turns:` with an IP address are refused
    without it (RFC 8489 8.1, RFC 7350 4.1.1). Raises ParseError that says what was wrong.
    """
    if len(text) > MAX_URL_LENGTH:
        raise ParseError(f"server URL: {len(text)} characters, the limit is {MAX_URL_LENGTH}")
    # by hand: these are no hierarchical URIs, and must not be parsed as such (RFC 7064 3.1)
    scheme, colon, rest = text.strip().partition(":")
    scheme = scheme.lower()
    if not colon or scheme not in _SCHEMES:
        raise _error(text, "it does not begin with stun:, stuns:, turn: or turns:")
    if rest.startswith("//"):
        raise _error(text, f"write {scheme}:host, without //")
    address, question, query = rest.partition("?")
    host, port = _split_port(text, address)
    secure = scheme.endswith("s")
    transport = _transport(text, scheme, query) if question else None
    host = _host(text, host)
    if secure and tls_name is None and _numeric(host) is not None:
        raise _error(
            text, f"{scheme}: needs a host name, because a certificate cannot be verified against an address"
        )
    return ServerUrl(
        scheme=scheme,
        host=host,
        port=_port(text, port) if port else (DEFAULT_TLS_PORT if secure else DEFAULT_PORT),
        transport=transport or ("tcp" if secure else "udp"),
        port_given=bool(port),
        transport_given=transport is not None,
        tls_name=tls_name,
    )


def _error(text: str, reason: str) -> ParseError:
    text = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return ParseError(f"server URL {text!a}: {reason}")


def _split_port(text: str, address: str) -> tuple[str, str]:
    """Host, with the brackets of an IPv6 address, and port, empty when there is none (RFC 3986 3.2.3)."""
    if not address.startswith("["):
        host, _, port = address.partition(":")
        if ":" in port:
            raise _error(text, "an IPv6 address must be written in brackets")
        return host, port
    host, bracket, rest = address.partition("]")
    if not bracket or (rest and not rest.startswith(":")):
        raise _error(text, "the bracket of the IPv6 address is not closed before the port")
    return host + bracket, rest[1:]


def _port(text: str, port: str) -> int:
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise _error(text, "the port is not a number from 1 to 65535")
    return int(port)


def _transport(text: str, scheme: str, query: str) -> str:
    if scheme.startswith("stun"):
        raise _error(text, f"{scheme}: has no ?transport= (RFC 7064 3.1)")
    key, _, value = query.partition("=")
    if key.lower() != "transport" or not _TRANSPORT.fullmatch(value):
        raise _error(
            text, "after the ? only transport=udp, transport=tcp or the like may come (RFC 7065 3.1)"
        )
    return value.lower()


def _host(text: str, host: str) -> str:
    if host.startswith("["):
        return _ipv6(text, host[1:-1])
    if not host:
        raise _error(text, "the host is missing")
    if "@" in host:
        raise _error(text, "user name and password are passed beside the URL, not in it")
    if not host.isascii():
        raise _error(text, "write a host name with other than ASCII letters in its xn-- form")
    labels = host.removesuffix(".").split(".")
    if len(host) > MAX_HOST_LENGTH or not all(_LABEL.fullmatch(label) for label in labels):
        raise _error(text, "this is no host name")
    # what ends in a number can only be meant as an IPv4 address, and no name of that kind is ever registered
    if labels[-1].isdigit() and _numeric(host) is None:
        raise _error(text, "this is neither a host name nor an IPv4 address")
    return host.lower()


def _ipv6(text: str, literal: str) -> str:
    address, percent, scope = literal.partition("%")
    scope = scope.removeprefix("25")  # RFC 6874 2
    try:
        numeric = str(IPv6Address(address))
    except AddressValueError:
        raise _error(text, "in brackets there must be an IPv6 address") from None
    if percent and not _SCOPE.fullmatch(scope):
        raise _error(text, "the scope of the IPv6 address is no interface name")
    return f"{numeric}%{scope}" if percent else numeric


def _numeric(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return IPv6Address(host) if ":" in host else IPv4Address(host)
    except AddressValueError:
        return None
