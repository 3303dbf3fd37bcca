/* matmul_narrow_x86 -- 32 products of bytes into 8 sums, without VNNI. */
#pragma once

#include <immintrin.h>

/* q <= 127: a pair of products fits 16 bits. */
static inline __m256i narrow_dot(__m256i q, __m256i a)
{
    return _mm256_madd_epi16(_mm256_maddubs_epi16(q, a), _mm256_set1_epi16(1));
}

/* Both signed, from -127 on: |q| times a with q's sign. */
static inline __m256i narrow_signed_dot(__m256i q, __m256i a)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(a, q));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}
