"""Decoding and encoding of attribute values.

RFC 8489 14, RFC 8656 18, RFC 8445 16.1, RFC 5780 7, RFC 6062 6, RFC 7635 6, RFC 7982 3, RFC 8016 3.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from fasticePy._native.wire cimport (
    View, close_view, get_u16, get_u32, get_u64, open_view, put_u16, put_u32, put_u64,
)

cdef extern from "address.h" nogil:
    enum:
        FI_ADDRESS_TEXT
    size_t fi_address_parse(const char *text, size_t n, uint8_t *ip)
    size_t fi_address_format(const uint8_t *ip, size_t size, char *text)

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object, Py_ssize_t *) except NULL
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void *PyUnicode_DATA(object)

cdef enum:
    MAX_MESSAGE = 20 + 0xFFFC
    USERNAME_OUT = 508          # RFC 8489 14.3: fewer than 509 bytes
    TEXT_IN = 763               # what a sender of 128 characters may take (RFC 8489 14.3, 14.8-14.10)
    TEXT_CHARACTERS = 127       # RFC 8489 14.8-14.10, 14.14: fewer than 128 characters
    DOMAIN_MAX = 255            # RFC 8489 14.16

cdef enum Kind:
    OPAQUE
    OPAQUE_FIXED
    ADDRESS
    XOR_ADDRESS
    UINT32
    UINT64
    UINT16_PADDED
    UINT8_PADDED
    FLAG
    EVEN_PORT
    NAME                        # text limited in bytes
    TEXT                        # text limited in characters
    DOMAIN
    ERROR
    ADDRESS_ERROR
    TYPE_LIST
    ALGORITHM
    ALGORITHM_LIST
    ICMP
    COUNTERS
    INTEGRITY_SHA256


cdef Kind kind_of(unsigned attribute) noexcept nogil:
    if attribute in (0x0012, 0x0016, 0x0020):           # XOR-PEER-, XOR-RELAYED-, XOR-MAPPED-ADDRESS
        return XOR_ADDRESS
    if attribute in (0x0001, 0x0002, 0x0004, 0x0005, 0x000B, 0x8023, 0x802B, 0x802C):
        # MAPPED-ADDRESS, the four of RFC 3489, ALTERNATE-SERVER, RESPONSE-ORIGIN, OTHER-ADDRESS
        return ADDRESS
    if attribute in (0x0003, 0x000D, 0x0024, 0x002A, 0x0030, 0x8027, 0x8028):
        # CHANGE-REQUEST, LIFETIME, PRIORITY, CONNECTION-ID, NOMINATION, CACHE-TIMEOUT, FINGERPRINT
        return UINT32
    if attribute in (0x8029, 0x802A):                   # ICE-CONTROLLED, ICE-CONTROLLING
        return UINT64
    if attribute in (0x000C, 0x0027):                   # CHANNEL-NUMBER, RESPONSE-PORT
        return UINT16_PADDED
    if attribute in (0x0017, 0x0019, 0x8000):           # REQUESTED-ADDRESS-FAMILY, -TRANSPORT, ADDITIONAL-
        return UINT8_PADDED
    if attribute in (0x001A, 0x0025):                   # DONT-FRAGMENT, USE-CANDIDATE
        return FLAG
    if attribute in (0x0006, 0x802E):                   # USERNAME, THIRD-PARTY-AUTHORIZATION
        return NAME
    if attribute in (0x0014, 0x0015, 0x8022):           # REALM, NONCE, SOFTWARE
        return TEXT
    if attribute in (0x0008, 0x001E, 0x0022):           # MESSAGE-INTEGRITY, USERHASH, RESERVATION-TOKEN
        return OPAQUE_FIXED
    if attribute == 0x0018:
        return EVEN_PORT
    if attribute == 0x0009:
        return ERROR
    if attribute == 0x000A:                             # UNKNOWN-ATTRIBUTES
        return TYPE_LIST
    if attribute == 0x001C:
        return INTEGRITY_SHA256
    if attribute == 0x001D:
        return ALGORITHM
    if attribute == 0x8001:
        return ADDRESS_ERROR
    if attribute == 0x8002:
        return ALGORITHM_LIST
    if attribute == 0x8003:
        return DOMAIN
    if attribute == 0x8004:
        return ICMP
    if attribute == 0x8025:
        return COUNTERS
    return OPAQUE


cdef size_t fixed_size(unsigned attribute) noexcept nogil:
    if attribute == 0x0008:
        return 20
    if attribute == 0x001E:
        return 32
    return 8


# ---------------------------------------------------------------------------------------------------- decoding

cdef object decode_value(unsigned attribute, const uint8_t *p, size_t n, const uint8_t *header):
    cdef Kind kind = kind_of(attribute)
    if kind == UINT32:
        return get_u32(p) if n == 4 else None
    if kind == NAME:
        return decode_text(p, n, TEXT_IN)
    if kind == UINT64:
        return get_u64(p) if n == 8 else None
    if kind == XOR_ADDRESS or kind == ADDRESS:
        return decode_address(p, n, header if kind == XOR_ADDRESS else NULL)
    if kind == FLAG:
        return True if n == 0 else None
    if kind == TEXT:
        return decode_text(p, n, TEXT_CHARACTERS)
    if kind == DOMAIN:
        return decode_domain(p, n)
    if kind == UINT16_PADDED:
        # RFC 5780 7.5 leaves open whether the two bytes of padding count in the length
        return get_u16(p) if n == 4 or (n == 2 and attribute == 0x0027) else None
    if kind == UINT8_PADDED:
        return p[0] if n == 4 else None
    if kind == EVEN_PORT:
        return p[0] >> 7 != 0 if n == 1 else None
    if kind == ERROR:
        return decode_error(p, n, False)
    if kind == ADDRESS_ERROR:
        return decode_error(p, n, True)
    if kind == TYPE_LIST:
        return decode_types(p, n)
    if kind == ALGORITHM:
        return decode_algorithm(p, n)
    if kind == ALGORITHM_LIST:
        return decode_algorithms(p, n)
    if kind == ICMP:
        # RFC 8656 18.13: type and code are read as one byte each, as everybody does
        return (p[2], p[3], get_u32(p + 4)) if n == 8 else None
    if kind == COUNTERS:
        return (p[2], p[3]) if n == 4 else None
    if kind == OPAQUE_FIXED and n != fixed_size(attribute):
        return None
    if kind == INTEGRITY_SHA256 and (n < 16 or n > 32 or n % 4):
        return None
    return PyBytes_FromStringAndSize(<const char *>p, <Py_ssize_t>n)


cdef object decode_address(const uint8_t *p, size_t n, const uint8_t *header):
    cdef uint8_t ip[16]
    cdef char text[FI_ADDRESS_TEXT]
    cdef size_t size, i
    cdef unsigned port
    cdef str host
    # RFC 8489 14.1: the first byte is ignored
    if n == 8 and p[1] == 1:
        size = 4
    elif n == 20 and p[1] == 2:
        size = 16
    else:
        return None
    port = get_u16(p + 2)
    memcpy(ip, p + 4, size)
    if header != NULL:
        port ^= get_u16(header + 4)
        for i in range(size):
            ip[i] ^= header[4 + i]          # the cookie, and the transaction id behind it
    size = fi_address_format(ip, size, text)
    host = PyUnicode_New(<Py_ssize_t>size, 127)
    memcpy(PyUnicode_DATA(host), text, size)
    return host, port


cdef object decode_text(const uint8_t *p, size_t n, size_t limit):
    cdef str text
    if n > TEXT_IN:
        return None
    try:
        text = PyUnicode_DecodeUTF8(<const char *>p, <Py_ssize_t>n, NULL)
    except UnicodeDecodeError:
        return None
    return text if <size_t>len(text) <= limit else None


cdef object decode_domain(const uint8_t *p, size_t n):
    if n > DOMAIN_MAX:
        return None
    try:
        return PyUnicode_DecodeASCII(<const char *>p, <Py_ssize_t>n, NULL)
    except UnicodeDecodeError:
        return None


cdef object decode_error(const uint8_t *p, size_t n, bint with_family):
    cdef unsigned hundreds, number
    if n < 4 or n - 4 > TEXT_IN:
        return None
    hundreds = p[2] & 7
    number = p[3]
    if not 3 <= hundreds <= 6 or number > 99:
        return None
    # the code counts even when the phrase, which is for people, is not UTF-8
    reason = PyUnicode_DecodeUTF8(<const char *>p + 4, <Py_ssize_t>(n - 4), "replace")
    if with_family:
        return p[0], hundreds * 100 + number, reason
    return hundreds * 100 + number, reason


cdef object decode_types(const uint8_t *p, size_t n):
    cdef size_t i
    if n % 2:
        return None
    return tuple([get_u16(p + i) for i in range(0, n, 2)])


cdef object decode_algorithm(const uint8_t *p, size_t n):
    cdef size_t length
    if n < 4:
        return None
    length = get_u16(p + 2)
    # the parameters' padding may be left to the padding of the attribute
    if length > n - 4 or n - 4 - length > 3:
        return None
    return get_u16(p), PyBytes_FromStringAndSize(<const char *>p + 4, <Py_ssize_t>length)


cdef object decode_algorithms(const uint8_t *p, size_t n):
    cdef list found = []
    cdef const uint8_t *end = p + n
    cdef size_t length, step
    while p < end:
        if <size_t>(end - p) < 4:
            return None
        length = get_u16(p + 2)
        if length > <size_t>(end - p) - 4:
            return None
        found.append((get_u16(p), PyBytes_FromStringAndSize(<const char *>p + 4, <Py_ssize_t>length)))
        step = 4 + (length + 3) // 4 * 4
        if step > <size_t>(end - p):        # the last one's padding may be left to the attribute's
            break
        p += step
    return tuple(found)


# ---------------------------------------------------------------------------------------------------- encoding

cdef uint8_t *room(Writer *w, unsigned attribute, size_t n) except NULL:
    # Writes type, length and padding of the next attribute, gives the place of its value. commit() makes it part of
    # the message, so that an encoder which raises in between leaves nothing behind.
    cdef size_t padded = (n + 3) // 4 * 4
    cdef size_t capacity
    cdef uint8_t *p
    if n > 0xFFFF or padded + 4 > <size_t>MAX_MESSAGE - w.size:
        raise ValueError(f"attribute 0x{attribute:04x}: {n} bytes do not fit into the message")
    if padded + 4 > w.capacity - w.size:
        capacity = 2 * (w.size + padded + 4)
        p = <uint8_t *>malloc(capacity)
        if p == NULL:
            raise MemoryError()
        memcpy(p, w.data, w.size)
        if w.data != w.fixed:
            free(w.data)
        w.data = p
        w.capacity = capacity
    p = w.data + w.size
    put_u16(p, attribute)
    put_u16(p + 2, <unsigned>n)
    if n != padded:
        memset(p + padded, 0, 4)            # RFC 8489 14: padding is zero
    return p + 4


cdef void commit(Writer *w, size_t n) noexcept nogil:
    w.size += 4 + (n + 3) // 4 * 4


cdef object reject(unsigned attribute, str what):
    raise ValueError(f"attribute 0x{attribute:04x}: {what}")


cdef uint64_t unsigned_of(unsigned attribute, object value, uint64_t maximum) except? 0xFFFFFFFFFFFFFFFF:
    cdef uint64_t number
    if not isinstance(value, int):
        raise TypeError(f"attribute 0x{attribute:04x}: expected an int, not {type(value).__name__}")
    try:
        number = value
    except OverflowError:
        number = 0
        reject(attribute, f"{value} is out of range")
    if number > maximum:
        reject(attribute, f"{value} is out of range (0..{maximum})")
    return number


cdef int encode_value(Writer *w, unsigned attribute, object value) except -1:
    cdef Kind kind = kind_of(attribute)
    cdef uint64_t number
    cdef uint8_t *p
    if kind == UINT32:
        number = unsigned_of(attribute, value, 0xFFFFFFFF)
        p = room(w, attribute, 4)
        put_u32(p, <uint32_t>number)
        commit(w, 4)
    elif kind == NAME or kind == TEXT or kind == DOMAIN:
        encode_text(w, attribute, value, kind)
    elif kind == UINT64:
        number = unsigned_of(attribute, value, 0xFFFFFFFFFFFFFFFF)
        p = room(w, attribute, 8)
        put_u64(p, number)
        commit(w, 8)
    elif kind == XOR_ADDRESS or kind == ADDRESS:
        encode_address(w, attribute, value, kind == XOR_ADDRESS)
    elif kind == FLAG:
        if value is not None and value is not True:
            reject(attribute, "it has no value: leave the attribute out instead")
        room(w, attribute, 0)
        commit(w, 0)
    elif kind == UINT16_PADDED:
        number = unsigned_of(attribute, value, 0xFFFF)
        p = room(w, attribute, 4)
        put_u32(p, <uint32_t>(number << 16))
        commit(w, 4)
    elif kind == UINT8_PADDED:
        number = unsigned_of(attribute, value, 0xFF)
        p = room(w, attribute, 4)
        put_u32(p, <uint32_t>(number << 24))
        commit(w, 4)
    elif kind == EVEN_PORT:
        number = unsigned_of(attribute, value, 1)
        p = room(w, attribute, 1)
        p[0] = <uint8_t>(number << 7)
        commit(w, 1)
    elif kind == ERROR:
        encode_error(w, attribute, -1, value)
    elif kind == ADDRESS_ERROR:
        family, code, reason = value
        encode_error(w, attribute, <int>unsigned_of(attribute, family, 0xFF), (code, reason))
    elif kind == TYPE_LIST:
        encode_types(w, attribute, value)
    elif (kind == ALGORITHM or kind == ALGORITHM_LIST) and isinstance(value, bytes):
        encode_bytes(w, attribute, value, 0)    # what came from the other side goes back as it was (RFC 8489 9.2.5)
    elif kind == ALGORITHM:
        encode_algorithms(w, attribute, (value,))
    elif kind == ALGORITHM_LIST:
        encode_algorithms(w, attribute, value)
    elif kind == ICMP:
        encode_icmp(w, attribute, value)
    elif kind == COUNTERS:
        request, response = value
        number = unsigned_of(attribute, request, 0xFF) << 8 | unsigned_of(attribute, response, 0xFF)
        p = room(w, attribute, 4)
        put_u32(p, <uint32_t>number)
        commit(w, 4)
    else:
        encode_bytes(w, attribute, value, fixed_size(attribute) if kind == OPAQUE_FIXED else 0)
    return 0


cdef int encode_bytes(Writer *w, unsigned attribute, object value, size_t size) except -1:
    cdef View view
    cdef uint8_t *p
    open_view(b"" if value is None else value, &view)
    try:
        if size and view.n != size:
            reject(attribute, f"expected {size} bytes, not {view.n}")
        p = room(w, attribute, view.n)
        if view.n:
            memcpy(p, view.p, view.n)
        commit(w, view.n)
    finally:
        close_view(&view)
    return 0


cdef int encode_text(Writer *w, unsigned attribute, object value, Kind kind) except -1:
    cdef Py_ssize_t n
    cdef const char *text
    cdef uint8_t *p
    if isinstance(value, bytes):
        # text received from the other side goes back byte for byte (RFC 8489 9.2.5)
        if <size_t>len(<bytes>value) > TEXT_IN:
            reject(attribute, f"{len(<bytes>value)} bytes, {TEXT_IN} are allowed")
        return encode_bytes(w, attribute, value, 0)
    if not isinstance(value, str):
        raise TypeError(f"attribute 0x{attribute:04x}: expected a str, not {type(value).__name__}")
    text = PyUnicode_AsUTF8AndSize(value, &n)
    if kind == NAME and n > USERNAME_OUT:
        reject(attribute, f"{n} bytes, {USERNAME_OUT} are allowed (RFC 8489 14.3)")
    if kind == TEXT and len(<str>value) > TEXT_CHARACTERS:
        reject(attribute, f"{len(<str>value)} characters, {TEXT_CHARACTERS} are allowed (RFC 8489 14.9)")
    if kind == DOMAIN and (n > DOMAIN_MAX or n != len(<str>value)):
        reject(attribute, f"a domain name has at most {DOMAIN_MAX} ASCII characters (RFC 8489 14.16)")
    p = room(w, attribute, <size_t>n)
    memcpy(p, text, <size_t>n)
    commit(w, <size_t>n)
    return 0


cdef int encode_address(Writer *w, unsigned attribute, object value, bint xor) except -1:
    cdef uint8_t ip[16]
    cdef size_t size, i
    cdef Py_ssize_t n
    cdef const char *text
    cdef uint64_t port
    cdef uint8_t *p
    if not isinstance(value, tuple) or len(<tuple>value) < 2 or not isinstance((<tuple>value)[0], str):
        raise TypeError(f"attribute 0x{attribute:04x}: expected (host, port), not {value!r}")
    host = (<tuple>value)[0]
    text = PyUnicode_AsUTF8AndSize(host, &n)
    size = fi_address_parse(text, <size_t>n, ip)
    if size == 0:
        reject(attribute, f"{host!r} is not a numeric IP address")
    port = unsigned_of(attribute, (<tuple>value)[1], 0xFFFF)
    p = room(w, attribute, 4 + size)
    if xor:
        port ^= get_u16(w.data + 4)
        for i in range(size):
            ip[i] ^= w.data[4 + i]
    p[0] = 0
    p[1] = 1 if size == 4 else 2
    put_u16(p + 2, <unsigned>port)
    memcpy(p + 4, ip, size)
    commit(w, 4 + size)
    return 0


cdef int encode_error(Writer *w, unsigned attribute, int family, object value) except -1:
    cdef uint64_t code
    cdef Py_ssize_t n
    cdef const char *text
    cdef uint8_t *p
    number, reason = value if isinstance(value, tuple) else (value, "")
    code = unsigned_of(attribute, number, 699)
    if code < 300:
        reject(attribute, f"{code} is out of range (300..699)")
    if len(reason) > TEXT_CHARACTERS:
        reject(attribute, f"{len(reason)} characters of reason, {TEXT_CHARACTERS} are allowed (RFC 8489 14.8)")
    text = PyUnicode_AsUTF8AndSize(reason, &n)
    p = room(w, attribute, 4 + <size_t>n)
    put_u32(p, <uint32_t>((code // 100) << 8 | code % 100))
    if family >= 0:
        p[0] = <uint8_t>family
    memcpy(p + 4, text, <size_t>n)
    commit(w, 4 + <size_t>n)
    return 0


cdef int encode_types(Writer *w, unsigned attribute, object value) except -1:
    cdef bytearray out = bytearray()
    if isinstance(value, (bytes, str)):
        raise TypeError(f"attribute 0x{attribute:04x}: expected attribute types, not {type(value).__name__}")
    for item in value:
        out += (<int>unsigned_of(attribute, item, 0xFFFF)).to_bytes(2, "big")
    return encode_bytes(w, attribute, out, 0)


cdef int encode_algorithms(Writer *w, unsigned attribute, object value) except -1:
    cdef bytearray out = bytearray()
    for item in value:
        algorithm, parameters = item if isinstance(item, tuple) else (item, b"")
        if len(parameters) > 0xFFFF:
            reject(attribute, "parameters are too long")
        out += (<int>unsigned_of(attribute, algorithm, 0xFFFF)).to_bytes(2, "big")
        out += len(parameters).to_bytes(2, "big")
        out += parameters
        out += bytes((4 - len(parameters) % 4) % 4)     # RFC 8489 14.11: padded to 4 bytes with zeros
    return encode_bytes(w, attribute, out, 0)


cdef int encode_icmp(Writer *w, unsigned attribute, object value) except -1:
    cdef uint64_t head
    cdef uint64_t data
    cdef uint8_t *p
    type_, code, extra = value
    head = unsigned_of(attribute, type_, 0xFF) << 8 | unsigned_of(attribute, code, 0xFF)
    data = unsigned_of(attribute, extra, 0xFFFFFFFF)
    p = room(w, attribute, 8)
    put_u32(p, <uint32_t>head)
    put_u32(p + 4, <uint32_t>data)
    commit(w, 8)
    return 0
