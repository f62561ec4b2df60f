"""CRC-32 of IEEE 802.3: the checksum of FINGERPRINT (RFC 8489 14.7)."""

import os

from libc.stdint cimport uint8_t, uint32_t

from fasticePy._native.wire cimport View, close_view, open_view

cdef extern from "cpu.h" nogil:
    unsigned fi_cpu_features()

cdef extern from "crc32.h" nogil:
    ctypedef uint32_t (*fi_crc32_fn)(uint32_t crc, const uint8_t *p, size_t n)
    fi_crc32_fn fi_crc32
    const char *fi_crc32_init(unsigned cpu)
    uint32_t fi_crc32_table(uint32_t crc, const uint8_t *p, size_t n)

# chosen once, under the import lock; nothing writes it afterwards
IMPLEMENTATION = fi_crc32_init(0 if os.environ.get("FASTICEPY_PORTABLE") else fi_cpu_features()).decode()


cdef uint32_t crc32_of(const uint8_t *p, size_t n) noexcept nogil:
    return fi_crc32(0, p, n)


def crc32(data):
    """The CRC-32 of a bytes-like object, as `zlib.crc32`, by the code that this CPU runs best (IMPLEMENTATION)."""
    cdef View view
    cdef uint32_t crc
    open_view(data, &view)
    crc = fi_crc32(0, view.p, view.n)
    close_view(&view)
    return crc


def crc32_portable(data):
    """The same by the code that runs on every CPU."""
    cdef View view
    cdef uint32_t crc
    open_view(data, &view)
    crc = fi_crc32_table(0, view.p, view.n)
    close_view(&view)
    return crc
