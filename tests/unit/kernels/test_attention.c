/* Attention against a plain reference in double precision, on every instruction set that is here.
 *
 * The bound.  A score is a sum of d_k products in f32 and is rounded where it is made a power of
 * two; p is off by the score's absolute error, and y is a mean of v weighted by p.  So |y -
 * reference| is at most max |v| * 2 * e, e = 2^-23 * (d_k + 8) * max |score|, plus the error of the
 * sums over keys; `bound` below takes the same with room for the latter. */
#include "support/check.h"

#include <float.h>
#include <math.h>

#include "base/mem.h"
#include "kernels/attention.h"
#include "support/team.h"

static uint64_t seed;

static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static float draw_float(float most)
{
    return ((float)draw(20001) / 10000.0f - 1.0f) * most;
}

/* ---- Half floats ---- */

static float from_f16(uint16_t half)
{
    int exponent = half >> 10 & 31, fraction = half & 1023;
    float value = exponent == 31  ? (fraction != 0 ? NAN : INFINITY)
                  : exponent == 0 ? ldexpf((float)fraction, -24)
                                  : ldexpf((float)(fraction + 1024), exponent - 25);
    return half & 0x8000 ? -value : value;
}

/* Cuts what does not fit: which half float it is does not matter here. */
static uint16_t to_f16(float value)
{
    uint16_t sign = value < 0 ? 0x8000 : 0;
    if (isinf(value))
        return sign | 0x7c00;
    int exponent;
    float fraction = frexpf(fabsf(value), &exponent);
    if (fraction == 0 || exponent < -13)
        return sign;
    return (uint16_t)(sign | (exponent + 14) << 10 | ((int)(fraction * 2048) & 1023));
}

/* ---- A case ---- */

struct sample {
    struct attention_args args;
    float most_v, most_score;
    float *wanted;
};

static size_t row_bytes(int64_t d, enum attention_format format)
{
    return (size_t)(format == ATTENTION_F16 ? d * 2 : d / 32 * 34);
}

static float element(const struct attention_rows *rows, enum attention_format format, int64_t key,
                     int64_t head, int64_t d)
{
    const char *row = (const char *)rows->data + (size_t)key * rows->token_stride +
                      (size_t)head * rows->head_stride;
    uint16_t half;
    if (format == ATTENTION_F16) {
        memcpy(&half, row + d * 2, 2);
        return from_f16(half);
    }
    const char *block = row + d / 32 * 34;
    memcpy(&half, block, 2);
    return from_f16(half) * (float)(int8_t)block[2 + d % 32];
}

static void fill_kv(struct attention_rows *rows, const struct attention_shape *shape, int64_t d,
                    enum attention_format format, float most)
{
    size_t bytes = row_bytes(d, format);
    rows->head_stride = bytes;
    rows->token_stride = bytes * (size_t)shape->n_kv_heads;
    size_t total = rows->token_stride * (size_t)shape->n_keys;
    unsigned char *data = mem_alloc(total);
    rows->data = data;
    for (size_t at = 0; at < total; at += format == ATTENTION_F16 ? 2 : 34) {
        uint16_t half = to_f16(draw_float(format == ATTENTION_F16 ? most : most / 127));
        memcpy(data + at, &half, 2);
        for (size_t i = 2; format == ATTENTION_Q8_0 && i < 34; i++)
            data[at + i] = (unsigned char)draw(256);
    }
}

static double score(const struct attention_args *args, int64_t token, int64_t head, int64_t key)
{
    const struct attention_shape *shape = &args->shape;
    int64_t kv_head = head / (shape->n_heads / shape->n_kv_heads);
    const float *q =
        (const float *)((const char *)args->q.data + (size_t)token * args->q.token_stride +
                        (size_t)head * args->q.head_stride);
    double s = 0;
    for (int64_t d = 0; d < shape->d_k; d++)
        s += (double)q[d] * (double)element(&args->k, shape->k_format, key, kv_head, d);
    s *= (double)args->scale;
    if (args->softcap != 0)
        s = (double)args->softcap * tanh(s / (double)args->softcap);
    if (args->mask != NULL) {
        const uint16_t *mask =
            (const uint16_t *)((const char *)args->mask + (size_t)token * args->mask_stride);
        double n_even = exp2(floor(log2((double)shape->n_heads)));
        double h = (double)head;
        double slope = args->max_bias <= 0 ? 1
                       : h < n_even
                           ? pow(2, -(double)args->max_bias / n_even * (h + 1))
                           : pow(2, -(double)args->max_bias / 2 / n_even * (2 * (h - n_even) + 1));
        s += slope * (double)from_f16(mask[key]);
    }
    return s;
}

static void refer(struct sample *s, int64_t token, int64_t head, double *scores)
{
    const struct attention_shape *shape = &s->args.shape;
    int64_t kv_head = head / (shape->n_heads / shape->n_kv_heads);
    double highest = s->args.sinks != NULL ? (double)s->args.sinks[head] : -INFINITY;
    for (int64_t key = 0; key < shape->n_keys; key++) {
        scores[key] = score(&s->args, token, head, key);
        highest = fmax(highest, scores[key]);
        if (isfinite(scores[key]))
            s->most_score = fmaxf(s->most_score, (float)fabs(scores[key]));
    }
    float *out = s->wanted + (token * shape->n_heads + head) * shape->d_v;
    double sum = s->args.sinks != NULL ? exp((double)s->args.sinks[head] - highest) : 0;
    for (int64_t key = 0; key < shape->n_keys; key++) {
        scores[key] = isinf(scores[key]) ? 0 : exp(scores[key] - highest);
        sum += scores[key];
    }
    for (int64_t d = 0; d < shape->d_v; d++) {
        double y = 0;
        for (int64_t key = 0; key < shape->n_keys; key++)
            if (scores[key] != 0)
                y += scores[key] * (double)element(&s->args.v, shape->v_format, key, kv_head, d);
        out[d] = sum == 0 ? 0 : (float)(y / sum);
    }
}

struct wish {
    struct attention_shape shape;
    float most_q, most_k, most_v, softcap, max_bias;
    enum { MASK_NONE, MASK_CAUSAL, MASK_WINDOW, MASK_SEQUENCES, MASK_RANDOM, MASK_ALL } mask;
    bool has_sinks;
};

/* The last tokens of the keys ask; window: the 70 keys before them; sequences: each token sees the
 * keys of its own residue, as in a pool that several conversations share. */
static bool is_hidden(const struct wish *wish, int64_t token, int64_t key)
{
    int64_t position = wish->shape.n_keys - wish->shape.n_tokens + token;
    switch (wish->mask) {
    case MASK_NONE:
        return false;
    case MASK_CAUSAL:
        return key > position;
    case MASK_WINDOW:
        return key > position || key <= position - 70;
    case MASK_SEQUENCES:
        return key / 100 % 3 != token % 3;
    case MASK_RANDOM:
        return draw(3) == 0;
    case MASK_ALL:
        return token % 2 == 0;
    }
    return false;
}

static void make_mask(struct attention_args *args, const struct wish *wish)
{
    const struct attention_shape *shape = &wish->shape;
    args->mask_stride = (size_t)shape->n_keys * 2;
    uint16_t *mask = mem_alloc(args->mask_stride * (size_t)shape->n_tokens);
    args->mask = mask;
    for (int64_t token = 0; token < shape->n_tokens; token++)
        for (int64_t key = 0; key < shape->n_keys; key++) {
            float value = is_hidden(wish, token, key) ? -INFINITY
                          : wish->max_bias > 0
                              ? (float)(key - (shape->n_keys - shape->n_tokens + token)) / 64
                              : 0;
            mask[token * shape->n_keys + key] = to_f16(value);
        }
}

static void make_sample(struct sample *s, const struct wish *wish)
{
    const struct attention_shape *shape = &wish->shape;
    *s = (struct sample){.args = {.shape = *shape,
                                  .scale = 1 / sqrtf((float)shape->d_k),
                                  .softcap = wish->softcap,
                                  .max_bias = wish->max_bias}};
    size_t n_q = (size_t)(shape->n_tokens * shape->n_heads * shape->d_k);
    float *q = mem_alloc(n_q * sizeof *q);
    for (size_t i = 0; i < n_q; i++)
        q[i] = draw_float(wish->most_q);
    /* As ggml permutes it: a head's tokens are not adjacent. */
    s->args.q = (struct attention_rows){q, (size_t)(shape->n_heads * shape->d_k) * sizeof *q,
                                        (size_t)shape->d_k * sizeof *q};
    fill_kv(&s->args.k, shape, shape->d_k, shape->k_format, wish->most_k);
    fill_kv(&s->args.v, shape, shape->d_v, shape->v_format, wish->most_v);
    s->most_v = wish->most_v * 1.01f;
    if (wish->mask != MASK_NONE || wish->max_bias > 0)
        make_mask(&s->args, wish);
    if (wish->has_sinks) {
        float *sinks = mem_alloc((size_t)shape->n_heads * sizeof *sinks);
        for (int64_t i = 0; i < shape->n_heads; i++)
            sinks[i] = draw_float(4);
        s->args.sinks = sinks;
    }
    s->wanted =
        mem_alloc((size_t)(shape->n_tokens * shape->n_heads * shape->d_v) * sizeof *s->wanted);
    double *scores = mem_alloc((size_t)shape->n_keys * sizeof *scores);
    for (int64_t token = 0; token < shape->n_tokens; token++)
        for (int64_t head = 0; head < shape->n_heads; head++)
            refer(s, token, head, scores);
    mem_free(scores);
}

static void free_sample(struct sample *s)
{
    mem_free((void *)s->args.q.data);
    mem_free((void *)s->args.k.data);
    mem_free((void *)s->args.v.data);
    mem_free((void *)s->args.mask);
    mem_free((void *)s->args.sinks);
    mem_free(s->wanted);
}

struct run {
    enum kernel_isa isa;
    struct attention_args args;
};

static void run_member(const struct kernel_team *team, void *arg)
{
    struct run *run = arg;
    attention_run(run->isa, &run->args, team);
}

/* The kernel's answer; the caller frees it. */
static float *compute(const struct sample *s, enum kernel_isa isa, int n_threads)
{
    struct run run = {isa, s->args};
    const struct attention_shape *shape = &s->args.shape;
    size_t n = (size_t)(shape->n_tokens * shape->n_heads * shape->d_v);
    run.args.y = mem_alloc(n * sizeof(float));
    for (size_t i = 0; i < n; i++)
        run.args.y[i] = NAN;
    /* Exactly as much as was asked for, so that a sanitizer sees a byte too far. */
    size_t bytes = attention_work_bytes(isa, shape, n_threads);
    char *work = mem_alloc(bytes + 64);
    run.args.work = work + (64 - (uintptr_t)work % 64);
    memset(run.args.work, 0xff, bytes); /* not-a-numbers */
    team_run(n_threads, run_member, &run);
    mem_free(work);
    return run.args.y;
}

static void check_close(const struct sample *s, const float *got, enum kernel_isa isa)
{
    const struct attention_shape *shape = &s->args.shape;
    size_t n = (size_t)(shape->n_tokens * shape->n_heads * shape->d_v);
    float step = FLT_EPSILON * (float)(shape->d_k + 8) * (s->most_score + 1);
    float bound = s->most_v * (2 * step + FLT_EPSILON * 64);
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - s->wanted[i]) <= bound))
            fail_msg("%s, value %zu: got %g, wanted %g, bound %g", isa_name(isa), i, (double)got[i],
                     (double)s->wanted[i], (double)bound);
}

static void check_wish(const struct wish *wish)
{
    struct sample s;
    make_sample(&s, wish);
    size_t bytes = (size_t)(wish->shape.n_tokens * wish->shape.n_heads * wish->shape.d_v) * 4;
    for (int i = KERNEL_ISA_NONE + 1; i < KERNEL_ISA_COUNT; i++) {
        enum kernel_isa isa = (enum kernel_isa)i;
        if (!isa_is_here(isa))
            continue; /* not this processor's; said by the test of isa */
        assert_true(attention_handles(isa, &wish->shape));
        float *one = compute(&s, isa, 1), *three = compute(&s, isa, 3);
        float *again = compute(&s, isa, 3);
        check_close(&s, one, isa);
        check_close(&s, three, isa);
        assert_memory_equal(three, again, bytes);
        assert_memory_equal(three, one, bytes);
        mem_free(one);
        mem_free(three);
        mem_free(again);
    }
    free_sample(&s);
}

static struct wish usual(int64_t n_tokens, int64_t n_keys)
{
    return (struct wish){
        .shape = {.d_k = 64,
                  .d_v = 64,
                  .n_tokens = n_tokens,
                  .n_heads = 14,
                  .n_kv_heads = 2,
                  .n_keys = n_keys},
        .most_q = 3,
        .most_k = 3,
        .most_v = 2,
        .mask = MASK_CAUSAL,
    };
}

static void test_attention__prompts_of_every_length_around_a_block(void **state)
{
    (void)state;
    static const int64_t tokens[] = {1, 2, 3, 5, 17, 18, 19, 37, 64};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        seed = i;
        struct wish wish = usual(tokens[i], 320);
        check_wish(&wish);
    }
}

static void test_attention__any_number_of_keys_in_parts_and_whole(void **state)
{
    (void)state;
    static const int64_t keys[] = {1, 2, 63, 64, 65, 255, 256, 511, 512, 1027, 2304};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        seed = i;
        struct wish wish = usual(1, keys[i]);
        check_wish(&wish);
        wish.mask = MASK_NONE;
        check_wish(&wish);
    }
}

static void test_attention__heads_of_every_width_and_grouping(void **state)
{
    (void)state;
    static const int64_t widths[] = {16, 64, 80, 96, 128, 256};
    static const int64_t heads[][2] = {{1, 1}, {4, 4}, {9, 3}, {12, 2}, {16, 1}, {40, 1}};
    for (size_t i = 0; i < 6; i++) {
        seed = i;
        struct wish wish = usual(7, 200);
        wish.shape.d_k = widths[i];
        wish.shape.d_v = widths[(i + 1) % 6];
        wish.shape.n_heads = heads[i][0];
        wish.shape.n_kv_heads = heads[i][1];
        check_wish(&wish);
    }
}

static void test_attention__quantised_keys_and_values(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        seed = i;
        struct wish wish = usual(i == 0 ? 1 : 20, 640);
        wish.shape.k_format = i == 1 ? ATTENTION_F16 : ATTENTION_Q8_0;
        wish.shape.v_format = i == 2 ? ATTENTION_F16 : ATTENTION_Q8_0;
        wish.shape.d_k = 96;
        wish.shape.d_v = 128;
        check_wish(&wish);
    }
}

static void test_attention__masks_that_hide_tiles_rows_and_everything(void **state)
{
    (void)state;
    for (int mask = MASK_NONE; mask <= MASK_ALL; mask++) {
        seed = (uint64_t)mask;
        struct wish wish = usual(40, 700);
        wish.mask = mask;
        check_wish(&wish);
        wish.shape.n_tokens = 3; /* in parts */
        check_wish(&wish);
    }
}

static void test_attention__softcap_slopes_and_sinks(void **state)
{
    (void)state;
    for (unsigned i = 1; i < 8; i++) {
        seed = i;
        struct wish wish = usual(i % 2 ? 1 : 30, 600);
        wish.softcap = i & 1 ? 5.0f : 0.0f;
        wish.max_bias = i & 2 ? 8.0f : 0.0f;
        wish.has_sinks = i & 4;
        wish.shape.n_heads = 12;
        check_wish(&wish);
        wish.mask = MASK_ALL; /* a row of which only the sink is left gives zeros */
        check_wish(&wish);
    }
}

static void test_attention__scores_of_any_size(void **state)
{
    (void)state;
    static const float sizes[] = {0, 1e-6f, 30, 200};
    for (size_t i = 0; i < 4; i++) {
        seed = i;
        struct wish wish = usual(8, 512);
        wish.most_q = wish.most_k = sizes[i];
        check_wish(&wish);
        wish.most_v = 6e4f; /* near the largest half float */
        check_wish(&wish);
    }
}

/* ---- The same to the bit ---- */

/* A sequence of N_SEEN keys and its last N_ASKED tokens, in a pool of N_POOL cells of which it has
 * those that `places` says, in order; all other cells hold another sequence's. */
enum {
    N_SEEN = 1300,
    N_ASKED = 40,
    N_POOL = 2048,
};

static void copy_rows(struct attention_rows *to, const struct attention_rows *from,
                      const int64_t *places)
{
    *to = *from;
    char *data = mem_alloc(N_POOL * from->token_stride);
    memset(data, 0x3c, N_POOL * from->token_stride); /* ones, nearly */
    for (int64_t key = 0; key < N_SEEN; key++)
        memcpy(data + (size_t)places[key] * from->token_stride,
               (const char *)from->data + (size_t)key * from->token_stride, from->token_stride);
    to->data = data;
}

/* The tokens [first, first + n) of `whole` asking a pool with its keys at places. */
static float *ask(const struct sample *whole, enum kernel_isa isa, const int64_t *places,
                  int64_t first, int64_t n, int n_threads)
{
    struct sample s = *whole;
    s.args.shape.n_keys = N_POOL;
    s.args.shape.n_tokens = n;
    s.args.q.data = (const char *)whole->args.q.data + (size_t)first * whole->args.q.token_stride;
    copy_rows(&s.args.k, &whole->args.k, places);
    copy_rows(&s.args.v, &whole->args.v, places);
    uint16_t *mask = mem_alloc((size_t)(n * N_POOL) * sizeof *mask);
    for (int64_t i = 0; i < n * N_POOL; i++)
        mask[i] = to_f16(-INFINITY);
    for (int64_t token = 0; token < n; token++)
        for (int64_t key = 0; key <= N_SEEN - N_ASKED + first + token; key++)
            mask[token * N_POOL + places[key]] = 0;
    s.args.mask = mask;
    s.args.mask_stride = N_POOL * sizeof *mask;
    float *y = compute(&s, isa, n_threads);
    mem_free((void *)s.args.k.data);
    mem_free((void *)s.args.v.data);
    mem_free(mask);
    return y;
}

static void check_same_bits(const struct sample *whole, enum kernel_isa isa)
{
    static int64_t dense[N_SEEN], spread[N_SEEN];
    for (int64_t key = 0; key < N_SEEN; key++) {
        dense[key] = key;
        spread[key] = key + 37 + key / 10 * 5; /* runs of ten */
    }
    const struct attention_shape *shape = &whole->args.shape;
    size_t row = (size_t)(shape->n_heads * shape->d_v);
    float *wanted = ask(whole, isa, dense, 0, N_ASKED, 1);
    static const int64_t pieces[] = {1, 2, 7, 16, 17, 40};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        for (int64_t first = 0; first + pieces[i] <= N_ASKED; first += pieces[i]) {
            float *got = ask(whole, isa, i % 2 ? dense : spread, first, pieces[i], 1 + (int)i % 3);
            assert_memory_equal(got, wanted + (size_t)first * row,
                                (size_t)pieces[i] * row * sizeof *got);
            mem_free(got);
        }
    }
    mem_free(wanted);
}

static void test_attention__a_token_is_the_same_wherever_and_with_whomever(void **state)
{
    (void)state;
    static const int64_t heads[][2] = {{14, 2}, {9, 3}, {12, 1}, {4, 4}};
    for (size_t i = 0; i < 4; i++) {
        seed = i;
        struct wish wish = usual(N_ASKED, N_SEEN);
        wish.shape.n_heads = heads[i][0];
        wish.shape.n_kv_heads = heads[i][1];
        if (i == 1)
            wish.shape.k_format = wish.shape.v_format = ATTENTION_Q8_0;
        struct sample s;
        make_sample(&s, &wish);
        for (int isa = KERNEL_ISA_NONE + 1; isa < KERNEL_ISA_COUNT; isa++)
            if (isa_is_here((enum kernel_isa)isa)) /* else not this processor's */
                check_same_bits(&s, (enum kernel_isa)isa);
        free_sample(&s);
    }
}

static void test_attention__sequences_that_ask_together_do_not_touch_each_other(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        seed = i;
        struct wish wish = usual(i == 0 ? 3 : 30, 900);
        wish.mask = MASK_SEQUENCES; /* each token sees other keys than the one before */
        struct sample s;
        make_sample(&s, &wish);
        size_t row = (size_t)(wish.shape.n_heads * wish.shape.d_v);
        for (int isa = KERNEL_ISA_NONE + 1; isa < KERNEL_ISA_COUNT; isa++) {
            if (!isa_is_here((enum kernel_isa)isa))
                continue; /* not this processor's */
            float *all = compute(&s, (enum kernel_isa)isa, 2);
            struct sample one = s;
            one.args.shape.n_tokens = 1;
            for (int64_t token = 0; token < wish.shape.n_tokens; token++) {
                one.args.q.data =
                    (const char *)s.args.q.data + (size_t)token * s.args.q.token_stride;
                one.args.mask = (const char *)s.args.mask + (size_t)token * s.args.mask_stride;
                float *alone = compute(&one, (enum kernel_isa)isa, 2);
                assert_memory_equal(alone, all + (size_t)token * row, row * sizeof *alone);
                mem_free(alone);
            }
            mem_free(all);
        }
        free_sample(&s);
    }
}

static void test_attention__declines_what_it_cannot_compute(void **state)
{
    (void)state;
    struct attention_shape shape = usual(1, 64).shape;
    assert_false(attention_handles(KERNEL_ISA_NONE, &shape));
    enum kernel_isa best = isa_best();
    if (best == KERNEL_ISA_NONE)
        skip(); /* this processor has none of the instruction sets */
    assert_true(attention_handles(best, &shape));
    shape.d_k = 40;
    assert_false(attention_handles(best, &shape));
    shape.d_k = 272;
    assert_false(attention_handles(best, &shape));
    shape.d_k = 80;
    shape.k_format = ATTENTION_Q8_0; /* not whole blocks */
    assert_false(attention_handles(best, &shape));
    shape.d_k = 64;
    shape.n_heads = 13;
    assert_false(attention_handles(best, &shape));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention__prompts_of_every_length_around_a_block),
        cmocka_unit_test(test_attention__any_number_of_keys_in_parts_and_whole),
        cmocka_unit_test(test_attention__heads_of_every_width_and_grouping),
        cmocka_unit_test(test_attention__quantised_keys_and_values),
        cmocka_unit_test(test_attention__masks_that_hide_tiles_rows_and_everything),
        cmocka_unit_test(test_attention__softcap_slopes_and_sinks),
        cmocka_unit_test(test_attention__scores_of_any_size),
        cmocka_unit_test(test_attention__a_token_is_the_same_wherever_and_with_whomever),
        cmocka_unit_test(test_attention__sequences_that_ask_together_do_not_touch_each_other),
        cmocka_unit_test(test_attention__declines_what_it_cannot_compute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
