/* The kernels of src/_native alone, without Python: known answers, then every length 0..1100 at every alignment against
   the portable code, in memory that ends where the input ends. `kernels [IMPLEMENTATION...]` also fails when one of these
   names was not chosen, so that an emulator or a cross compiler cannot silently test the portable code only. */
#include "cpu.h"
#include "crc32.h"
#include "hmac.h"
#include "sha1.h"
#include "sha256.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 1100 };
static int failures;

static void check(int right, const char *what, size_t n) {
    if (!right && ++failures < 20) printf("wrong: %s of %u bytes\n", what, (unsigned)n);
}

static void hex_check(const uint8_t *found, size_t size, const char *expected, const char *what) {
    char text[65] = "";
    for (size_t i = 0; i < size; i++) snprintf(text + 2 * i, 3, "%02x", found[i]);
    check(!strcmp(text, expected), what, 0);
}

static void sha1(fi_sha1_fn compress, const uint8_t *first, const uint8_t *p, size_t n, uint8_t out[20]) {
    uint32_t state[5];
    memcpy(state, fi_sha1_start, sizeof state);
    fi_sha1_finish(compress, state, 0, first, p, n, out);
}

static void sha256(fi_sha256_fn compress, const uint8_t *first, const uint8_t *p, size_t n, uint8_t out[32]) {
    uint32_t state[8];
    memcpy(state, fi_sha256_start, sizeof state);
    fi_sha256_finish(compress, state, 0, first, p, n, out);
}

/* FIPS 180-4 examples, RFC 2202 case 2, RFC 4231 cases 2 and 6, the check value of CRC-32 */
static void known_answers(fi_sha1_fn sha1_with, fi_sha256_fn sha256_with) {
    static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    static const char text[] = "what do ya want for nothing?", large[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    uint8_t out[32], big_key[131];
    uint32_t key[FI_KEY_WORDS];
    sha1(sha1_with, NULL, (const uint8_t *)"abc", 3, out);
    hex_check(out, 20, "a9993e364706816aba3e25717850c26c9cd0d89d", "SHA-1, one block");
    sha1(sha1_with, NULL, (const uint8_t *)two_blocks, 56, out);
    hex_check(out, 20, "84983e441c3bd26ebaae4aa1f95129e5e54670f1", "SHA-1, two blocks");
    sha256(sha256_with, NULL, (const uint8_t *)"abc", 3, out);
    hex_check(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "SHA-256, one block");
    sha256(sha256_with, NULL, (const uint8_t *)two_blocks, 56, out);
    hex_check(out, 32, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1", "SHA-256, two blocks");
    fi_hmac_key(key, (const uint8_t *)"Jefe", 4);
    fi_hmac_sha1(key, NULL, (const uint8_t *)text, 28, out);
    hex_check(out, 20, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79", "HMAC-SHA1");
    fi_hmac_sha256(key, NULL, (const uint8_t *)text, 28, out);
    hex_check(out, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", "HMAC-SHA256");
    memset(big_key, 0xaa, sizeof big_key);
    fi_hmac_key(key, big_key, sizeof big_key);
    fi_hmac_sha256(key, NULL, (const uint8_t *)large, 54, out);
    hex_check(out, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54", "HMAC-SHA256, long key");
    check(fi_crc32(0, (const uint8_t *)"123456789", 9) == 0xCBF43926u, "CRC-32", 9);
    check(fi_crc32_table(0, (const uint8_t *)"123456789", 9) == 0xCBF43926u, "CRC-32 by tables", 9);
}

static uint32_t crc_bit_by_bit(uint32_t crc, const uint8_t *p, size_t n) {
    for (crc = ~crc; n; n--) {
        crc ^= *p++;
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1u)));
    }
    return ~crc;
}

static void one_length(const uint8_t *p, size_t n, uint32_t seed) {
    uint8_t a[32], b[32], first[64];
    const uint32_t crc = crc_bit_by_bit(seed, p, n);
    check(fi_crc32(seed, p, n) == crc, "CRC-32", n);
    check(fi_crc32_table(seed, p, n) == crc, "CRC-32 by tables", n);
    sha1(fi_sha1_compress, NULL, p, n, a);
    sha1(fi_sha1_portable, NULL, p, n, b);
    check(!memcmp(a, b, 20), "SHA-1", n);
    sha256(fi_sha256_compress, NULL, p, n, a);
    sha256(fi_sha256_portable, NULL, p, n, b);
    check(!memcmp(a, b, 32), "SHA-256", n);
    memcpy(first, p, n < 64 ? n : 64);              /* the first block from elsewhere */
    sha1(fi_sha1_compress, first, p, n, a);
    sha1(fi_sha1_portable, NULL, p, n, b);
    check(!memcmp(a, b, 20), "SHA-1 with another first block", n);
}

int main(int count, char **names) {
    const unsigned cpu = getenv("FASTICEPY_PORTABLE") ? 0 : fi_cpu_features();
    const char *chosen[3] = {fi_sha1_init(cpu), fi_sha256_init(cpu), fi_crc32_init(cpu)};
    uint32_t state = 1;
    printf("sha1 %s, sha256 %s, crc32 %s: ", chosen[0], chosen[1], chosen[2]);
    for (int i = 1; i < count; i++)
        check(i <= 3 && !strcmp(names[i], chosen[i - 1]), names[i], 0);
    known_answers(fi_sha1_compress, fi_sha256_compress);
    known_answers(fi_sha1_portable, fi_sha256_portable);
    for (size_t n = 0; n <= LONGEST; n++) {
        const size_t offset = n % 17;
        uint8_t *buffer = malloc(offset + n + !(offset + n));
        if (!buffer) return 2;
        for (size_t i = 0; i < offset + n; i++) buffer[i] = (uint8_t)((state = state * 1664525u + 1013904223u) >> 24);
        one_length(buffer + offset, n, n % 3 ? 0 : state);
        free(buffer);
    }
    puts(failures ? "FAILED" : "right");
    return failures != 0;
}
