#ifndef FI_HMAC_H
#define FI_HMAC_H
/* HMAC (RFC 2104) with the key's work done once: a message costs its own blocks and one more, nothing for the key. */
#include <stddef.h>
#include <stdint.h>
typedef struct {
    uint32_t sha1_inner[5], sha1_outer[5];
    uint32_t sha256_inner[8], sha256_outer[8];
} fi_mac_key;
void fi_mac_key_init(fi_mac_key *key, const uint8_t *secret, size_t n);
/* `first`, when not NULL, stands for the first 64 bytes of p (or all of p when it is shorter): a STUN header whose
   length field differs, with no need to write into the caller's bytes. */
void fi_hmac_sha1(const fi_mac_key *key, const uint8_t *first, const uint8_t *p, size_t n, uint8_t out[20]);
void fi_hmac_sha256(const fi_mac_key *key, const uint8_t *first, const uint8_t *p, size_t n, uint8_t out[32]);
/* 1 when equal; the time depends on n only. */
int fi_equal(const uint8_t *a, const uint8_t *b, size_t n);
#endif
