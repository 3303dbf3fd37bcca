/* matmul_x86 -- matmul_program.h for all x86 instruction sets, over what a matmul_*.c defines
 * before (beside what that header says):
 *
 *   vi_load, vi_add
 *   vi_dot(sum, q, a)     with VI_HAS_DOT: adds to each lane its four products, q unsigned;
 *                         without it: vi_pairs(q, a), products summed in pairs, 16 bits;
 *                         vi_signed_pairs, the same for signed q; vi_add16, vi_fold: pairs of those
 *   narrow_dot(q, a)      32 products into 8 lanes; narrow_signed_dot for signed q
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

/* Of 8 vectors of 8 partial sums: the sums, or those of each half side by side. */
ALWAYS_INLINE void fold_eight(const __m256i dot[8], const int halves, int32_t *out)
{
    __m256i a =
        _mm256_hadd_epi32(_mm256_hadd_epi32(dot[0], dot[1]), _mm256_hadd_epi32(dot[2], dot[3]));
    __m256i b =
        _mm256_hadd_epi32(_mm256_hadd_epi32(dot[4], dot[5]), _mm256_hadd_epi32(dot[6], dot[7]));
    __m256i low = _mm256_permute2x128_si256(a, b, 0x20); /* first halves of 0-7 */
    __m256i high = _mm256_permute2x128_si256(a, b, 0x31);
    if (halves == 1) {
        _mm256_storeu_si256((__m256i *)out, _mm256_add_epi32(low, high));
        return;
    }
    __m256i first = _mm256_unpacklo_epi32(low, high), second = _mm256_unpackhi_epi32(low, high);
    _mm256_storeu_si256((__m256i *)out, _mm256_permute2x128_si256(first, second, 0x20));
    _mm256_storeu_si256((__m256i *)(out + 8), _mm256_permute2x128_si256(first, second, 0x31));
}

ALWAYS_INLINE void narrow_sums(const int n_rows, const enum matmul_format format, const char *block,
                               const int8_t *const q[MATMUL_NARROW_ROWS], const int n,
                               int32_t sums[MATMUL_NARROW_ROWS][16])
{
    struct matmul_format_traits traits = matmul_traits(format);
    const bool is_signed = TAKES_SIGNED && traits.most > 127;
    const int subs = traits.block_values / MATMUL_SUB;
    __m256i dot[MATMUL_NARROW_ROWS][8];
    UNROLLED for (int i = 0; i < 8; i++)
    {
        __m256i w = _mm256_setzero_si256();
        if (i < n)
            w = unpack_q(block + i / subs * traits.block_bytes, format, i % subs, is_signed);
        for (int r = 0; r < n_rows; r++) {
            __m256i a = _mm256_setzero_si256();
            if (i < n)
                a = _mm256_loadu_si256((const __m256i *)(q[r] + i * MATMUL_SUB));
            dot[r][i] = is_signed ? narrow_signed_dot(w, a) : narrow_dot(w, a);
        }
    }
    for (int r = 0; r < n_rows; r++)
        fold_eight(dot[r], MATMUL_SUB / traits.scale_values, sums[r]);
}

#include "kernels/matmul_program.h"
