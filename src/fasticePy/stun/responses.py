"""What a response says, and when it is a failure whatever it says (RFC 8489 6.3.3, 6.3.4)."""

from __future__ import annotations

from fasticePy._native.stun import Message
from fasticePy.machine import Address
from fasticePy.stun.registry import Attribute, MessageClass, Method

KNOWN = frozenset(Attribute)
"""Attributes that a response may have; what RFC 3489 servers still add is among them, and ignored (RFC 5389 12.1)."""


def mapped_address(message: Message) -> Address | None:
    """The address in a Binding response: XOR-MAPPED-ADDRESS, or MAPPED-ADDRESS as old servers have it, of whichever
    family (RFC 8489 6.3.3); None when neither is there and understood."""
    for attribute in (Attribute.XOR_MAPPED_ADDRESS, Attribute.MAPPED_ADDRESS):
        address: Address | None = message.get(attribute)
        if address is not None:
            return address
    return None


def error_code(message: Message) -> int | None:
    """The code of an error response; None for other messages and when it has no valid one."""
    if message.message_class != MessageClass.ERROR:
        return None
    error: tuple[int, str] | None = message.get(Attribute.ERROR_CODE)
    return None if error is None else error[0]


def describe(message: Message) -> str:
    """The response in a word or two, for reasons: `an answer` or `error 401`."""
    code = error_code(message)
    return "an answer" if code is None else f"error {code}"


def failure_of(message: Message) -> str:
    """Why a response is a failure whatever it says, or ""."""
    unknown = message.unknown_required(KNOWN)
    if unknown:
        return "unknown attributes " + ", ".join(f"0x{attribute:04x}" for attribute in unknown[:10])
    if message.message_class == MessageClass.ERROR:
        return "" if error_code(message) is not None else "an error response without a valid code"
    if message.method == Method.BINDING and mapped_address(message) is None:
        return "a Binding response without a mapped address"
    return ""
