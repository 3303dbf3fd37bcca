/* matmul_narrow_x86 -- what matmul_narrow.h asks of x86: 32 weights at a time, in vectors of 32
 * bytes on every instruction set.
 *
 * Products of bytes are summed in pairs, 16 bits, and these pairs with a multiplication by the
 * scale: with q up to 63, |scale| up to 128 and 8 sub-blocks a lane stays below 2^31, and pairs of
 * q up to 127 below 2^15 (8-bit weights: |q| times a with q's sign, from -127 on). */
#pragma once

#include "kernels/matmul_unpack_x86.h"

typedef __m256i e8;

static inline e8 e8_set(int a)
{
    return _mm256_set1_epi32(a);
}

static inline e8 e8_add(e8 a, e8 b)
{
    return _mm256_add_epi32(a, b);
}

static inline v8 e8_to_v8(e8 a)
{
    return _mm256_cvtepi32_ps(a);
}

/* sum + two products of 16 bits in each of 8 lanes */
static inline __m256i narrow_mac(__m256i sum, __m256i pairs, __m256i scales)
{
#ifdef VI_HAS_DOT
    return _mm256_dpwssd_epi32(sum, pairs, scales);
#else
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, scales));
#endif
}

/* 32 products of bytes into 8 lanes; q unsigned. */
static inline __m256i narrow_dot(__m256i q, __m256i a)
{
#ifdef VI_HAS_DOT
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), q, a);
#else
    return _mm256_madd_epi16(_mm256_maddubs_epi16(q, a), _mm256_set1_epi16(1));
#endif
}

/* Sums of two products each, of 32. */
ALWAYS_INLINE __m256i narrow_pairs(__m256i q, const int8_t *x, const bool is_signed)
{
    __m256i a = _mm256_loadu_si256((const __m256i *)x);
    return is_signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(a, q))
                     : _mm256_maddubs_epi16(q, a);
}

/* The sum of each of eight vectors of 8. */
ALWAYS_INLINE e8 fold_eight(const __m256i sums[8])
{
    __m256i a =
        _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
    __m256i b =
        _mm256_hadd_epi32(_mm256_hadd_epi32(sums[4], sums[5]), _mm256_hadd_epi32(sums[6], sums[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20),
                            _mm256_permute2x128_si256(a, b, 0x31));
}

/* ---- Factors ---- */

/* The half float at the same place of eight rows. */
ALWAYS_INLINE v8 eight_halves(const char *at, size_t stride)
{
    int16_t half[8];
    UNROLLED for (size_t i = 0; i < 8; i++) memcpy(&half[i], at + i * stride, sizeof half[i]);
    return _mm256_cvtph_ps(
        _mm_setr_epi16(half[0], half[1], half[2], half[3], half[4], half[5], half[6], half[7]));
}

/* Two half floats side by side, of eight rows. */
ALWAYS_INLINE void eight_pairs(const char *at, size_t stride, v8 *first, v8 *second)
{
    int32_t pair[8];
    UNROLLED for (size_t i = 0; i < 8; i++) memcpy(&pair[i], at + i * stride, sizeof pair[i]);
    __m256i pairs =
        _mm256_setr_epi32(pair[0], pair[1], pair[2], pair[3], pair[4], pair[5], pair[6], pair[7]);
    const __m128i apart = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    pairs = _mm256_shuffle_epi8(pairs, _mm256_broadcastsi128_si256(apart));
    pairs = _mm256_permute4x64_epi64(pairs, 0xd8); /* firsts of both halves, then seconds */
    *first = _mm256_cvtph_ps(_mm256_castsi256_si128(pairs));
    *second = _mm256_cvtph_ps(_mm256_extracti128_si256(pairs, 1));
}

ALWAYS_INLINE void narrow_factors(const enum matmul_format format, const char *block, size_t stride,
                                  v8 *factor, v8 *min_factor)
{
    if (matmul_traits(format).has_mins)
        eight_pairs(block, stride, factor, min_factor); /* as min_factor_at says */
    else
        *factor = eight_halves(factor_at(block, format), stride);
}

/* ---- Blocks of 32 ---- */

ALWAYS_INLINE void narrow_block(const int n_rows, const enum matmul_format format,
                                const char *block, size_t stride,
                                const int8_t *const q[ROWS_AT_ONCE], e8 sum[ROWS_AT_ONCE])
{
    const bool is_signed = TAKES_SIGNED && matmul_traits(format).most > 127;
    __m256i sums[ROWS_AT_ONCE][8];
    UNROLLED for (size_t i = 0; i < 8; i++)
    {
        __m256i w = unpack_q(block + i * stride, format, 0, is_signed);
        for (int r = 0; r < n_rows; r++)
            sums[r][i] = is_signed ? narrow_mac(_mm256_setzero_si256(), narrow_pairs(w, q[r], true),
                                                _mm256_set1_epi16(1))
                                   : narrow_dot(w, _mm256_loadu_si256((const __m256i *)q[r]));
    }
    for (int r = 0; r < n_rows; r++)
        sum[r] = fold_eight(sums[r]);
}

/* ---- K blocks ---- */

/* The 16-bit scale of sub-block `place` in every lane; Q6_K: those of its halves. */
ALWAYS_INLINE __m256i scale_of(__m256i scales, const int place)
{
    return _mm256_shuffle_epi8(scales,
                               _mm256_set1_epi16((short)(2 * place + 256 * (2 * place + 1))));
}

/* Both halves have those of all sub-blocks; Q6_K's have those of first and of second halves. */
ALWAYS_INLINE __m256i wide_scales(const enum matmul_format format, const int8_t scales[16])
{
    if (format != MATMUL_Q6_K)
        return _mm256_broadcastsi128_si256(
            _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)scales)));
    const __m128i apart = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)scales), apart));
}

/* One K block of one output. */
struct super_sums {
    __m256i total[ROWS_AT_ONCE];
    __m128i minimum[ROWS_AT_ONCE];
};

ALWAYS_INLINE void super_products(const int n_rows, const enum matmul_format format,
                                  const char *block, __m256i scales,
                                  const int8_t *const q[ROWS_AT_ONCE], struct super_sums *sums)
{
    const bool is_signed = matmul_traits(format).most > 127;
    for (int r = 0; r < n_rows; r++)
        sums->total[r] = _mm256_setzero_si256();
    UNROLLED for (int place = 0; place < 8; place++)
    {
        __m256i w = unpack_q(block, format, place, is_signed), scale = scale_of(scales, place);
        for (int r = 0; r < n_rows; r++)
            sums->total[r] = narrow_mac(
                sums->total[r], narrow_pairs(w, q[r] + place * MATMUL_SUB, is_signed), scale);
    }
}

/* Q6_K: its q are 32 too large. */
ALWAYS_INLINE __m256i subtract_offset(__m256i total, const int8_t scales[16], const int16_t *x_sums)
{
    __m256i scale = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)scales));
    __m256i sums = _mm256_loadu_si256((const __m256i *)x_sums);
    return _mm256_sub_epi32(total, _mm256_slli_epi32(_mm256_madd_epi16(scale, sums), 5));
}

ALWAYS_INLINE void super_of_output(const int n_rows, const enum matmul_format format,
                                   const char *block, const int8_t *const q[ROWS_AT_ONCE],
                                   const int16_t *const x_sums[ROWS_AT_ONCE],
                                   struct super_sums *sums)
{
    int8_t scales[16];
    uint8_t mins[8];
    unpack_whole_scales(block, format, scales, mins);
    super_products(n_rows, format, block, wide_scales(format, scales), q, sums);
    if (format == MATMUL_Q6_K)
        for (int r = 0; r < n_rows; r++)
            sums->total[r] = subtract_offset(sums->total[r], scales, x_sums[r]);
    if (!matmul_traits(format).has_mins)
        return;
    __m128i wide = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)mins));
    for (int r = 0; r < n_rows; r++)
        sums->minimum[r] = _mm_madd_epi16(wide, _mm_loadu_si128((const __m128i *)x_sums[r]));
}

/* The sum of each of eight vectors of 4. */
ALWAYS_INLINE e8 fold_minima(const __m128i minimum[8])
{
    __m256i both[4]; /* outputs i and i + 4 */
    for (int i = 0; i < 4; i++)
        both[i] = _mm256_set_m128i(minimum[i + 4], minimum[i]);
    return _mm256_hadd_epi32(_mm256_hadd_epi32(both[0], both[1]),
                             _mm256_hadd_epi32(both[2], both[3]));
}

ALWAYS_INLINE void narrow_super(const int n_rows, const enum matmul_format format,
                                const struct narrow_rows *rows, int64_t b,
                                const int8_t *const q[ROWS_AT_ONCE],
                                const int16_t *const x_sums[ROWS_AT_ONCE], e8 total[ROWS_AT_ONCE],
                                e8 minimum[ROWS_AT_ONCE])
{
    __m256i totals[ROWS_AT_ONCE][8];
    __m128i minima[ROWS_AT_ONCE][8];
    const int n_bytes = matmul_traits(format).block_bytes;
    const char *block = rows->first + b * n_bytes;
    for (size_t i = 0; i < 8; i++, block += rows->stride) {
        prefetch_rows(rows, b * n_bytes, n_bytes, i, 1);
        struct super_sums of_output;
        super_of_output(n_rows, format, block, q, x_sums, &of_output);
        for (int r = 0; r < n_rows; r++) {
            totals[r][i] = of_output.total[r];
            if (matmul_traits(format).has_mins)
                minima[r][i] = of_output.minimum[r];
        }
    }
    for (int r = 0; r < n_rows; r++) {
        total[r] = fold_eight(totals[r]);
        if (matmul_traits(format).has_mins)
            minimum[r] = fold_minima(minima[r]);
    }
}
