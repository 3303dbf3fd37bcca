/* attention_tile -- the program of attention_block_*, over whichever simd_*.h was included before.
 *
 *                 64 keys                              d_v
 *              +-----------+                      +-----------+
 *         d_k  |  K tile,  |             64 keys  |  V tile   |
 *              | transposed|                      |           |
 *              +-----------+                      +-----------+
 *     +-----+  +-----------+     +-----------+    +-----------+
 *   6 |  Q  |  |  scores   | --> | p = 2^... | -> |   y  +=   |
 *     +-----+  +-----------+     +-----------+    +-----------+
 *
 * Both products are the same loop: 6 rows times VF_TILE vectors of sums stay in registers, and each
 * step broadcasts 6 floats of the left operand over VF_TILE vectors of the right one, which lies so
 * that they are adjacent.  Nothing is summed across lanes but the maximum of a row.  The tiles of K
 * and V (16 KiB each for heads of 64) stay in the first two levels of cache while all groups of
 * rows of the block go over them, so unpacking them costs 1 part in 40 for 252 rows.
 *
 * Groups of 6, not more: 6 x 4 + 4 registers of 32 (AVX-512, NEON), 6 x 2 + 2 of 16 (AVX2).
 *
 * A block of few rows, as one token's heads are while a reply is written, would spend more on
 * transposing tiles than on its products.  There K is taken row by row: a vector holds all rows'
 * scores of a key, and is a broadcast of K times a column of Q for each step; V is never stored
 * unpacked.  Every row's sums run in the same order either way. */
#pragma once

#include <math.h>

#include "kernels/attention_block.h"
#include "kernels/simd_exp.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum {
    TILE = ATTENTION_TILE_KEYS,
    PAD = ATTENTION_PAD,
    SCORES = TILE + PAD, /* from one row's to the next's */
    GROUP = ATTENTION_GROUP_ROWS,
    FEW = ATTENTION_FEW_ROWS, /* rows of a block that goes without unpacked tiles ... */
    FEW_VECTORS = 2,          /* ... and vectors of y that it keeps for each */
    FEW_AT_ONCE = VF_LANES == 8 ? 4 : FEW, /* ... of so many rows: with 16 registers, of half */
    Q8_0_BLOCK = 32,
    Q8_0_BYTES = 34,
};

/* ---- Unpacking ---- */

ALWAYS_INLINE vf load_lanes(const char *row, int64_t d, const enum attention_format format)
{
    if (format == ATTENTION_F16)
        return vf_load_f16(row + d * 2);
    const char *block = row + d / Q8_0_BLOCK * Q8_0_BYTES;
    return vf_mul(vf_load_i8(block + 2 + d % Q8_0_BLOCK), vf_set(vf_scalar_f16(block)));
}

/* K or V of one KV head. */
struct source {
    const char *first; /* of cell 0 */
    size_t stride;
    const int32_t *cells; /* of the tile's keys, then of the next tile's */
};

static struct source source_of(const struct attention_task *task, const struct attention_rows *rows,
                               int64_t key)
{
    return (struct source){
        .first = (const char *)rows->data + (size_t)task->kv_head * rows->head_stride,
        .stride = rows->token_stride,
        .cells = task->cells + key,
    };
}

ALWAYS_INLINE const char *row_of(const struct source *from, int64_t key)
{
    return from->first + (size_t)from->cells[key] * from->stride;
}

ALWAYS_INLINE int64_t bytes_of(int64_t width, const enum attention_format format)
{
    return format == ATTENTION_F16 ? width * 2 : width / Q8_0_BLOCK * Q8_0_BYTES;
}

/* A row of the next tile, to L2: rows of one head lie apart, too far for the
 * processor to guess.  Few at a time: those that wait for memory block what would not wait. */
ALWAYS_INLINE void prefetch_row(const struct source *from, int64_t key, int64_t width,
                                const enum attention_format format)
{
    enum { LINE = 64 };
    const char *row = row_of(from, key);
    for (int64_t at = 0; at < bytes_of(width, format); at += LINE)
        __builtin_prefetch(row + at, 0, 2);
}

ALWAYS_INLINE void unpack_row(float *to, const char *row, const enum attention_format format,
                              int64_t width)
{
    if (format == ATTENTION_F16) {
        for (int64_t d = 0; d < width; d += VF_LANES)
            vf_store(to + d, vf_load_f16(row + d * 2));
        return;
    }
    for (int64_t d = 0; d < width; d += Q8_0_BLOCK, row += Q8_0_BYTES) {
        vf scale = vf_set(vf_scalar_f16(row));
        for (int i = 0; i < Q8_0_BLOCK; i += VF_LANES)
            vf_store(to + d + i, vf_mul(vf_load_i8(row + 2 + i), scale));
    }
}

/* K[key][d] -> tile[key][d], or V, rows `stride` apart; keys from n on become zeros. */
ALWAYS_INLINE void unpack_rows(float *tile, int64_t stride, const struct source *from,
                               const enum attention_format format, int64_t n, int64_t width)
{
    for (int64_t key = 0; key < n; key++)
        unpack_row(tile + key * stride, row_of(from, key), format, width);
    memset(tile + n * stride, 0, (size_t)((TILE - n) * stride) * sizeof *tile);
}

/* K[key][d] -> tile[d][key]; keys from n on become zeros, so that their scores are finite. */
ALWAYS_INLINE void unpack_columns(float *tile, const struct source *from,
                                  const enum attention_format format, int64_t n, int64_t width)
{
    for (int64_t key = 0; key < TILE; key += VF_LANES) {
        for (int64_t d = 0; d < width; d += VF_LANES) {
            vf r[VF_LANES];
            for (int i = 0; i < VF_LANES; i++)
                r[i] = key + i < n ? load_lanes(row_of(from, key + i), d, format) : vf_set(0);
            vf_transpose(r);
            for (int i = 0; i < VF_LANES; i++)
                vf_store(tile + (d + i) * TILE + key, r[i]);
        }
    }
}

static void unpack_tile(const struct attention_task *task, const struct attention_scratch *scratch,
                        int64_t key, int64_t n)
{
    const struct attention_shape *shape = &task->args->shape;
    struct source k = source_of(task, &task->args->k, key);
    struct source v = source_of(task, &task->args->v, key);
    if (shape->k_format == ATTENTION_F16)
        unpack_columns(scratch->k, &k, ATTENTION_F16, n, shape->d_k);
    else
        unpack_columns(scratch->k, &k, ATTENTION_Q8_0, n, shape->d_k);
    if (shape->v_format == ATTENTION_F16)
        unpack_rows(scratch->v, shape->d_v, &v, ATTENTION_F16, n, shape->d_v);
    else
        unpack_rows(scratch->v, shape->d_v, &v, ATTENTION_Q8_0, n, shape->d_v);
}

/* ---- The mask ---- */

enum {
    F16_MINUS_INFINITY = 0xfc00,
    F16_MAGNITUDE = 0x7fff,
};

/* What a tile of a mask says, its values going to `out` where they are needed.  The loop is one
 * that compilers make vectors of. */
static enum attention_sight read_mask(const uint16_t mask[TILE], float *out)
{
    uint16_t differs = 0, magnitude = 0;
    for (int i = 0; i < TILE; i++) {
        differs = (uint16_t)(differs | (mask[i] ^ F16_MINUS_INFINITY));
        magnitude = (uint16_t)(magnitude | (mask[i] & F16_MAGNITUDE));
    }
    if (differs == 0)
        return ATTENTION_HIDDEN;
    if (magnitude == 0)
        return ATTENTION_VISIBLE;
    for (int i = 0; i < TILE; i += VF_LANES)
        vf_store(out + i, vf_mul(vf_load_f16(mask + i), vf_set(1.4426950408889634f)));
    return ATTENTION_MIXED;
}

/* The same for n keys that lie anywhere; those behind them are hidden.  NULL: no mask. */
static enum attention_sight read_scattered_mask(const uint16_t *mask, const int32_t *cells,
                                                int64_t n, float *out)
{
    uint16_t values[TILE];
    for (int64_t i = 0; i < TILE; i++)
        values[i] = i >= n ? F16_MINUS_INFINITY : mask == NULL ? 0 : mask[cells[i]];
    return read_mask(values, out);
}

/* For all tokens of the block. */
static void look_at_mask(const struct attention_task *task, const struct attention_scratch *scratch,
                         int64_t key, int64_t n)
{
    const struct attention_args *args = task->args;
    const int32_t *cells = task->cells + key;
    bool is_run = n == TILE && cells[TILE - 1] - cells[0] == TILE - 1;
    for (int64_t token = 0; token < task->n_tokens; token++) {
        const uint16_t *mask = NULL;
        if (args->mask != NULL)
            mask = (const uint16_t *)((const char *)args->mask +
                                      (size_t)(task->first_token + token) * args->mask_stride);
        float *values = scratch->mask + token * TILE;
        scratch->sight[token] =
            (uint8_t)(mask != NULL && is_run ? read_mask(mask + cells[0], values)
                                             : read_scattered_mask(mask, cells, n, values));
    }
}

/* ---- A group of rows against a tile ---- */

/* scores[row][key] = q[row] . k[key] */
ALWAYS_INLINE void multiply_q_k(const int n_rows, float *scores, const float *q, const float *k,
                                int64_t d_k)
{
    for (int key = 0; key < TILE; key += VF_TILE * VF_LANES) {
        vf sum[GROUP][VF_TILE];
        for (int r = 0; r < n_rows; r++)
            for (int i = 0; i < VF_TILE; i++)
                sum[r][i] = vf_set(0);
        for (int64_t d = 0; d < d_k; d++) {
            vf right[VF_TILE];
            for (int i = 0; i < VF_TILE; i++)
                right[i] = vf_load(k + d * TILE + key + i * VF_LANES);
            for (int r = 0; r < n_rows; r++) {
                vf left = vf_set(q[r * (d_k + PAD) + d]);
                for (int i = 0; i < VF_TILE; i++)
                    sum[r][i] = vf_fma(left, right[i], sum[r][i]);
            }
        }
        for (int r = 0; r < n_rows; r++)
            for (int i = 0; i < VF_TILE; i++)
                vf_store(scores + r * SCORES + key + i * VF_LANES, sum[r][i]);
    }
}

/* y[row] = y[row] * factor[row] + p[row] . v, for n_vectors vectors of each row. */
ALWAYS_INLINE void multiply_p_v(const int n_rows, const int n_vectors, float *y,
                                const float *factor, const float *p, const float *v, int64_t d_v)
{
    vf sum[GROUP][VF_TILE];
    for (int r = 0; r < n_rows; r++)
        for (int i = 0; i < n_vectors; i++)
            sum[r][i] = vf_mul(vf_load(y + r * d_v + i * VF_LANES), vf_set(factor[r]));
    for (int64_t key = 0; key < TILE; key++) {
        vf right[VF_TILE];
        for (int i = 0; i < n_vectors; i++)
            right[i] = vf_load(v + key * d_v + i * VF_LANES);
        for (int r = 0; r < n_rows; r++) {
            vf left = vf_set(p[r * SCORES + key]);
            for (int i = 0; i < n_vectors; i++)
                sum[r][i] = vf_fma(left, right[i], sum[r][i]);
        }
    }
    for (int r = 0; r < n_rows; r++)
        for (int i = 0; i < n_vectors; i++)
            vf_store(y + r * d_v + i * VF_LANES, sum[r][i]);
}

/* Caps and masks the scores of one row, in place; returns the highest. */
ALWAYS_INLINE float finish_scores(float *scores, float softcap, const float *mask, float slope)
{
    vf highest = vf_set(-INFINITY);
    for (int i = 0; i < TILE; i += VF_LANES) {
        vf s = vf_load(scores + i);
        if (softcap != 0)
            s = vf_mul(vf_tanh(s), vf_set(softcap * 1.4426950408889634f));
        if (mask != NULL)
            s = vf_fma(vf_load(mask + i), vf_set(slope), s);
        if (softcap != 0 || mask != NULL)
            vf_store(scores + i, s);
        highest = vf_max(highest, s);
    }
    return vf_highest(highest);
}

/* Scores of one row become p, in place. */
ALWAYS_INLINE void soften_row(float *scores, float base, float factor, float *sums)
{
    vf sum = vf_set(0);
    for (int i = 0; i < TILE; i += VF_LANES) {
        vf p = vf_exp2(vf_sub(vf_load(scores + i), vf_set(base)));
        sum = vf_add(sum, p);
        vf_store(scores + i, p);
    }
    vf_store(sums, vf_fma(vf_load(sums), vf_set(factor), sum));
}

/* Scores of a group become p; factor[r] is what its row's y so far is to be multiplied by.  Maxima
 * first, since a row's maximum is a chain of operations that other rows can overlap. */
ALWAYS_INLINE void soften(const int n_rows, const struct attention_task *task,
                          const struct attention_scratch *scratch, int64_t row, float *factor)
{
    float softcap = task->args->softcap, base[FEW];
    for (int r = 0; r < n_rows; r++) {
        int64_t token = scratch->tokens[row + r];
        float *maximum = scratch->maxima + row + r, before = *maximum;
        enum attention_sight sight = scratch->sight[token];
        float highest = -INFINITY;
        if (sight != ATTENTION_HIDDEN)
            highest = finish_scores(scratch->scores + r * SCORES, softcap,
                                    sight == ATTENTION_MIXED ? scratch->mask + token * TILE : NULL,
                                    scratch->slopes[row + r]);
        *maximum = highest > before ? highest : before;
        base[r] = *maximum == -INFINITY ? 0 : *maximum; /* -inf less -inf is no number */
        factor[r] = highest > before ? exp2f(before - base[r]) : 1;
    }
    for (int r = 0; r < n_rows; r++) {
        float *scores = scratch->scores + r * SCORES;
        if (scratch->sight[scratch->tokens[row + r]] == ATTENTION_HIDDEN)
            memset(scores, 0, TILE * sizeof *scores);
        else
            soften_row(scores, base[r], factor[r],
                       scratch->sums + (row + r) * ATTENTION_MOST_LANES);
    }
}

ALWAYS_INLINE void group_of(const int n_rows, const struct attention_task *task,
                            const struct attention_scratch *scratch, int64_t row)
{
    int64_t d_k = task->args->shape.d_k, d_v = task->args->shape.d_v;
    float factor[GROUP];
    multiply_q_k(n_rows, scratch->scores, scratch->q + row * (d_k + PAD), scratch->k, d_k);
    soften(n_rows, task, scratch, row, factor);
    float *y = scratch->y + row * d_v;
    int64_t d = 0;
    for (; d + VF_TILE * VF_LANES <= d_v; d += VF_TILE * VF_LANES)
        multiply_p_v(n_rows, VF_TILE, y + d, factor, scratch->scores, scratch->v + d, d_v);
    for (; d < d_v; d += VF_LANES)
        multiply_p_v(n_rows, 1, y + d, factor, scratch->scores, scratch->v + d, d_v);
}

static void run_group(int64_t n_rows, const struct attention_task *task,
                      const struct attention_scratch *scratch, int64_t row)
{
    switch (n_rows) {
    case 1:
        group_of(1, task, scratch, row);
        break;
    case 2:
        group_of(2, task, scratch, row);
        break;
    case 3:
        group_of(3, task, scratch, row);
        break;
    case 4:
        group_of(4, task, scratch, row);
        break;
    case 5:
        group_of(5, task, scratch, row);
        break;
    default:
        group_of(GROUP, task, scratch, row);
    }
}

static bool sees_tile(const struct attention_scratch *scratch, int64_t row, int64_t n_rows)
{
    for (int64_t r = row; r < row + n_rows; r++)
        if (scratch->sight[scratch->tokens[r]] != ATTENTION_HIDDEN)
            return true;
    return false;
}

/* ---- Few rows ---- */

/* scores[row][key] = q[row] . k[key], k as it was, n_rows of eight: a column of Q has a lane a row.
 * Meanwhile the next tile of K is brought. */
ALWAYS_INLINE void multiply_q_rows(const struct attention_scratch *scratch, int64_t n_rows,
                                   const int64_t d_k, const struct source *next,
                                   const enum attention_format format)
{
    for (int64_t key = 0; key < TILE; key += FEW) {
        v8 sum[FEW];
        for (int i = 0; i < FEW; i++)
            sum[i] = v8_set(0);
        for (int64_t part = 0; part < FEW; part++) {
            prefetch_row(next, TILE + key + part, d_k, format);
            for (int64_t d = d_k * part / FEW; d < d_k * (part + 1) / FEW; d++) {
                v8 column = v8_load(scratch->q_columns + d * FEW);
                for (int i = 0; i < FEW; i++)
                    sum[i] =
                        v8_fma(column, v8_set(scratch->k[(key + i) * (d_k + PAD) + d]), sum[i]);
            }
        }
        v8_transpose(sum);
        for (int64_t r = 0; r < n_rows; r++)
            v8_store(scratch->scores + r * SCORES + key, sum[r]);
    }
}

/* With usual widths as constants, the eight rows of K need one pointer, not eight. */
static void multiply_q_few(const struct attention_scratch *scratch, int64_t n_rows, int64_t d_k,
                           const struct source *next, enum attention_format format)
{
    switch (d_k) {
    case 64:
        multiply_q_rows(scratch, n_rows, 64, next, format);
        break;
    case 128:
        multiply_q_rows(scratch, n_rows, 128, next, format);
        break;
    default:
        multiply_q_rows(scratch, n_rows, d_k, next, format);
    }
}

/* V of a tile for few rows: halves are unpacked on the way to each product, bytes once, since their
 * factors take longer than the product. */
struct few_values {
    const struct source *packed; /* ATTENTION_F16 */
    const float *unpacked;       /* ATTENTION_Q8_0: [TILE][d_v] */
    int64_t d_v, n_keys;
};

/* As multiply_p_v, of the values from d on.  Each of the passes that make up d_v brings its share
 * of the next tile, if it shall. */
ALWAYS_INLINE void multiply_p_some(const int n_rows, const int n_vectors, const bool is_packed,
                                   const bool prefetches, float *y, const float *factor,
                                   const float *p, const struct few_values *v, int64_t d)
{
    const int64_t d_v = v->d_v, n_passes = d_v / (n_vectors * VF_LANES);
    vf sum[FEW][FEW_VECTORS];
    for (int r = 0; r < n_rows; r++)
        for (int i = 0; i < n_vectors; i++)
            sum[r][i] = vf_mul(vf_load(y + r * d_v + i * VF_LANES), vf_set(factor[r]));
    int64_t next = TILE + d / (n_vectors * VF_LANES) * TILE / n_passes;
    for (int64_t key = 0; key < v->n_keys;) {
        int64_t end = key + n_passes < v->n_keys ? key + n_passes : v->n_keys;
        if (prefetches)
            prefetch_row(v->packed, next++, d_v, ATTENTION_F16);
        for (; key < end; key++) {
            vf right[FEW_VECTORS];
            for (int i = 0; i < n_vectors; i++)
                right[i] = is_packed ? vf_load_f16(row_of(v->packed, key) + (d + i * VF_LANES) * 2)
                                     : vf_load(v->unpacked + key * d_v + d + i * VF_LANES);
            for (int r = 0; r < n_rows; r++) {
                vf left = vf_set(p[r * SCORES + key]);
                for (int i = 0; i < n_vectors; i++)
                    sum[r][i] = vf_fma(left, right[i], sum[r][i]);
            }
        }
    }
    for (int r = 0; r < n_rows; r++)
        for (int i = 0; i < n_vectors; i++)
            vf_store(y + r * d_v + i * VF_LANES, sum[r][i]);
}

/* Of all rows, as many at once as the registers hold. */
ALWAYS_INLINE void multiply_p_few(const int n_rows, const int n_vectors, const bool is_packed,
                                  const struct attention_scratch *scratch, const float *factor,
                                  const struct few_values *v, int64_t d)
{
    const int n_first = n_rows <= FEW_AT_ONCE ? n_rows : FEW_AT_ONCE;
    multiply_p_some(n_first, n_vectors, is_packed, is_packed, scratch->y + d, factor,
                    scratch->scores, v, d);
    if (n_rows > n_first)
        multiply_p_some(n_rows - n_first, n_vectors, is_packed, false,
                        scratch->y + n_first * v->d_v + d, factor + n_first,
                        scratch->scores + n_first * SCORES, v, d);
}

ALWAYS_INLINE void multiply_p_all(const int n_rows, const bool is_packed,
                                  const struct attention_scratch *scratch, const float *factor,
                                  const struct few_values *v)
{
    int64_t d = 0;
    for (; d + FEW_VECTORS * VF_LANES <= v->d_v; d += FEW_VECTORS * VF_LANES)
        multiply_p_few(n_rows, FEW_VECTORS, is_packed, scratch, factor, v, d);
    for (; d < v->d_v; d += VF_LANES)
        multiply_p_few(n_rows, 1, is_packed, scratch, factor, v, d);
}

ALWAYS_INLINE void few_rows(const int n_rows, const struct attention_task *task,
                            const struct attention_scratch *scratch, int64_t key, int64_t n)
{
    const struct attention_shape *shape = &task->args->shape;
    struct source k = source_of(task, &task->args->k, key);
    struct source v = source_of(task, &task->args->v, key);
    int64_t d_k = shape->d_k, d_v = shape->d_v;
    if (shape->k_format == ATTENTION_F16)
        unpack_rows(scratch->k, d_k + PAD, &k, ATTENTION_F16, n, d_k);
    else
        unpack_rows(scratch->k, d_k + PAD, &k, ATTENTION_Q8_0, n, d_k);
    multiply_q_few(scratch, n_rows, d_k, &k, shape->k_format);
    float factor[FEW];
    soften(n_rows, task, scratch, 0, factor);
    struct few_values values = {&v, scratch->v, d_v, n};
    if (shape->v_format == ATTENTION_F16) {
        multiply_p_all(n_rows, true, scratch, factor, &values);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        prefetch_row(&v, TILE + i, d_v, ATTENTION_Q8_0);
        unpack_row(scratch->v + i * d_v, row_of(&v, i), ATTENTION_Q8_0, d_v);
    }
    multiply_p_all(n_rows, false, scratch, factor, &values);
}

static void run_few_rows(int64_t n_rows, const struct attention_task *task,
                         const struct attention_scratch *scratch, int64_t key, int64_t n)
{
    switch (n_rows) {
    case 1:
        few_rows(1, task, scratch, key, n);
        break;
    case 2:
        few_rows(2, task, scratch, key, n);
        break;
    case 3:
        few_rows(3, task, scratch, key, n);
        break;
    case 4:
        few_rows(4, task, scratch, key, n);
        break;
    case 5:
        few_rows(5, task, scratch, key, n);
        break;
    case 6:
        few_rows(6, task, scratch, key, n);
        break;
    case 7:
        few_rows(7, task, scratch, key, n);
        break;
    default:
        few_rows(FEW, task, scratch, key, n);
    }
}

/* ---- The block ---- */

static void run_groups(int64_t n_rows, const struct attention_task *task,
                       const struct attention_scratch *scratch)
{
    /* Groups of equal size: 7 rows as 4 and 3, since a group of 1 leaves the units waiting. */
    int64_t n_groups = (n_rows + GROUP - 1) / GROUP;
    for (int64_t i = 0; i < n_groups; i++) {
        int64_t row = n_rows * i / n_groups, end = n_rows * (i + 1) / n_groups;
        if (sees_tile(scratch, row, end - row))
            run_group(end - row, task, scratch, row);
    }
}

static void attention_block(const struct attention_task *task,
                            const struct attention_scratch *scratch)
{
    int64_t n_rows = task->n_tokens * task->group;
    for (int64_t key = 0; key < task->n_keys; key += TILE) {
        int64_t n = task->n_keys - key < TILE ? task->n_keys - key : TILE;
        look_at_mask(task, scratch, key, n);
        if (n_rows <= FEW) {
            run_few_rows(n_rows, task, scratch, key, n);
        } else {
            unpack_tile(task, scratch, key, n);
            run_groups(n_rows, task, scratch);
        }
    }
}
