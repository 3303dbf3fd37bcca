/* experts -- matrix products where each row of activations has weights of its own choice, as ggml's
 * MUL_MAT_ID defines them:
 *
 *      y[token][slot] = w[ids[token][slot]] * x[token][slot]        (x: one for all slots, or each)
 *
 * A task is one expert, or some of its outputs: a thread brings the rows that chose it together,
 * multiplies them alone (matmul.h), and puts the results where they belong.  So the threads meet
 * once: a product of all threads for each expert, with barriers between them, took seconds where
 * other programs kept one of the threads waiting.
 *
 * What it is not: a kernel of its own, or routing.  An expert has few rows, so most of its products
 * are of the narrow form; what it pays beside ggml's own stands in docs/BENCHMARKS.md.
 *
 * The same arguments give the same bits, whatever the number of threads. */
#pragma once

#include "kernels/matmul.h"

struct experts_shape {
    struct matmul_shape expert; /* n_rows: tokens times slots */
    int64_t n_experts;
    int64_t n_tokens, n_slots; /* experts that each token uses */
};

struct experts_args {
    struct experts_shape shape;
    const void *weights;
    size_t weights_stride, expert_stride; /* bytes */
    const void *ids;                      /* int32, from 0 to n_experts; a token's are adjacent */
    size_t ids_stride;
    const void *x;
    size_t x_token_stride, x_slot_stride; /* x_slot_stride 0: one row for all slots */
    void *y;
    size_t y_token_stride, y_slot_stride;
    void *work; /* experts_work_bytes, 64-byte aligned, shared by the team */
};

/* Whether experts_run computes this shape on this instruction set. */
bool experts_handles(enum kernel_isa isa, const struct experts_shape *shape);

/* Bytes of `work` for a team of n_threads. */
size_t experts_work_bytes(enum kernel_isa isa, const struct experts_shape *shape, int n_threads);

/* Called by every thread of the team with the same arguments; returns without a last barrier. */
void experts_run(enum kernel_isa isa, const struct experts_args *args,
                 const struct kernel_team *team);
