"""The keys and hashes of MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 (RFC 8489 14.5, 14.6)."""

import os

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from fasticePy._native.wire cimport View, close_view, open_view

cdef extern from "cpu.h" nogil:
    unsigned fi_cpu_features()

cdef extern from "sha1.h" nogil:
    ctypedef void (*fi_sha1_fn)(uint32_t *state, const uint8_t *p, size_t blocks)
    fi_sha1_fn fi_sha1_compress
    const uint32_t *fi_sha1_start
    const char *fi_sha1_init(unsigned cpu)
    void fi_sha1_portable(uint32_t *state, const uint8_t *p, size_t blocks)
    void fi_sha1_finish(fi_sha1_fn compress, uint32_t *state, unsigned long long before,
                        const uint8_t *first, const uint8_t *p, size_t n, uint8_t *out)

cdef extern from "sha256.h" nogil:
    ctypedef void (*fi_sha256_fn)(uint32_t *state, const uint8_t *p, size_t blocks)
    fi_sha256_fn fi_sha256_compress
    const uint32_t *fi_sha256_start
    const char *fi_sha256_init(unsigned cpu)
    void fi_sha256_portable(uint32_t *state, const uint8_t *p, size_t blocks)
    void fi_sha256_finish(fi_sha256_fn compress, uint32_t *state, unsigned long long before,
                          const uint8_t *first, const uint8_t *p, size_t n, uint8_t *out)

cdef extern from "hmac.h" nogil:
    void fi_hmac_key(uint32_t *key, const uint8_t *secret, size_t n)
    void fi_hmac_sha1(const uint32_t *key, const uint8_t *first, const uint8_t *p, size_t n, uint8_t *out)
    void fi_hmac_sha256(const uint32_t *key, const uint8_t *first, const uint8_t *p, size_t n, uint8_t *out)
    int fi_equal(const uint8_t *a, const uint8_t *b, size_t n)

# chosen once, under the import lock; nothing writes them afterwards
cdef unsigned _features = 0 if os.environ.get("FASTICEPY_PORTABLE") else fi_cpu_features()
SHA1_IMPLEMENTATION = fi_sha1_init(_features).decode()
SHA256_IMPLEMENTATION = fi_sha256_init(_features).decode()


cdef void hmac_sha1_of(const uint32_t *key, const uint8_t *first, const uint8_t *p, size_t n,
                       uint8_t *out) noexcept nogil:
    fi_hmac_sha1(key, first, p, n, out)


cdef void hmac_sha256_of(const uint32_t *key, const uint8_t *first, const uint8_t *p, size_t n,
                         uint8_t *out) noexcept nogil:
    fi_hmac_sha256(key, first, p, n, out)


cdef bint equal(const uint8_t *a, const uint8_t *b, size_t n) noexcept nogil:
    return fi_equal(a, b, n)


cdef class MacKey:
    """The HMAC states of one key, SHA-1 and SHA-256, with the key's own blocks already hashed. Immutable.

    `MacKey(raw)` takes the key's bytes. The public class, with the ways to make a key from passwords, is
    `fasticePy.stun.IntegrityKey`.
    """

    def __cinit__(self, raw):
        cdef View view
        open_view(raw, &view)
        fi_hmac_key(self.state, view.p, view.n)
        close_view(&view)

    def __repr__(self):
        return f"<{type(self).__name__}>"      # no secret in a log


def hmac_sha1(MacKey key not None, data):
    """HMAC-SHA1 of a bytes-like object: 20 bytes."""
    cdef View view
    cdef uint8_t out[20]
    open_view(data, &view)
    fi_hmac_sha1(key.state, NULL, view.p, view.n, out)
    close_view(&view)
    return PyBytes_FromStringAndSize(<char *>out, 20)


def hmac_sha256(MacKey key not None, data):
    """HMAC-SHA256 of a bytes-like object: 32 bytes."""
    cdef View view
    cdef uint8_t out[32]
    open_view(data, &view)
    fi_hmac_sha256(key.state, NULL, view.p, view.n, out)
    close_view(&view)
    return PyBytes_FromStringAndSize(<char *>out, 32)


def sha1(data, *, bint portable=False):
    """SHA-1 of a bytes-like object by the code of SHA1_IMPLEMENTATION, or by the portable code. For tests."""
    cdef View view
    cdef uint8_t out[20]
    cdef uint32_t state[5]
    memcpy(state, fi_sha1_start, sizeof(state))
    open_view(data, &view)
    fi_sha1_finish(fi_sha1_portable if portable else fi_sha1_compress, state, 0, NULL, view.p, view.n, out)
    close_view(&view)
    return PyBytes_FromStringAndSize(<char *>out, 20)


def sha256(data, *, bint portable=False):
    """SHA-256 of a bytes-like object by the code of SHA256_IMPLEMENTATION, or by the portable code. For tests."""
    cdef View view
    cdef uint8_t out[32]
    cdef uint32_t state[8]
    memcpy(state, fi_sha256_start, sizeof(state))
    open_view(data, &view)
    fi_sha256_finish(fi_sha256_portable if portable else fi_sha256_compress, state, 0, NULL, view.p, view.n, out)
    close_view(&view)
    return PyBytes_FromStringAndSize(<char *>out, 32)


def equal_bytes(bytes a not None, bytes b not None):
    """Whether two byte strings are the same, in a time that depends on their length only."""
    if len(a) != len(b):
        return False
    return fi_equal(a, b, len(a)) != 0
