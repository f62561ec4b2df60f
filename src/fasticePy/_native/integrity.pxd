from libc.stdint cimport uint8_t, uint32_t

cdef class MacKey:
    # hash states, see hmac.h; immutable once made: threads may share it without a lock
    cdef uint32_t state[26]

# `first`, when not NULL, stands for the first 64 bytes of p (or all of p when it is shorter)
cdef void hmac_sha1_of(const uint32_t *key, const uint8_t *first, const uint8_t *p, size_t n,
                       uint8_t *out) noexcept nogil
cdef void hmac_sha256_of(const uint32_t *key, const uint8_t *first, const uint8_t *p, size_t n,
                         uint8_t *out) noexcept nogil
cdef bint equal(const uint8_t *a, const uint8_t *b, size_t n) noexcept nogil
