#include "sha1.h"
#include "bytes.h"
#include "cpu.h"
#include <string.h>
#if defined(FI_X86_64)
#  include <immintrin.h>
#elif defined(FI_ARM64_SHA)
#  include <arm_neon.h>
#endif

const uint32_t fi_sha1_start[5] = {0x67452301u, 0xEFCDAB89u, 0x98BADCFEu, 0x10325476u, 0xC3D2E1F0u};

static uint32_t rotl(uint32_t v, int n) { return (v << n) | (v >> (32 - n)); }

/* One step with the roles of a..e turned by the caller, so that no value is moved. */
#define STEP(f, k, a, b, c, d, e, w) \
    do { (e) += rotl((a), 5) + (f) + (k) + (w); (b) = rotl((b), 30); } while (0)
#define FIVE(F, k, i) do { \
        STEP(F(b, c, d), k, a, b, c, d, e, W(i)); STEP(F(a, b, c), k, e, a, b, c, d, W((i) + 1)); \
        STEP(F(e, a, b), k, d, e, a, b, c, W((i) + 2)); STEP(F(d, e, a), k, c, d, e, a, b, W((i) + 3)); \
        STEP(F(c, d, e), k, b, c, d, e, a, W((i) + 4)); } while (0)
#define CHOOSE(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define PARITY(x, y, z) ((x) ^ (y) ^ (z))
#define MAJORITY(x, y, z) (((x) & (y)) | ((z) & ((x) | (y))))

void fi_sha1_portable(uint32_t state[5], const uint8_t *p, size_t blocks) {
    uint32_t w[80];
#define W(i) w[i]
    for (; blocks; blocks--, p += 64) {
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
        for (int i = 0; i < 16; i++) w[i] = fi_get_u32(p + 4 * i);
        for (int i = 16; i < 80; i++) w[i] = rotl(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        for (int i = 0; i < 20; i += 5) FIVE(CHOOSE, 0x5A827999u, i);
        for (int i = 20; i < 40; i += 5) FIVE(PARITY, 0x6ED9EBA1u, i);
        for (int i = 40; i < 60; i += 5) FIVE(MAJORITY, 0x8F1BBCDCu, i);
        for (int i = 60; i < 80; i += 5) FIVE(PARITY, 0xCA62C1D6u, i);
        state[0] += a; state[1] += b; state[2] += c; state[3] += d; state[4] += e;
    }
#undef W
}

#if defined(FI_X86_64)
/* Four rounds; the message words of four groups later are made in place of the ones just used. */
#define GROUP(i) do { \
        const __m128i e_in = (i) ? _mm_sha1nexte_epu32(e, m[(i) % 4]) : _mm_add_epi32(e, m[0]); \
        e = abcd; \
        abcd = _mm_sha1rnds4_epu32(abcd, e_in, (i) / 5); \
        if ((i) < 16) \
            m[(i) % 4] = _mm_sha1msg2_epu32(_mm_xor_si128(_mm_sha1msg1_epu32(m[(i) % 4], m[((i) + 1) % 4]), \
                                                          m[((i) + 2) % 4]), m[((i) + 3) % 4]); \
    } while (0)

FI_TARGET("sha,sse4.1") static void sha1_shani(uint32_t state[5], const uint8_t *p, size_t blocks) {
    const __m128i swap = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)state), 0x1B);
    __m128i e = _mm_set_epi32((int)state[4], 0, 0, 0);
    for (; blocks; blocks--, p += 64) {
        const __m128i abcd_before = abcd, e_before = e;
        __m128i m[4];
        for (int i = 0; i < 4; i++)
            m[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)), swap);
        GROUP(0); GROUP(1); GROUP(2); GROUP(3); GROUP(4); GROUP(5); GROUP(6); GROUP(7); GROUP(8); GROUP(9);
        GROUP(10); GROUP(11); GROUP(12); GROUP(13); GROUP(14); GROUP(15); GROUP(16); GROUP(17); GROUP(18); GROUP(19);
        e = _mm_sha1nexte_epu32(e, e_before);
        abcd = _mm_add_epi32(abcd, abcd_before);
    }
    _mm_storeu_si128((__m128i *)(void *)state, _mm_shuffle_epi32(abcd, 0x1B));
    state[4] = (uint32_t)_mm_extract_epi32(e, 3);
}
#elif defined(FI_ARM64_SHA)
/* Four rounds; the message words of four groups later are made in place of the ones just used. */
#define GROUP(rounds, i) do { \
        const uint32x4_t wk = vaddq_u32(m[(i) % 4], k[(i) / 5]); \
        const uint32_t e_next = vsha1h_u32(vgetq_lane_u32(abcd, 0)); \
        abcd = rounds(abcd, e, wk); \
        e = e_next; \
        if ((i) < 16) \
            m[(i) % 4] = vsha1su1q_u32(vsha1su0q_u32(m[(i) % 4], m[((i) + 1) % 4], m[((i) + 2) % 4]), \
                                       m[((i) + 3) % 4]); \
    } while (0)
#define GROUPS(rounds, i) do { \
        GROUP(rounds, i); GROUP(rounds, (i) + 1); GROUP(rounds, (i) + 2); GROUP(rounds, (i) + 3); \
        GROUP(rounds, (i) + 4); } while (0)

FI_TARGET_SHA static void sha1_arm(uint32_t state[5], const uint8_t *p, size_t blocks) {
    const uint32x4_t k[4] = {vdupq_n_u32(0x5A827999u), vdupq_n_u32(0x6ED9EBA1u), vdupq_n_u32(0x8F1BBCDCu),
                             vdupq_n_u32(0xCA62C1D6u)};
    uint32x4_t abcd = vld1q_u32(state);
    uint32_t e = state[4];
    for (; blocks; blocks--, p += 64) {
        const uint32x4_t abcd_before = abcd;
        const uint32_t e_before = e;
        uint32x4_t m[4];
        for (int i = 0; i < 4; i++) m[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p + 16 * i)));
        GROUPS(vsha1cq_u32, 0);
        GROUPS(vsha1pq_u32, 5);
        GROUPS(vsha1mq_u32, 10);
        GROUPS(vsha1pq_u32, 15);
        abcd = vaddq_u32(abcd, abcd_before);
        e += e_before;
    }
    vst1q_u32(state, abcd);
    state[4] = e;
}
#endif

fi_sha1_fn fi_sha1_compress = fi_sha1_portable;

const char *fi_sha1_init(unsigned cpu) {
    (void)cpu;
#if defined(FI_X86_64)
    if (cpu & FI_CPU_SHANI) { fi_sha1_compress = sha1_shani; return "sha-ni"; }
#elif defined(FI_ARM64_SHA)
    if (cpu & FI_CPU_ARM_SHA1) { fi_sha1_compress = sha1_arm; return "armv8"; }
#endif
    return "portable";
}

void fi_sha1_finish(fi_sha1_fn compress, uint32_t state[5], uint64_t before,
                    const uint8_t *first, const uint8_t *p, size_t n, uint8_t out[20]) {
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
    for (int i = 0; i < 5; i++) fi_put_u32(out + 4 * i, state[i]);
}
