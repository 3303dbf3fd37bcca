#include "strbuf.h"

#include <stdint.h>
#include <stdio.h>

void strbuf_init(struct strbuf *sb, size_t limit)
{
    *sb = (struct strbuf){.limit = limit};
}

void strbuf_free(struct strbuf *sb)
{
    mem_free(sb->data);
    *sb = (struct strbuf){.limit = sb->limit};
}

void strbuf_clear(struct strbuf *sb)
{
    sb->len = 0;
    sb->failed = false;
    if (sb->data != NULL)
        sb->data[0] = '\0';
}

/* Makes room for `n` more bytes and the terminator. */
static bool reserve(struct strbuf *sb, size_t n)
{
    if (sb->failed)
        return false;
    if (n > sb->limit - sb->len) {
        sb->failed = true;
        return false;
    }
    size_t need = sb->len + n + 1;
    if (need <= sb->capacity)
        return true;

    size_t capacity = sb->capacity < 64 ? 64 : sb->capacity;
    while (capacity < need)
        capacity = capacity > SIZE_MAX / 2 ? need : capacity * 2;
    char *data = mem_try_realloc(sb->data, capacity);
    if (data == NULL) {
        sb->failed = true;
        return false;
    }
    sb->data = data;
    sb->capacity = capacity;
    return true;
}

void strbuf_append(struct strbuf *sb, const void *bytes, size_t n)
{
    if (!reserve(sb, n))
        return;
    if (n > 0)
        memcpy(sb->data + sb->len, bytes, n);
    sb->len += n;
    sb->data[sb->len] = '\0';
}

void strbuf_append_str(struct strbuf *sb, struct str s)
{
    strbuf_append(sb, s.ptr, s.len);
}

void strbuf_append_cstr(struct strbuf *sb, const char *s)
{
    strbuf_append(sb, s, strlen(s));
}

void strbuf_append_char(struct strbuf *sb, char c)
{
    strbuf_append(sb, &c, 1);
}

void strbuf_printf(struct strbuf *sb, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0 || !reserve(sb, (size_t)n)) {
        sb->failed = true;
        return;
    }
    va_start(args, fmt);
    vsnprintf(sb->data + sb->len, (size_t)n + 1, fmt, args);
    va_end(args);
    sb->len += (size_t)n;
}

void strbuf_consume(struct strbuf *sb, size_t n)
{
    INVARIANT(n <= sb->len);
    if (n == 0)
        return;
    memmove(sb->data, sb->data + n, sb->len - n + 1);
    sb->len -= n;
}

struct str strbuf_str(const struct strbuf *sb)
{
    return (struct str){strbuf_cstr(sb), sb->len};
}

const char *strbuf_cstr(const struct strbuf *sb)
{
    return sb->data != NULL ? sb->data : "";
}

char *strbuf_detach(struct strbuf *sb, size_t *out_len)
{
    char *data = sb->data != NULL ? sb->data : mem_strdup("");
    if (out_len != NULL)
        *out_len = sb->len;
    *sb = (struct strbuf){.limit = sb->limit};
    return data;
}

enum status strbuf_status(const struct strbuf *sb)
{
    return sb->failed ? STATUS_TOO_LARGE : STATUS_OK;
}
