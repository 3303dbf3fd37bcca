/* Products with experts against the products of single rows, which test_matmul.c holds to their
 * definition, and for teams of several sizes. */
#include "support/check.h"

#include <math.h>

#include "base/mem.h"
#include "kernels/experts.h"
#include "support/team.h"

enum {
    K = 512,
    OUT = 37,
    EXPERTS = 6,
    GAP = 5, /* floats behind each row of x, and numbers behind each token's ids */
};

static uint64_t seed;

static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

/* One format with blocks of 32, the K blocks with minima and without, and the one whose integers
 * stand for others. */
static const struct {
    enum matmul_format format;
    size_t block_values, block_bytes;
    int scale_at[2]; /* where a block's half floats are; -1: none */
} formats[] = {
    {MATMUL_Q8_0, 32, 34, {0, -1}},     {MATMUL_Q4_K, 256, 144, {0, 2}},
    {MATMUL_Q5_K, 256, 176, {0, 2}},    {MATMUL_Q6_K, 256, 210, {208, -1}},
    {MATMUL_IQ4_XS, 256, 136, {0, -1}},
};
enum { FORMATS = sizeof formats / sizeof formats[0] };

static size_t row_bytes(int format)
{
    return K / formats[format].block_values * formats[format].block_bytes;
}

struct sample {
    int format; /* of formats[] */
    struct experts_args args;
    unsigned char *weights;
    int32_t *ids;
    float *x;
};

static void make_weights(struct sample *s)
{
    size_t bytes = EXPERTS * OUT * row_bytes(s->format), block = formats[s->format].block_bytes;
    s->weights = mem_alloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        s->weights[i] = (unsigned char)draw(256);
    for (size_t at = 0; at < bytes; at += block)
        for (int i = 0; i < 2 && formats[s->format].scale_at[i] >= 0; i++) {
            /* 2^-11 and a little, a half float */
            uint16_t scale = (uint16_t)(0x1000 + draw(0x400));
            memcpy(s->weights + at + formats[s->format].scale_at[i], &scale, sizeof scale);
        }
}

static void make_sample(struct sample *s, int format, int64_t n_tokens, int64_t n_slots,
                        bool each_slot)
{
    int64_t n_x = each_slot ? n_tokens * n_slots : n_tokens;
    s->format = format;
    make_weights(s);
    s->x = mem_alloc((size_t)n_x * (K + GAP) * sizeof *s->x);
    for (int64_t i = 0; i < n_x * (K + GAP); i++)
        s->x[i] = (float)draw(2001) / 1000 - 1;
    s->ids = mem_alloc((size_t)(n_tokens * (n_slots + GAP)) * sizeof *s->ids);
    for (int64_t i = 0; i < n_tokens * (n_slots + GAP); i++)
        s->ids[i] = draw(3) == 0 ? 2 : (int32_t)draw(EXPERTS - 1); /* the last one is idle */
    size_t row = (K + GAP) * sizeof *s->x;
    s->args = (struct experts_args){
        .shape = {.expert = {formats[format].format, K, OUT, n_tokens * n_slots},
                  .n_experts = EXPERTS,
                  .n_tokens = n_tokens,
                  .n_slots = n_slots},
        .weights = s->weights,
        .weights_stride = row_bytes(format),
        .expert_stride = row_bytes(format) * OUT,
        .ids = s->ids,
        .ids_stride = (size_t)(n_slots + GAP) * sizeof *s->ids,
        .x = s->x,
        .x_token_stride = each_slot ? (size_t)n_slots * row : row,
        .x_slot_stride = each_slot ? row : 0,
        .y_token_stride = (size_t)n_slots * OUT * sizeof(float),
        .y_slot_stride = OUT * sizeof(float),
    };
}

static void free_sample(struct sample *s)
{
    mem_free(s->weights);
    mem_free(s->x);
    mem_free(s->ids);
}

struct run {
    enum kernel_isa isa;
    struct experts_args experts;
    struct matmul_args single;
};

static void run_experts(const struct kernel_team *team, void *arg)
{
    struct run *run = arg;
    experts_run(run->isa, &run->experts, team);
}

static void run_single(const struct kernel_team *team, void *arg)
{
    struct run *run = arg;
    matmul_run(run->isa, &run->single, team);
}

/* Exactly as much as was asked for, so that a sanitizer sees a byte too far. */
static void *new_work(char **block, size_t bytes)
{
    *block = mem_alloc(bytes + 64);
    char *work = *block + (64 - (uintptr_t)*block % 64);
    memset(work, 0xff, bytes);
    return work;
}

static float *compute(const struct sample *s, enum kernel_isa isa, int n_threads)
{
    struct run run = {.isa = isa, .experts = s->args};
    size_t n = (size_t)s->args.shape.expert.n_rows * OUT;
    float *y = mem_alloc(n * sizeof *y);
    for (size_t i = 0; i < n; i++)
        y[i] = NAN;
    char *block;
    run.experts.y = y;
    run.experts.work = new_work(&block, experts_work_bytes(isa, &s->args.shape, n_threads));
    team_run(n_threads, run_experts, &run);
    mem_free(block);
    return y;
}

/* The products, one by one. */
static float *refer(const struct sample *s, enum kernel_isa isa)
{
    struct run run = {.isa = isa, .single = {.shape = s->args.shape.expert}};
    struct matmul_args *single = &run.single;
    single->shape.n_rows = 1;
    single->weights_stride = row_bytes(s->format);
    char *block;
    single->work = new_work(&block, matmul_work_bytes(isa, &single->shape, 1));
    float *y = mem_alloc((size_t)s->args.shape.expert.n_rows * OUT * sizeof *y);
    for (int64_t row = 0; row < s->args.shape.expert.n_rows; row++) {
        size_t token = (size_t)(row / s->args.shape.n_slots);
        size_t slot = (size_t)(row % s->args.shape.n_slots);
        int32_t expert = s->ids[token * (size_t)(s->args.shape.n_slots + GAP) + slot];
        single->weights = s->weights + (size_t)expert * row_bytes(s->format) * OUT;
        single->x = (const float *)((const char *)s->x + token * s->args.x_token_stride +
                                    slot * s->args.x_slot_stride);
        single->y = y + row * OUT;
        team_run(1, run_single, &run);
    }
    mem_free(block);
    return y;
}

static void check_case(int format, int64_t n_tokens, int64_t n_slots, bool each_slot,
                       enum kernel_isa isa)
{
    struct sample s;
    make_sample(&s, format, n_tokens, n_slots, each_slot);
    float *wanted = refer(&s, isa), *one = compute(&s, isa, 1), *three = compute(&s, isa, 3);
    size_t bytes = (size_t)(n_tokens * n_slots * OUT) * sizeof *one;
    assert_memory_equal(one, wanted, bytes);
    assert_memory_equal(one, three, bytes);
    mem_free(wanted);
    mem_free(one);
    mem_free(three);
    free_sample(&s);
}

/* To the bit, as a row comes out the same whatever rows are multiplied with it. */
static void test_experts__each_row_has_the_weights_that_it_chose(void **state)
{
    (void)state;
    static const int64_t tokens[] = {1, 2, 3, 7, 40, 700}; /* 700: more than one gathering */
    for (int i = KERNEL_ISA_NONE + 1; i < KERNEL_ISA_COUNT; i++)
        for (int format = 0; isa_is_here((enum kernel_isa)i) && format < FORMATS; format++)
            for (size_t j = 0; j < 6; j++) {
                seed = j;
                check_case(format, tokens[j], 3, false, (enum kernel_isa)i);
                check_case(format, tokens[j], 2, true, (enum kernel_isa)i);
            }
}

static void test_experts__handles_what_the_products_handle(void **state)
{
    (void)state;
    struct experts_shape shape = {{MATMUL_Q4_K, 256, 64, 8}, 4, 4, 2};
    assert_int_equal(experts_handles(isa_best(), &shape), isa_best() != KERNEL_ISA_NONE);
    assert_false(experts_handles(KERNEL_ISA_NONE, &shape));
    shape.expert.n_k = 255;
    assert_false(experts_handles(isa_best(), &shape));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_experts__each_row_has_the_weights_that_it_chose),
        cmocka_unit_test(test_experts__handles_what_the_products_handle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
