/* strbuf -- a growing byte buffer with a ceiling.
 *
 * Invariants: `data` is never NULL after the first append and always terminated at data[len];
 * len <= limit.  An append that would pass the limit, or that finds no memory, leaves the content
 * as it was and sets `failed`, which sticks: a caller may append many times and check once. */
#pragma once

#include "mem.h"
#include "str.h"

struct strbuf {
    char *data;
    size_t len;      /* excludes the terminator */
    size_t capacity; /* bytes allocated */
    size_t limit;    /* largest len allowed */
    bool failed;     /* an append did not fit */
};

void strbuf_init(struct strbuf *sb, size_t limit);
void strbuf_free(struct strbuf *sb);
void strbuf_clear(struct strbuf *sb); /* keeps the memory; clears `failed` */

void strbuf_append(struct strbuf *sb, const void *bytes, size_t n);
void strbuf_append_str(struct strbuf *sb, struct str s);
void strbuf_append_cstr(struct strbuf *sb, const char *s);
void strbuf_append_char(struct strbuf *sb, char c);
void strbuf_printf(struct strbuf *sb, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Removes the first `n` bytes (n <= len). */
void strbuf_consume(struct strbuf *sb, size_t n);

/* The content, valid until the next change; "" when empty. */
struct str strbuf_str(const struct strbuf *sb);
const char *strbuf_cstr(const struct strbuf *sb);

/* Hands the content over: the caller frees it with mem_free(); the buffer is empty again. */
MUST_USE char *strbuf_detach(struct strbuf *sb, size_t *out_len);

/* STATUS_OK, or STATUS_TOO_LARGE when an append did not fit. */
MUST_USE enum status strbuf_status(const struct strbuf *sb);
