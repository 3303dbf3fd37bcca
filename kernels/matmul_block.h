/* matmul_block -- what matmul.c asks of an instruction set.  Private to the matrix products.
 *
 * Activations are quantised once per product, by all threads: int8, a scale for each group
 * (matmul_group), and the sum of the integers of each scale block of the weights, since
 *
 *      sum of (q - offset) * a  =  sum of q * a  -  offset * sum of a       (in integers)
 *      sum of (s * q - m) * a   =  s * sum of q * a  -  m * sum of a
 *
 * and vpdpbusd wants q unsigned.  The first form only changes what the integer sum begins with. */
#pragma once

#include "kernels/matmul_formats.h"

enum {
    MATMUL_CHUNK = 512,      /* values along k of a panel: two K blocks; the panel stays in L1 */
    MATMUL_NARROW_ROWS = 12, /* so few rows go without panels */
};

union matmul_sum {
    int32_t offset; /* - offset * sum of a */
    float sum;      /* of blocks of 32 with minima: sum of a times their scale */
};

union matmul_scale {
    float f;
    int32_t i;
};

/* Activations as a kernel reads them, of `n_rows` rows that are multiplied together (a tile),
 * interleaved, so that one pointer serves all rows:
 *      q       [n_k / 4][n_rows][4]
 *      scales  [groups of n_k][n_rows]
 *      sums    [scale blocks of n_k][n_rows]
 *      short_sums   [pairs of scale blocks][n_rows][2], instead of sums, which is then NULL: K
 *              blocks with minima, and in the narrow form all K blocks
 * Narrow: each row is a tile of its own. */
struct matmul_tile {
    int64_t n_rows;
    int8_t *q;
    float *scales;
    union matmul_sum *sums;
    int16_t *short_sums;
};

/* A chunk of a slab, unpacked: 4 values of one output, then of the next. */
struct matmul_panel {
    uint8_t *q;                 /* [sub-blocks][8][outs][4] */
    union matmul_scale *scales; /* [scale blocks][outs]; K blocks: whole, as i */
    float *mins;                /* [sub-blocks][outs] */
    int16_t *short_mins;        /* K blocks: whole, [pairs of sub-blocks][outs][2] */
    float *factors;             /* K blocks: what scales, and minima, are multiplied by: */
    float *min_factors;         /*   [blocks][outs] */
};

struct matmul_weights {
    enum matmul_format format;
    const char *rows;
    size_t stride;
    int64_t n_outs; /* of this slab, at most `outs`; the panel's others become zeros */
};

struct matmul_kernels {
    int outs; /* of a slab */
    int tile_rows;
    bool takes_signed; /* 8-bit weights stay signed: their offset is 0 */

    /* q, scales and integer sums of one row of a tile. */
    void (*quantize)(const struct matmul_shape *shape, const float *x, int offset,
                     const struct matmul_tile *tile, int64_t row);

    /* Sub-blocks [first, first + n) of a slab. */
    void (*unpack)(const struct matmul_weights *weights, int64_t first, int64_t n,
                   const struct matmul_panel *panel);

    /* y[row][out] of a slab: set where `first` is 0, else added to. */
    void (*multiply)(enum matmul_format format, const struct matmul_panel *panel, int64_t first,
                     int64_t n, const struct matmul_tile *tile, float *y, size_t y_stride);

    /* Outputs [begin, end), n_rows <= MATMUL_NARROW_ROWS; a tile for each row.  The same bits as
     * multiply gives. */
    void (*narrow)(const struct matmul_args *args, const struct matmul_tile *tiles, int64_t begin,
                   int64_t end);
};

extern const struct matmul_kernels matmul_kernels_avx2;
extern const struct matmul_kernels matmul_kernels_avx512;
extern const struct matmul_kernels matmul_kernels_avx512_vnni;
extern const struct matmul_kernels matmul_kernels_neon;
extern const struct matmul_kernels matmul_kernels_neon_i8mm;
