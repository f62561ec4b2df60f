#ifndef FI_SHA256_H
#define FI_SHA256_H
/* SHA-256 (FIPS 180-4): only for the HMAC of MESSAGE-INTEGRITY-SHA256 and for shortening long keys. */
#include <stddef.h>
#include <stdint.h>
typedef void (*fi_sha256_fn)(uint32_t state[8], const uint8_t *p, size_t blocks);
extern fi_sha256_fn fi_sha256_compress;     /* portable until fi_sha256_init() */
extern const uint32_t fi_sha256_start[8];
const char *fi_sha256_init(unsigned cpu);   /* chooses by cpu features, gives the name of the choice */
void fi_sha256_portable(uint32_t state[8], const uint8_t *p, size_t blocks);
/* As fi_sha1_finish. */
void fi_sha256_finish(fi_sha256_fn compress, uint32_t state[8], uint64_t before,
                      const uint8_t *first, const uint8_t *p, size_t n, uint8_t out[32]);
#endif
