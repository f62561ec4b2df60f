"""The numbers of STUN and its usages, from the IANA registry "Session Traversal Utilities for NAT (STUN) Parameters".

All registered methods, attributes, error codes and password algorithms are here; reserved numbers are not, except the
attributes of RFC 3489, which still come from old servers. NOMINATION is not registered, and in use all the same.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

__all__ = [
    "MAGIC_COOKIE",
    "Attribute",
    "ErrorCode",
    "MessageClass",
    "Method",
    "PacketKind",
    "PasswordAlgorithm",
    "SecurityFeature",
]

MAGIC_COOKIE = 0x2112A442
"""The second word of every STUN message (RFC 8489 5)."""


class MessageClass(IntEnum):
    """The two class bits of the message type (RFC 8489 5)."""

    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


class Method(IntEnum):
    """STUN methods."""

    BINDING = 0x001
    ALLOCATE = 0x003
    REFRESH = 0x004
    SEND = 0x006
    DATA = 0x007
    CREATE_PERMISSION = 0x008
    CHANNEL_BIND = 0x009
    CONNECT = 0x00A
    CONNECTION_BIND = 0x00B
    CONNECTION_ATTEMPT = 0x00C
    GOOG_PING = 0x080


class Attribute(IntEnum):
    """STUN attributes; from 0x8000 on they may be ignored by who does not know them (RFC 8489 14)."""

    MAPPED_ADDRESS = 0x0001
    RESPONSE_ADDRESS = 0x0002  # RFC 3489, reserved now
    CHANGE_REQUEST = 0x0003
    SOURCE_ADDRESS = 0x0004  # RFC 3489, reserved now
    CHANGED_ADDRESS = 0x0005  # RFC 3489, reserved now
    USERNAME = 0x0006
    PASSWORD = 0x0007  # RFC 3489, reserved now
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    REFLECTED_FROM = 0x000B  # RFC 3489, reserved now
    CHANNEL_NUMBER = 0x000C
    LIFETIME = 0x000D
    XOR_PEER_ADDRESS = 0x0012
    DATA = 0x0013
    REALM = 0x0014
    NONCE = 0x0015
    XOR_RELAYED_ADDRESS = 0x0016
    REQUESTED_ADDRESS_FAMILY = 0x0017
    EVEN_PORT = 0x0018
    REQUESTED_TRANSPORT = 0x0019
    DONT_FRAGMENT = 0x001A
    ACCESS_TOKEN = 0x001B
    MESSAGE_INTEGRITY_SHA256 = 0x001C
    PASSWORD_ALGORITHM = 0x001D
    USERHASH = 0x001E
    XOR_MAPPED_ADDRESS = 0x0020
    RESERVATION_TOKEN = 0x0022
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    PADDING = 0x0026
    RESPONSE_PORT = 0x0027
    CONNECTION_ID = 0x002A
    NOMINATION = 0x0030  # draft-thatcher-tsvwg-renomination: an expired draft, not at IANA
    ADDITIONAL_ADDRESS_FAMILY = 0x8000
    ADDRESS_ERROR_CODE = 0x8001
    PASSWORD_ALGORITHMS = 0x8002
    ALTERNATE_DOMAIN = 0x8003
    ICMP = 0x8004
    SOFTWARE = 0x8022
    ALTERNATE_SERVER = 0x8023
    TRANSACTION_TRANSMIT_COUNTER = 0x8025
    CACHE_TIMEOUT = 0x8027
    FINGERPRINT = 0x8028
    ICE_CONTROLLED = 0x8029
    ICE_CONTROLLING = 0x802A
    RESPONSE_ORIGIN = 0x802B
    OTHER_ADDRESS = 0x802C
    ECN_CHECK_STUN = 0x802D
    THIRD_PARTY_AUTHORIZATION = 0x802E
    MOBILITY_TICKET = 0x8030
    CISCO_STUN_FLOWDATA = 0xC000
    ENF_FLOW_DESCRIPTION = 0xC001
    ENF_NETWORK_STATUS = 0xC002
    CISCO_WEBEX_FLOW_INFO = 0xC003
    CITRIX_TRANSACTION_ID = 0xC056
    GOOG_NETWORK_INFO = 0xC057
    GOOG_LAST_ICE_CHECK_RECEIVED = 0xC058
    GOOG_MISC_INFO = 0xC059
    GOOG_OBSOLETE_1 = 0xC05A
    GOOG_CONNECTION_ID = 0xC05B
    GOOG_DELTA = 0xC05C
    GOOG_DELTA_ACK = 0xC05D
    GOOG_DELTA_SYNC_REQ = 0xC05E
    GOOG_MESSAGE_INTEGRITY_32 = 0xC060
    META_DTLS_IN_STUN = 0xC070
    META_DTLS_IN_STUN_ACKNOWLEDGEMENT = 0xC071

    @property
    def comprehension_required(self) -> bool:
        """Whether a message must be refused by who does not know the attribute (RFC 8489 14)."""
        return self < 0x8000


class ErrorCode(IntEnum):
    """Codes of ERROR-CODE (RFC 8489 14.8 and its usages)."""

    TRY_ALTERNATE = 300
    BAD_REQUEST = 400
    UNAUTHENTICATED = 401
    FORBIDDEN = 403
    MOBILITY_FORBIDDEN = 405
    UNKNOWN_ATTRIBUTE = 420
    ALLOCATION_MISMATCH = 437
    STALE_NONCE = 438
    ADDRESS_FAMILY_NOT_SUPPORTED = 440
    WRONG_CREDENTIALS = 441
    UNSUPPORTED_TRANSPORT_PROTOCOL = 442
    PEER_ADDRESS_FAMILY_MISMATCH = 443
    CONNECTION_ALREADY_EXISTS = 446
    CONNECTION_TIMEOUT_OR_FAILURE = 447
    ALLOCATION_QUOTA_REACHED = 486
    ROLE_CONFLICT = 487
    SERVER_ERROR = 500
    INSUFFICIENT_CAPACITY = 508


class PasswordAlgorithm(IntEnum):
    """How a long-term key is made of a password (RFC 8489 18.5)."""

    MD5 = 0x0001
    SHA256 = 0x0002


class SecurityFeature(IntFlag):
    """The feature bits in a nonce cookie; bit 0 is the first bit sent (RFC 8489 18.1)."""

    NONE = 0
    PASSWORD_ALGORITHMS = 1 << 23
    USERNAME_ANONYMITY = 1 << 22


class PacketKind(IntEnum):
    """What a packet is by its first byte (RFC 7983 7, RFC 9443 3): the numbers that `classify` gives."""

    EMPTY = 0
    STUN = 1
    DROP = 2
    ZRTP = 3
    DTLS = 4
    CHANNEL_DATA = 5
    QUIC = 6
    RTP = 7
