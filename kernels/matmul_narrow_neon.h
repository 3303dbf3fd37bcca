/* matmul_narrow_neon -- what matmul_narrow.h asks of Arm.  Every format is signed times signed
 * (sdot), and a K block's sums are multiplied by their scale as 32-bit integers. */
#pragma once

#include "kernels/matmul_unpack_neon.h"

typedef int32x4x2_t e8;

static inline e8 e8_set(int a)
{
    return (e8){{vdupq_n_s32(a), vdupq_n_s32(a)}};
}

static inline e8 e8_add(e8 a, e8 b)
{
    return (e8){{vaddq_s32(a.val[0], b.val[0]), vaddq_s32(a.val[1], b.val[1])}};
}

static inline v8 e8_to_v8(e8 a)
{
    return (v8){{vcvtq_f32_s32(a.val[0]), vcvtq_f32_s32(a.val[1])}};
}

/* The sum of each of eight vectors of 4. */
ALWAYS_INLINE e8 fold_eight(const int32x4_t sums[8])
{
    return (e8){{vpaddq_s32(vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3])),
                 vpaddq_s32(vpaddq_s32(sums[4], sums[5]), vpaddq_s32(sums[6], sums[7]))}};
}

ALWAYS_INLINE v8 eight_halves(const char *at, size_t stride)
{
    float values[8];
    for (size_t i = 0; i < 8; i++)
        values[i] = vf_scalar_f16(at + i * stride);
    return v8_load(values);
}

ALWAYS_INLINE void narrow_factors(const enum matmul_format format, const char *block, size_t stride,
                                  v8 *factor, v8 *min_factor)
{
    *factor = eight_halves(factor_at(block, format), stride);
    if (matmul_traits(format).has_mins)
        *min_factor = eight_halves(min_factor_at(block), stride);
}

/* ---- Blocks of 32 ---- */

ALWAYS_INLINE void narrow_block(const int n_rows, const enum matmul_format format,
                                const char *block, size_t stride,
                                const int8_t *const q[ROWS_AT_ONCE], e8 sum[ROWS_AT_ONCE])
{
    int32x4_t sums[ROWS_AT_ONCE][8];
    UNROLLED for (size_t i = 0; i < 8; i++)
    {
        int8x16x2_t w = unpack_q(block + i * stride, format, 0);
        for (int r = 0; r < n_rows; r++)
            sums[r][i] = vdotq_s32(vdotq_s32(vdupq_n_s32(0), w.val[0], vld1q_s8(q[r])), w.val[1],
                                   vld1q_s8(q[r] + 16));
    }
    for (int r = 0; r < n_rows; r++)
        sum[r] = fold_eight(sums[r]);
}

/* ---- K blocks ---- */

/* Adds the products of a sub-block times its scale, or Q6_K's two. */
ALWAYS_INLINE int32x4_t add_sub_block(int32x4_t total, int8x16x2_t w, const int8_t *q,
                                      const int8_t *scales, const int halves)
{
    int32x4_t none = vdupq_n_s32(0);
    int32x4_t first = vdotq_s32(none, w.val[0], vld1q_s8(q));
    if (halves == 1)
        return vmlaq_n_s32(total, vdotq_s32(first, w.val[1], vld1q_s8(q + 16)), scales[0]);
    int32x4_t second = vdotq_s32(none, w.val[1], vld1q_s8(q + 16));
    return vmlaq_n_s32(vmlaq_n_s32(total, first, scales[0]), second, scales[1]);
}

/* Partial sums of eight whole numbers times as many sums of activations. */
ALWAYS_INLINE int32x4_t times_sums(int16x8_t a, const int16_t *x_sums)
{
    int16x8_t b = vld1q_s16(x_sums);
    return vmlal_high_s16(vmull_s16(vget_low_s16(a), vget_low_s16(b)), a, b);
}

/* One K block of one output, of one row. */
ALWAYS_INLINE int32x4_t super_of_output(const enum matmul_format format, const char *block,
                                        const int8_t scales[16], const int8_t *q,
                                        const int16_t *x_sums)
{
    const int halves = MATMUL_SUB / matmul_traits(format).scale_values;
    int32x4_t total = vdupq_n_s32(0);
    UNROLLED for (int place = 0; place < SUPER_SUBS; place++) total =
        add_sub_block(total, unpack_q(block, format, place), q + place * MATMUL_SUB,
                      scales + place * halves, halves);
    if (format != MATMUL_Q6_K)
        return total;
    int32x4_t offset = vaddq_s32(times_sums(vmovl_s8(vld1_s8(scales)), x_sums),
                                 times_sums(vmovl_s8(vld1_s8(scales + 8)), x_sums + 8));
    return vmlsq_n_s32(total, offset, 32); /* its q are 32 too large */
}

ALWAYS_INLINE void narrow_super(const int n_rows, const enum matmul_format format,
                                const struct narrow_rows *rows, int64_t b,
                                const int8_t *const q[ROWS_AT_ONCE],
                                const int16_t *const x_sums[ROWS_AT_ONCE], e8 total[ROWS_AT_ONCE],
                                e8 minimum[ROWS_AT_ONCE])
{
    int32x4_t totals[ROWS_AT_ONCE][8], minima[ROWS_AT_ONCE][8];
    const int n_bytes = matmul_traits(format).block_bytes;
    const char *block = rows->first + b * n_bytes;
    for (size_t i = 0; i < 8; i++, block += rows->stride) {
        prefetch_rows(rows, b * n_bytes, n_bytes, i, 1);
        int8_t scales[16];
        uint8_t mins[8] = {0};
        unpack_whole_scales(block, format, scales, mins);
        int16x8_t wide = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(mins)));
        for (int r = 0; r < n_rows; r++) {
            totals[r][i] = super_of_output(format, block, scales, q[r], x_sums[r]);
            if (matmul_traits(format).has_mins)
                minima[r][i] = times_sums(wide, x_sums[r]);
        }
    }
    for (int r = 0; r < n_rows; r++) {
        total[r] = fold_eight(totals[r]);
        if (matmul_traits(format).has_mins)
            minimum[r] = fold_eight(minima[r]);
    }
}
