from __future__ import annotations

import socket

import pytest

from fasticePy.aio.sockaddr import CACHED_ADDRESSES, AddressBook, from_sockaddr, to_sockaddr


def first_interface() -> tuple[int, str]:
    return socket.if_nameindex()[0]


@pytest.mark.parametrize(
    ("address", "sockaddr"),
    [
        (("192.0.2.1", 5000), ("192.0.2.1", 5000)),
        (("2001:db8::1", 5000), ("2001:db8::1", 5000, 0, 0)),
        (("2001:DB8:0:0::1", 5000), ("2001:db8::1", 5000, 0, 0)),
        (("fe80::1%7", 5000), ("fe80::1", 5000, 0, 7)),
    ],
)
def test_what_sendto_is_given(address: tuple[str, int], sockaddr: tuple[object, ...]) -> None:
    assert to_sockaddr(address) == sockaddr


def test_a_scope_is_the_interface_by_name_in_addresses_and_by_number_in_socket_addresses() -> None:
    number, name = first_interface()
    assert to_sockaddr((f"fe80::1%{name}", 9)) == ("fe80::1", 9, 0, number)
    assert from_sockaddr(("fe80::1", 9, 0, number)) == (f"fe80::1%{name}", 9)


def test_a_scope_whose_interface_is_gone_keeps_its_number() -> None:
    assert from_sockaddr(("fe80::1", 9, 0, 999_999)) == ("fe80::1%999999", 9)


def test_the_host_is_written_as_ipaddress_writes_it() -> None:
    # inet_ntop writes the last 32 bits of some addresses dotted: the same address must not have two texts
    assert from_sockaddr(("::192.0.2.1", 9, 0, 0)) == ("::c000:201", 9)
    assert from_sockaddr(("fe80::1%lo", 9, 0, 0)) == ("fe80::1", 9)


@pytest.mark.parametrize(
    "address",
    [
        ("stun.example.org", 3478),
        ("", 1),
        ("192.0.2.1", 65536),
        ("192.0.2.1", -1),
        ("fe80::1%no such interface", 1),
    ],
)
def test_names_and_nonsense_are_refused_without_a_look_up(address: tuple[str, int]) -> None:
    with pytest.raises(ValueError, match=r"(?i)port|address|Expected|permitted|interface"):
        to_sockaddr(address)


def test_a_book_translates_alike_and_is_bounded() -> None:
    book = AddressBook()
    for port in range(CACHED_ADDRESSES + 10):
        sockaddr = book.sockaddr(("2001:db8::1", port))
        assert sockaddr == ("2001:db8::1", port, 0, 0)
        assert book.address(sockaddr) == ("2001:db8::1", port)
    assert len(book.known) <= CACHED_ADDRESSES
    assert len(book._from) <= CACHED_ADDRESSES
