#include "address.h"
#include <string.h>

static size_t parse_v4(const char *s, size_t n, uint8_t ip[4]) {
    size_t i = 0;
    for (int part = 0; part < 4; part++) {
        unsigned value = 0;
        const size_t start = i;
        while (i < n && s[i] >= '0' && s[i] <= '9' && i - start < 3) value = value * 10 + (unsigned)(s[i++] - '0');
        if (i == start || value > 255 || (s[start] == '0' && i - start > 1)) return 0;  /* no octal look-alikes */
        ip[part] = (uint8_t)value;
        if (part < 3) {
            if (i == n || s[i] != '.') return 0;
            i++;
        }
    }
    return i == n ? 4 : 0;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static size_t parse_v6(const char *s, size_t n, uint8_t ip[16]) {
    uint8_t out[16];
    size_t used = 0, gap = 17, i = 0;               /* gap: where "::" stands, in bytes; 17 for nowhere */
    if (n >= 2 && s[0] == ':' && s[1] == ':') { gap = 0; i = 2; }
    while (i < n) {
        const size_t start = i;
        unsigned value = 0;
        for (int digit; i < n && i - start < 4 && (digit = hex_digit(s[i])) >= 0; i++)
            value = value << 4 | (unsigned)digit;
        if (i == start) return 0;
        if (i < n && s[i] == '.') {                 /* the last 32 bits in dotted form */
            if (used > 12 || !parse_v4(s + start, n - start, out + used)) return 0;
            used += 4;
            break;
        }
        if (used > 14) return 0;
        out[used++] = (uint8_t)(value >> 8);
        out[used++] = (uint8_t)value;
        if (i == n) break;
        if (s[i++] != ':' || i == n) return 0;
        if (s[i] == ':') {
            if (gap <= 16) return 0;
            gap = used;
            i++;
        }
    }
    if (gap > 16 ? used != 16 : used > 14) return 0;
    if (gap > 16) gap = used;
    memset(ip, 0, 16);
    memcpy(ip, out, gap);
    memcpy(ip + 16 - (used - gap), out + gap, used - gap);
    return 16;
}

size_t fi_address_parse(const char *text, size_t n, uint8_t ip[16]) {
    const char *scope = memchr(text, '%', n);
    if (!memchr(text, ':', n)) return parse_v4(text, n, ip);
    if (scope) {
        if (scope + 1 == text + n) return 0;
        n = (size_t)(scope - text);
    }
    return parse_v6(text, n, ip);
}

static char *print_v4(char *t, const uint8_t *ip) {
    for (int i = 0; i < 4; i++) {
        const unsigned v = ip[i];
        if (i) *t++ = '.';
        if (v >= 100) *t++ = (char)('0' + v / 100);
        if (v >= 10) *t++ = (char)('0' + v / 10 % 10);
        *t++ = (char)('0' + v % 10);
    }
    return t;
}

static char *print_group(char *t, unsigned v) {
    static const char digits[] = "0123456789abcdef";
    if (v >> 12) *t++ = digits[v >> 12];
    if (v >> 8) *t++ = digits[v >> 8 & 15];
    if (v >> 4) *t++ = digits[v >> 4 & 15];
    *t++ = digits[v & 15];
    return t;
}

size_t fi_address_format(const uint8_t *ip, size_t size, char text[FI_ADDRESS_TEXT]) {
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    char *t = text;
    int best = -1, longest = 1;                     /* one group of zeros is not shortened (RFC 5952 4.2.2) */
    unsigned group[8];
    if (size == 4) return (size_t)(print_v4(t, ip) - text);
    if (!memcmp(ip, mapped, sizeof mapped)) {
        memcpy(t, "::ffff:", 7);
        return (size_t)(print_v4(t + 7, ip + 12) - text);
    }
    for (int i = 0; i < 8; i++) group[i] = (unsigned)ip[2 * i] << 8 | ip[2 * i + 1];
    for (int i = 0; i < 8; i++) {
        int run = 0;
        while (i + run < 8 && !group[i + run]) run++;
        if (run > longest) { best = i; longest = run; }
        if (run) i += run - 1;
    }
    for (int i = 0; i < 8; i++) {
        if (i == best) {
            *t++ = ':';
            if (i + longest == 8) *t++ = ':';
            i += longest - 1;
            continue;
        }
        if (i) *t++ = ':';
        t = print_group(t, group[i]);
    }
    return (size_t)(t - text);
}
