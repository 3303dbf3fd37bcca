/* str -- a borrowed slice of bytes: not terminated, not owned, valid as long as its source. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct str {
    const char *ptr; /* may be NULL when len is 0 */
    size_t len;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})

static inline struct str str_from(const char *s)
{
    return (struct str){s, s ? strlen(s) : 0};
}

static inline bool str_equal(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool str_is(struct str a, const char *s)
{
    return str_equal(a, str_from(s));
}

static inline bool str_starts_with(struct str a, struct str prefix)
{
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.ptr, prefix.ptr, prefix.len) == 0);
}

/* ASCII case-insensitive, for HTTP names and tokens. */
bool str_equal_nocase(struct str a, struct str b);

/* The offset of the first `needle` in `hay`, or SIZE_MAX. */
size_t str_find(struct str hay, struct str needle);

/* How far `tail` of the text could be the beginning of `marker`: the largest n < marker.len such
 * that the last n bytes of `text` equal the first n of `marker`.  What a streaming scanner must
 * hold back. */
size_t str_partial_suffix(struct str text, struct str marker);

/* Without the blanks, tabs and line ends at its end, or at both ends. */
struct str str_trim_end(struct str s);
struct str str_trim(struct str s);

/* The closest of `n` names to `word` by edit distance, or NULL when none is near; for "did you
 * mean". */
const char *str_nearest(struct str word, const char *const *names, size_t n);
