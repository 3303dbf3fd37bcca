/* simd_neon -- four floats: what the kernels' shared programs are written in, for NEON.
 * simd_avx2.h and simd_avx512.h have the same names. */
#pragma once

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

enum {
    VF_LANES = 4,
    VF_TILE = 4, /* vectors side by side in a register tile of 6 rows: 24 of 32 registers */
};

typedef float32x4_t vf;

static inline vf vf_load(const float *p)
{
    return vld1q_f32(p);
}

static inline void vf_store(float *p, vf a)
{
    vst1q_f32(p, a);
}

static inline vf vf_set(float a)
{
    return vdupq_n_f32(a);
}

static inline vf vf_add(vf a, vf b)
{
    return vaddq_f32(a, b);
}

static inline vf vf_sub(vf a, vf b)
{
    return vsubq_f32(a, b);
}

static inline vf vf_mul(vf a, vf b)
{
    return vmulq_f32(a, b);
}

static inline vf vf_div(vf a, vf b)
{
    return vdivq_f32(a, b);
}

static inline vf vf_max(vf a, vf b)
{
    return vmaxq_f32(a, b);
}

static inline vf vf_min(vf a, vf b)
{
    return vminq_f32(a, b);
}

/* a * b + c */
static inline vf vf_fma(vf a, vf b, vf c)
{
    return vfmaq_f32(c, a, b);
}

/* c - a * b */
static inline vf vf_fnma(vf a, vf b, vf c)
{
    return vfmsq_f32(c, a, b);
}

static inline vf vf_abs(vf a)
{
    return vabsq_f32(a);
}

static inline float vf_highest(vf a)
{
    return vmaxvq_f32(a);
}

static inline vf vf_load_f16(const void *p)
{
    float16x4_t halves;
    memcpy(&halves, p, sizeof halves);
    return vcvt_f32_f16(halves);
}

static inline vf vf_load_i8(const void *p)
{
    int8_t bytes[8] = {0};
    memcpy(bytes, p, VF_LANES);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(bytes)))));
}

static inline float vf_scalar_f16(const void *p)
{
    __fp16 half;
    memcpy(&half, p, sizeof half);
    return (float)half;
}

static inline vf vf_round(vf a)
{
    return vrndnq_f32(a);
}

/* a times 2 to the power of n, n whole and at most 127; below -126 exactly 0, as an exponent field
 * of 0 makes it. */
static inline vf vf_scale_by_power(vf a, vf n)
{
    int32x4_t field = vcvtq_s32_f32(vf_max(n, vf_set(-127)));
    field = vshlq_n_s32(vaddq_s32(field, vdupq_n_s32(127)), 23);
    return vmulq_f32(a, vreinterpretq_f32_s32(field));
}

/* Rows become columns. */
static inline void vf_transpose(vf r[VF_LANES])
{
    float32x4x2_t ab = vtrnq_f32(r[0], r[1]), cd = vtrnq_f32(r[2], r[3]);
    r[0] = vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0]));
    r[1] = vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1]));
    r[2] = vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0]));
    r[3] = vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1]));
}

/* ---- Eight floats ---- */

typedef float32x4x2_t v8;

static inline v8 v8_load(const float *p)
{
    return (v8){{vld1q_f32(p), vld1q_f32(p + 4)}};
}

static inline void v8_store(float *p, v8 a)
{
    vst1q_f32(p, a.val[0]);
    vst1q_f32(p + 4, a.val[1]);
}

static inline v8 v8_set(float a)
{
    return (v8){{vdupq_n_f32(a), vdupq_n_f32(a)}};
}

static inline v8 v8_add(v8 a, v8 b)
{
    return (v8){{vaddq_f32(a.val[0], b.val[0]), vaddq_f32(a.val[1], b.val[1])}};
}

static inline v8 v8_mul(v8 a, v8 b)
{
    return (v8){{vmulq_f32(a.val[0], b.val[0]), vmulq_f32(a.val[1], b.val[1])}};
}

/* c - a * b */
static inline v8 v8_fnma(v8 a, v8 b, v8 c)
{
    return (v8){{vfmsq_f32(c.val[0], a.val[0], b.val[0]), vfmsq_f32(c.val[1], a.val[1], b.val[1])}};
}

/* a * b + c */
static inline v8 v8_fma(v8 a, v8 b, v8 c)
{
    return (v8){{vfmaq_f32(c.val[0], a.val[0], b.val[0]), vfmaq_f32(c.val[1], a.val[1], b.val[1])}};
}

/* Rows become columns: each quarter does, and two of them change places. */
static inline void v8_transpose(v8 r[8])
{
    vf quarter[2][2][4]; /* rows, columns */
    for (int i = 0; i < 8; i++)
        for (int half = 0; half < 2; half++)
            quarter[i / 4][half][i % 4] = r[i].val[half];
    for (int i = 0; i < 4; i++)
        vf_transpose(quarter[i / 2][i % 2]);
    for (int i = 0; i < 8; i++)
        for (int half = 0; half < 2; half++)
            r[i].val[half] = quarter[half][i / 4][i % 4];
}
