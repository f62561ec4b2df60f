#include "hmac.h"
#include "bytes.h"
#include "sha1.h"
#include "sha256.h"
#include <string.h>

static void pad(uint8_t block[64], const uint8_t *secret, size_t n, uint8_t with) {
    memset(block, with, 64);
    for (size_t i = 0; i < n; i++) block[i] ^= secret[i];
}

/* Not optimised away, although nobody reads it again. */
static void wipe(void *p, size_t n) {
    volatile uint8_t *b = p;
    while (n--) *b++ = 0;
}

void fi_hmac_key(uint32_t key[FI_KEY_WORDS], const uint8_t *secret, size_t n) {
    uint32_t *sha1_inner = key, *sha1_outer = key + 5, *sha256_inner = key + 10, *sha256_outer = key + 18;
    uint8_t block[64], digest[32];
    const uint8_t *s = secret;
    size_t size = n;
    memcpy(sha1_inner, fi_sha1_start, 5 * sizeof *key);
    if (n > 64) {                                   /* RFC 2104 2: longer keys are hashed first */
        fi_sha1_finish(fi_sha1_compress, sha1_inner, 0, NULL, secret, n, digest);
        memcpy(sha1_inner, fi_sha1_start, 5 * sizeof *key);
        s = digest; size = 20;
    }
    memcpy(sha1_outer, fi_sha1_start, 5 * sizeof *key);
    pad(block, s, size, 0x36); fi_sha1_compress(sha1_inner, block, 1);
    pad(block, s, size, 0x5c); fi_sha1_compress(sha1_outer, block, 1);
    memcpy(sha256_inner, fi_sha256_start, 8 * sizeof *key);
    if (n > 64) {
        fi_sha256_finish(fi_sha256_compress, sha256_inner, 0, NULL, secret, n, digest);
        memcpy(sha256_inner, fi_sha256_start, 8 * sizeof *key);
        s = digest; size = 32;
    }
    memcpy(sha256_outer, fi_sha256_start, 8 * sizeof *key);
    pad(block, s, size, 0x36); fi_sha256_compress(sha256_inner, block, 1);
    pad(block, s, size, 0x5c); fi_sha256_compress(sha256_outer, block, 1);
    wipe(block, sizeof block);
    wipe(digest, sizeof digest);
}

void fi_hmac_sha1(const uint32_t key[FI_KEY_WORDS], const uint8_t *first, const uint8_t *p, size_t n,
                  uint8_t out[20]) {
    uint32_t state[5];
    uint8_t inner[20];
    memcpy(state, key, sizeof state);
    fi_sha1_finish(fi_sha1_compress, state, 64, first, p, n, inner);
    memcpy(state, key + 5, sizeof state);
    fi_sha1_finish(fi_sha1_compress, state, 64, NULL, inner, sizeof inner, out);
}

void fi_hmac_sha256(const uint32_t key[FI_KEY_WORDS], const uint8_t *first, const uint8_t *p, size_t n,
                    uint8_t out[32]) {
    uint32_t state[8];
    uint8_t inner[32];
    memcpy(state, key + 10, sizeof state);
    fi_sha256_finish(fi_sha256_compress, state, 64, first, p, n, inner);
    memcpy(state, key + 18, sizeof state);
    fi_sha256_finish(fi_sha256_compress, state, 64, NULL, inner, sizeof inner, out);
}

int fi_equal(const uint8_t *a, const uint8_t *b, size_t n) {
    volatile uint32_t difference = 0;               /* volatile: no early exit by a clever compiler */
    for (; n >= 4; a += 4, b += 4, n -= 4) difference |= fi_get_u32(a) ^ fi_get_u32(b);
    while (n--) difference |= (uint32_t)(*a++ ^ *b++);
    return difference == 0;
}
