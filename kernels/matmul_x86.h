/* matmul_x86 -- matmul_program.h for all x86 instruction sets, over what a matmul_*.c defines
 * before (beside what that header says):
 *
 *   vi_load, vi_add
 *   vi_dot(sum, q, a)     with VI_HAS_DOT: adds to each lane its four products, q unsigned;
 *                         without it: vi_pairs(q, a), products summed in pairs, 16 bits;
 *                         vi_signed_pairs, the same for signed q; vi_add16, vi_fold: pairs of those
 *   narrow_dot(sum, q, a) 32 products into 8 lanes; narrow_signed_dot for signed q
 *   narrow_add_scaled     adds pairs times 16-bit scales
 *
 * A register tile of VI_ROWS x 2 vectors: a broadcast then serves two products.  12 rows x 1
 * vector, with as many sums, waits for its loads (Zen 4 loads one 512-bit operand a cycle): 158
 * where this one does 170 GMAC/s.  With VNNI 12 integer sums, 12 float sums, two panel vectors, a
 * broadcast and a scale are 28 of 32 registers.  Without VNNI products of up to 15, 31 and 63 are
 * summed 8, 4 and 2 times in 16 bits before they are widened: 8 * 2 * 15 * 127 is still below 2^15.
 *
 * Measured on a Zen 4 EPYC, one thread, 1,024 x 4,864 weights, 512 rows, of 233 GMAC/s that
 * vpdpbusd does alone: Q5_0 170, Q8_0 167, Q4_K 158, Q6_K 150; AVX-512 without VNNI 120 (Q5_0),
 * AVX2 107.
 *
 * Narrow: weights become 32 bytes at a time; two cores read memory at up to 25 GB/s each. */
#pragma once

#include "kernels/matmul_unpack_x86.h"

#ifdef VI_HAS_DOT
enum { TAKES_SIGNED = false };
#else
enum { TAKES_SIGNED = true };
#endif

/* A value that is needed now: else gcc 12 computes the products of all steps first and keeps them
 * in memory. */
#define VI_KEEP(a) __asm__ volatile("" : "+v"(a))

/* ---- Activations ---- */

ALWAYS_INLINE void sums_of_4(const int8_t q[MATMUL_SUB], int32_t out[MATMUL_LANE_SUMS])
{
    __m256i bytes = _mm256_loadu_si256((const __m256i *)q);
    __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
    _mm256_storeu_si256((__m256i *)out, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* ---- Wide ---- */

/* Eight rows of eight dwords become columns. */
ALWAYS_INLINE void transpose_dwords(__m256i r[8])
{
    __m256i t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
    }
    for (int i = 0; i < 8; i++)
        r[i] = t[i];
}

ALWAYS_INLINE void unpack_panel_q(const struct matmul_weights *weights,
                                  const enum matmul_format format, int64_t first, int64_t n,
                                  uint8_t *out)
{
    struct matmul_format_traits traits = matmul_traits(format);
    const bool is_signed = TAKES_SIGNED && traits.most > 127;
    const int subs = traits.block_values / MATMUL_SUB;
    for (int64_t sub = 0; sub < n; sub += subs) {
        const char *block = block_at(weights->rows, format, first + sub);
        for (int lane = 0; lane < OUTS; lane += 8, block += 8 * weights->stride) {
            UNROLLED for (int place = 0; place < subs; place++)
            {
                __m256i r[8];
                for (int i = 0; i < 8; i++)
                    r[i] = lane + i < weights->n_outs
                               ? unpack_q(block + (size_t)i * weights->stride, format, place,
                                          is_signed)
                               : _mm256_setzero_si256();
                transpose_dwords(r);
                uint8_t *at = out + (sub + place) * STEPS * STEP_BYTES + lane * 4;
                for (int i = 0; i < STEPS; i++)
                    _mm256_storeu_si256((__m256i *)(at + i * STEP_BYTES), r[i]);
            }
        }
    }
}

ALWAYS_INLINE vi broadcast_dword(const int8_t *q)
{
    int32_t dword;
    memcpy(&dword, q, sizeof dword);
    return vi_set(dword);
}

/* Adds to sum[row][col] the products of n steps of the panel with as many dwords of each row. */
ALWAYS_INLINE void add_products(const int n_rows, const int n, const int most,
                                vi sum[VI_ROWS][VI_COLS], const uint8_t *panel, const int8_t *q)
{
#ifdef VI_HAS_DOT
    (void)most;
    UNROLLED for (int i = 0; i < n; i++)
    {
        vi right[VI_COLS];
        UNROLLED for (int c = 0; c < VI_COLS; c++) right[c] =
            vi_load(panel + i * STEP_BYTES + c * VF_LANES * 4);
        UNROLLED for (int r = 0; r < n_rows; r++)
        {
            vi left = broadcast_dword(q + (i * n_rows + r) * 4);
            UNROLLED for (int c = 0; c < VI_COLS; c++) sum[r][c] =
                vi_dot(sum[r][c], right[c], left);
        }
    }
#else
    const int fold = most <= 15 ? 8 : most <= 31 ? 4 : most <= 63 ? 2 : 1;
    UNROLLED for (int i = 0; i < n; i += fold)
    {
        vi pairs[VI_ROWS][VI_COLS];
        UNROLLED for (int j = i; j < i + fold; j++)
        {
            vi right[VI_COLS];
            UNROLLED for (int c = 0; c < VI_COLS; c++) right[c] =
                vi_load(panel + j * STEP_BYTES + c * VF_LANES * 4);
            UNROLLED for (int r = 0; r < n_rows; r++)
            {
                vi left = broadcast_dword(q + (j * n_rows + r) * 4);
                UNROLLED for (int c = 0; c < VI_COLS; c++)
                {
                    vi product =
                        most > 127 ? vi_signed_pairs(right[c], left) : vi_pairs(right[c], left);
                    pairs[r][c] = j == i ? product : vi_add16(pairs[r][c], product);
                    VI_KEEP(pairs[r][c]);
                }
            }
        }
        UNROLLED for (int r = 0; r < n_rows; r++)
        {
            UNROLLED for (int c = 0; c < VI_COLS; c++)
            {
                sum[r][c] = vi_add(sum[r][c], vi_fold(pairs[r][c]));
                VI_KEEP(sum[r][c]);
            }
        }
    }
#endif
}

/* ---- Narrow ---- */

typedef __m256 narrow_floats;

ALWAYS_INLINE narrow_floats narrow_zero(void)
{
    return _mm256_setzero_ps();
}

ALWAYS_INLINE float narrow_sum(narrow_floats a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* A block of 32 of one output times one row. */
ALWAYS_INLINE __m256 narrow_block(const enum matmul_format format, const void *block,
                                  const struct narrow_row *row, __m256 total)
{
    struct matmul_format_traits traits = matmul_traits(format);
    const bool is_signed = TAKES_SIGNED && traits.most > 127;
    float s[16], m[8];
    unpack_scales(block, format, s, m);
    __m256i q = unpack_q(block, format, 0, is_signed);
    __m256i a = _mm256_loadu_si256((const __m256i *)row->q);
    __m256i sum = _mm256_setzero_si256();
    if (!traits.has_mins && !is_signed)
        sum = _mm256_loadu_si256((const __m256i *)row->lane_offsets);
    sum = is_signed ? narrow_signed_dot(sum, q, a) : narrow_dot(sum, q, a);
    if (traits.has_mins) /* an eighth in each lane; sums are scaled already */
        total =
            _mm256_fnmadd_ps(_mm256_set1_ps(m[0] / 8), _mm256_broadcast_ss(&row->sums->sum), total);
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(s[0] * row->scales[0]), total);
}

/* The scales of a K block are small whole numbers: they multiply pairs of products in 16 bits, so
 * that floats appear once a group and not once a sub-block.  Pairs fit: 2 * 63 * 127, and 2 * 127 *
 * 127 for IQ4_XS, are below 2^15. */
ALWAYS_INLINE __m256i narrow_pairs(__m256i q, __m256i a, const bool is_signed)
{
    if (is_signed)
        return _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(a, q));
    return _mm256_maddubs_epi16(q, a);
}

/* A K block of one output times one row. */
ALWAYS_INLINE __m256 narrow_super(const enum matmul_format format, const void *block,
                                  const struct super_scales *scales, const struct narrow_row *row,
                                  __m256 total)
{
    const bool is_signed = matmul_traits(format).most > 127;
    UNROLLED for (int group = 0; group < MATMUL_SUPER / MATMUL_SUPER_GROUP; group++)
    {
        __m256i sum = _mm256_setzero_si256();
        UNROLLED for (int i = 0; i < SUPER_GROUP_SUBS; i++)
        {
            const int place = group * SUPER_GROUP_SUBS + i;
            __m256i q = unpack_q(block, format, place, is_signed);
            __m256i a = _mm256_loadu_si256((const __m256i *)(row->q + place * MATMUL_SUB));
            /* The 16-bit scale of this place, in all lanes of each half. */
            const __m256i which = _mm256_set1_epi16((short)(0x0100 + 0x0202 * place));
            __m256i scale = _mm256_shuffle_epi8(scales->whole, which);
            sum = narrow_add_scaled(sum, narrow_pairs(q, a, is_signed), scale);
        }
        __m256 factor = _mm256_mul_ps(scales->factor, _mm256_broadcast_ss(row->scales + group));
        total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), factor, total);
    }
    if (format == MATMUL_IQ4_XS)
        return total;
    total = _mm256_fnmadd_ps(scales->mins[0], _mm256_loadu_ps(&row->sums[0].sum), total);
    if (format == MATMUL_Q6_K)
        total = _mm256_fnmadd_ps(scales->mins[1], _mm256_loadu_ps(&row->sums[8].sum), total);
    return total;
}

#include "kernels/matmul_program.h"
