/* matmul_program -- the matrix products of matmul_block.h, over what a matmul_*.c and the header of
 * its processor family define before:
 *
 *   simd_*.h              floats: vf, VF_LANES of them
 *   vi, vi_zero, vi_set, vi_to_vf    as many 32-bit integers
 *   VI_ROWS, VI_COLS      a register tile: activation rows, and vectors of outputs
 *   VI_STEP               values of one output side by side in a panel: 4 where it is not defined
 *   VI_HAS_DOT            products are summed to 32 bits whatever their size, so that formats need
 *                         not be told apart
 *   TAKES_SIGNED          8-bit weights stay signed
 *   unpack_panel_q, unpack_scales    the panel
 *   add_products          some steps of a register tile
 *   sums_of_4             of 32 activations
 *   narrow_sums           exact sums of some sub-blocks of one output, for each of some rows
 *
 * Wide.  A panel holds 4 consecutive k of one output beside those of the next, so that a vector
 * times a broadcast dword of activations gives every lane its own output: nothing is summed across
 * lanes, and a weight is unpacked once for all rows of the batch.
 *
 *        panel, one sub-block of 32 k                activations, a tile
 *        out 0    out 1         out 31               row 0    ...  row 5
 *        +--------+--------+----+--------+           +--------+---+--------+
 *   i=0  |k0k1k2k3|k0k1k2k3|    |k0k1k2k3|           |k0k1k2k3|   |k0k1k2k3|
 *   ...  +--------+--------+----+--------+           +--------+---+--------+
 *   i=7  |k28..31 |        |    |        |           |k28..31 |
 *
 * A register tile is VI_ROWS rows of VI_COLS vectors of integer sums, and as many float sums: a
 * sub-block costs 8 dot products, a conversion and a multiplication by the scale per sum, so at
 * most 8/10 of the peak are left.
 *
 * Narrow: matmul_narrow.h, which this includes at its end. */
#pragma once

#include <stdint.h>
#include <string.h>

#include "kernels/matmul_tiles.h"

/* ---- Activations ---- */

static float largest_magnitude(const float *x, int64_t n)
{
    vf most = vf_set(0);
    for (int64_t i = 0; i < n; i += VF_LANES)
        most = vf_max(most, vf_abs(vf_load(x + i)));
    return vf_highest(most);
}

/* The integers of a sub-block, where the tile keeps them. */
static void put_q(const struct matmul_tile *tile, int64_t row, int64_t sub,
                  const int8_t q[MATMUL_SUB])
{
    int8_t *at = tile->q + (sub * STEPS * tile->n_rows + row) * STEP_VALUES;
    for (int i = 0; i < STEPS; i++, at += tile->n_rows * STEP_VALUES)
        memcpy(at, q + i * STEP_VALUES, STEP_VALUES);
}

/* A group is a sub-block: its scale is applied with that of the weights, else once a group. */
ALWAYS_INLINE bool has_short_groups(const enum matmul_format format)
{
    return matmul_group(format) == MATMUL_SUB;
}

/* The sums of a sub-block; `scale` is the group's. */
static void put_sums(const struct matmul_tile *tile, const struct matmul_shape *shape, int64_t row,
                     int64_t sub, const int8_t q[MATMUL_SUB], float scale, int offset)
{
    struct matmul_format_traits traits = matmul_traits(shape->format);
    int n = MATMUL_SUB / traits.scale_values;
    int32_t lanes[MATMUL_LANE_SUMS];
    sums_of_4(q, lanes);
    int32_t half[2] = {lanes[0] + lanes[1] + lanes[2] + lanes[3],
                       lanes[4] + lanes[5] + lanes[6] + lanes[7]};
    for (int i = 0; i < n; i++) {
        int32_t sum = n == 2 ? half[i] : half[0] + half[1];
        union matmul_sum value;
        if (traits.has_mins)
            value.sum = has_short_groups(shape->format) ? (float)sum * scale : (float)sum;
        else
            value.offset = -offset * sum;
        tile->sums[(sub * n + i) * tile->n_rows + row] = value;
    }
}

static void quantize(const struct matmul_shape *shape, const float *x, int offset,
                     const struct matmul_tile *tile, int64_t row)
{
    int64_t size = matmul_group(shape->format), n_groups = (shape->n_k + size - 1) / size;
    for (int64_t group = 0; group < n_groups; group++) {
        int64_t begin = group * size;
        int64_t n = shape->n_k - begin < size ? shape->n_k - begin : size;
        float most = largest_magnitude(x + begin, n);
        float scale = most / 127, inverse = most > 0 ? 127 / most : 0;
        tile->scales[group * tile->n_rows + row] = scale;
        for (int64_t i = begin; i < begin + n; i += MATMUL_SUB) {
            int8_t q[MATMUL_SUB];
            for (int lane = 0; lane < MATMUL_SUB; lane += VF_LANES)
                vf_store_i8(q + lane, vf_mul(vf_load(x + i + lane), vf_set(inverse)));
            put_q(tile, row, i / MATMUL_SUB, q);
            put_sums(tile, shape, row, i / MATMUL_SUB, q, scale, offset);
        }
    }
}

/* ---- Wide: the panel ---- */

ALWAYS_INLINE void unpack_panel_scales(const struct matmul_weights *weights,
                                       const enum matmul_format format, int64_t first, int64_t n,
                                       const struct matmul_panel *panel)
{
    struct matmul_format_traits traits = matmul_traits(format);
    const int subs = traits.block_values / MATMUL_SUB;
    const int n_scales = traits.block_values / traits.scale_values;
    for (int64_t lane = 0; lane < OUTS; lane++) {
        const char *row = weights->rows + (size_t)lane * weights->stride;
        for (int64_t sub = 0; sub < n; sub += subs) {
            float s[16] = {0}, m[8] = {0};
            if (lane < weights->n_outs)
                unpack_scales(block_at(row, format, first + sub), format, s, m);
            float *scales = panel->scales + sub * (MATMUL_SUB / traits.scale_values) * OUTS;
            for (int i = 0; i < n_scales; i++)
                scales[i * OUTS + lane] = s[i];
            for (int i = 0; traits.has_mins && i < subs; i++)
                panel->mins[(sub + i) * OUTS + lane] = m[i];
        }
    }
}

static void unpack(const struct matmul_weights *weights, int64_t first, int64_t n,
                   const struct matmul_panel *panel)
{
#define CALL(format)                                                                               \
    unpack_panel_q(weights, format, first, n, panel->q);                                           \
    unpack_panel_scales(weights, format, first, n, panel)
    FOR_FORMAT(weights->format, CALL)
#undef CALL
}

/* ---- Wide: the product ---- */

/* What one product needs beside the constants. */
struct place {
    const struct matmul_panel *panel;
    const int8_t *q;
    const float *scales;
    const union matmul_sum *sums;
    float *y;
    size_t y_stride;
    bool adds; /* to what y holds */
};

/* total += scale * sum, times the scale of each row's activations where they are given. */
ALWAYS_INLINE void add_scaled(const int n_rows, vf total[VI_ROWS][VI_COLS],
                              vi sum[VI_ROWS][VI_COLS], const float *scales, const float *x_scales)
{
    UNROLLED for (int c = 0; c < VI_COLS; c++)
    {
        vf scale = vf_load(scales + c * VF_LANES);
        UNROLLED for (int r = 0; r < n_rows; r++)
        {
            vf both = x_scales != NULL ? vf_mul(scale, vf_set(x_scales[r])) : scale;
            total[r][c] = vf_fma(vi_to_vf(sum[r][c]), both, total[r][c]);
        }
    }
}

ALWAYS_INLINE void subtract_mins(const int n_rows, vf total[VI_ROWS][VI_COLS], const float *mins,
                                 const union matmul_sum *sums)
{
    UNROLLED for (int c = 0; c < VI_COLS; c++)
    {
        vf minimum = vf_load(mins + c * VF_LANES);
        UNROLLED for (int r = 0; r < n_rows; r++) total[r][c] =
            vf_fnma(minimum, vf_set(sums[r].sum), total[r][c]);
    }
}

/* What the program of a product is made for: constants. */
struct form {
    bool has_mins;
    bool by_sub; /* has_short_groups */
    int halves;  /* scales of a sub-block */
    int most;    /* largest q */
};

/* Sub-blocks [sub, end) of the panel: of one group, or, by_sub, any. */
ALWAYS_INLINE void multiply_group(const int n_rows, const struct form form,
                                  const struct place *place, int64_t sub, int64_t end)
{
    const int halves = form.halves;
    vf total[VI_ROWS][VI_COLS];
    UNROLLED for (int r = 0; r < n_rows; r++) UNROLLED for (int c = 0; c < VI_COLS; c++)
        total[r][c] = vf_set(0);
    const int8_t *q = place->q + sub * MATMUL_SUB * n_rows;
    const union matmul_sum *sums = place->sums + sub * halves * n_rows;
    const float *x_scales = place->scales + (form.by_sub ? sub : sub / SUPER_GROUP_SUBS) * n_rows;
    for (; sub < end; sub++) {
        for (int half = 0; half < halves; half++) {
            int64_t at = sub * halves + half;
            vi sum[VI_ROWS][VI_COLS];
            UNROLLED for (int r = 0; r < n_rows; r++) UNROLLED for (int c = 0; c < VI_COLS; c++)
                sum[r][c] = form.has_mins ? vi_zero() : vi_set(sums[r].offset);
            add_products(n_rows, STEPS / halves, form.most, sum,
                         place->panel->q + at * (STEPS / halves * STEP_BYTES), q);
            add_scaled(n_rows, total, sum, place->panel->scales + at * OUTS,
                       form.by_sub ? x_scales : NULL);
            q += MATMUL_SUB / halves * n_rows;
            sums += form.has_mins ? 0 : n_rows;
        }
        if (form.by_sub)
            x_scales += n_rows;
        if (form.has_mins) {
            subtract_mins(n_rows, total, place->panel->mins + sub * OUTS, sums);
            sums += n_rows;
        }
    }
    UNROLLED for (int r = 0; r < n_rows; r++)
    {
        float *y = (float *)((char *)place->y + (size_t)r * place->y_stride);
        UNROLLED for (int c = 0; c < VI_COLS; c++)
        {
            vf before = place->adds ? vf_load(y + c * VF_LANES) : vf_set(0);
            vf_store(y + c * VF_LANES, form.by_sub
                                           ? vf_add(before, total[r][c])
                                           : vf_fma(total[r][c], vf_set(x_scales[r]), before));
        }
    }
}

ALWAYS_INLINE void multiply_tile(const int n_rows, const struct form form, struct place place,
                                 int64_t n)
{
    const int64_t step = form.by_sub ? MATMUL_CHUNK / MATMUL_SUB : SUPER_GROUP_SUBS;
    for (int64_t sub = 0; sub < n; sub += step) {
        multiply_group(n_rows, form, &place, sub, sub + step < n ? sub + step : n);
        place.adds = true;
    }
}

#define ROWS_CASE(rows)                                                                            \
    case rows:                                                                                     \
        multiply_tile(rows, form, place, n);                                                       \
        break;

ALWAYS_INLINE void multiply_rows(int64_t n_rows, const struct form form, struct place place,
                                 int64_t n)
{
    switch (n_rows) {
        ROWS_CASE(1)
        ROWS_CASE(2)
        ROWS_CASE(3)
#if VI_ROWS > 3
        ROWS_CASE(4)
#endif
#if VI_ROWS > 4
        ROWS_CASE(5)
        ROWS_CASE(6)
#endif
    }
}

#ifdef VI_HAS_DOT
#define MOST(most) 0 /* all one program */
#else
#define MOST(most) (most)
#endif

/* Blocks of 32. */
static void multiply_blocks(int64_t n_rows, bool has_mins, int most, struct place place, int64_t n)
{
    if (has_mins)
        multiply_rows(n_rows, (struct form){true, true, 1, MOST(15)}, place, n);
    else if (MOST(most) <= 15)
        multiply_rows(n_rows, (struct form){false, true, 1, MOST(15)}, place, n);
    else if (most <= 31)
        multiply_rows(n_rows, (struct form){false, true, 1, 31}, place, n);
    else
        multiply_rows(n_rows, (struct form){false, true, 1, 255}, place, n);
}

/* K blocks. */
static void multiply_supers(int64_t n_rows, bool has_mins, int most, struct place place, int64_t n)
{
    if (most == 63)
        multiply_rows(n_rows, (struct form){false, false, 2, 63}, place, n);
    else if (!has_mins)
        multiply_rows(n_rows, (struct form){false, false, 1, 255}, place, n);
    else if (MOST(most) <= 15)
        multiply_rows(n_rows, (struct form){true, false, 1, MOST(15)}, place, n);
    else
        multiply_rows(n_rows, (struct form){true, false, 1, 31}, place, n);
}

static void multiply(enum matmul_format format, const struct matmul_panel *panel, int64_t first,
                     int64_t n, const struct matmul_tile *tile, float *y, size_t y_stride)
{
    struct matmul_format_traits traits = matmul_traits(format);
    int64_t halves = MATMUL_SUB / traits.scale_values;
    struct place place = {
        .panel = panel,
        .q = tile->q + first * MATMUL_SUB * tile->n_rows,
        .scales = tile->scales + first * MATMUL_SUB / matmul_group(format) * tile->n_rows,
        .sums = tile->sums + first * halves * tile->n_rows,
        .y = y,
        .y_stride = y_stride,
        .adds = first > 0,
    };
    if (has_short_groups(format))
        multiply_blocks(tile->n_rows, traits.has_mins, traits.most, place, n);
    else
        multiply_supers(tile->n_rows, traits.has_mins, traits.most, place, n);
}

#include "kernels/matmul_narrow.h"

#define MATMUL_KERNELS                                                                             \
    {.outs = OUTS,                                                                                 \
     .tile_rows = VI_ROWS,                                                                         \
     .takes_signed = TAKES_SIGNED,                                                                 \
     .quantize = quantize,                                                                         \
     .unpack = unpack,                                                                             \
     .multiply = multiply,                                                                         \
     .narrow_floats = narrow_floats,                                                               \
     .narrow = narrow}
