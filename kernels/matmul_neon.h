/* matmul_neon -- matmul_program.h for Arm, which is all of matmul_neon.c and, with VI_HAS_MATRIX,
 * of matmul_neon_i8mm.c.  Not timed: it was written on x86 and runs under emulation.
 *
 * The dot product (sdot) is signed times signed and sums to 32 bits, so that every format takes the
 * same way: 8-bit weights stay signed, the others are at most 63.
 *
 * A register tile of 4 rows x 3 vectors: 12 integer sums, 12 float sums, three panel vectors and
 * one of activations are 28 of 32 registers.  Twelve sums in flight hide a latency of 3 on four
 * units, and the 4 dwords of 4 rows are one load, whose lanes sdot selects by itself: 4 loads for
 * 12 products, where broadcasting loads, of which several cores make a vector operation, would
 * be 7.
 *
 * The matrix product (smmla) takes 8 values of two rows and of two outputs to 2 x 2 sums:
 *
 *        panel: 8 k of an output        activations: 8 k of a row     sums
 *        | out 0 k0..7 | out 1 k0..7 |  | row 0 k0..7 | row 1 k0..7 | | r0 o0 | r0 o1 | r1 o0 | r1
 * o1 |
 *
 * They become rows again after each sub-block, by one exchange of halves a sum, which leaves the
 * program around them as it is: 4 products, an exchange, a conversion and a multiplication a sum.
 * An odd last row has a row of zeros beside it. */
#pragma once

#include "kernels/simd_neon.h"

#define VI_HAS_DOT
#define VI_ROWS 4
#define VI_COLS 3
#ifdef VI_HAS_MATRIX
#define VI_STEP 8
#endif

#include "kernels/matmul_unpack_neon.h"

enum { TAKES_SIGNED = true };

/* A value that is needed now: else gcc 12 moves the products of several steps apart and keeps sums
 * in memory. */
#define VI_KEEP(a) __asm__ volatile("" : "+w"(a))

typedef int32x4_t vi;

static inline vi vi_zero(void)
{
    return vdupq_n_s32(0);
}

static inline vi vi_set(int a)
{
    return vdupq_n_s32(a);
}

static inline vi vi_load(const void *p)
{
    return vld1q_s32(p);
}

/* total + a * b */
static inline vi vi_mla(vi total, vi a, vi b)
{
    return vmlaq_s32(total, a, b);
}

/* total + the sum of two products of 16 bits */
static inline vi vi_mla_pairs(vi total, vi a, vi b)
{
    int16x8_t left = vreinterpretq_s16_s32(a), right = vreinterpretq_s16_s32(b);
    int32x4_t low = vmull_s16(vget_low_s16(left), vget_low_s16(right));
    return vaddq_s32(total, vpaddq_s32(low, vmull_high_s16(left, right)));
}

static inline vf vi_to_vf(vi a)
{
    return vcvtq_f32_s32(a);
}

/* ---- Activations ---- */

ALWAYS_INLINE void round_values(const float *x, float factor, int8_t q[MATMUL_SUB],
                                int32_t half_sums[2])
{
    for (int half = 0; half < 2; half++) {
        int16x4_t part[4];
        for (int i = 0; i < 4; i++)
            part[i] =
                vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + half * 16 + i * 4), factor)));
        int8x16_t values = vcombine_s8(vqmovn_s16(vcombine_s16(part[0], part[1])),
                                       vqmovn_s16(vcombine_s16(part[2], part[3])));
        vst1q_s8(q + half * 16, values);
        half_sums[half] = vaddlvq_s8(values);
    }
}

/* ---- Wide: the panel ---- */

enum { PANEL_OUTS = 4 }; /* outputs that are interleaved together */

/* 16 values of 4 outputs, to as many steps of a panel. */
ALWAYS_INLINE void store_interleaved(uint8_t *at, const int8x16_t out[PANEL_OUTS])
{
    uint8x16_t r[4];
#ifdef VI_HAS_MATRIX
    for (int i = 0; i < 2; i++) {
        int64x2_t a = vreinterpretq_s64_s8(out[2 * i]), b = vreinterpretq_s64_s8(out[2 * i + 1]);
        r[i] = vreinterpretq_u8_s64(vzip1q_s64(a, b));
        r[2 + i] = vreinterpretq_u8_s64(vzip2q_s64(a, b));
    }
    for (int i = 0; i < 4; i++)
        vst1q_u8(at + i / 2 * STEP_BYTES + i % 2 * 16, r[i]);
#else
    vf t[4];
    for (int i = 0; i < 4; i++)
        t[i] = vreinterpretq_f32_s8(out[i]);
    vf_transpose(t);
    for (int i = 0; i < 4; i++) {
        r[i] = vreinterpretq_u8_f32(t[i]);
        vst1q_u8(at + i * STEP_BYTES, r[i]);
    }
#endif
}

ALWAYS_INLINE void unpack_panel_q(const struct matmul_weights *weights,
                                  const enum matmul_format format, int64_t first, int64_t n,
                                  uint8_t *out)
{
    struct matmul_format_traits traits = matmul_traits(format);
    const int subs = traits.block_values / MATMUL_SUB;
    for (int64_t sub = 0; sub < n; sub += subs) {
        const char *block = block_at(weights->rows, format, first + sub);
        for (int lane = 0; lane < OUTS; lane += PANEL_OUTS, block += PANEL_OUTS * weights->stride) {
            UNROLLED for (int place = 0; place < subs; place++)
            {
                int8x16_t low[PANEL_OUTS], high[PANEL_OUTS];
                for (int i = 0; i < PANEL_OUTS; i++) {
                    int8x16x2_t q = {{vdupq_n_s8(0), vdupq_n_s8(0)}};
                    if (lane + i < weights->n_outs)
                        q = unpack_q(block + (size_t)i * weights->stride, format, place);
                    low[i] = q.val[0];
                    high[i] = q.val[1];
                }
                uint8_t *at = out + (sub + place) * MATMUL_SUB * OUTS + lane * STEP_VALUES;
                store_interleaved(at, low);
                store_interleaved(at + MATMUL_SUB / 2 * OUTS, high);
            }
        }
    }
}

/* ---- Wide: the product ---- */

#ifdef VI_HAS_MATRIX

/* 8 values of rows `row` and, where there is one, `row` + 1. */
ALWAYS_INLINE int8x16_t row_pair(const int8_t *q, const int n_rows, const int row)
{
    const int8_t *at = q + row * STEP_VALUES;
    return row + 1 < n_rows ? vld1q_s8(at) : vcombine_s8(vld1_s8(at), vdup_n_s8(0));
}

ALWAYS_INLINE vi low_halves(vi a, vi b)
{
    return vreinterpretq_s32_s64(vzip1q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}

ALWAYS_INLINE vi high_halves(vi a, vi b)
{
    return vreinterpretq_s32_s64(vzip2q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}

/* Adds to sum[row][col] the products of n steps of the panel with as many of each row. */
ALWAYS_INLINE void add_products(const int n_rows, const int n, const int most,
                                vi sum[VI_ROWS][VI_COLS], const uint8_t *panel, const int8_t *q)
{
    (void)most;
    vi square[VI_ROWS / 2][VI_COLS][2]; /* of two rows and two outputs */
    UNROLLED for (int r = 0; r < n_rows; r += 2) UNROLLED for (int c = 0; c < VI_COLS; c++)
    {
        vi second = r + 1 < n_rows ? sum[r + 1][c] : vi_zero();
        square[r / 2][c][0] = low_halves(sum[r][c], second);
        square[r / 2][c][1] = high_halves(sum[r][c], second);
    }
    UNROLLED for (int i = 0; i < n; i++)
    {
        int8x16_t left[VI_ROWS / 2];
        UNROLLED for (int r = 0; r < n_rows; r += 2) left[r / 2] =
            row_pair(q + i * n_rows * STEP_VALUES, n_rows, r);
        UNROLLED for (int c = 0; c < VI_COLS * 2; c++)
        {
            int8x16_t right = vld1q_s8((const int8_t *)panel + i * STEP_BYTES + c * 16);
            UNROLLED for (int r = 0; r < n_rows; r += 2)
            {
                vi *sums = &square[r / 2][c / 2][c % 2];
                *sums = vmmlaq_s32(*sums, left[r / 2], right);
                VI_KEEP(*sums);
            }
        }
    }
    UNROLLED for (int r = 0; r < n_rows; r += 2) UNROLLED for (int c = 0; c < VI_COLS; c++)
    {
        sum[r][c] = low_halves(square[r / 2][c][0], square[r / 2][c][1]);
        if (r + 1 < n_rows)
            sum[r + 1][c] = high_halves(square[r / 2][c][0], square[r / 2][c][1]);
    }
}

#else

/* The lane is a constant once the loops around are unrolled; to the compiler's front end it must
 * look like one, too. */
ALWAYS_INLINE vi dot_lane(vi sum, int8x16_t q, int8x16_t a, const int lane)
{
    switch (lane) {
    case 0:
        return vdotq_laneq_s32(sum, q, a, 0);
    case 1:
        return vdotq_laneq_s32(sum, q, a, 1);
    case 2:
        return vdotq_laneq_s32(sum, q, a, 2);
    default:
        return vdotq_laneq_s32(sum, q, a, 3);
    }
}

/* 4 values of each row, without a way over memory. */
ALWAYS_INLINE int8x16_t row_dwords(const int8_t *q, const int n_rows)
{
    int8x8_t none = vdup_n_s8(0);
    switch (n_rows) {
    case 1:
        return vcombine_s8(vreinterpret_s8_s32(vld1_dup_s32((const int32_t *)q)), none);
    case 2:
        return vcombine_s8(vld1_s8(q), none);
    case 3:
        return vcombine_s8(vld1_s8(q), vreinterpret_s8_s32(vld1_dup_s32((const int32_t *)(q + 8))));
    default:
        return vld1q_s8(q);
    }
}

/* Adds to sum[row][col] the products of n steps of the panel with as many dwords of each row. */
ALWAYS_INLINE void add_products(const int n_rows, const int n, const int most,
                                vi sum[VI_ROWS][VI_COLS], const uint8_t *panel, const int8_t *q)
{
    (void)most;
    UNROLLED for (int i = 0; i < n; i++)
    {
        int8x16_t left = row_dwords(q + i * n_rows * STEP_VALUES, n_rows);
        UNROLLED for (int c = 0; c < VI_COLS; c++)
        {
            int8x16_t right = vld1q_s8((const int8_t *)panel + i * STEP_BYTES + c * 16);
            UNROLLED for (int r = 0; r < n_rows; r++)
            {
                sum[r][c] = dot_lane(sum[r][c], right, left, r);
                VI_KEEP(sum[r][c]);
            }
        }
    }
}

#endif

#include "kernels/matmul_narrow_neon.h"
#include "kernels/matmul_program.h"
