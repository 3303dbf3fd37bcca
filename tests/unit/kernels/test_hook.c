/* The hook inside the real ggml: the same graph, computed by ggml alone and by our kernels. */
#include "support/check.h"

#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <math.h>

#include "base/mem.h"
#include "kernels/hook.h"

enum {
    N_THREADS = 2,
    ARENA_BYTES = 64 << 20,
};

static uint64_t seed = 5;

static float draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(seed >> 40) / (float)(1 << 23) - 1;
}

static void fill(struct ggml_tensor *t)
{
    for (int64_t i = 0; i < ggml_nelements(t); i++) {
        float value = draw();
        if (t->type == GGML_TYPE_F32)
            ((float *)t->data)[i] = value;
        else
            ((ggml_fp16_t *)t->data)[i] = ggml_fp32_to_fp16(value);
    }
}

static struct ggml_context *new_context(void)
{
    struct ggml_init_params params = {.mem_size = ARENA_BYTES};
    struct ggml_context *context = ggml_init(params);
    assert_non_null(context);
    return context;
}

/* Computes the graph that ends in `result` and returns a copy of its values. */
static float *compute(struct ggml_context *context, struct ggml_tensor *result, enum kernel_isa isa)
{
    kernels_use(isa);
    struct ggml_cgraph *graph = ggml_new_graph(context);
    ggml_build_forward_expand(graph, result);
    assert_int_equal(ggml_graph_compute_with_ctx(context, graph, N_THREADS), GGML_STATUS_SUCCESS);
    float *copy = mem_alloc(ggml_nbytes(result));
    memcpy(copy, result->data, ggml_nbytes(result));
    kernels_use(KERNEL_ISA_NONE);
    return copy;
}

static void check_same(struct ggml_context *context, struct ggml_tensor *result, float bound)
{
    uint64_t before = kernels_n_computed();
    float *theirs = compute(context, result, KERNEL_ISA_NONE);
    assert_int_equal(kernels_n_computed(), before);
    float *ours = compute(context, result, isa_best());
    assert_int_equal(kernels_n_computed(), before + 1);
    for (int64_t i = 0; i < ggml_nelements(result); i++)
        if (!(fabsf(ours[i] - theirs[i]) <= bound))
            fail_msg("value %lld: ours %g, ggml's %g", (long long)i, (double)ours[i],
                     (double)theirs[i]);
    mem_free(theirs);
    mem_free(ours);
}

/* Attention as libllama lays it out: all heads of a cell side by side. */
static struct ggml_tensor *attention(struct ggml_context *context, int64_t n_tokens, int64_t n_keys,
                                     int64_t width)
{
    enum { HEADS = 6, KV_HEADS = 2 };
    struct ggml_tensor *q = ggml_new_tensor_3d(context, GGML_TYPE_F32, width, HEADS, n_tokens);
    struct ggml_tensor *k = ggml_new_tensor_3d(context, GGML_TYPE_F16, width, KV_HEADS, n_keys);
    struct ggml_tensor *v = ggml_new_tensor_3d(context, GGML_TYPE_F16, width, KV_HEADS, n_keys);
    struct ggml_tensor *mask = ggml_new_tensor_2d(context, GGML_TYPE_F16, n_keys, n_tokens);
    fill(q);
    fill(k);
    fill(v);
    for (int64_t token = 0; token < n_tokens; token++)
        for (int64_t key = 0; key < n_keys; key++)
            ((ggml_fp16_t *)mask->data)[token * n_keys + key] =
                ggml_fp32_to_fp16(key <= n_keys - n_tokens + token ? 0 : -INFINITY);
    return ggml_flash_attn_ext(
        context, ggml_permute(context, q, 0, 2, 1, 3), ggml_permute(context, k, 0, 2, 1, 3),
        ggml_permute(context, v, 0, 2, 1, 3), mask, 1 / sqrtf((float)width), 0, 0);
}

static void test_hook__attention_is_computed_by_us_as_by_ggml(void **state)
{
    (void)state;
    static const int64_t cases[][3] = {{1, 256, 64}, {1, 1024, 128}, {33, 512, 64}, {80, 768, 96}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ggml_context *context = new_context();
        struct ggml_tensor *result = attention(context, cases[i][0], cases[i][1], cases[i][2]);
        /* ggml's own sums are in half floats where one token asks. */
        check_same(context, result, 2e-3f);
        ggml_free(context);
    }
}

static struct ggml_tensor *product(struct ggml_context *context, enum ggml_type type, int64_t n_k,
                                   int64_t n_out, int64_t n_rows)
{
    struct ggml_tensor *w = ggml_new_tensor_2d(context, type, n_k, n_out);
    struct ggml_tensor *x = ggml_new_tensor_2d(context, GGML_TYPE_F32, n_k, n_rows);
    float *values = mem_alloc((size_t)(n_k * n_out) * sizeof *values);
    for (int64_t i = 0; i < n_k * n_out; i++)
        values[i] = draw();
    ggml_quantize_chunk(type, values, w->data, 0, n_out, n_k, NULL);
    mem_free(values);
    fill(x);
    return ggml_mul_mat(context, w, x);
}

static void test_hook__products_are_computed_by_us_as_by_ggml(void **state)
{
    (void)state;
    static const enum ggml_type types[] = {GGML_TYPE_Q4_0, GGML_TYPE_Q5_0, GGML_TYPE_Q8_0,
                                           GGML_TYPE_Q4_K, GGML_TYPE_Q6_K, GGML_TYPE_IQ4_NL};
    static const int64_t rows[] = {1, 4, 40};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        for (size_t j = 0; j < sizeof rows / sizeof *rows; j++) {
            struct ggml_context *context = new_context();
            /* Both round activations, with other steps: sqrt(512) errors of 1/250 each. */
            check_same(context, product(context, types[i], 512, 70, rows[j]), 0.2f);
            ggml_free(context);
        }
    }
}

/* Which experts a token uses: all different, and one that all tokens use where `is_crowded`. */
static void choose_experts(struct ggml_tensor *ids, int64_t n_experts, bool is_crowded)
{
    for (int64_t token = 0; token < ids->ne[1]; token++)
        for (int64_t slot = 0; slot < ids->ne[0]; slot++) {
            int64_t expert = (token * 5 + slot) % n_experts;
            if (is_crowded)
                expert = slot;
            ((int32_t *)ids->data)[token * ids->ne[0] + slot] = (int32_t)expert;
        }
}

static void check_experts(enum ggml_type type, int64_t n_tokens, bool each_slot, bool is_crowded)
{
    enum { K = 512, OUT = 70, EXPERTS = 7, SLOTS = 3 };
    struct ggml_context *context = new_context();
    struct ggml_tensor *w = ggml_new_tensor_3d(context, type, K, OUT, EXPERTS);
    struct ggml_tensor *x =
        ggml_new_tensor_3d(context, GGML_TYPE_F32, K, each_slot ? SLOTS : 1, n_tokens);
    struct ggml_tensor *ids = ggml_new_tensor_2d(context, GGML_TYPE_I32, SLOTS, n_tokens);
    float *values = mem_alloc(sizeof *values * K * OUT * EXPERTS);
    for (int64_t i = 0; i < (int64_t)K * OUT * EXPERTS; i++)
        values[i] = draw();
    ggml_quantize_chunk(type, values, w->data, 0, OUT * EXPERTS, K, NULL);
    mem_free(values);
    fill(x);
    choose_experts(ids, EXPERTS, is_crowded);
    check_same(context, ggml_mul_mat_id(context, w, x, ids), 0.2f);
    ggml_free(context);
}

static void test_hook__experts_are_computed_by_us_as_by_ggml(void **state)
{
    (void)state;
    static const int64_t tokens[] = {1, 2, 9, 40, 530};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        check_experts(GGML_TYPE_Q5_0, tokens[i], false, false);
        check_experts(GGML_TYPE_Q6_K, tokens[i], true, false);
        check_experts(GGML_TYPE_Q8_0, tokens[i], true, true);
    }
}

static void test_hook__what_no_kernel_handles_is_computed_by_ggml(void **state)
{
    (void)state;
    struct ggml_context *context = new_context();
    struct ggml_tensor *result = attention(context, 4, 256, 40);
    uint64_t before = kernels_n_computed();
    mem_free(compute(context, result, isa_best()));
    assert_int_equal(kernels_n_computed(), before);
    ggml_free(context);
}

static int install(void **state)
{
    (void)state;
    assert_true(kernels_install());
    assert_true(kernels_install());
    return 0;
}

int main(void)
{
    if (isa_best() == KERNEL_ISA_NONE) {
        printf("skipped: this processor has none of the kernels' instruction sets\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hook__attention_is_computed_by_us_as_by_ggml),
        cmocka_unit_test(test_hook__products_are_computed_by_us_as_by_ggml),
        cmocka_unit_test(test_hook__experts_are_computed_by_us_as_by_ggml),
        cmocka_unit_test(test_hook__what_no_kernel_handles_is_computed_by_ggml),
    };
    return cmocka_run_group_tests(tests, install, NULL);
}
