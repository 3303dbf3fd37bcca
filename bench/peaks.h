/* peaks -- what this machine can do at most, measured: what bench-kernels holds figures against. */
#pragma once

#include "kernels/isa.h"

struct peaks {
    double f32;    /* multiply-adds of floats per second, all threads together */
    double int8;   /* products of bytes that are summed, per second */
    double memory; /* bytes read per second, of more than any cache holds */
};

/* `isa` is here. */
struct peaks peaks_measure(enum kernel_isa isa, int n_threads);
