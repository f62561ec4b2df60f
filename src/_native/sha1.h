#ifndef FI_SHA1_H
#define FI_SHA1_H
/* SHA-1 (FIPS 180-4): only for the HMAC of MESSAGE-INTEGRITY and for shortening long keys. */
#include <stddef.h>
#include <stdint.h>
typedef void (*fi_sha1_fn)(uint32_t state[5], const uint8_t *p, size_t blocks);
extern fi_sha1_fn fi_sha1_compress;         /* portable until fi_sha1_init() */
extern const uint32_t fi_sha1_start[5];
const char *fi_sha1_init(unsigned cpu);     /* chooses by cpu features, gives the name of the choice */
void fi_sha1_portable(uint32_t state[5], const uint8_t *p, size_t blocks);
/* Ends a hash: `state` has taken `before` bytes (a multiple of 64); `first`, when not NULL, stands for the first
   block of p (or all of p when it is shorter). */
void fi_sha1_finish(fi_sha1_fn compress, uint32_t state[5], uint64_t before,
                    const uint8_t *first, const uint8_t *p, size_t n, uint8_t out[20]);
#endif
