/* ggml_ops -- an operation of ggml's graph as the arguments of a kernel.
 *
 * What it is not: a kernel, or the hook.  It needs ggml's public header only. */
#pragma once

#include "kernels/attention.h"
#include "kernels/experts.h"
#include "kernels/matmul.h"

struct ggml_tensor;

/* False where a kernel does not handle this operation on this instruction set: then it is ggml's.
 * The answer depends on shapes and types alone, so it is the same when ggml asks for the size of
 * the work buffer and when it computes.  args->work is left for the caller. */
bool ggml_ops_read_attention(const struct ggml_tensor *op, enum kernel_isa isa,
                             struct attention_args *args);
bool ggml_ops_read_matmul(const struct ggml_tensor *op, enum kernel_isa isa,
                          struct matmul_args *args);
bool ggml_ops_read_experts(const struct ggml_tensor *op, enum kernel_isa isa,
                           struct experts_args *args);
