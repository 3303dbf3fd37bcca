/* simd_x86_eight -- eight floats on x86, beside the vectors of simd_avx2.h or simd_avx512.h. */
#pragma once

#include <immintrin.h>

typedef __m256 v8;

static inline v8 v8_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline void v8_store(float *p, v8 a)
{
    _mm256_storeu_ps(p, a);
}

static inline v8 v8_set(float a)
{
    return _mm256_set1_ps(a);
}

static inline v8 v8_add(v8 a, v8 b)
{
    return _mm256_add_ps(a, b);
}

static inline v8 v8_mul(v8 a, v8 b)
{
    return _mm256_mul_ps(a, b);
}

/* a * b + c */
static inline v8 v8_fma(v8 a, v8 b, v8 c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* c - a * b */
static inline v8 v8_fnma(v8 a, v8 b, v8 c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

/* Rows become columns. */
static inline void v8_transpose(v8 r[8])
{
    v8 t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    for (int i = 0; i < 8; i++)
        r[i] = t[i];
}
