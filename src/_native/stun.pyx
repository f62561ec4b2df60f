"""STUN messages: reading them lazily and building them (RFC 8489 5, 14)."""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from fasticePy._native.attributes cimport (
    ATTR_FINGERPRINT, ATTR_MESSAGE_INTEGRITY, ATTR_MESSAGE_INTEGRITY_SHA256, decode_value, encode_value,
)
from fasticePy._native.crc cimport crc32_of
from fasticePy._native.integrity cimport MacKey, equal, hmac_sha1_of, hmac_sha256_of
from fasticePy._native.wire cimport (
    View, close_view, get_u16, get_u32, open_view, put_u16, put_u32,
)

cdef enum:
    FINGERPRINT_XOR = 0x5354554E        # RFC 8489 14.7


class ParseError(ValueError):
    """The bytes are not what they were taken for. It never comes out of a receive path, only of calls that parse."""


cdef int raise_parse_error(int code) except -1:
    if code == PARSE_SHORT:
        raise ParseError("not STUN: shorter than a header")
    if code == PARSE_BITS:
        raise ParseError("not STUN: the first two bits are not zero")
    if code == PARSE_COOKIE:
        raise ParseError("not STUN: the magic cookie is missing")
    if code == PARSE_LENGTH:
        raise ParseError("the length in the header does not fit the message")
    raise ParseError("an attribute reaches beyond the end of the message")


# ------------------------------------------------------------------------------------------ the one validating pass

cdef int check_header(const uint8_t *p, size_t n) noexcept nogil:
    cdef size_t length
    if n < HEADER_SIZE:
        return PARSE_SHORT
    if p[0] & 0xC0:
        return PARSE_BITS
    if get_u32(p + 4) != <uint32_t>MAGIC_COOKIE:
        return PARSE_COOKIE
    length = get_u16(p + 2)
    if length % 4 or length != n - HEADER_SIZE:
        return PARSE_LENGTH
    return PARSE_OK


cdef int scan(const uint8_t *p, size_t n, Layout *out) noexcept nogil:
    cdef const uint8_t *at = p + HEADER_SIZE
    cdef const uint8_t *end = p + n
    cdef unsigned attribute
    cdef size_t padded
    cdef int code = check_header(p, n)
    out.integrity = 0
    out.integrity_sha256 = 0
    out.fingerprint = 0
    out.end = 0
    if code != PARSE_OK:
        return code
    while at < end:
        # all sizes are multiples of 4, so there is room for an attribute's header
        attribute = get_u16(at)
        padded = (<size_t>get_u16(at + 2) + 3) & ~<size_t>3
        if padded > <size_t>(end - at) - 4:
            return PARSE_ATTRIBUTE
        # RFC 8489 14.5, 14.6: behind MESSAGE-INTEGRITY only MESSAGE-INTEGRITY-SHA256 and FINGERPRINT count, behind
        # MESSAGE-INTEGRITY-SHA256 only FINGERPRINT; of duplicates the first
        if attribute == ATTR_MESSAGE_INTEGRITY:
            if out.integrity == 0 and out.integrity_sha256 == 0:
                out.integrity = <uint32_t>(at - p)
                out.end = out.integrity
        elif attribute == ATTR_MESSAGE_INTEGRITY_SHA256:
            if out.integrity_sha256 == 0:
                out.integrity_sha256 = <uint32_t>(at - p)
                if out.integrity == 0:
                    out.end = out.integrity_sha256
        elif attribute == ATTR_FINGERPRINT:
            if out.fingerprint == 0:
                out.fingerprint = <uint32_t>(at - p)
        at += 4 + padded
    if out.end == 0:
        out.end = <uint32_t>n
    return PARSE_OK


cdef inline const uint8_t *following(const uint8_t *at) noexcept nogil:
    return at + 4 + ((<size_t>get_u16(at + 2) + 3) & ~<size_t>3)


def parse(data):
    """Read a STUN message out of a bytes-like object that holds it and nothing else.

    One pass checks the header and that every attribute lies inside (RFC 8489 5, 14), values are read by `Message.get`.
    Raises ParseError, and nothing else, for any content.
    """
    cdef Message self = Message.__new__(Message)
    cdef int code
    self.data = data if type(data) is bytes else memoryview(data).tobytes()
    code = scan(<const uint8_t *>PyBytes_AS_STRING(self.data), <size_t>PyBytes_GET_SIZE(self.data), &self.layout)
    if code != PARSE_OK:
        raise_parse_error(code)
    return self


def is_stun(data):
    """Whether a datagram looks like STUN by its header: two zero bits, cookie, length (RFC 8489 5)."""
    cdef View view
    cdef int code
    open_view(data, &view)
    code = check_header(view.p, view.n)
    close_view(&view)
    return code == PARSE_OK


@cython.final
@cython.freelist(64)
cdef class Message:
    """A STUN message as received, made by `parse`. It holds the bytes; attributes are decoded when asked for.

    Only attributes that may be acted on are visible: those before the first MESSAGE-INTEGRITY or
    MESSAGE-INTEGRITY-SHA256, and MESSAGE-INTEGRITY-SHA256 and FINGERPRINT wherever they may stand
    (RFC 8489 14.5-14.7). Whether the integrity is right is asked by `verify_integrity`.
    """

    def __cinit__(self):
        # Message.__new__() from Python must not crash
        self.data = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"

    def __init__(self):
        raise TypeError("messages are made by fasticePy.stun.parse()")

    cdef const uint8_t *find(self, int attribute, size_t *n) noexcept:
        # the first visible attribute of this type: where its value is and how long; NULL when there is none
        cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(self.data)
        cdef const uint8_t *at = p + HEADER_SIZE
        cdef const uint8_t *end = p + self.layout.end
        cdef size_t offset = 0
        if attribute == ATTR_MESSAGE_INTEGRITY:
            offset = self.layout.integrity
        elif attribute == ATTR_MESSAGE_INTEGRITY_SHA256:
            offset = self.layout.integrity_sha256
        elif attribute == ATTR_FINGERPRINT:
            offset = self.layout.fingerprint
        else:
            while at < end:
                if get_u16(at) == attribute:
                    n[0] = get_u16(at + 2)
                    return at + 4
                at = following(at)
            return NULL
        if offset == 0:
            return NULL
        n[0] = get_u16(p + offset + 2)
        return p + offset + 4

    @property
    def method(self):
        """The 12 bits of the method (`Method`)."""
        cdef unsigned word = get_u16(<const uint8_t *>PyBytes_AS_STRING(self.data))
        return (word & 0x3E00) >> 2 | (word & 0xE0) >> 1 | (word & 0xF)

    @property
    def message_class(self):
        """Request, indication, success or error (`MessageClass`)."""
        cdef unsigned word = get_u16(<const uint8_t *>PyBytes_AS_STRING(self.data))
        return (word & 0x100) >> 7 | (word & 0x10) >> 4

    @property
    def transaction_id(self):
        """The 12 bytes that a response repeats."""
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(self.data) + 8, 12)

    @property
    def has_integrity(self):
        """Whether there is a MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256, right or wrong."""
        return self.layout.integrity != 0 or self.layout.integrity_sha256 != 0

    @property
    def has_fingerprint(self):
        """Whether there is a FINGERPRINT, right or wrong."""
        return self.layout.fingerprint != 0

    @property
    def integrity_kind(self):
        """Which integrity `verify_integrity` looks at: "sha256", "sha1" or None."""
        if self.layout.integrity_sha256:
            return "sha256"
        return "sha1" if self.layout.integrity else None

    def __len__(self):
        return PyBytes_GET_SIZE(self.data)

    def __repr__(self):
        return (f"<Message method=0x{self.method:03x} class={self.message_class} "
                f"id={self.transaction_id.hex()} {len(self)} bytes>")

    def __contains__(self, int attribute):
        cdef size_t n
        return self.find(attribute, &n) != NULL

    def get(self, int attribute):
        """The value of the first visible attribute of this type (RFC 8489 14: of duplicates the first counts).

        None when it is absent, or present with bytes that do not fit its definition. Unknown types give bytes.
        """
        cdef size_t n
        cdef const uint8_t *p = self.find(attribute, &n)
        if p == NULL:
            return None
        return decode_value(<unsigned>attribute, p, n, <const uint8_t *>PyBytes_AS_STRING(self.data))

    def raw(self, int attribute):
        """The bytes of the first visible attribute of this type, without padding, or None."""
        cdef size_t n
        cdef const uint8_t *p = self.find(attribute, &n)
        if p == NULL:
            return None
        return PyBytes_FromStringAndSize(<const char *>p, <Py_ssize_t>n)

    def get_all(self, int attribute):
        """The values of all visible attributes of this type in order, without those that do not fit its definition."""
        cdef const uint8_t *header = <const uint8_t *>PyBytes_AS_STRING(self.data)
        cdef const uint8_t *at = header + HEADER_SIZE
        cdef const uint8_t *end = header + self.layout.end
        cdef list values = []
        cdef object value
        if attribute in (ATTR_MESSAGE_INTEGRITY, ATTR_MESSAGE_INTEGRITY_SHA256, ATTR_FINGERPRINT):
            value = self.get(attribute)
            return [] if value is None else [value]
        while at < end:
            if get_u16(at) == attribute:
                value = decode_value(<unsigned>attribute, at + 4, get_u16(at + 2), header)
                if value is not None:
                    values.append(value)
            at = following(at)
        return values

    def attributes(self):
        """Every visible attribute in order, as (type, bytes)."""
        cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(self.data)
        cdef const uint8_t *at = p + HEADER_SIZE
        cdef const uint8_t *end = p + self.layout.end
        cdef list found = []
        cdef uint32_t offset
        while at < end:
            found.append((get_u16(at), PyBytes_FromStringAndSize(<const char *>at + 4, get_u16(at + 2))))
            at = following(at)
        for offset in sorted((self.layout.integrity, self.layout.integrity_sha256, self.layout.fingerprint)):
            if offset != 0 and offset >= self.layout.end:
                found.append((get_u16(p + offset),
                              PyBytes_FromStringAndSize(<const char *>p + offset + 4, get_u16(p + offset + 2))))
        return found

    def unknown_required(self, known):
        """The comprehension-required types (below 0x8000) of visible attributes that are not in `known`, each once.

        They go into the UNKNOWN-ATTRIBUTES of a 420 (RFC 8489 6.3.1). The integrity attributes are always known.
        """
        cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(self.data)
        cdef const uint8_t *at = p + HEADER_SIZE
        cdef const uint8_t *end = p + self.layout.end
        cdef unsigned attribute
        cdef dict unknown = None
        while at < end:
            attribute = get_u16(at)
            if attribute < 0x8000 and attribute not in known:
                if unknown is None:
                    unknown = {}
                unknown[attribute] = None
            at = following(at)
        return () if unknown is None else tuple(unknown)

    def verify_integrity(self, MacKey key not None, unsigned minimum_sha256=32):
        """Whether the message was made with this key and not changed since.

        MESSAGE-INTEGRITY-SHA256 alone decides when it is present, else MESSAGE-INTEGRITY (RFC 8489 9.1.3); False when
        there is neither. `minimum_sha256` is the shortest MESSAGE-INTEGRITY-SHA256 accepted, in bytes: 32, or less
        where a usage allows truncation, never below 16 (RFC 8489 14.6).
        """
        cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(self.data)
        cdef size_t offset = self.layout.integrity_sha256
        cdef size_t n
        cdef uint8_t first[64]
        cdef uint8_t mac[32]
        if offset:
            n = get_u16(p + offset + 2)
            if n > 32 or n < 16 or n < minimum_sha256 or n % 4:
                return False
        else:
            offset = self.layout.integrity
            if offset == 0:
                return False
            n = get_u16(p + offset + 2)
            if n != 20:
                return False
        # RFC 8489 14.5: what was hashed had a length that ends with the integrity attribute
        memcpy(first, p, offset if offset < 64 else 64)
        put_u16(first + 2, <unsigned>(offset + 4 + n - HEADER_SIZE))
        if self.layout.integrity_sha256:
            hmac_sha256_of(key.state, first, p, offset, mac)
        else:
            hmac_sha1_of(key.state, first, p, offset, mac)
        return equal(mac, p + offset + 4, n)

    def verify_fingerprint(self):
        """Whether FINGERPRINT is present, last and right (RFC 8489 14.7)."""
        cdef const uint8_t *p = <const uint8_t *>PyBytes_AS_STRING(self.data)
        cdef size_t offset = self.layout.fingerprint
        if offset == 0 or offset + 8 != <size_t>PyBytes_GET_SIZE(self.data) or get_u16(p + offset + 2) != 4:
            return False
        return get_u32(p + offset + 4) == crc32_of(p, offset) ^ <uint32_t>FINGERPRINT_XOR


# ------------------------------------------------------------------------------------------------------- building

@cython.final
@cython.freelist(16)
cdef class MessageBuilder:
    """Builds a STUN message: attributes by `add` in order, then `build`.

    `method` is a `Method`, `message_class` a `MessageClass`; `transaction_id` is 12 bytes, without it they come from
    the operating system's random source (RFC 8489 5).
    """

    def __cinit__(self, unsigned method, unsigned message_class, transaction_id=None):
        cdef uint8_t *p = self.fixed
        self.writer.data = p
        self.writer.fixed = p
        self.writer.size = HEADER_SIZE
        self.writer.capacity = INLINE_SIZE
        if method > 0xFFF:
            raise ValueError(f"method {method} has more than 12 bits")
        if message_class > 3:
            raise ValueError(f"message class {message_class} is not one of 0..3")
        if transaction_id is None:
            transaction_id = os.urandom(12)
        elif type(transaction_id) is not bytes or len(<bytes>transaction_id) != 12:
            raise ValueError("a transaction id is 12 bytes")
        put_u16(p, (method & 0xF80) << 2 | (method & 0x70) << 1 | (method & 0xF)
                | (message_class & 2) << 7 | (message_class & 1) << 4)
        put_u16(p + 2, 0)
        put_u32(p + 4, MAGIC_COOKIE)
        memcpy(p + 8, PyBytes_AS_STRING(transaction_id), 12)

    def __dealloc__(self):
        if self.writer.data != self.writer.fixed:
            free(self.writer.data)

    @property
    def transaction_id(self):
        """The 12 bytes that a response repeats."""
        return PyBytes_FromStringAndSize(<const char *>self.fixed + 8, 12)

    def __len__(self):
        return <Py_ssize_t>self.writer.size

    def add(self, int attribute, value=None):
        """Append an attribute; `value` has the shape that `Message.get` gives.

        Text and password algorithms may also be bytes that came from the other side. Raises TypeError or ValueError
        for a value that does not fit the attribute's definition, and then leaves the message as it was. The integrity
        attributes and FINGERPRINT are made by `build`.
        """
        if attribute < 0 or attribute > 0xFFFF:
            raise ValueError(f"attribute {attribute} has more than 16 bits")
        if attribute in (ATTR_MESSAGE_INTEGRITY, ATTR_MESSAGE_INTEGRITY_SHA256, ATTR_FINGERPRINT):
            raise ValueError(f"attribute 0x{attribute:04x} is made by build()")
        with cython.critical_section(self):
            encode_value(&self.writer, <unsigned>attribute, value)

    def build(self, MacKey key=None, *, bint fingerprint=False, bint sha1=True, bint sha256=False):
        """The message as bytes, with its integrity and a FINGERPRINT if wanted, in the order of RFC 8489 14.5-14.7.

        With a key, `sha1` adds MESSAGE-INTEGRITY and `sha256` MESSAGE-INTEGRITY-SHA256. The builder stays as it is, so
        building again gives the same bytes. Raises ValueError when the message would exceed 65552 bytes.
        """
        if key is None:
            sha1 = sha256 = False
        elif not (sha1 or sha256):
            raise ValueError("a key needs sha1 or sha256")
        with cython.critical_section(self):
            return self._build(key, fingerprint, sha1, sha256)

    cdef bytes _build(self, MacKey key, bint fingerprint, bint sha1, bint sha256):
        cdef size_t at = self.writer.size
        cdef size_t total = at + (24 if sha1 else 0) + (36 if sha256 else 0) + (8 if fingerprint else 0)
        cdef bytes out
        cdef uint8_t *p
        if total - HEADER_SIZE > 0xFFFF:
            raise ValueError(f"the message would have {total} bytes")
        out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>total)
        p = <uint8_t *>PyBytes_AS_STRING(out)
        memcpy(p, self.writer.data, at)
        # each covers all before it, with the length that the message has at its own end
        if sha1:
            put_u16(p + 2, <unsigned>(at + 24 - HEADER_SIZE))
            put_u32(p + at, ATTR_MESSAGE_INTEGRITY << 16 | 20)
            hmac_sha1_of(key.state, NULL, p, at, p + at + 4)
            at += 24
        if sha256:
            put_u16(p + 2, <unsigned>(at + 36 - HEADER_SIZE))
            put_u32(p + at, ATTR_MESSAGE_INTEGRITY_SHA256 << 16 | 32)
            hmac_sha256_of(key.state, NULL, p, at, p + at + 4)
            at += 36
        put_u16(p + 2, <unsigned>(total - HEADER_SIZE))
        if fingerprint:
            put_u32(p + at, <uint32_t>ATTR_FINGERPRINT << 16 | 4)
            put_u32(p + at + 4, crc32_of(p, at) ^ <uint32_t>FINGERPRINT_XOR)
        return out
