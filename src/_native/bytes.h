#ifndef FI_BYTES_H
#define FI_BYTES_H
/* Big-endian loads and stores, byte by byte: right on every CPU and alignment; compilers make one instruction of them. */
#include <stdint.h>
static inline uint32_t fi_get_u32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline void fi_put_u32(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v >> 24); p[1] = (uint8_t)(v >> 16); p[2] = (uint8_t)(v >> 8); p[3] = (uint8_t)v;
}
static inline void fi_put_u64(uint8_t *p, uint64_t v) {
    fi_put_u32(p, (uint32_t)(v >> 32)); fi_put_u32(p + 4, (uint32_t)v);
}
#endif
