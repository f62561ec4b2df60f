#ifndef FI_CRC32_H
#define FI_CRC32_H
#include <stddef.h>
#include <stdint.h>
/* CRC-32 of IEEE 802.3, as zlib: fi_crc32(0, "123456789", 9) == 0xCBF43926. */
typedef uint32_t (*fi_crc32_fn)(uint32_t crc, const uint8_t *p, size_t n);
extern fi_crc32_fn fi_crc32;          /* the table version until fi_crc32_init(), which must come first */
const char *fi_crc32_init(unsigned cpu);    /* builds the tables, chooses by cpu features, gives the choice's name */
uint32_t fi_crc32_table(uint32_t crc, const uint8_t *p, size_t n);
#endif
