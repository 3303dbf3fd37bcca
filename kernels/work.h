/* work -- cutting a work buffer into pieces, and the small sums that cutting work up takes.
 *
 * A kernel's work buffer is ggml's (team.h); a function that carves it is called twice, with base
 * NULL to learn how much it takes and with the buffer to learn where each piece lies. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { WORK_ALIGNMENT = 64 }; /* bytes: a cache line, and the widest vector */

static inline int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static inline int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

struct carver {
    char *base;  /* NULL: only measures */
    size_t used; /* bytes so far, a multiple of WORK_ALIGNMENT */
};

/* The next n_bytes, aligned; NULL where it only measures. */
static inline void *carve(struct carver *from, int64_t n_bytes)
{
    char *piece = from->base == NULL ? NULL : from->base + from->used;
    from->used += (size_t)divide_up(n_bytes, WORK_ALIGNMENT) * WORK_ALIGNMENT;
    return piece;
}

static inline float *carve_floats(struct carver *from, int64_t n)
{
    return (float *)carve(from, n * (int64_t)sizeof(float));
}

static inline int32_t *carve_ints(struct carver *from, int64_t n)
{
    return (int32_t *)carve(from, n * (int64_t)sizeof(int32_t));
}
