"""Big-endian loads and stores, and the bytes of a Python object. Header only: all of it is inlined."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "Python.h":
    # declared here, not cimported: Cython's own Py_buffer counts references to `obj`
    ctypedef struct RawView "Py_buffer":
        void *buf
        PyObject *obj
        Py_ssize_t len
    int _get_buffer "PyObject_GetBuffer" (object, RawView *, int) except -1
    void _release_buffer "PyBuffer_Release" (RawView *)


cdef inline uint16_t get_u16(const uint8_t *p) noexcept nogil:
    return <uint16_t>((<unsigned>p[0] << 8) | p[1])


cdef inline uint32_t get_u32(const uint8_t *p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]


cdef inline uint64_t get_u64(const uint8_t *p) noexcept nogil:
    return (<uint64_t>get_u32(p) << 32) | get_u32(p + 4)


cdef inline void put_u16(uint8_t *p, unsigned v) noexcept nogil:
    p[0] = <uint8_t>(v >> 8)
    p[1] = <uint8_t>v


cdef inline void put_u32(uint8_t *p, uint32_t v) noexcept nogil:
    p[0] = <uint8_t>(v >> 24)
    p[1] = <uint8_t>(v >> 16)
    p[2] = <uint8_t>(v >> 8)
    p[3] = <uint8_t>v


cdef inline void put_u64(uint8_t *p, uint64_t v) noexcept nogil:
    put_u32(p, <uint32_t>(v >> 32))
    put_u32(p + 4, <uint32_t>v)


cdef struct View:
    # the bytes of an object, borrowed until close_view()
    const uint8_t *p
    size_t n
    RawView raw


cdef inline int open_view(object data, View *view) except -1:
    # `bytes` needs no buffer protocol; a typed memoryview argument would cost 100 ns more a call
    if type(data) is bytes:
        view.p = <const uint8_t *>PyBytes_AS_STRING(data)
        view.n = <size_t>PyBytes_GET_SIZE(data)
        view.raw.obj = NULL
        return 0
    _get_buffer(data, &view.raw, 0)     # PyBUF_SIMPLE
    view.p = <const uint8_t *>view.raw.buf
    view.n = <size_t>view.raw.len
    return 0


cdef inline void close_view(View *view) noexcept:
    if view.raw.obj != NULL:
        _release_buffer(&view.raw)
