"""DSCP: checks, answers and data leave from the same sockets, which are marked once."""

from __future__ import annotations

import socket
import sys

import pytest

from fasticePy.aio.udp_socket import mark, open_udp_socket

EXPEDITED = 46
"""The class that voice uses (RFC 8837 5)."""


@pytest.mark.parametrize("dscp", [0, EXPEDITED, 63])
def test_ipv4(dscp: int):
    """8445-29: the class is in the upper six bits; those of ECN stay as they are."""
    with open_udp_socket(("127.0.0.1", 0)) as sock:
        mark(sock, dscp)
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == dscp << 2


@pytest.mark.skipif(sys.platform == "win32", reason="IPV6_TCLASS is not there")
def test_ipv6():
    """8445-29: the same for IPv6."""
    try:
        sock = open_udp_socket(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 on this host")
    with sock:
        mark(sock, EXPEDITED)
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == EXPEDITED << 2


def test_tcp():
    """8445-29: connections are marked as well."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        mark(sock, EXPEDITED)
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == EXPEDITED << 2


def test_nothing_is_asked_for_by_default():
    """8445-29: without a class the socket stays as the operating system made it."""
    with open_udp_socket(("127.0.0.1", 0)) as sock:
        before = sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)
        mark(sock, None)
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == before


def test_a_refusal_is_no_failure():
    """8445-29: the operating system may not allow it; packets then go unmarked."""
    with open_udp_socket(("127.0.0.1", 0)) as sock:
        fd = sock.detach()
        mark(sock, EXPEDITED)
        socket.close(fd)
