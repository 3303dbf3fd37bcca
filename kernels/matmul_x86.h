/* matmul_x86 -- matmul_program.h for all x86 instruction sets, over what a matmul_*.c defines
 * before (beside what that header says):
 *
 *   vi_load, vi_add
 *   vi_dot(sum, q, a)     with VI_HAS_DOT: adds to each lane its four products, q unsigned;
 *                         without it: vi_pairs(q, a), products summed in pairs, 16 bits;
 *                         vi_signed_pairs, the same for signed q; vi_add16, vi_fold: pairs of those
 *
 * A register tile of VI_ROWS x 2 vectors: a broadcast then serves two products.  12 rows x 1
 * vector, with as many sums, waits for its loads (Zen 4 loads one 512-bit operand a cycle): 158
 * where this one does 170 GMAC/s.  With VNNI 12 integer sums, 12 float sums, two panel vectors, a
 * broadcast and a scale are 28 of 32 registers.  Without VNNI products of up to 15, 31 and 63 are
 * summed 8, 4 and 2 times in 16 bits before they are widened: 8 * 2 * 15 * 127 is still below 2^15.
 *
 * Measured on a Zen 4 EPYC, one thread, 1,024 x 4,864 weights, 512 rows, of 233 GMAC/s that
 * vpdpbusd does alone: Q5_0 170, Q8_0 167, Q4_K 158, Q6_K 150; AVX-512 without VNNI 120 (Q5_0),
 * AVX2 107. */
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

/* The sums are made of the vector: what is stored in parts cannot be loaded whole before all
 * earlier stores are done. */
ALWAYS_INLINE void round_values(const float *x, float factor, int8_t q[MATMUL_SUB],
                                int32_t half_sums[2])
{
    __m256i values = vf_round_32(x, factor);
    __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), values);
    _mm256_storeu_si256((__m256i *)q, values);
    __m256i sums = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    sums = _mm256_hadd_epi32(sums, sums);
    sums = _mm256_hadd_epi32(sums, sums);
    half_sums[0] = _mm_cvtsi128_si32(_mm256_castsi256_si128(sums));
    half_sums[1] = _mm_cvtsi128_si32(_mm256_extracti128_si256(sums, 1));
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

#include "kernels/matmul_narrow_x86.h"
#include "kernels/matmul_program.h"
