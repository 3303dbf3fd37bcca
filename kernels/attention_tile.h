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
 * rows of the block go over them, so unpacking them costs 1 part in 30 for 126 rows.
 *
 * Groups of 6, not more: 6 x 4 + 4 registers of 32 (AVX-512, NEON), 6 x 2 + 2 of 16 (AVX2). */
#pragma once

#include <math.h>

#include "kernels/attention_block.h"
#include "kernels/simd_exp.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum {
    TILE = ATTENTION_TILE_KEYS,
    GROUP = ATTENTION_GROUP_ROWS,
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

/* K[key][d] -> tile[d][key]; keys from n on become zeros, so that their scores are finite. */
ALWAYS_INLINE void unpack_k(float *tile, const char *k, size_t stride, int64_t n, int64_t d_k,
                            const enum attention_format format)
{
    for (int64_t key = 0; key < TILE; key += VF_LANES) {
        for (int64_t d = 0; d < d_k; d += VF_LANES) {
            vf r[VF_LANES];
            for (int i = 0; i < VF_LANES; i++)
                r[i] =
                    key + i < n ? load_lanes(k + (size_t)(key + i) * stride, d, format) : vf_set(0);
            vf_transpose(r);
            for (int i = 0; i < VF_LANES; i++)
                vf_store(tile + (d + i) * TILE + key, r[i]);
        }
    }
}

ALWAYS_INLINE void unpack_v(float *tile, const char *v, size_t stride, int64_t n, int64_t d_v,
                            const enum attention_format format)
{
    for (int64_t key = 0; key < n; key++)
        for (int64_t d = 0; d < d_v; d += VF_LANES)
            vf_store(tile + key * d_v + d, load_lanes(v + (size_t)key * stride, d, format));
    for (int64_t i = n * d_v; i < TILE * d_v; i += VF_LANES)
        vf_store(tile + i, vf_set(0));
}

static void unpack_tile(const struct attention_task *task, const struct attention_scratch *scratch,
                        int64_t key, int64_t n)
{
    const struct attention_args *args = task->args;
    const struct attention_rows *k = &args->k, *v = &args->v;
    const char *first_k = (const char *)k->data + (size_t)key * k->token_stride +
                          (size_t)task->kv_head * k->head_stride;
    const char *first_v = (const char *)v->data + (size_t)key * v->token_stride +
                          (size_t)task->kv_head * v->head_stride;
    int64_t d_k = args->shape.d_k, d_v = args->shape.d_v;
    if (args->shape.k_format == ATTENTION_F16)
        unpack_k(scratch->k, first_k, k->token_stride, n, d_k, ATTENTION_F16);
    else
        unpack_k(scratch->k, first_k, k->token_stride, n, d_k, ATTENTION_Q8_0);
    if (args->shape.v_format == ATTENTION_F16)
        unpack_v(scratch->v, first_v, v->token_stride, n, d_v, ATTENTION_F16);
    else
        unpack_v(scratch->v, first_v, v->token_stride, n, d_v, ATTENTION_Q8_0);
}

/* ---- The mask ---- */

/* What `mask` (f16; NULL: nothing) says of n keys; its values go to `out` where they are needed. */
static enum attention_sight read_mask(const uint16_t *mask, int64_t n, float *out)
{
    enum { F16_MINUS_INFINITY = 0xfc00, F16_MAGNITUDE = 0x7fff };
    if (mask == NULL && n == TILE)
        return ATTENTION_VISIBLE;
    uint16_t values[TILE];
    unsigned differs = 0, magnitude = 0;
    for (int64_t i = 0; i < TILE; i++) {
        values[i] = i >= n ? F16_MINUS_INFINITY : mask == NULL ? 0 : mask[i];
        differs |= values[i] ^ F16_MINUS_INFINITY;
        magnitude |= values[i] & F16_MAGNITUDE;
    }
    if (differs == 0)
        return ATTENTION_HIDDEN;
    if (magnitude == 0)
        return ATTENTION_VISIBLE;
    for (int64_t i = 0; i < TILE; i += VF_LANES)
        vf_store(out + i, vf_mul(vf_load_f16(values + i), vf_set(1.4426950408889634f)));
    return ATTENTION_MIXED;
}

/* For all tokens of the block; false where none sees any of these keys. */
static bool look_at_mask(const struct attention_task *task, const struct attention_scratch *scratch,
                         int64_t key, int64_t n)
{
    const struct attention_args *args = task->args;
    bool is_seen = false;
    for (int64_t token = 0; token < task->n_tokens; token++) {
        const uint16_t *mask = NULL;
        if (args->mask != NULL)
            mask = (const uint16_t *)((const char *)args->mask +
                                      (size_t)(task->first_token + token) * args->mask_stride) +
                   key;
        scratch->sight[token] = (uint8_t)read_mask(mask, n, scratch->mask + token * TILE);
        is_seen = is_seen || scratch->sight[token] != ATTENTION_HIDDEN;
    }
    return is_seen;
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
                vf left = vf_set(q[r * d_k + d]);
                for (int i = 0; i < VF_TILE; i++)
                    sum[r][i] = vf_fma(left, right[i], sum[r][i]);
            }
        }
        for (int r = 0; r < n_rows; r++)
            for (int i = 0; i < VF_TILE; i++)
                vf_store(scores + r * TILE + key + i * VF_LANES, sum[r][i]);
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
            vf left = vf_set(p[r * TILE + key]);
            for (int i = 0; i < n_vectors; i++)
                sum[r][i] = vf_fma(left, right[i], sum[r][i]);
        }
    }
    for (int r = 0; r < n_rows; r++)
        for (int i = 0; i < n_vectors; i++)
            vf_store(y + r * d_v + i * VF_LANES, sum[r][i]);
}

/* Scores of one row become p, in place; returns what the row's sums so far are to be multiplied by.
 */
ALWAYS_INLINE float soften_row(float *scores, float *maximum, float *sums, float softcap,
                               const float *mask, float slope)
{
    enum { N = TILE / VF_LANES };
    vf s[N];
    for (int i = 0; i < N; i++)
        s[i] = vf_load(scores + i * VF_LANES);
    if (softcap != 0)
        for (int i = 0; i < N; i++)
            s[i] = vf_mul(vf_tanh(s[i]), vf_set(softcap * 1.4426950408889634f));
    if (mask != NULL)
        for (int i = 0; i < N; i++)
            s[i] = vf_fma(vf_load(mask + i * VF_LANES), vf_set(slope), s[i]);
    vf highest = s[0];
    for (int i = 1; i < N; i++)
        highest = vf_max(highest, s[i]);
    float before = *maximum;
    float now = fmaxf(before, vf_highest(highest));
    float base = now == -INFINITY ? 0 : now; /* -inf less -inf is no number */
    vf sum = vf_set(0);
    for (int i = 0; i < N; i++) {
        vf p = vf_exp2(vf_sub(s[i], vf_set(base)));
        sum = vf_add(sum, p);
        vf_store(scores + i * VF_LANES, p);
    }
    float factor = now == before ? 1 : exp2f(before - base);
    vf_store(sums, vf_fma(vf_load(sums), vf_set(factor), sum));
    *maximum = now;
    return factor;
}

ALWAYS_INLINE void group_of(const int n_rows, const struct attention_task *task,
                            const struct attention_scratch *scratch, int64_t row)
{
    const struct attention_args *args = task->args;
    int64_t d_k = args->shape.d_k, d_v = args->shape.d_v;
    float factor[GROUP];
    multiply_q_k(n_rows, scratch->scores, scratch->q + row * d_k, scratch->k, d_k);
    for (int r = 0; r < n_rows; r++) {
        int64_t token = (row + r) / task->group;
        float *scores = scratch->scores + r * TILE;
        if (scratch->sight[token] == ATTENTION_HIDDEN) {
            memset(scores, 0, TILE * sizeof *scores);
            factor[r] = 1;
            continue;
        }
        bool is_mixed = scratch->sight[token] == ATTENTION_MIXED;
        factor[r] =
            soften_row(scores, scratch->maxima + row + r,
                       scratch->sums + (row + r) * ATTENTION_MOST_LANES, args->softcap,
                       is_mixed ? scratch->mask + token * TILE : NULL, scratch->slopes[row + r]);
    }
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

static bool sees_tile(const struct attention_task *task, const struct attention_scratch *scratch,
                      int64_t row, int64_t n_rows)
{
    for (int64_t token = row / task->group; token <= (row + n_rows - 1) / task->group; token++)
        if (scratch->sight[token] != ATTENTION_HIDDEN)
            return true;
    return false;
}

/* ---- The block ---- */

static void attention_block(const struct attention_task *task,
                            const struct attention_scratch *scratch)
{
    int64_t n_rows = task->n_tokens * task->group;
    int64_t n_groups = (n_rows + GROUP - 1) / GROUP;
    for (int64_t key = task->first_key; key < task->last_key; key += TILE) {
        int64_t n = task->last_key - key < TILE ? task->last_key - key : TILE;
        if (!look_at_mask(task, scratch, key, n))
            continue;
        unpack_tile(task, scratch, key, n);
        /* Groups of equal size: 7 rows as 4 and 3, since a group of 1 leaves the units waiting. */
        for (int64_t i = 0; i < n_groups; i++) {
            int64_t row = n_rows * i / n_groups, end = n_rows * (i + 1) / n_groups;
            if (sees_tile(task, scratch, row, end - row))
                run_group(end - row, task, scratch, row);
        }
    }
}
