#include "sha256.h"
#include "bytes.h"
#include "cpu.h"
#include <string.h>
#if defined(FI_X86_64)
#  include <immintrin.h>
#elif defined(FI_ARM64_SHA)
#  include <arm_neon.h>
#endif

const uint32_t fi_sha256_start[8] = {0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au,
                                     0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u};
static const uint32_t K[64] = {
    0x428a2f98u, 0x71374491u, 0xb5c0fbcfu, 0xe9b5dba5u, 0x3956c25bu, 0x59f111f1u, 0x923f82a4u, 0xab1c5ed5u,
    0xd807aa98u, 0x12835b01u, 0x243185beu, 0x550c7dc3u, 0x72be5d74u, 0x80deb1feu, 0x9bdc06a7u, 0xc19bf174u,
    0xe49b69c1u, 0xefbe4786u, 0x0fc19dc6u, 0x240ca1ccu, 0x2de92c6fu, 0x4a7484aau, 0x5cb0a9dcu, 0x76f988dau,
    0x983e5152u, 0xa831c66du, 0xb00327c8u, 0xbf597fc7u, 0xc6e00bf3u, 0xd5a79147u, 0x06ca6351u, 0x14292967u,
    0x27b70a85u, 0x2e1b2138u, 0x4d2c6dfcu, 0x53380d13u, 0x650a7354u, 0x766a0abbu, 0x81c2c92eu, 0x92722c85u,
    0xa2bfe8a1u, 0xa81a664bu, 0xc24b8b70u, 0xc76c51a3u, 0xd192e819u, 0xd6990624u, 0xf40e3585u, 0x106aa070u,
    0x19a4c116u, 0x1e376c08u, 0x2748774cu, 0x34b0bcb5u, 0x391c0cb3u, 0x4ed8aa4au, 0x5b9cca4fu, 0x682e6ff3u,
    0x748f82eeu, 0x78a5636fu, 0x84c87814u, 0x8cc70208u, 0x90befffau, 0xa4506cebu, 0xbef9a3f7u, 0xc67178f2u};

static uint32_t rotr(uint32_t v, int n) { return (v >> n) | (v << (32 - n)); }

void fi_sha256_portable(uint32_t state[8], const uint8_t *p, size_t blocks) {
    uint32_t w[64];
    for (; blocks; blocks--, p += 64) {
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        for (int i = 0; i < 16; i++) w[i] = fi_get_u32(p + 4 * i);
        for (int i = 16; i < 64; i++)
            w[i] = w[i - 16] + w[i - 7]
                 + (rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3)
                 + (rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10);
        for (int i = 0; i < 64; i++) {
            const uint32_t t1 = h + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + (g ^ (e & (f ^ g))) + K[i] + w[i];
            const uint32_t t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) | (c & (a | b)));
            h = g; g = f; f = e; e = d + t1; d = c; c = b; b = a; a = t1 + t2;
        }
        state[0] += a; state[1] += b; state[2] += c; state[3] += d;
        state[4] += e; state[5] += f; state[6] += g; state[7] += h;
    }
}

#if defined(FI_X86_64)
/* Four rounds; the message words of four groups later are made in place of the ones just used. */
#define GROUP(i) do { \
        __m128i wk = _mm_add_epi32(m[(i) % 4], _mm_loadu_si128((const __m128i *)(const void *)(K + 4 * (i)))); \
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk); \
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(wk, 0x0E)); \
        if ((i) < 12) \
            m[(i) % 4] = _mm_sha256msg2_epu32( \
                _mm_add_epi32(_mm_sha256msg1_epu32(m[(i) % 4], m[((i) + 1) % 4]), \
                              _mm_alignr_epi8(m[((i) + 3) % 4], m[((i) + 2) % 4], 4)), m[((i) + 3) % 4]); \
    } while (0)

FI_TARGET("sha,sse4.1") static void sha256_shani(uint32_t state[8], const uint8_t *p, size_t blocks) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    /* the instructions want the state as (a b e f) and (c d g h), highest lane first */
    const __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)state), 0xB1);
    const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)(state + 4)), 0x1B);
    __m128i abef = _mm_alignr_epi8(abcd, efgh, 8), cdgh = _mm_blend_epi16(efgh, abcd, 0xF0);
    for (; blocks; blocks--, p += 64) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i m[4];
        for (int i = 0; i < 4; i++)
            m[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)), swap);
        GROUP(0); GROUP(1); GROUP(2); GROUP(3); GROUP(4); GROUP(5); GROUP(6); GROUP(7);
        GROUP(8); GROUP(9); GROUP(10); GROUP(11); GROUP(12); GROUP(13); GROUP(14); GROUP(15);
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    const __m128i feba = _mm_shuffle_epi32(abef, 0x1B), dchg = _mm_shuffle_epi32(cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}
#elif defined(FI_ARM64_SHA)
/* Four rounds; the message words of four groups later are made in place of the ones just used. */
#define GROUP(i) do { \
        const uint32x4_t wk = vaddq_u32(m[(i) % 4], vld1q_u32(K + 4 * (i))), abcd_in = abcd; \
        abcd = vsha256hq_u32(abcd, efgh, wk); \
        efgh = vsha256h2q_u32(efgh, abcd_in, wk); \
        if ((i) < 12) \
            m[(i) % 4] = vsha256su1q_u32(vsha256su0q_u32(m[(i) % 4], m[((i) + 1) % 4]), m[((i) + 2) % 4], \
                                         m[((i) + 3) % 4]); \
    } while (0)

FI_TARGET_SHA static void sha256_arm(uint32_t state[8], const uint8_t *p, size_t blocks) {
    uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4);
    for (; blocks; blocks--, p += 64) {
        const uint32x4_t abcd_before = abcd, efgh_before = efgh;
        uint32x4_t m[4];
        for (int i = 0; i < 4; i++) m[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p + 16 * i)));
        GROUP(0); GROUP(1); GROUP(2); GROUP(3); GROUP(4); GROUP(5); GROUP(6); GROUP(7);
        GROUP(8); GROUP(9); GROUP(10); GROUP(11); GROUP(12); GROUP(13); GROUP(14); GROUP(15);
        abcd = vaddq_u32(abcd, abcd_before);
        efgh = vaddq_u32(efgh, efgh_before);
    }
    vst1q_u32(state, abcd);
    vst1q_u32(state + 4, efgh);
}
#endif

fi_sha256_fn fi_sha256_compress = fi_sha256_portable;

const char *fi_sha256_init(unsigned cpu) {
    (void)cpu;
#if defined(FI_X86_64)
    if (cpu & FI_CPU_SHANI) { fi_sha256_compress = sha256_shani; return "sha-ni"; }
#elif defined(FI_ARM64_SHA)
    if (cpu & FI_CPU_ARM_SHA256) { fi_sha256_compress = sha256_arm; return "armv8"; }
#endif
    return "portable";
}

void fi_sha256_finish(fi_sha256_fn compress, uint32_t state[8], uint64_t before,
                      const uint8_t *first, const uint8_t *p, size_t n, uint8_t out[32]) {
    uint8_t last[128];
    const size_t whole = n / 64, tail = n % 64, blocks = tail < 56 ? 1 : 2;
    if (whole) {
        compress(state, first ? first : p, 1);
        compress(state, p + 64, whole - 1);
    }
    memset(last, 0, sizeof last);
    if (tail) memcpy(last, first && !whole ? first : p + 64 * whole, tail);
    last[tail] = 0x80;
    fi_put_u64(last + 64 * blocks - 8, (before + n) * 8);
    compress(state, last, blocks);
    for (int i = 0; i < 8; i++) fi_put_u32(out + 4 * i, state[i]);
}
