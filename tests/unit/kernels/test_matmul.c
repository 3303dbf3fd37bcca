/* Matrix products against the sum, in double precision, of what ggml itself says that the weights
 * are, on every instruction set that is here.
 *
 * The bound.  An activation is off by at most half a step of its group, so an output by at
 * most the sum of |w| * step / 2; beyond that only floats are rounded.  Activations that are whole
 * steps must come out to a few units of rounding, which tells a wrong weight from a rounded
 * activation. */
#include "support/check.h"

#include <float.h>
#include <ggml.h>
#include <math.h>

#include "base/mem.h"
#include "kernels/matmul.h"
#include "support/team.h"

enum {
    LEAST_GROUP = 32, /* activations that share a scale, those of a block, are so many or more */
};

static const struct {
    enum ggml_type type;
    int16_t scale_at[2]; /* where a block's half floats are; -1: none */
} formats[MATMUL_FORMATS] = {
    [MATMUL_Q4_0] = {GGML_TYPE_Q4_0, {0, -1}},     [MATMUL_Q4_1] = {GGML_TYPE_Q4_1, {0, 2}},
    [MATMUL_Q5_0] = {GGML_TYPE_Q5_0, {0, -1}},     [MATMUL_Q8_0] = {GGML_TYPE_Q8_0, {0, -1}},
    [MATMUL_Q4_K] = {GGML_TYPE_Q4_K, {0, 2}},      [MATMUL_Q5_K] = {GGML_TYPE_Q5_K, {0, 2}},
    [MATMUL_Q6_K] = {GGML_TYPE_Q6_K, {208, -1}},   [MATMUL_IQ4_NL] = {GGML_TYPE_IQ4_NL, {0, -1}},
    [MATMUL_IQ4_XS] = {GGML_TYPE_IQ4_XS, {0, -1}},
};

static uint64_t seed;

static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

enum bytes { BYTES_RANDOM, BYTES_ZERO, BYTES_FF, BYTES_80, BYTES_7F };
enum activation { X_STEPS, X_ANY, X_EXTREME, X_ZERO };

struct wish {
    struct matmul_shape shape;
    enum bytes bytes;
    enum activation x;
    float scale; /* of the weights */
    size_t gap;  /* bytes behind each row of weights */
};

struct sample {
    struct matmul_args args;
    char *weights;
    float *x;
    double *wanted, *bound;
};

static void fill_weights(struct sample *s, const struct wish *wish)
{
    const struct matmul_shape *shape = &wish->shape;
    enum ggml_type type = formats[shape->format].type;
    size_t row = ggml_row_size(type, shape->n_k), block = ggml_type_size(type);
    s->args.weights_stride = row + wish->gap;
    s->weights = mem_alloc(s->args.weights_stride * (size_t)shape->n_out);
    static const int constants[] = {0, 0, 255, 128, 127};
    for (size_t i = 0; i < s->args.weights_stride * (size_t)shape->n_out; i++)
        s->weights[i] =
            (char)(wish->bytes == BYTES_RANDOM ? (int)draw(256) : constants[wish->bytes]);
    for (int64_t out = 0; out < shape->n_out; out++)
        for (size_t at = 0; at < row; at += block)
            for (int i = 0; i < 2 && formats[shape->format].scale_at[i] >= 0; i++) {
                float value = ((float)draw(2001) / 1000 - 1) * wish->scale;
                ggml_fp16_t half = ggml_fp32_to_fp16(value);
                memcpy(s->weights + (size_t)out * s->args.weights_stride + at +
                           (size_t)formats[shape->format].scale_at[i],
                       &half, sizeof half);
            }
    s->args.weights = s->weights;
}

static void fill_x(struct sample *s, const struct wish *wish)
{
    size_t n_k = (size_t)wish->shape.n_k, stride = n_k + 3; /* rows need not be aligned */
    s->args.x_stride = stride * sizeof(float);
    s->x = mem_alloc(stride * (size_t)wish->shape.n_rows * sizeof(float));
    for (size_t row = 0; row < (size_t)wish->shape.n_rows; row++)
        for (size_t k = 0; k < n_k; k++) {
            float *x = s->x + row * stride + k;
            switch (wish->x) {
            case X_STEPS: /* the first of a group sets the step to 1/32 */
                *x = k % LEAST_GROUP == 0 ? 127.0f / 32 : ((float)draw(255) - 127) / 32;
                break;
            case X_ANY:
                *x = ((float)draw(20001) / 10000 - 1) * (k % 97 == 0 ? 40.0f : 1.0f);
                break;
            case X_EXTREME:
                *x = k / 7 % 2 ? -127.0f / 32 : 127.0f / 32;
                break;
            case X_ZERO:
                *x = 0;
                break;
            }
        }
    s->args.x = s->x;
}

static int64_t block_of(int format)
{
    return ggml_blck_size(formats[format].type);
}

static void refer(struct sample *s, const struct wish *wish)
{
    const struct matmul_shape *shape = &wish->shape;
    size_t n_k = (size_t)shape->n_k;
    size_t step = (size_t)block_of(shape->format);
    size_t n = (size_t)(shape->n_out * shape->n_rows);
    float *w = mem_alloc(n_k * sizeof *w);
    s->wanted = mem_alloc(n * sizeof *s->wanted);
    s->bound = mem_alloc(n * sizeof *s->bound);
    ggml_to_float_t to_float = ggml_get_type_traits(formats[shape->format].type)->to_float;
    for (int64_t out = 0; out < shape->n_out; out++) {
        to_float(s->weights + (size_t)out * s->args.weights_stride, w, shape->n_k);
        for (int64_t row = 0; row < shape->n_rows; row++) {
            const float *x = (const float *)((const char *)s->x + (size_t)row * s->args.x_stride);
            double sum = 0, bound = 0, size = 0, largest = 0;
            for (size_t k = 0; k < n_k; k++)
                largest = fmax(largest, fabs((double)w[k]));
            for (size_t group = 0; group < n_k; group += step) {
                double most = 0, weight = 0;
                for (size_t k = group; k < group + step && k < n_k; k++) {
                    sum += (double)w[k] * (double)x[k];
                    most = fmax(most, fabs((double)x[k]));
                    weight += fabs((double)w[k]);
                    size += fabs((double)x[k]);
                }
                bound += wish->x == X_ANY ? weight * most / 127 / 2 : 0;
            }
            s->wanted[row * shape->n_out + out] = sum;
            /* Scale times q and minimum are larger than the weight that is left of them. */
            s->bound[row * shape->n_out + out] =
                bound * 1.001 + size * (largest + 64 * (double)wish->scale) * 8 * FLT_EPSILON;
        }
    }
    mem_free(w);
}

struct run {
    enum kernel_isa isa;
    struct matmul_args args;
};

static void run_member(const struct kernel_team *team, void *arg)
{
    struct run *run = arg;
    matmul_run(run->isa, &run->args, team);
}

static float *compute(const struct sample *s, enum kernel_isa isa, int n_threads)
{
    struct run run = {isa, s->args};
    size_t n = (size_t)(s->args.shape.n_out * s->args.shape.n_rows);
    float *y = mem_alloc(n * sizeof *y);
    for (size_t i = 0; i < n; i++)
        y[i] = NAN;
    run.args.y = y;
    run.args.y_stride = (size_t)s->args.shape.n_out * sizeof *y;
    size_t bytes = matmul_work_bytes(isa, &s->args.shape, n_threads);
    char *work = mem_alloc(bytes + 64);
    run.args.work = work + (64 - (uintptr_t)work % 64);
    memset(run.args.work, 0xff, bytes);
    team_run(n_threads, run_member, &run);
    mem_free(work);
    return y;
}

static void check_close(const struct sample *s, const float *got, enum kernel_isa isa)
{
    const struct matmul_shape *shape = &s->args.shape;
    for (int64_t i = 0; i < shape->n_out * shape->n_rows; i++)
        if (!(fabs((double)got[i] - s->wanted[i]) <= s->bound[i]))
            fail_msg("%s, format %d, %lld x %lld x %lld, row %lld, output %lld: got %.9g, wanted "
                     "%.9g, bound %g",
                     isa_name(isa), (int)shape->format, (long long)shape->n_k,
                     (long long)shape->n_out, (long long)shape->n_rows,
                     (long long)(i / shape->n_out), (long long)(i % shape->n_out), (double)got[i],
                     s->wanted[i], s->bound[i]);
}

static void check_wish(const struct wish *wish)
{
    struct sample s = {.args = {.shape = wish->shape}};
    fill_weights(&s, wish);
    fill_x(&s, wish);
    refer(&s, wish);
    for (int i = KERNEL_ISA_NONE + 1; i < KERNEL_ISA_COUNT; i++) {
        enum kernel_isa isa = (enum kernel_isa)i;
        if (!isa_is_here(isa) || !matmul_handles(isa, &wish->shape))
            continue; /* not this processor's; which formats are handled is a test of its own */
        float *one = compute(&s, isa, 1), *three = compute(&s, isa, 3);
        check_close(&s, one, isa);
        assert_memory_equal(one, three,
                            (size_t)(wish->shape.n_out * wish->shape.n_rows) * sizeof *one);
        mem_free(one);
        mem_free(three);
    }
    mem_free(s.weights);
    mem_free(s.x);
    mem_free(s.wanted);
    mem_free(s.bound);
}

static void test_matmul__every_format_and_number_of_rows(void **state)
{
    (void)state;
    static const int64_t rows[] = {1, 2, 3, 4, 5, 7, 8, 11, 12, 13, 25, 31, 32, 33, 70};
    for (int format = 0; format < MATMUL_FORMATS; format++) {
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            seed = (uint64_t)format * 100 + i;
            struct wish wish = {
                {format, 3 * block_of(format), 37, rows[i]}, BYTES_RANDOM, X_STEPS, 0.02f, 0};
            check_wish(&wish);
            wish.x = X_ANY;
            check_wish(&wish);
        }
    }
}

static void test_matmul__widths_around_slabs_chunks_and_groups(void **state)
{
    (void)state;
    static const int64_t outs[] = {1, 3, 4, 8, 15, 16, 17, 64, 65, 200};
    static const int64_t blocks[] = {1, 2, 5, 17, 28, 33};
    for (int format = 0; format < MATMUL_FORMATS; format++) {
        for (size_t i = 0; i < 10; i++) {
            seed = (uint64_t)format * 1000 + i;
            struct wish wish = {{format, blocks[i % 6] * block_of(format), outs[i], i % 2 ? 1 : 14},
                                BYTES_RANDOM,
                                X_STEPS,
                                0.02f,
                                0};
            check_wish(&wish);
        }
    }
}

/* More than a team's threads take in one piece each: up to 4 rows from 2^23 weights on. */
static void test_matmul__many_weights_of_few_rows_are_shared_out(void **state)
{
    (void)state;
    for (int format = 0; format < MATMUL_FORMATS; format++) {
        seed = (uint64_t)format;
        struct wish wish = {{format, 8192, 1100, 1}, BYTES_RANDOM, X_STEPS, 0.02f, 0};
        check_wish(&wish);
        wish.shape = (struct matmul_shape){format, 512, 1100, 9};
        check_wish(&wish);
    }
}

static void test_matmul__rows_of_weights_that_lie_apart(void **state)
{
    (void)state;
    for (int format = 0; format < MATMUL_FORMATS; format++) {
        for (unsigned i = 0; i < 2; i++) {
            seed = (uint64_t)format;
            struct wish wish = {
                {format, 2 * block_of(format), 19, i ? 1 : 9}, BYTES_RANDOM, X_STEPS, 0.02f, 46};
            check_wish(&wish);
        }
    }
}

/* Where sums of pairs would overflow 16 bits, they do it here. */
static void test_matmul__largest_weights_times_largest_activations(void **state)
{
    (void)state;
    for (int format = 0; format < MATMUL_FORMATS; format++) {
        for (int bytes = BYTES_ZERO; bytes <= BYTES_7F; bytes++) {
            seed = (uint64_t)format;
            for (int64_t n_rows = 1; n_rows <= 14; n_rows += 13) {
                struct wish wish = {
                    {format, 2 * block_of(format), 17, n_rows}, bytes, X_EXTREME, 0.02f, 0};
                check_wish(&wish);
            }
        }
    }
}

static void test_matmul__scales_of_any_size_and_rows_of_zeros(void **state)
{
    (void)state;
    static const float scales[] = {0, 1e-6f, 200};
    for (int format = 0; format < MATMUL_FORMATS; format++) {
        for (unsigned i = 0; i < 3; i++) {
            seed = (uint64_t)format + i;
            struct wish wish = {{format, 2 * block_of(format), 17, i + 1 + 4 * i},
                                BYTES_RANDOM,
                                X_ANY,
                                scales[i],
                                0};
            check_wish(&wish);
            wish.x = X_ZERO;
            check_wish(&wish);
        }
    }
}

/* A row's bits do not depend on how many rows are multiplied with it: all of them take the wide
 * form, up to MATMUL_NARROW_ROWS the narrow one. */
static void check_row_is_itself(const struct sample *s, const struct wish *wish, int64_t n_rows)
{
    size_t bytes = (size_t)wish->shape.n_out * sizeof(float);
    for (int i = KERNEL_ISA_NONE + 1; i < KERNEL_ISA_COUNT; i++) {
        enum kernel_isa isa = (enum kernel_isa)i;
        if (!isa_is_here(isa) || !matmul_handles(isa, &wish->shape))
            continue; /* not this processor's */
        float *all = compute(s, isa, 2);
        struct sample some = *s;
        for (int64_t row = 0; row + n_rows <= wish->shape.n_rows; row += n_rows) {
            some.args.shape.n_rows = n_rows;
            some.args.x = (const float *)((const char *)s->args.x + (size_t)row * s->args.x_stride);
            float *few = compute(&some, isa, 2);
            assert_memory_equal(few, all + row * wish->shape.n_out, bytes * (size_t)n_rows);
            mem_free(few);
        }
        mem_free(all);
    }
}

static void test_matmul__a_row_is_the_same_alone_and_among_others(void **state)
{
    (void)state;
    static const int64_t blocks[] = {1, 3, 18, 28}, outs[] = {37, 300, 5, 37};
    for (int format = 0; format < MATMUL_FORMATS; format++) {
        for (size_t i = 0; i < 4; i++) {
            seed = (uint64_t)format * 10 + i;
            struct wish wish = {
                {format, blocks[i] * block_of(format), outs[i], 26}, BYTES_RANDOM, X_ANY, 0.02f, 0};
            struct sample s = {.args = {.shape = wish.shape}};
            fill_weights(&s, &wish);
            fill_x(&s, &wish);
            for (int64_t n_rows = 1; n_rows <= 13; n_rows++)
                check_row_is_itself(&s, &wish, n_rows);
            mem_free(s.weights);
            mem_free(s.x);
        }
    }
}

static void test_matmul__handles_the_formats_that_it_lists(void **state)
{
    (void)state;
    for (int i = KERNEL_ISA_AVX2; i <= KERNEL_ISA_AVX512_VNNI; i++) {
        enum kernel_isa isa = (enum kernel_isa)i;
        for (int format = 0; isa_is_here(isa) && format < MATMUL_FORMATS; format++) {
            struct matmul_shape shape = {format, 512, 64, 1};
            assert_true(matmul_handles(isa, &shape));
            shape.n_k = 511;
            assert_false(matmul_handles(isa, &shape));
        }
    }
    struct matmul_shape shape = {MATMUL_Q8_0, 512, 64, 1};
    assert_false(matmul_handles(KERNEL_ISA_NONE, &shape));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul__every_format_and_number_of_rows),
        cmocka_unit_test(test_matmul__widths_around_slabs_chunks_and_groups),
        cmocka_unit_test(test_matmul__many_weights_of_few_rows_are_shared_out),
        cmocka_unit_test(test_matmul__rows_of_weights_that_lie_apart),
        cmocka_unit_test(test_matmul__largest_weights_times_largest_activations),
        cmocka_unit_test(test_matmul__scales_of_any_size_and_rows_of_zeros),
        cmocka_unit_test(test_matmul__a_row_is_the_same_alone_and_among_others),
        cmocka_unit_test(test_matmul__handles_the_formats_that_it_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
