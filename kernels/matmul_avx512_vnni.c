#include "kernels/simd_avx512.h"

#define VI_HAS_DOT
#define VI_ROWS 6
#define VI_COLS 2

typedef __m512i vi;

static inline vi vi_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

static inline vi vi_zero(void)
{
    return _mm512_setzero_si512();
}

static inline vi vi_set(int a)
{
    return _mm512_set1_epi32(a);
}

/* total + a * b */
static inline vi vi_mla(vi total, vi a, vi b)
{
    return _mm512_add_epi32(total, _mm512_mullo_epi32(a, b));
}

/* total + the sum of two products of 16 bits */
static inline vi vi_mla_pairs(vi total, vi a, vi b)
{
    return _mm512_dpwssd_epi32(total, a, b);
}

static inline vf vi_to_vf(vi a)
{
    return _mm512_cvtepi32_ps(a);
}

static inline vi vi_dot(vi sum, vi q, vi a)
{
    return _mm512_dpbusd_epi32(sum, q, a);
}

#include "kernels/matmul_x86.h"

const struct matmul_kernels matmul_kernels_avx512_vnni = MATMUL_KERNELS;
