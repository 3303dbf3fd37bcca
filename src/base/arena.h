/* arena -- memory of one request: allocated piece by piece, released at once.
 *
 * Every arena has a ceiling given at birth; an allocation beyond it fails with NULL, and the
 * request is answered with STATUS_TOO_LARGE.  Owner: whoever owns the request; not shared between
 * threads without a hand-over. */
#pragma once

#include "mem.h"
#include "str.h"

struct arena {
    struct arena_chunk *chunks; /* newest first */
    size_t used_bytes;          /* sum of all chunks */
    size_t limit_bytes;
};

void arena_init(struct arena *a, size_t limit_bytes);
void arena_free(struct arena *a); /* releases everything; the arena can be used again */

/* Aligned for any object and zeroed.  NULL when the ceiling is reached. */
MUST_USE void *arena_alloc(struct arena *a, size_t bytes);

/* n objects of `size`; NULL on overflow too. */
MUST_USE void *arena_array(struct arena *a, size_t n, size_t size);

/* A terminated copy of `s`; .ptr is NULL when the ceiling is reached. */
MUST_USE struct str arena_str(struct arena *a, struct str s);
