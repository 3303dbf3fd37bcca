#include "utf8.h"

/* The length of the well-formed character at the start of `s`, 0 when it is malformed.  When it is
 * malformed or cut, *good is the length of the part that could still be a beginning (RFC 3629,
 * section 4: the table of well-formed byte sequences). */
static size_t char_length(const unsigned char *s, size_t len, size_t *good)
{
    *good = 0;
    unsigned char c = s[0];
    if (c < 0x80)
        return 1;

    size_t need;
    unsigned char low = 0x80, high = 0xBF; /* allowed range of the second byte */
    if (c >= 0xC2 && c <= 0xDF) {
        need = 2;
    } else if (c >= 0xE0 && c <= 0xEF) {
        need = 3;
        low = c == 0xE0 ? 0xA0 : 0x80;
        high = c == 0xED ? 0x9F : 0xBF;
    } else if (c >= 0xF0 && c <= 0xF4) {
        need = 4;
        low = c == 0xF0 ? 0x90 : 0x80;
        high = c == 0xF4 ? 0x8F : 0xBF;
    } else {
        return 0;
    }

    *good = 1;
    for (size_t i = 1; i < need; i++) {
        if (i >= len || s[i] < low || s[i] > high)
            return 0;
        low = 0x80;
        high = 0xBF;
        *good = i + 1;
    }
    return need;
}

bool utf8_valid(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t good;
    for (size_t i = 0; i < s.len;) {
        size_t n = char_length(p + i, s.len - i, &good);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

size_t utf8_incomplete_tail(struct str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    for (size_t n = 1; n <= 3 && n <= s.len; n++) {
        unsigned char c = p[s.len - n];
        if ((c & 0xC0) == 0x80)
            continue; /* a continuation byte: the character starts before it */
        size_t good;
        return char_length(p + s.len - n, n, &good) == 0 && good == n ? n : 0;
    }
    return 0;
}

void utf8_append_clean(struct strbuf *out, struct str s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t begin = 0; /* start of the well-formed run not appended yet */
    for (size_t i = 0; i < s.len;) {
        size_t good;
        size_t n = char_length(p + i, s.len - i, &good);
        if (n > 0) {
            i += n;
            continue;
        }
        strbuf_append(out, p + begin, i - begin);
        strbuf_append_cstr(out, "\xEF\xBF\xBD");
        i += good > 0 ? good : 1;
        begin = i;
    }
    strbuf_append(out, p + begin, s.len - begin);
}
