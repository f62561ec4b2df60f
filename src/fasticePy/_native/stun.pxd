from libc.stdint cimport uint8_t, uint16_t, uint32_t

from fasticePy._native.attributes cimport Writer
from fasticePy._native.integrity cimport MacKey

cdef enum:
    HEADER_SIZE = 20
    MAGIC_COOKIE = 0x2112A442
    INLINE_SIZE = 512

cdef enum ParseCode:
    PARSE_OK = 0
    PARSE_SHORT = 1         # fewer than 20 bytes
    PARSE_BITS = 2          # the first two bits are not zero
    PARSE_COOKIE = 3
    PARSE_LENGTH = 4        # the header's length is no multiple of 4, or not what follows
    PARSE_ATTRIBUTE = 5     # an attribute ends outside the message

cdef struct Layout:
    # offsets in the message of attribute headers; 0 when there is none
    uint32_t integrity          # the first MESSAGE-INTEGRITY, unless a MESSAGE-INTEGRITY-SHA256 hides it
    uint32_t integrity_sha256
    uint32_t fingerprint
    uint32_t end                # where the attributes end that may be acted on (RFC 8489 14.5, 14.6)

cdef int check_header(const uint8_t *p, size_t n) noexcept nogil
cdef int scan(const uint8_t *p, size_t n, Layout *out) noexcept nogil

cdef class Message:
    cdef readonly bytes data
    cdef Layout layout
    cdef const uint8_t *find(self, int attribute, size_t *n) noexcept

cdef class MessageBuilder:
    cdef Writer writer
    cdef uint8_t fixed[INLINE_SIZE]
    cdef bytes _build(self, MacKey key, bint fingerprint, bint sha1, bint sha256)
