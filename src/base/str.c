#include "str.h"

#include <stdint.h>

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool str_equal_nocase(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.ptr[i]) != lower(b.ptr[i]))
            return false;
    return true;
}

size_t str_find(struct str hay, struct str needle)
{
    if (needle.len == 0)
        return 0;
    for (size_t i = 0; i + needle.len <= hay.len; i++) {
        const char *hit = memchr(hay.ptr + i, needle.ptr[0], hay.len - needle.len - i + 1);
        if (hit == NULL)
            return SIZE_MAX;
        i = (size_t)(hit - hay.ptr);
        if (memcmp(hit, needle.ptr, needle.len) == 0)
            return i;
    }
    return SIZE_MAX;
}

size_t str_partial_suffix(struct str text, struct str marker)
{
    if (marker.len == 0)
        return 0;
    size_t n = marker.len - 1 < text.len ? marker.len - 1 : text.len;
    for (; n > 0; n--)
        if (memcmp(text.ptr + text.len - n, marker.ptr, n) == 0)
            return n;
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim_end(struct str s)
{
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

struct str str_trim(struct str s)
{
    while (s.len > 0 && is_blank(s.ptr[0]))
        s = (struct str){s.ptr + 1, s.len - 1};
    return str_trim_end(s);
}

/* Levenshtein distance of two short words, one row at a time; words over 63 bytes are "far". */
static size_t edit_distance(struct str a, struct str b)
{
    enum { MAX = 64 };
    if (a.len >= MAX || b.len >= MAX)
        return MAX;
    size_t row[MAX];
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t above = row[j];
            size_t best = diagonal + (lower(a.ptr[i - 1]) != lower(b.ptr[j - 1]));
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            diagonal = above;
        }
    }
    return row[b.len];
}

const char *str_nearest(struct str word, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t best_distance = word.len / 3 + 2; /* farther than this is no typing slip */
    for (size_t i = 0; i < n; i++) {
        size_t distance = edit_distance(word, str_from(names[i]));
        if (distance < best_distance) {
            best_distance = distance;
            best = names[i];
        }
    }
    return best;
}
