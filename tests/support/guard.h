/* guard -- puts an input right before a page that cannot be read, so that a parser that looks one
 * byte too far stops at once, with or without a sanitizer. */
#pragma once

#include <stddef.h>

#include "base/str.h"

struct guard {
    char *text; /* the copy; writable */
    size_t len;
    void *mapping;
    size_t mapping_bytes;
};

/* A copy of `s` and `padding` writable bytes behind it that touch the guard page. */
struct guard guard_copy(struct str s, size_t padding);
void guard_free(struct guard *g);
