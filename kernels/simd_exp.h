/* simd_exp -- powers of two and the hyperbolic tangent, over whichever simd_*.h was included
 * before.
 *
 * 2^x = 2^n * 2^f with n the nearest whole number and f in [-1/2, 1/2].  The polynomial for 2^f is
 * the one of degree 5 whose largest relative error is least (Remez's exchange; 7.5e-8, and its
 * constant rounded to 1, so that 2^0 is 1): within two units of a float's last place. */
#pragma once

/* x <= 127; -inf, as a masked score is, gives exactly 0. */
static inline vf vf_exp2(vf x)
{
    x = vf_max(x, vf_set(-200));
    vf n = vf_round(x);
    vf f = vf_sub(x, n);
    vf p = vf_set(1.327647198e-3f);
    p = vf_fma(p, f, vf_set(9.675541334e-3f));
    p = vf_fma(p, f, vf_set(5.550713274e-2f));
    p = vf_fma(p, f, vf_set(2.402211972e-1f));
    p = vf_fma(p, f, vf_set(6.931469671e-1f));
    p = vf_fma(p, f, vf_set(1));
    return vf_scale_by_power(p, n);
}

/* tanh x = 1 - 2 / (e^(2x) + 1); its absolute error is that of a float near 1. */
static inline vf vf_tanh(vf x)
{
    vf e = vf_exp2(vf_min(vf_mul(x, vf_set(2.8853900817779268f)), vf_set(64)));
    return vf_sub(vf_set(1), vf_div(vf_set(2), vf_add(e, vf_set(1))));
}
