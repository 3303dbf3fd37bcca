#include "kernels/simd_avx2.h"

#define VI_ROWS 3
#define VI_COLS 2

typedef __m256i vi;

static inline vi vi_load(const void *p)
{
    return _mm256_loadu_si256(p);
}

static inline vi vi_zero(void)
{
    return _mm256_setzero_si256();
}

static inline vi vi_set(int a)
{
    return _mm256_set1_epi32(a);
}

static inline vi vi_add(vi a, vi b)
{
    return _mm256_add_epi32(a, b);
}

/* total + a * b */
static inline vi vi_mla(vi total, vi a, vi b)
{
    return _mm256_add_epi32(total, _mm256_mullo_epi32(a, b));
}

/* total + the sum of two products of 16 bits */
static inline vi vi_mla_pairs(vi total, vi a, vi b)
{
    return _mm256_add_epi32(total, _mm256_madd_epi16(a, b));
}

static inline vf vi_to_vf(vi a)
{
    return _mm256_cvtepi32_ps(a);
}

static inline vi vi_pairs(vi q, vi a)
{
    return _mm256_maddubs_epi16(q, a);
}

/* |q| times a with q's sign. */
static inline vi vi_signed_pairs(vi q, vi a)
{
    return _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(a, q));
}

static inline vi vi_add16(vi a, vi b)
{
    return _mm256_add_epi16(a, b);
}

static inline vi vi_fold(vi pairs)
{
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

#include "kernels/matmul_x86.h"

const struct matmul_kernels matmul_kernels_avx2 = MATMUL_KERNELS;
