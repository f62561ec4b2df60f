"""STUN and TURN URIs (RFC 7064, RFC 7065)."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasticePy.errors import ParseError
from fasticePy.stun.uri import ServerUrl, parse_server_url

GOOD = {
    # the examples of RFC 7064 and RFC 7065
    "stun:example.org": ("stun", "example.org", 3478, "udp"),
    "stuns:example.org": ("stuns", "example.org", 5349, "tcp"),
    "stun:example.org:8000": ("stun", "example.org", 8000, "udp"),
    "turn:example.org": ("turn", "example.org", 3478, "udp"),
    "turns:example.org": ("turns", "example.org", 5349, "tcp"),
    "turn:example.org:8000": ("turn", "example.org", 8000, "udp"),
    "turn:example.org?transport=udp": ("turn", "example.org", 3478, "udp"),
    "turn:example.org?transport=tcp": ("turn", "example.org", 3478, "tcp"),
    "turns:example.org?transport=tcp": ("turns", "example.org", 5349, "tcp"),
    # what else the grammar allows
    "turns:example.org:443?transport=udp": ("turns", "example.org", 443, "udp"),
    "turn:example.org?transport=SCTP~1": ("turn", "example.org", 3478, "sctp~1"),
    "turn:example.org?transport=TCP": ("turn", "example.org", 3478, "tcp"),
    "TURN:Example.ORG": ("turn", "example.org", 3478, "udp"),
    "StUnS:example.org": ("stuns", "example.org", 5349, "tcp"),
    "stun:192.0.2.1": ("stun", "192.0.2.1", 3478, "udp"),
    "stun:192.0.2.1:19302": ("stun", "192.0.2.1", 19302, "udp"),
    "stun:[2001:DB8::1]": ("stun", "2001:db8::1", 3478, "udp"),
    "turn:[2001:db8:0:0:0:0:0:1]:80?transport=tcp": ("turn", "2001:db8::1", 80, "tcp"),
    "turn:[fe80::1%25eth0]:80": ("turn", "fe80::1%eth0", 80, "udp"),
    "turn:[fe80::1%eth0]": ("turn", "fe80::1%eth0", 3478, "udp"),
    "stun:localhost:1": ("stun", "localhost", 1, "udp"),
    "stun:example.org.:65535": ("stun", "example.org.", 65535, "udp"),
    "stun:xn--bcher-kva.example": ("stun", "xn--bcher-kva.example", 3478, "udp"),
    "stun:_turn.under_score.example": ("stun", "_turn.under_score.example", 3478, "udp"),
    "stun:1and1.example": ("stun", "1and1.example", 3478, "udp"),
    "stun:example.org:": ("stun", "example.org", 3478, "udp"),
    " stun:example.org\n": ("stun", "example.org", 3478, "udp"),
}

BAD = {
    "": "does not begin with stun:",
    "stun": "does not begin with stun:",
    "stun:": "the host is missing",
    "example.org:3478": "does not begin with stun:",
    "http://example.org": "does not begin with stun:",
    "stun://example.org": "write stun:host, without //",
    "turn://user:secret@example.org": "write turn:host, without //",
    "turn:user@example.org": "user name and password are passed beside the URL",
    "turn::3478": "the host is missing",
    "turn:?transport=udp": "the host is missing",
    "stun:example.org?transport=udp": "stun: has no [?]transport=",
    "stuns:example.org?transport=tcp": "stuns: has no [?]transport=",
    "stun:example.org?": "stun: has no [?]transport=",
    "turn:example.org?": "after the [?] only",
    "turn:example.org?transport=": "after the [?] only",
    "turn:example.org?proto=udp": "after the [?] only",
    "turn:example.org?transport=udp&x=y": "after the [?] only",
    "turn:example.org?transport=u dp": "after the [?] only",
    "turn:example.org/?transport=udp": "no host name",
    "turn:example.org?transport=udp#top": "after the [?] only",
    "stun:example.org:0": "port is not a number from 1 to 65535",
    "stun:example.org:65536": "port is not a number from 1 to 65535",
    "stun:example.org:-1": "port is not a number from 1 to 65535",
    "stun:example.org:34a": "port is not a number from 1 to 65535",
    "stun:example.org:\u0663\u0664": "port is not a number from 1 to 65535",
    "stun:example.org:" + "0" * 300 + "80": "port is not a number from 1 to 65535",
    "stun:2001:db8::1": "must be written in brackets",
    "stun:example.org:80:90": "must be written in brackets",
    "stun:[2001:db8::1": "bracket of the IPv6 address is not closed",
    "stun:[2001:db8::1]80": "bracket of the IPv6 address is not closed",
    "stun:[example.org]": "in brackets there must be an IPv6 address",
    "stun:[192.0.2.1]": "in brackets there must be an IPv6 address",
    "stun:[]": "in brackets there must be an IPv6 address",
    "stun:[v1.x]": "in brackets there must be an IPv6 address",
    "stun:[fe80::1%]": "scope of the IPv6 address",
    "stun:[fe80::1%25]": "scope of the IPv6 address",
    "stun:[fe80::1%a b]": "scope of the IPv6 address",
    "stun:300.0.2.1": "neither a host name nor an IPv4 address",
    "stun:192.0.2": "neither a host name nor an IPv4 address",
    "stun:192.0.2.01": "neither a host name nor an IPv4 address",
    "stun:3221225985": "neither a host name nor an IPv4 address",
    "stun:b\u00fccher.example": "in its xn-- form",
    "stun:exam ple.org": "no host name",
    "stun:example..org": "no host name",
    "stun:.": "no host name",
    "stun:-a.example": "no host name",
    "stun:a-.example": "no host name",
    "stun:ex%61mple.org": "no host name",
    "stun:example.org\x00": "no host name",
    "stun:" + "a" * 64 + ".example": "no host name",
    "stun:" + "a." * 127: "no host name",
    "stun:" + "a" * 600: "605 characters, the limit is 512",
}


@pytest.mark.parametrize(("text", "parts"), GOOD.items(), ids=range(len(GOOD)))
def test_reads(text: str, parts: tuple[str, str, int, str]) -> None:
    """7064-1: `stun(s):host[:port]`, `turn(s):host[:port][?transport=]`; letters of a scheme may be upper case."""
    url = parse_server_url(text)
    assert (url.scheme, url.host, url.port, url.transport) == parts
    assert parse_server_url(str(url)) == url


@pytest.mark.parametrize(("text", "words"), BAD.items(), ids=range(len(BAD)))
def test_refuses(text: str, words: str) -> None:
    """7064-1: these are no hierarchical URIs, IPv6 stands in brackets, STUN has no transport."""
    with pytest.raises(ParseError, match=words) as caught:
        parse_server_url(text)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isascii()


@pytest.mark.parametrize("scheme", ["stuns", "turns"])
@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]"])
def test_tls_wants_a_name_to_verify(scheme: str, host: str) -> None:
    """8489-27, 7350-3: an IP address with TLS is refused, unless the name in the certificate came with it."""
    with pytest.raises(ParseError, match="needs a host name"):
        parse_server_url(f"{scheme}:{host}")
    url = parse_server_url(f"{scheme}:{host}:443", tls_name="turn.example.org")
    assert url.tls_name == "turn.example.org"
    assert (url.port, url.secure, url.numeric) == (443, True, True)


def test_what_was_given_is_known() -> None:
    """Discovery by SRV and NAPTR records is only for what the URI leaves open (RFC 8489 8, RFC 5928 3)."""
    for text, port_given, transport_given in (
        ("turn:example.org", False, False),
        ("turn:example.org:3478", True, False),
        ("turn:example.org?transport=udp", False, True),
        ("turn:example.org:3478?transport=udp", True, True),
    ):
        url = parse_server_url(text)
        assert (url.port_given, url.transport_given, str(url)) == (port_given, transport_given, text)


def test_properties() -> None:
    assert not parse_server_url("stun:example.org").secure
    assert parse_server_url("turns:example.org").secure
    assert parse_server_url("turn:example.org").relay and not parse_server_url("stuns:example.org").relay
    assert not parse_server_url("turn:example.org").numeric
    assert parse_server_url("turn:[fe80::1%25eth0]").numeric


def test_prints_what_was_made_by_hand() -> None:
    assert str(ServerUrl("stun", "192.0.2.1", 3478, "udp")) == "stun:192.0.2.1:3478"
    assert str(ServerUrl("turn", "2001:db8::1", 443, "tcp")) == "turn:[2001:db8::1]:443?transport=tcp"


def test_copies_and_pickles() -> None:
    url = parse_server_url("turn:[fe80::1%25eth0]:443?transport=tcp")
    assert copy.deepcopy(url) == pickle.loads(pickle.dumps(url)) == url
    assert hash(copy.copy(url)) == hash(url)


@settings(deadline=None)
@given(st.text() | st.builds("{}:{}".format, st.sampled_from(["stun", "turn", "turns"]), st.text()))
def test_no_text_raises_anything_but_parse_error(text: str) -> None:
    """7064-1: what is taken has one printed form, which means the same."""
    try:
        url = parse_server_url(text)
    except ParseError:
        return
    assert parse_server_url(str(url), tls_name=url.tls_name) == url
