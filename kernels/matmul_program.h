/* matmul_program -- the matrix products of matmul_block.h, over what a matmul_*.c and the header of
 * its processor family define before:
 *
 *   simd_*.h              floats: vf, VF_LANES of them
 *   vi, vi_zero, vi_set, vi_load, vi_mla, vi_mla_pairs, vi_to_vf    as many 32-bit integers
 *   VI_ROWS, VI_COLS      a register tile: activation rows, and vectors of outputs
 *   VI_STEP               values of one output side by side in a panel: 4 where it is not defined
 *   VI_HAS_DOT            products are summed to 32 bits whatever their size, so that formats need
 *                         not be told apart
 *   TAKES_SIGNED          8-bit weights stay signed
 *   unpack_panel_q        the panel
 *   add_products          some steps of a register tile
 *   round_values          32 activations times a factor as whole numbers, and the sums of its
 * halves narrow_*              matmul_narrow.h
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
 * A register tile is VI_ROWS rows of VI_COLS vectors of integer sums, and as many totals: a
 * sub-block costs 8 dot products, a conversion and a multiplication by the scale per sum, so at
 * most 8/10 of the peak are left.
 *
 * K blocks have whole scales, so that the total of a block is a whole number, which may be summed
 * up in any order: below 2^28, as Q6_K's 128 * 63 * 127 * 256 is the largest.
 *
 * Narrow: matmul_narrow.h, which this includes at its end. */
#pragma once

#include <stdint.h>
#include <string.h>

#include "kernels/matmul_tiles.h"

/* ---- Activations ---- */

ALWAYS_INLINE float largest_magnitude(const float *x, const int64_t n)
{
    vf most = vf_set(0);
    for (int64_t i = 0; i < n; i += VF_LANES)
        most = vf_max(most, vf_abs(vf_load(x + i)));
    return vf_highest(most);
}

/* The integers of a sub-block, where the tile keeps them. */
ALWAYS_INLINE void put_q(const struct matmul_tile *tile, int64_t row, int64_t sub,
                         const int8_t q[MATMUL_SUB])
{
    const int64_t n_rows = tile->n_rows;
    int8_t *at = tile->q + (sub * STEPS * n_rows + row) * STEP_VALUES;
    UNROLLED for (int i = 0; i < STEPS; i++, at += n_rows * STEP_VALUES)
        memcpy(at, q + i * STEP_VALUES, STEP_VALUES);
}

/* A group is a sub-block: its scale is applied with that of the weights, else once a group. */
ALWAYS_INLINE bool has_short_groups(const enum matmul_format format)
{
    return matmul_group(format) == MATMUL_SUB;
}

/* The sums of a sub-block; `scale` is the group's. */
ALWAYS_INLINE void put_sums(const struct matmul_tile *tile, const enum matmul_format format,
                            int64_t row, int64_t sub, const int32_t half[2], float scale,
                            int offset)
{
    struct matmul_format_traits traits = matmul_traits(format);
    const int n = MATMUL_SUB / traits.scale_values;
    for (int i = 0; i < n; i++) {
        int32_t sum = n == 2 ? half[i] : half[0] + half[1];
        union matmul_sum value;
        if (tile->short_sums != NULL) {
            int64_t at = sub * n + i;
            tile->short_sums[(at / 2 * tile->n_rows + row) * 2 + at % 2] = (int16_t)sum;
            continue;
        }
        if (traits.has_mins)
            value.sum = (float)sum * scale;
        else
            value.offset = -offset * sum;
        tile->sums[(sub * n + i) * tile->n_rows + row] = value;
    }
}

ALWAYS_INLINE void quantize_row(const enum matmul_format format, const float *x, int64_t n_k,
                                int offset, const struct matmul_tile *tile, int64_t row)
{
    const int64_t size = matmul_group(format);
    for (int64_t begin = 0, group = 0; begin < n_k; begin += size, group++) {
        float most = largest_magnitude(x + begin, size);
        float scale = most / 127, inverse = most > 0 ? 127 / most : 0;
        tile->scales[group * tile->n_rows + row] = scale;
        for (int64_t i = begin; i < begin + size; i += MATMUL_SUB) {
            int8_t q[MATMUL_SUB];
            int32_t half[2];
            round_values(x + i, inverse, q, half);
            put_q(tile, row, i / MATMUL_SUB, q);
            put_sums(tile, format, row, i / MATMUL_SUB, half, scale, offset);
        }
    }
}

static void quantize(const struct matmul_shape *shape, const float *x, int offset,
                     const struct matmul_tile *tile, int64_t row){
#define CALL(format) quantize_row(format, x, shape->n_k, offset, tile, row)
    FOR_FORMAT(shape -> format, CALL)
#undef CALL
}

/* ---- Wide: the panel ---- */

/* Of blocks of 32. */
ALWAYS_INLINE void unpack_block_scales(const char *block, const enum matmul_format format,
                                       int64_t at, const struct matmul_panel *panel)
{
    panel->scales[at].f = vf_scalar_f16(factor_at(block, format));
    if (matmul_traits(format).has_mins)
        panel->mins[at] = sign_of_min(format) * vf_scalar_f16(min_factor_at(block));
}

/* Of a K block, whose first sub-block is `sub`. */
ALWAYS_INLINE void unpack_super_scales(const char *block, const enum matmul_format format,
                                       int64_t sub, int64_t lane, const struct matmul_panel *panel)
{
    struct matmul_format_traits traits = matmul_traits(format);
    const int n_scales = MATMUL_SUPER / traits.scale_values;
    int8_t scales[16];
    uint8_t mins[8];
    unpack_whole_scales(block, format, scales, mins);
    union matmul_scale *out = panel->scales + sub * (n_scales / SUPER_SUBS) * OUTS + lane;
    for (int i = 0; i < n_scales; i++)
        out[i * OUTS].i = scales[i];
    panel->factors[sub / SUPER_SUBS * OUTS + lane] = vf_scalar_f16(factor_at(block, format));
    if (!traits.has_mins)
        return;
    for (int i = 0; i < SUPER_SUBS; i++)
        panel->short_mins[((sub + i) / 2 * OUTS + lane) * 2 + i % 2] = mins[i];
    panel->min_factors[sub / SUPER_SUBS * OUTS + lane] = vf_scalar_f16(min_factor_at(block));
}

/* Zeros for outputs that the slab does not have. */
ALWAYS_INLINE void unpack_panel_scales(const struct matmul_weights *weights,
                                       const enum matmul_format format, int64_t first, int64_t n,
                                       const struct matmul_panel *panel)
{
    static const char nothing[256];
    struct matmul_format_traits traits = matmul_traits(format);
    const int subs = traits.block_values / MATMUL_SUB;
    for (int64_t lane = 0; lane < OUTS; lane++) {
        const char *row = weights->rows + (size_t)lane * weights->stride;
        for (int64_t sub = 0; sub < n; sub += subs) {
            const char *block =
                lane < weights->n_outs ? block_at(row, format, first + sub) : nothing;
            if (subs == 1)
                unpack_block_scales(block, format, sub * OUTS + lane, panel);
            else
                unpack_super_scales(block, format, sub, lane, panel);
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
    const int16_t *short_sums;
    float *y;
    size_t y_stride;
    bool adds; /* to what y holds */
};

/* total += scale * the scale of each row's activations * sum. */
ALWAYS_INLINE void add_scaled(const int n_rows, vf total[VI_ROWS][VI_COLS],
                              vi sum[VI_ROWS][VI_COLS], const union matmul_scale *scales,
                              const float *x_scales)
{
    UNROLLED for (int c = 0; c < VI_COLS; c++)
    {
        vf scale = vf_load(&scales[c * VF_LANES].f);
        UNROLLED for (int r = 0; r < n_rows; r++)
        {
            vf both = vf_mul(scale, vf_set(x_scales[r]));
            total[r][c] = vf_fma(vi_to_vf(sum[r][c]), both, total[r][c]);
        }
    }
}

ALWAYS_INLINE void add_whole(const int n_rows, vi total[VI_ROWS][VI_COLS], vi sum[VI_ROWS][VI_COLS],
                             const union matmul_scale *scales)
{
    UNROLLED for (int c = 0; c < VI_COLS; c++)
    {
        vi scale = vi_load(scales + c * VF_LANES);
        UNROLLED for (int r = 0; r < n_rows; r++) total[r][c] =
            vi_mla(total[r][c], sum[r][c], scale);
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

/* Adds minima times sums of activations, of two sub-blocks at once. */
ALWAYS_INLINE void add_short_mins(const int n_rows, vi total[VI_ROWS][VI_COLS], const int16_t *mins,
                                  const int16_t *sums)
{
    UNROLLED for (int c = 0; c < VI_COLS; c++)
    {
        vi minimum = vi_load(mins + c * VF_LANES * 2);
        UNROLLED for (int r = 0; r < n_rows; r++)
        {
            int32_t pair;
            memcpy(&pair, sums + r * 2, sizeof pair);
            total[r][c] = vi_mla_pairs(total[r][c], minimum, vi_set(pair));
        }
    }
}

/* What the program of a product is made for: constants. */
struct form {
    bool has_mins;
    bool by_sub; /* has_short_groups: blocks of 32, totals in floats */
    int halves;  /* scales of a sub-block */
    int most;    /* largest q */
};

#define EACH_SUM                                                                                   \
    UNROLLED for (int r = 0; r < n_rows; r++) UNROLLED for (int c = 0; c < VI_COLS; c++)

/* y += total, or starts with it. */
ALWAYS_INLINE void put_blocks(const int n_rows, const struct place *place,
                              vf total[VI_ROWS][VI_COLS])
{
    EACH_SUM
    {
        float *y = (float *)((char *)place->y + (size_t)r * place->y_stride) + c * VF_LANES;
        vf_store(y, vf_add(place->adds ? vf_load(y) : vf_set(0), total[r][c]));
    }
}

/* The same of a K block: its total, times the factor of the block, less that of the minima, times
 * the scale of the activations. */
ALWAYS_INLINE void put_super(const int n_rows, const struct form form, const struct place *place,
                             int64_t sub, vi total[VI_ROWS][VI_COLS])
{
    const float *x_scales = place->scales + sub / SUPER_SUBS * n_rows;
    const float *factors = place->panel->factors + sub / SUPER_SUBS * OUTS;
    const float *min_factors = place->panel->min_factors + sub / SUPER_SUBS * OUTS;
    vi minimum[VI_ROWS][VI_COLS];
    EACH_SUM minimum[r][c] = vi_zero();
    if (form.has_mins)
        UNROLLED for (int64_t i = sub / 2; i < (sub + SUPER_SUBS) / 2; i++)
            add_short_mins(n_rows, minimum, place->panel->short_mins + i * OUTS * 2,
                           place->short_sums + i * n_rows * 2);
    EACH_SUM
    {
        float *at = (float *)((char *)place->y + (size_t)r * place->y_stride) + c * VF_LANES;
        vf sum = vf_mul(vi_to_vf(total[r][c]), vf_load(factors + c * VF_LANES));
        if (form.has_mins)
            sum = vf_fnma(vi_to_vf(minimum[r][c]), vf_load(min_factors + c * VF_LANES), sum);
        vf y = place->adds ? vf_load(at) : vf_set(0);
        vf_store(at, vf_fma(sum, vf_set(x_scales[r]), y));
    }
}

/* Sub-blocks [sub, end) of the panel: of a K block, or, by_sub, any. */
ALWAYS_INLINE void multiply_subs(const int n_rows, const struct form form,
                                 const struct place *place, int64_t sub, int64_t end)
{
    const int halves = form.halves;
    const int64_t begin = sub;
    vf total[VI_ROWS][VI_COLS];
    vi whole[VI_ROWS][VI_COLS];
    EACH_SUM total[r][c] = vf_set(0);
    EACH_SUM whole[r][c] = vi_zero();
    const int8_t *q = place->q + sub * MATMUL_SUB * n_rows;
    const union matmul_sum *sums =
        place->sums + (form.by_sub || !form.has_mins ? sub * halves * n_rows : 0);
    const float *x_scales = place->scales + (form.by_sub ? sub * n_rows : 0);
    for (; sub < end; sub++) {
        for (int half = 0; half < halves; half++) {
            int64_t at = sub * halves + half;
            vi sum[VI_ROWS][VI_COLS];
            EACH_SUM sum[r][c] = form.has_mins ? vi_zero() : vi_set(sums[r].offset);
            add_products(n_rows, STEPS / halves, form.most, sum,
                         place->panel->q + at * (STEPS / halves * STEP_BYTES), q);
            if (form.by_sub)
                add_scaled(n_rows, total, sum, place->panel->scales + at * OUTS, x_scales);
            else
                add_whole(n_rows, whole, sum, place->panel->scales + at * OUTS);
            q += MATMUL_SUB / halves * n_rows;
            sums += form.has_mins ? 0 : n_rows;
        }
        if (form.by_sub && form.has_mins) {
            subtract_mins(n_rows, total, place->panel->mins + sub * OUTS, sums);
            sums += n_rows;
        }
        if (form.by_sub)
            x_scales += n_rows;
    }
    if (form.by_sub)
        put_blocks(n_rows, place, total);
    else
        put_super(n_rows, form, place, begin, whole);
}

ALWAYS_INLINE void multiply_tile(const int n_rows, const struct form form, struct place place,
                                 int64_t n)
{
    const int64_t step = form.by_sub ? MATMUL_CHUNK / MATMUL_SUB : SUPER_SUBS;
    for (int64_t sub = 0; sub < n; sub += step) {
        multiply_subs(n_rows, form, &place, sub, sub + step < n ? sub + step : n);
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

/* K blocks: Q4_K, Q5_K, Q6_K, IQ4_XS. */
static void multiply_supers(int64_t n_rows, int most, struct place place, int64_t n)
{
    if (most == 15)
        multiply_rows(n_rows, (struct form){true, false, 1, 15}, place, n);
    else if (most == 31)
        multiply_rows(n_rows, (struct form){true, false, 1, 31}, place, n);
    else if (most == 63)
        multiply_rows(n_rows, (struct form){false, false, 2, 63}, place, n);
    else
        multiply_rows(n_rows, (struct form){false, false, 1, 255}, place, n);
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
        .sums = tile->sums + (tile->sums == NULL ? 0 : first * halves * tile->n_rows),
        .short_sums = tile->short_sums + (tile->short_sums == NULL ? 0 : first * tile->n_rows),
        .y = y,
        .y_stride = y_stride,
        .adds = first > 0,
    };
    if (has_short_groups(format))
        multiply_blocks(tile->n_rows, traits.has_mins, traits.most, place, n);
    else
        multiply_supers(tile->n_rows, traits.most, place, n);
}

#include "kernels/matmul_narrow.h"

#define MATMUL_KERNELS                                                                             \
    {.outs = OUTS,                                                                                 \
     .tile_rows = VI_ROWS,                                                                         \
     .takes_signed = TAKES_SIGNED,                                                                 \
     .quantize = quantize,                                                                         \
     .unpack = unpack,                                                                             \
     .multiply = multiply,                                                                         \
     .narrow = narrow}
