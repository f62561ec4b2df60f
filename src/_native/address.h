#ifndef FI_ADDRESS_H
#define FI_ADDRESS_H
/* Numeric IP addresses as text, as Python's ipaddress reads and prints them. */
#include <stddef.h>
#include <stdint.h>
#define FI_ADDRESS_TEXT 46                          /* room for the longest text, with no terminator */
/* Reads n characters into ip (network order). Gives 4 or 16 bytes, 0 when it is no address. A scope ("%eth0") after
   an IPv6 address is dropped. */
size_t fi_address_parse(const char *text, size_t n, uint8_t ip[16]);
/* Prints size (4 or 16) bytes, gives the length of the text. RFC 5952; IPv4-mapped ones as ::ffff:192.0.2.1. */
size_t fi_address_format(const uint8_t *ip, size_t size, char text[FI_ADDRESS_TEXT]);
#endif
