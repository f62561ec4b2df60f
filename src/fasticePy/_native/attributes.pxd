"""The values of STUN attributes as Python sees them. `header` points at the 20 bytes of the message: XOR needs them."""

from libc.stdint cimport uint8_t, uint16_t

cdef enum:
    ATTR_MESSAGE_INTEGRITY = 0x0008
    ATTR_MESSAGE_INTEGRITY_SHA256 = 0x001C
    ATTR_FINGERPRINT = 0x8028

cdef struct Writer:
    # the message being built: `size` bytes of `data` are done; data is `fixed` until it outgrows it
    uint8_t *data
    size_t size
    size_t capacity
    uint8_t *fixed

# a Python value, or None when the bytes do not fit the attribute's definition; never raises for content
cdef object decode_value(unsigned attribute, const uint8_t *p, size_t n, const uint8_t *header)
# appends the attribute or raises ValueError/TypeError and leaves the message as it was
cdef int encode_value(Writer *w, unsigned attribute, object value) except -1
