/* matmul -- the product of quantised weights with rows of activations:
 *
 *      y[row][out] = sum over k of w[out][k] * x[row][k]
 *
 * The weights stay as they are in the mapped file; nothing is repacked for keeps.  Two forms:
 *
 *   wide      reading a prompt: slabs of weights are unpacked on the fly, a chunk
 *             at a time, to an interleaved panel, which all rows then use;
 *   narrow    up to twelve rows, as in writing: eight outputs at a time, each weight read once from
 *             memory, straight from its block.
 *
 * Activations are rounded to 8 bits, with a scale for each 32 or, with K blocks, 256 of them.
 *
 * What it is not: general.  What matmul_handles declines goes ggml's own way.
 *
 * A row comes out the same to the bit whatever rows are multiplied with it, by whichever form and
 * on any number of threads. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/isa.h"
#include "kernels/team.h"

/* How weights are stored, in blocks along k.  The layouts are ggml's (matmul_formats.h).  F16 and
 * BF16 are not among them: ggml's own products reach 3/4 of the peak with many rows, and memory's
 * speed with one (bench/kernels). */
enum matmul_format {
    MATMUL_Q4_0,
    MATMUL_Q4_1,
    MATMUL_Q5_0,
    MATMUL_Q8_0,
    MATMUL_Q4_K,
    MATMUL_Q5_K,
    MATMUL_Q6_K,
    MATMUL_IQ4_NL,
    MATMUL_IQ4_XS,
    MATMUL_FORMATS,
};

struct matmul_shape {
    enum matmul_format format;
    int64_t n_k;    /* a multiple of the format's block */
    int64_t n_out;  /* rows of weights */
    int64_t n_rows; /* rows of activations, >= 1 */
};

struct matmul_args {
    struct matmul_shape shape;
    const void *weights;
    size_t weights_stride; /* bytes from one row of weights to the next */
    const float *x;
    size_t x_stride; /* bytes */
    float *y;
    size_t y_stride; /* bytes; the outputs of a row are contiguous */
    void *work;      /* matmul_work_bytes, 64-byte aligned, shared by the team */
};

/* Whether matmul_run computes this shape on this instruction set. */
bool matmul_handles(enum kernel_isa isa, const struct matmul_shape *shape);

/* Bytes of `work` for a team of n_threads. */
size_t matmul_work_bytes(enum kernel_isa isa, const struct matmul_shape *shape, int n_threads);

/* Called by every thread of the team with the same arguments.  Returns without a last barrier: ggml
 * has one between operations. */
void matmul_run(enum kernel_isa isa, const struct matmul_args *args,
                const struct kernel_team *team);
