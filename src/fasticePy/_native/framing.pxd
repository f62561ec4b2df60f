from libc.stdint cimport uint8_t

cdef enum Kind:
    # fasticePy.stun.PacketKind has the same numbers
    KIND_EMPTY = 0
    KIND_STUN = 1
    KIND_DROP = 2
    KIND_ZRTP = 3
    KIND_DTLS = 4
    KIND_CHANNEL_DATA = 5
    KIND_QUIC = 6
    KIND_RTP = 7

cdef Kind kind_of_first_byte(unsigned first) noexcept nogil

cdef class ChannelData:
    cdef readonly int channel
    cdef readonly bytes payload

cdef class StreamDecoder:
    cdef int kind
    cdef size_t limit
    cdef uint8_t *buffer            # the beginning of a frame that has not ended yet
    cdef size_t size
    cdef size_t capacity
    cdef readonly str error
    cdef bint raised
    cdef int keep(self, const uint8_t *p, size_t n) except -1
    cdef void release(self) noexcept
    cdef int fail(self, str what) except -1
    cdef Py_ssize_t frame_size(self, const uint8_t *p, size_t n) except -2
    cdef object frame(self, const uint8_t *p, size_t total)
    cdef int decode(self, const uint8_t *p, size_t n, list messages) except -1
