#include "kernels/ggml_ops.h"

#include <ggml-backend.h>
#include <ggml.h>
#include <string.h>

_Static_assert(GGML_MAX_SRC >= 5 && GGML_MAX_OP_PARAMS >= 12, "no room for attention's operands");

/* ---- Attention ---- */

static bool attention_format_of(enum ggml_type type, enum attention_format *out)
{
    *out = type == GGML_TYPE_F16 ? ATTENTION_F16 : ATTENTION_Q8_0;
    return type == GGML_TYPE_F16 || type == GGML_TYPE_Q8_0;
}

static struct attention_rows rows_of(const struct ggml_tensor *t)
{
    return (struct attention_rows){t->data, t->nb[1], t->nb[2]};
}

bool ggml_ops_read_attention(const struct ggml_tensor *op, enum kernel_isa isa,
                             struct attention_args *args)
{
    const struct ggml_tensor *q = op->src[0], *k = op->src[1], *v = op->src[2], *mask = op->src[3];
    *args = (struct attention_args){
        .shape = {.d_k = k->ne[0],
                  .d_v = v->ne[0],
                  .n_tokens = q->ne[1],
                  .n_heads = q->ne[2],
                  .n_kv_heads = k->ne[2],
                  .n_keys = k->ne[1]},
        .q = rows_of(q),
        .k = rows_of(k),
        .v = rows_of(v),
        .mask = mask != NULL ? mask->data : NULL,
        .mask_stride = mask != NULL ? mask->nb[1] : 0,
        .sinks = op->src[4] != NULL ? op->src[4]->data : NULL,
        .y = op->data,
    };
    float params[3];
    memcpy(params, op->op_params, sizeof params);
    args->scale = params[0];
    args->max_bias = params[1];
    args->softcap = params[2];
    return attention_format_of(k->type, &args->shape.k_format) &&
           attention_format_of(v->type, &args->shape.v_format) && q->type == GGML_TYPE_F32 &&
           q->nb[0] == sizeof(float) && q->ne[3] == 1 && k->ne[3] == 1 && v->ne[2] == k->ne[2] &&
           ggml_is_contiguous(op) &&
           (mask == NULL || (mask->type == GGML_TYPE_F16 && mask->ne[2] == 1)) &&
           attention_handles(isa, &args->shape);
}

/* ---- Matrix products ---- */

static bool matmul_format_of(enum ggml_type type, enum matmul_format *out)
{
    static const struct {
        enum ggml_type type;
        enum matmul_format format;
    } formats[] = {
        {GGML_TYPE_Q4_0, MATMUL_Q4_0},     {GGML_TYPE_Q4_1, MATMUL_Q4_1},
        {GGML_TYPE_Q5_0, MATMUL_Q5_0},     {GGML_TYPE_Q8_0, MATMUL_Q8_0},
        {GGML_TYPE_Q4_K, MATMUL_Q4_K},     {GGML_TYPE_Q5_K, MATMUL_Q5_K},
        {GGML_TYPE_Q6_K, MATMUL_Q6_K},     {GGML_TYPE_IQ4_NL, MATMUL_IQ4_NL},
        {GGML_TYPE_IQ4_XS, MATMUL_IQ4_XS},
    };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        *out = formats[i].format;
        if (formats[i].type == type)
            return true;
    }
    return false;
}

/* Rows of all dimensions lie at one distance from each other. */
static bool has_even_rows(const struct ggml_tensor *x)
{
    return x->nb[0] == ggml_type_size(x->type) &&
           (x->ne[2] == 1 || x->nb[2] == x->nb[1] * (size_t)x->ne[1]) &&
           (x->ne[3] == 1 || x->nb[3] == x->nb[2] * (size_t)x->ne[2]);
}

/* Weights that another buffer type has laid out anew are not for us. */
static bool lies_as_in_the_file(const struct ggml_tensor *w)
{
    return w->buffer == NULL || ggml_backend_buffer_is_host(w->buffer);
}

bool ggml_ops_read_matmul(const struct ggml_tensor *op, enum kernel_isa isa,
                          struct matmul_args *args)
{
    const struct ggml_tensor *w = op->src[0], *x = op->src[1];
    *args = (struct matmul_args){
        .shape = {.n_k = w->ne[0], .n_out = w->ne[1], .n_rows = ggml_nrows(x)},
        .weights = w->data,
        .weights_stride = w->nb[1],
        .x = x->data,
        .x_stride = x->nb[1],
        .y = op->data,
        .y_stride = op->nb[1],
    };
    return matmul_format_of(w->type, &args->shape.format) && x->type == GGML_TYPE_F32 &&
           w->ne[2] == 1 && w->ne[3] == 1 && has_even_rows(x) && ggml_is_contiguous(op) &&
           lies_as_in_the_file(w) && matmul_handles(isa, &args->shape);
}

bool ggml_ops_read_experts(const struct ggml_tensor *op, enum kernel_isa isa,
                           struct experts_args *args)
{
    const struct ggml_tensor *w = op->src[0], *x = op->src[1], *ids = op->src[2];
    int64_t n_slots = ids->ne[0], n_tokens = ids->ne[1];
    *args = (struct experts_args){
        .shape = {.expert = {.n_k = w->ne[0], .n_out = w->ne[1], .n_rows = n_slots * n_tokens},
                  .n_experts = w->ne[2],
                  .n_tokens = n_tokens,
                  .n_slots = n_slots},
        .weights = w->data,
        .weights_stride = w->nb[1],
        .expert_stride = w->nb[2],
        .ids = ids->data,
        .ids_stride = ids->nb[1],
        .x = x->data,
        .x_token_stride = x->nb[2],
        .x_slot_stride = x->ne[1] == 1 ? 0 : x->nb[1],
        .y = op->data,
        .y_token_stride = op->nb[2],
        .y_slot_stride = op->nb[1],
    };
    return matmul_format_of(w->type, &args->shape.expert.format) && x->type == GGML_TYPE_F32 &&
           x->nb[0] == sizeof(float) && (x->ne[1] == 1 || x->ne[1] == n_slots) &&
           x->ne[2] == n_tokens && x->ne[3] == 1 && ids->nb[0] == sizeof(int32_t) &&
           ids->ne[2] == 1 && w->ne[3] == 1 && ggml_is_contiguous(op) && lies_as_in_the_file(w) &&
           experts_handles(isa, &args->shape);
}
