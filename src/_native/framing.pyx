"""What a packet is by its first byte, TURN ChannelData, and messages out of TCP streams.

RFC 7983 and 9443 (first byte), RFC 8656 12.4-12.7 (ChannelData), RFC 8489 6.2.2 and RFC 4571 (streams).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from fasticePy._native.stun cimport HEADER_SIZE, MAGIC_COOKIE
from fasticePy._native.wire cimport View, close_view, get_u16, get_u32, open_view, put_u16

from fasticePy._native.stun import ParseError

cdef enum Mode:
    MODE_STUN
    MODE_TURN
    MODE_RFC4571

cdef enum:
    CHANNEL_HEADER = 4
    LARGEST_FRAME = 20 + 0xFFFC          # STUN; ChannelData ends at 4 + 0x10000
    KEPT_CAPACITY = 4096


cdef Kind kind_of_first_byte(unsigned first) noexcept nogil:
    if first < 4:
        return KIND_STUN
    if first < 16:
        return KIND_DROP
    if first < 20:
        return KIND_ZRTP
    if first < 64:
        return KIND_DTLS
    if first < 80:
        return KIND_CHANNEL_DATA
    if first < 128:
        return KIND_QUIC
    if first < 192:
        return KIND_RTP
    return KIND_QUIC


cdef inline Kind kind_of(object data, bint from_turn_server) except <Kind>-1:
    cdef View view
    cdef Kind kind
    open_view(data, &view)
    kind = kind_of_first_byte(view.p[0]) if view.n else KIND_EMPTY
    close_view(&view)
    return KIND_QUIC if kind == KIND_CHANNEL_DATA and not from_turn_server else kind


def classify(data, bint from_turn_server=True):
    """What a datagram is by its first byte (RFC 7983 7, RFC 9443 3): a number of `PacketKind`.

    ChannelData comes from a TURN server in use and from nobody else; from others the same bytes are QUIC.
    """
    return <int>kind_of(data, from_turn_server)


def classify_all(datagrams, bint from_turn_server=True):
    """What each of several datagrams is: a `bytes` with one number of `PacketKind` for each, as `classify` gives it."""
    cdef tuple given = tuple(datagrams)         # the caller's list may change meanwhile
    cdef bytes kinds = PyBytes_FromStringAndSize(NULL, len(given))
    cdef uint8_t *out = <uint8_t *>PyBytes_AS_STRING(kinds)
    for data in given:
        out[0] = <uint8_t>kind_of(data, from_turn_server)
        out += 1
    return kinds


@cython.final
@cython.freelist(64)
cdef class ChannelData:
    """One ChannelData message (RFC 8656 12.4): `channel` and `payload`."""

    def __init__(self):
        raise TypeError("ChannelData comes from ChannelData.parse()")

    def __repr__(self):
        return f"<ChannelData channel=0x{self.channel:04x} {len(self.payload)} bytes>"

    @staticmethod
    def parse(data):
        """The message in a datagram or a frame of a stream; None when it is not one. Padding behind it is ignored."""
        cdef View view
        cdef ChannelData self = None
        cdef size_t length
        open_view(data, &view)
        try:
            # RFC 8656 12: channel numbers are 0x4000 to 0x4FFF
            if view.n >= CHANNEL_HEADER and view.p[0] & 0xF0 == 0x40:
                length = get_u16(view.p + 2)
                if length <= view.n - CHANNEL_HEADER:
                    self = ChannelData.__new__(ChannelData)
                    self.channel = get_u16(view.p)
                    self.payload = PyBytes_FromStringAndSize(<const char *>view.p + CHANNEL_HEADER, <Py_ssize_t>length)
        finally:
            close_view(&view)
        return self

    @staticmethod
    def build(int channel, payload, *, bint stream=False):
        """The bytes of a message; over TCP and TLS (`stream`) padded with zeros to 4 bytes (RFC 8656 12.5)."""
        cdef View view
        cdef bytes out
        cdef uint8_t *p
        cdef size_t padding
        if not 0x4000 <= channel <= 0x4FFF:
            raise ValueError(f"channel 0x{channel:x} is not one of 0x4000..0x4FFF")
        open_view(payload, &view)
        try:
            if view.n > 0xFFFF:
                raise ValueError(f"{view.n} bytes do not fit into one message")
            padding = (4 - view.n % 4) % 4 if stream else 0
            out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(CHANNEL_HEADER + view.n + padding))
            p = <uint8_t *>PyBytes_AS_STRING(out)
            put_u16(p, <unsigned>channel)
            put_u16(p + 2, <unsigned>view.n)
            memcpy(p + CHANNEL_HEADER, view.p, view.n)
            memset(p + CHANNEL_HEADER + view.n, 0, padding)
        finally:
            close_view(&view)
        return out


def rfc4571_frame(data):
    """A packet with its 16-bit length before it, as it goes over a TCP candidate (RFC 4571 2, RFC 6544 10.1)."""
    cdef View view
    cdef bytes out
    cdef uint8_t *p
    open_view(data, &view)
    try:
        if view.n > 0xFFFF:
            raise ValueError(f"{view.n} bytes do not fit into one frame")
        out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(2 + view.n))
        p = <uint8_t *>PyBytes_AS_STRING(out)
        put_u16(p, <unsigned>view.n)
        memcpy(p + 2, view.p, view.n)
    finally:
        close_view(&view)
    return out


cdef int mode_of(str mode) except -1:
    if mode == "stun":
        return MODE_STUN
    if mode == "turn":
        return MODE_TURN
    if mode == "rfc4571":
        return MODE_RFC4571
    raise ValueError(f"mode {mode!r} is not one of stun, turn, rfc4571")


@cython.final
cdef class StreamDecoder:
    """Splits what arrives on one TCP connection into messages, however the stream was cut.

    Modes: "stun" for messages that end where their header says (RFC 8489 6.2.2); "turn" for those and padded
    ChannelData (RFC 8656 12.5), which come out without padding; "rfc4571" for packets behind a 16-bit length. `limit`
    is the largest message accepted, in bytes with header and without padding; it bounds the memory held.
    """

    def __cinit__(self, str mode not None, size_t limit=LARGEST_FRAME):
        self.kind = mode_of(mode)
        self.limit = limit

    def __dealloc__(self):
        free(self.buffer)

    @property
    def mode(self):
        """Which framing; it may be set between frames: a TURN server reads "stun" until there is an allocation, as
        "GET " would be ChannelData too."""
        return ("stun", "turn", "rfc4571")[self.kind]

    @mode.setter
    def mode(self, str mode not None):
        self.kind = mode_of(mode)

    @property
    def pending(self):
        """How many bytes of an unfinished message are held."""
        return self.size

    def feed(self, data):
        """Take bytes of the stream, give the messages that they complete.

        Bytes that cannot be a message raise ParseError, once, and nothing more is read: there is no way back to a
        message boundary. Messages before them are not lost: they are returned first, `error` then says what is wrong,
        and the next call raises.
        """
        cdef View view
        cdef list messages = []
        open_view(data, &view)
        try:
            with cython.critical_section(self):
                if self.error is None:
                    self.decode(view.p, view.n, messages)
                if self.error is not None and not self.raised and not messages:
                    self.raised = True
                    raise ParseError(self.error)
        finally:
            close_view(&view)
        return messages

    cdef int decode(self, const uint8_t *p, size_t n, list messages) except -1:
        cdef Py_ssize_t total
        cdef size_t take
        while True:
            if self.size == 0:
                total = self.frame_size(p, n)
                if total > 0 and <size_t>total <= n:        # a whole frame: no copy but its own
                    messages.append(self.frame(p, <size_t>total))
                    p += total
                    n -= <size_t>total
                    continue
                if total >= 0:
                    self.keep(p, n)
                return 0
            # a frame has begun: first what tells its size, byte by byte as it is at most 8, then the rest of it
            total = self.frame_size(self.buffer, self.size)
            if total < 0:
                return 0
            if n == 0 and (total == 0 or <size_t>total > self.size):
                return 0
            if total == 0:
                take = 1
            else:
                take = <size_t>total - self.size
                if take > n:
                    take = n
            self.keep(p, take)
            p += take
            n -= take
            if total > 0 and <size_t>total == self.size:
                messages.append(self.frame(self.buffer, <size_t>total))
                self.size = 0
                if self.capacity > KEPT_CAPACITY:       # one large message must not cost memory for good
                    self.release()

    cdef int fail(self, str what) except -1:
        self.error = what
        self.release()
        return 0

    cdef void release(self) noexcept:
        free(self.buffer)
        self.buffer = NULL
        self.size = 0
        self.capacity = 0

    cdef int keep(self, const uint8_t *p, size_t n) except -1:
        cdef uint8_t *grown
        cdef size_t capacity
        if n == 0:
            return 0
        if n > self.capacity - self.size:
            capacity = 2 * (self.size + n)
            if capacity > LARGEST_FRAME:
                capacity = LARGEST_FRAME            # no frame is larger, so it is enough
            grown = <uint8_t *>realloc(self.buffer, capacity)
            if grown == NULL:
                raise MemoryError()
            self.buffer = grown
            self.capacity = capacity
        memcpy(self.buffer + self.size, p, n)
        self.size += n
        return 0

    cdef Py_ssize_t frame_size(self, const uint8_t *p, size_t n) except -2:
        # the size of the frame that begins here, with padding; 0 when more bytes are needed to know, -1 on nonsense
        cdef size_t size, length
        if n == 0:
            return 0
        if self.kind == MODE_RFC4571:
            if n < 2:
                return 0
            size = length = 2 + <size_t>get_u16(p)
        elif p[0] & 0xC0 == 0:
            if n < 4:
                return 0
            length = get_u16(p + 2)
            if length % 4:
                self.fail("a STUN length is no multiple of 4")
                return -1
            if n < 8:
                return 0
            if get_u32(p + 4) != MAGIC_COOKIE:
                self.fail("a STUN message without the magic cookie")
                return -1
            size = length = HEADER_SIZE + length
        elif self.kind == MODE_TURN and p[0] & 0xF0 == 0x40:
            if n < CHANNEL_HEADER:
                return 0
            length = CHANNEL_HEADER + <size_t>get_u16(p + 2)
            size = (length + 3) // 4 * 4        # in size_t: 0xFFFC..0xFFFF must not wrap
        else:
            self.fail(f"a message does not begin with 0x{p[0]:02x}")
            return -1
        if length > self.limit:
            self.fail(f"a message of {length} bytes, {self.limit} are allowed")
            return -1
        return <Py_ssize_t>size

    cdef object frame(self, const uint8_t *p, size_t total):
        if self.kind == MODE_RFC4571:
            return PyBytes_FromStringAndSize(<const char *>p + 2, <Py_ssize_t>total - 2)
        if p[0] & 0xC0:                         # ChannelData: without its padding
            total = CHANNEL_HEADER + <size_t>get_u16(p + 2)
        return PyBytes_FromStringAndSize(<const char *>p, <Py_ssize_t>total)
