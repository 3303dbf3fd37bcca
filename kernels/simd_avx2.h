/* simd_avx2 -- eight floats: what the kernels' shared programs are written in, for AVX2 with FMA
 * and F16C.  simd_avx512.h and simd_neon.h have the same names. */
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "kernels/simd_x86_eight.h"

enum {
    VF_LANES = 8,
    VF_TILE = 2, /* vectors side by side in a register tile of 6 rows: 12 of 16 registers */
};

typedef __m256 vf;

static inline vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline void vf_store(float *p, vf a)
{
    _mm256_storeu_ps(p, a);
}

static inline vf vf_set(float a)
{
    return _mm256_set1_ps(a);
}

static inline vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}

static inline vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}

static inline vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}

static inline vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}

static inline vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}

static inline vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}

/* a * b + c */
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* c - a * b */
static inline vf vf_fnma(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

static inline vf vf_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}

/* 32 values times a factor, rounded to the nearest; none beyond 127. */
static inline __m256i vf_round_32(const float *x, float factor)
{
    __m256i dwords[4];
    for (int i = 0; i < 4; i++)
        dwords[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), vf_set(factor)));
    /* Packing keeps to halves: quarters 0, 4, 1, 5 and so on come back into order at the end. */
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(dwords[0], dwords[1]),
                                       _mm256_packs_epi32(dwords[2], dwords[3]));
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

static inline float vf_highest(vf a)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

static inline vf vf_load_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}

static inline vf vf_load_i8(const void *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p)));
}

static inline float vf_scalar_f16(const void *p)
{
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
}

static inline vf vf_round(vf a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* a times 2 to the power of n, n whole and at most 127; below -126 exactly 0, as an exponent field
 * of 0 makes it. */
static inline vf vf_scale_by_power(vf a, vf n)
{
    __m256i field = _mm256_cvtps_epi32(vf_max(n, vf_set(-127)));
    field = _mm256_slli_epi32(_mm256_add_epi32(field, _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(a, _mm256_castsi256_ps(field));
}

/* Rows become columns. */
static inline void vf_transpose(vf r[VF_LANES])
{
    v8_transpose(r);
}
