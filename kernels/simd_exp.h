/* simd_exp -- powers of two and the hyperbolic tangent, over whichever simd_*.h was included
 * before.
 *
 * 2^x = 2^n * 2^f with n the nearest whole number and f in [-1/2, 1/2], where the Taylor series of
 * e^(f ln 2) up to f^6 gives 2^f: what it leaves out is at most (ln 2 / 2)^7 / 7! = 1.2e-7, the
 * last bit of a float.  -inf, as a masked score is, gives exactly 0. */
#pragma once

static inline vf vf_exp2(vf x)
{
    x = vf_min(vf_max(x, vf_set(-200)), vf_set(127));
    vf n = vf_round(x);
    vf f = vf_sub(x, n);
    vf p = vf_set(1.5403530e-4f);
    p = vf_fma(p, f, vf_set(1.3333558e-3f));
    p = vf_fma(p, f, vf_set(9.6181291e-3f));
    p = vf_fma(p, f, vf_set(5.5504109e-2f));
    p = vf_fma(p, f, vf_set(2.4022651e-1f));
    p = vf_fma(p, f, vf_set(6.9314718e-1f));
    p = vf_fma(p, f, vf_set(1));
    return vf_scale_by_power(p, n);
}

/* tanh x = 1 - 2 / (e^(2x) + 1); its absolute error is that of a float near 1. */
static inline vf vf_tanh(vf x)
{
    vf e = vf_exp2(vf_mul(x, vf_set(2.8853900817779268f)));
    return vf_sub(vf_set(1), vf_div(vf_set(2), vf_add(e, vf_set(1))));
}
