#include "crc32.h"
#include "cpu.h"
#include <string.h>
#if defined(FI_ARM64) && (defined(__GNUC__) || defined(__clang__))
#  include <arm_acle.h>
#elif defined(FI_ARM64)
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
#if defined(FI_ARM64)
FI_TARGET_CRC static uint32_t crc32_arm(uint32_t crc, const uint8_t *p, size_t n) {
    crc = ~crc;
    while (n >= 8) { uint64_t v; memcpy(&v, p, 8); crc = __crc32d(crc, v); p += 8; n -= 8; }  /* little-endian only */
    while (n--) crc = __crc32b(crc, *p++);
    return ~crc;
}
#endif
#if defined(FI_X86_64)
/* fold by 16 bytes with PCLMULQDQ (Gopal et al., "Fast CRC Computation", Intel 2009; reflected constants) */
FI_TARGET("sse4.1,pclmul") static uint32_t crc32_pclmul(uint32_t crc, const uint8_t *p, size_t n) {
    if (n < 32) return fi_crc32_table(crc, p, n);
    size_t tail = n & 15; n -= tail;
    const __m128i k34 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    const __m128i k5 = _mm_set_epi64x(0, 0x0163cd6124);
    const __m128i poly = _mm_set_epi64x(0x01f7011641, 0x01db710641);
    __m128i x = _mm_xor_si128(_mm_loadu_si128((const __m128i *)p), _mm_cvtsi32_si128((int)~crc));
    p += 16; n -= 16;
    while (n) {
        __m128i lo = _mm_clmulepi64_si128(x, k34, 0x00), hi = _mm_clmulepi64_si128(x, k34, 0x11);
        x = _mm_xor_si128(_mm_xor_si128(lo, hi), _mm_loadu_si128((const __m128i *)p));
        p += 16; n -= 16;
    }
    const __m128i m32 = _mm_setr_epi32(~0, 0, ~0, 0);
    __m128i y = _mm_clmulepi64_si128(x, k34, 0x10);
    x = _mm_xor_si128(_mm_srli_si128(x, 8), y);
    y = _mm_srli_si128(x, 4);
    x = _mm_xor_si128(_mm_clmulepi64_si128(_mm_and_si128(x, m32), k5, 0x00), y);
    y = _mm_clmulepi64_si128(_mm_and_si128(x, m32), poly, 0x10);
    y = _mm_clmulepi64_si128(_mm_and_si128(y, m32), poly, 0x00);
    x = _mm_xor_si128(x, y);
    uint32_t c = ~(uint32_t)_mm_extract_epi32(x, 1);
    return tail ? fi_crc32_table(c, p, tail) : c;
}
#endif
fi_crc32_fn fi_crc32 = fi_crc32_table;
const char *fi_crc32_init(unsigned cpu) {
    tables(); (void)cpu;
#if defined(FI_X86_64)
    if (cpu & FI_CPU_PCLMUL) { fi_crc32 = crc32_pclmul; return "pclmul"; }
#elif defined(FI_ARM64)
    if (cpu & FI_CPU_ARM_CRC32) { fi_crc32 = crc32_arm; return "arm-crc32"; }
#endif
    return "table";
}
