#include "crc32.h"
#include "cpu.h"
#include <string.h>
#if defined(FI_ARM64_CRC) && (defined(__GNUC__) || defined(__clang__))
#  include <arm_acle.h>
#elif defined(FI_ARM64_CRC)
#  include <arm64intr.h>
#elif defined(FI_X86_64)
#  include <immintrin.h>
#endif

static uint32_t T[8][256];

static void tables(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = (c >> 1) ^ (0xEDB88320u & (0u - (c & 1u)));
        T[0][i] = c;
    }
    for (int t = 1; t < 8; t++)
        for (int i = 0; i < 256; i++) T[t][i] = (T[t - 1][i] >> 8) ^ T[0][T[t - 1][i] & 0xff];
}

static uint32_t ld32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint32_t fi_crc32_table(uint32_t crc, const uint8_t *p, size_t n) {
    crc = ~crc;
    while (n >= 8) {
        uint32_t a = ld32(p) ^ crc, b = ld32(p + 4);
        crc = T[7][a & 255] ^ T[6][a >> 8 & 255] ^ T[5][a >> 16 & 255] ^ T[4][a >> 24]
            ^ T[3][b & 255] ^ T[2][b >> 8 & 255] ^ T[1][b >> 16 & 255] ^ T[0][b >> 24];
        p += 8; n -= 8;
    }
    while (n--) crc = (crc >> 8) ^ T[0][(crc ^ *p++) & 255];
    return ~crc;
}
#if defined(FI_ARM64_CRC)
FI_TARGET_CRC static uint32_t crc32_arm(uint32_t crc, const uint8_t *p, size_t n) {
    uint64_t eight;
    uint32_t four;
    crc = ~crc;
    for (; n >= 8; p += 8, n -= 8) { memcpy(&eight, p, 8); crc = __crc32d(crc, eight); }
    if (n & 4) { memcpy(&four, p, 4); crc = __crc32w(crc, four); p += 4; }
    for (n &= 3; n; n--) crc = __crc32b(crc, *p++);
    return ~crc;
}
#elif defined(FI_X86_64)
/* Folding by PCLMULQDQ (Gopal et al., "Fast CRC Computation", Intel 2009; reflected constants). */
#define FOLD(x, k) _mm_xor_si128(_mm_clmulepi64_si128((x), (k), 0x00), _mm_clmulepi64_si128((x), (k), 0x11))
#define LOAD(p) _mm_loadu_si128((const __m128i *)(const void *)(p))

FI_TARGET("sse4.1,pclmul") static uint32_t crc32_pclmul(uint32_t crc, const uint8_t *p, size_t n) {
    /* as a shuffle, 16 bytes from `k` on move the first k bytes to the end, from `16 + k` on all but these to the front */
    static const uint8_t shift[48] = {
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128};
    if (n < 16) return fi_crc32_table(crc, p, n);
    const __m128i by64 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4), by16 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    const __m128i k5 = _mm_set_epi64x(0, 0x0163cd6124), poly = _mm_set_epi64x(0x01f7011641, 0x01db710641);
    const __m128i start = _mm_cvtsi32_si128((int)~crc);
    const size_t odd = n & 15;
    __m128i x = _mm_xor_si128(LOAD(p), start);
    if (odd) {
        /* zeros in front change no remainder: the first block is the odd bytes behind zeros, so no tail is left; what
           of the start value lies beyond them goes into the second block */
        x = _mm_shuffle_epi8(x, LOAD(shift + odd));
        p += odd;
        n -= odd;
        x = _mm_xor_si128(FOLD(x, by16), _mm_xor_si128(LOAD(p), _mm_shuffle_epi8(start, LOAD(shift + 16 + odd))));
    }
    p += 16;
    n -= 16;
    if (n >= 112) {                                     /* four at a time hide the latency of the multiplication */
        __m128i a = x, b = LOAD(p), c = LOAD(p + 16), d = LOAD(p + 32);
        for (p += 48, n -= 48; n >= 64; p += 64, n -= 64) {
            a = _mm_xor_si128(FOLD(a, by64), LOAD(p));
            b = _mm_xor_si128(FOLD(b, by64), LOAD(p + 16));
            c = _mm_xor_si128(FOLD(c, by64), LOAD(p + 32));
            d = _mm_xor_si128(FOLD(d, by64), LOAD(p + 48));
        }
        x = _mm_xor_si128(FOLD(a, by16), b);
        x = _mm_xor_si128(FOLD(x, by16), c);
        x = _mm_xor_si128(FOLD(x, by16), d);
    }
    for (; n; p += 16, n -= 16) x = _mm_xor_si128(FOLD(x, by16), LOAD(p));
    const __m128i low = _mm_setr_epi32(~0, 0, ~0, 0);
    x = _mm_xor_si128(_mm_srli_si128(x, 8), _mm_clmulepi64_si128(x, by16, 0x10));
    x = _mm_xor_si128(_mm_srli_si128(x, 4), _mm_clmulepi64_si128(_mm_and_si128(x, low), k5, 0x00));
    __m128i y = _mm_clmulepi64_si128(_mm_and_si128(x, low), poly, 0x10);
    y = _mm_clmulepi64_si128(_mm_and_si128(y, low), poly, 0x00);
    return ~(uint32_t)_mm_extract_epi32(_mm_xor_si128(x, y), 1);
}
#endif
fi_crc32_fn fi_crc32 = fi_crc32_table;
const char *fi_crc32_init(unsigned cpu) {
    tables(); (void)cpu;
#if defined(FI_X86_64)
    if (cpu & FI_CPU_PCLMUL) { fi_crc32 = crc32_pclmul; return "pclmul"; }
#elif defined(FI_ARM64_CRC)
    if (cpu & FI_CPU_ARM_CRC32) { fi_crc32 = crc32_arm; return "armv8"; }
#endif
    return "portable";
}
