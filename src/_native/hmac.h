#ifndef FI_HMAC_H
#define FI_HMAC_H
/* HMAC (RFC 2104) with the key's work done once: a message costs its own blocks and one more, nothing for the key. */
#include <stddef.h>
#include <stdint.h>
/* A key is four hash states in a row: SHA-1 inner and outer (5 words each), SHA-256 inner and outer (8 each). */
#define FI_KEY_WORDS 26
void fi_hmac_key(uint32_t key[FI_KEY_WORDS], const uint8_t *secret, size_t n);
/* `first`, when not NULL, stands for the first 64 bytes of p (or all of p when it is shorter): a STUN header whose
   length field differs, with no need to write into the caller's bytes. */
void fi_hmac_sha1(const uint32_t key[FI_KEY_WORDS], const uint8_t *first, const uint8_t *p, size_t n,
                  uint8_t out[20]);
void fi_hmac_sha256(const uint32_t key[FI_KEY_WORDS], const uint8_t *first, const uint8_t *p, size_t n,
                    uint8_t out[32]);
/* 1 when equal; the time depends on n only. */
int fi_equal(const uint8_t *a, const uint8_t *b, size_t n);
#endif
