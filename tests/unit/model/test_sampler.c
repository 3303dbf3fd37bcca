/* The sampler's filters one by one, on small rows whose outcome can be worked out by hand. */
#include "model/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { N = 8, MANY = 20000 };

/* A grammar that allows one token, to see how the sampler asks. */
struct grammar {
    model_token allowed;
    int n_masks;
    int n_accepts;
    bool is_scaffold;
};

static bool allows(struct grammar *g, model_token token)
{
    return token == g->allowed;
}

static void mask(struct grammar *g, float *logits, uint32_t n_vocab)
{
    g->n_masks++;
    for (uint32_t i = 0; i < n_vocab; i++)
        if ((model_token)i != g->allowed)
            logits[i] = -INFINITY;
}

static void accept_token(struct grammar *g, model_token token)
{
    assert_int_equal(token, g->allowed);
    g->n_accepts++;
}

static bool in_scaffold(const struct grammar *g)
{
    return g->is_scaffold;
}

static bool is_eog(const struct model *m, model_token token)
{
    (void)m;
    return token == 3;
}

static const struct model_ops ops = {.grammar_allows = allows,
                                     .grammar_mask = mask,
                                     .grammar_accept = accept_token,
                                     .grammar_in_scaffold = in_scaffold,
                                     .is_eog = is_eog};
static const struct model model = {.ops = &ops};

static const struct sampler_params plain = {
    .temperature = 1, .top_p = 1, .repeat_penalty = 1, .seed = 7};

/* How often each token is drawn from `logits`. */
static void count_draws(const struct sampler_params *params, const float *logits, int counts[N])
{
    memset(counts, 0, N * sizeof *counts);
    struct sampler *s = sampler_create(params, N);
    for (int i = 0; i < MANY; i++) {
        model_token token = sampler_draw(s, &model, logits, NULL);
        assert_in_range(token, 0, N - 1);
        counts[token]++;
    }
    sampler_free(s);
}

static void test_sampler__greedy_takes_the_lowest_id_among_the_highest(void **state)
{
    (void)state;
    struct sampler_params params = plain;
    params.temperature = 0;
    const float logits[N] = {NAN, 1, 3, -INFINITY, 3, 2, 0, -1};
    struct sampler *s = sampler_create(&params, N);
    assert_int_equal(sampler_draw(s, &model, logits, NULL), 2);
    sampler_free(s);
}

static void test_sampler__draws_in_proportion_to_the_softmax(void **state)
{
    (void)state;
    /* Far from zero, where a careless exp() overflows. */
    const float logits[N] = {1000, 1000 + logf(2), 1000 + logf(4), 900, -INFINITY, NAN, 0, 0};
    int counts[N];
    count_draws(&plain, logits, counts);
    assert_in_range(counts[0], MANY / 7 - 400, MANY / 7 + 400);
    assert_in_range(counts[1], MANY * 2 / 7 - 400, MANY * 2 / 7 + 400);
    assert_in_range(counts[2], MANY * 4 / 7 - 400, MANY * 4 / 7 + 400);
    assert_int_equal(counts[0] + counts[1] + counts[2], MANY);
}

static void test_sampler__temperature_sharpens(void **state)
{
    (void)state;
    struct sampler_params params = plain;
    params.temperature = 0.5f; /* squares the weights: 1 to 4 instead of 1 to 2 */
    const float logits[N] = {0, logf(2), -50, -50, -50, -50, -50, -50};
    int counts[N];
    count_draws(&params, logits, counts);
    assert_in_range(counts[1], MANY * 4 / 5 - 400, MANY * 4 / 5 + 400);
}

static void test_sampler__top_k_keeps_the_k_highest(void **state)
{
    (void)state;
    struct sampler_params params = plain;
    params.top_k = 3;
    const float logits[N] = {0.1f, 0.7f, 0.3f, 0.6f, 0.2f, 0.5f, 0.4f, 0};
    int counts[N];
    count_draws(&params, logits, counts);
    assert_int_equal(counts[1] + counts[3] + counts[5], MANY);
    assert_true(counts[1] > 0 && counts[3] > 0 && counts[5] > 0);
}

static void test_sampler__top_k_breaks_ties_by_id(void **state)
{
    (void)state;
    struct sampler_params params = plain;
    params.top_k = 2;
    const float logits[N] = {0, 0, 0, 0, 0, 0, 0, 0};
    int counts[N];
    count_draws(&params, logits, counts);
    assert_int_equal(counts[0] + counts[1], MANY);
}

static void test_sampler__top_p_keeps_the_fewest_that_reach_the_share(void **state)
{
    (void)state;
    struct sampler_params params = plain;
    params.top_p = 0.7f; /* of 0.5, 0.25, 0.125, ...: two */
    float logits[N];
    for (int i = 0; i < N; i++)
        logits[i] = -(float)i * logf(2);
    int counts[N];
    count_draws(&params, logits, counts);
    assert_int_equal(counts[0] + counts[1], MANY);
    assert_in_range(counts[0], MANY * 2 / 3 - 400, MANY * 2 / 3 + 400);
    params.top_p = 1e-6f; /* never fewer than one */
    count_draws(&params, logits, counts);
    assert_int_equal(counts[0], MANY);
}

static void test_sampler__top_p_reaches_far_where_the_row_is_flat(void **state)
{
    (void)state;
    /* One token far above 5,000 equal ones that together weigh 3 %: the share needs many. */
    enum { WIDE = 5001 };
    float *logits = mem_alloc(WIDE * sizeof *logits);
    for (int i = 0; i < WIDE; i++)
        logits[i] = 0;
    logits[77] = 12;
    struct sampler_params params = plain;
    params.top_p = 0.99f; /* e^12 of e^12 + 5000 is 0.970 */
    struct sampler *s = sampler_create(&params, WIDE);
    int n_others = 0;
    for (int i = 0; i < MANY; i++)
        n_others += sampler_draw(s, &model, logits, NULL) != 77;
    assert_in_range(n_others, 250, 560); /* (0.99 - 0.970) / 0.99 of 20,000 is 404 */
    sampler_free(s);
    mem_free(logits);
}

static void test_sampler__min_p_drops_what_is_far_below_the_best(void **state)
{
    (void)state;
    struct sampler_params params = plain;
    params.min_p = 0.3f;
    float logits[N];
    for (int i = 0; i < N; i++)
        logits[i] = -(float)i * logf(2);
    int counts[N];
    count_draws(&params, logits, counts);
    assert_int_equal(counts[0] + counts[1], MANY);
    assert_true(counts[1] > 0);
}

static void test_sampler__same_seed_gives_the_same_tokens(void **state)
{
    (void)state;
    const float logits[N] = {0, 1, 0, 1, 0, 1, 0, 1};
    struct sampler_params other = plain;
    other.seed = 8;
    struct sampler *a = sampler_create(&plain, N);
    struct sampler *b = sampler_create(&plain, N);
    struct sampler *c = sampler_create(&other, N);
    int n_different = 0;
    for (int i = 0; i < 1000; i++) {
        model_token token = sampler_draw(a, &model, logits, NULL);
        assert_int_equal(sampler_draw(b, &model, logits, NULL), token);
        n_different += sampler_draw(c, &model, logits, NULL) != token;
    }
    assert_true(n_different > 500);
    sampler_free(c);
    sampler_free(b);
    sampler_free(a);
}

static void test_sampler__penalty_divides_positive_and_multiplies_negative_logits_once(void **state)
{
    (void)state;
    struct sampler_params params = plain;
    params.temperature = 0;
    params.repeat_penalty = 2;
    params.repeat_last_n = 2;
    const float positive[N] = {3, 2, 1, 0, 0, 0, 0, 0};
    const float negative[N] = {-1, -1.9f, -2.1f, -9, -9, -9, -9, -9};
    struct sampler *s = sampler_create(&params, N);
    assert_int_equal(sampler_draw(s, &model, positive, NULL), 0);
    sampler_accept(s, &model, 0, NULL);
    sampler_accept(s, &model, 0, NULL); /* twice, punished once: 1.5, not 0.75 */
    const float between[N] = {3, 1.2f, 0, 0, 0, 0, 0, 0};
    assert_int_equal(sampler_draw(s, &model, between, NULL), 0);
    assert_int_equal(sampler_draw(s, &model, positive, NULL), 1);
    assert_int_equal(sampler_draw(s, &model, negative, NULL), 1); /* -2, -1.9, -2.1 */
    sampler_accept(s, &model, 5, NULL);
    sampler_accept(s, &model, 5, NULL); /* token 0 is forgotten */
    assert_int_equal(sampler_draw(s, &model, positive, NULL), 0);
    sampler_free(s);
}

static void test_sampler__asks_the_grammar_only_about_the_drawn_token(void **state)
{
    (void)state;
    struct sampler_params params = plain;
    params.temperature = 0;
    const float logits[N] = {0, 5, 0, 0, 4, 0, 0, 0};
    struct grammar g = {.allowed = 1};
    struct sampler *s = sampler_create(&params, N);
    assert_int_equal(sampler_draw(s, &model, logits, &g), 1);
    assert_int_equal(g.n_masks, 0);
    g.allowed = 6;
    assert_int_equal(sampler_draw(s, &model, logits, &g), 6);
    assert_int_equal(g.n_masks, 1);
    sampler_accept(s, &model, 6, &g);
    assert_int_equal(g.n_accepts, 1);
    sampler_free(s);
}

static void test_sampler__a_grammar_that_allows_nothing_does_not_stop_it(void **state)
{
    (void)state;
    const float logits[N] = {0, 50, 0, 0, 0, 0, 0, 0};
    struct grammar g = {.allowed = 100};
    struct sampler *s = sampler_create(&plain, N);
    assert_int_equal(sampler_draw(s, &model, logits, &g), 1);
    sampler_free(s);
}

static void test_sampler__scaffold_is_greedy_at_any_temperature(void **state)
{
    (void)state;
    struct sampler_params params = plain;
    params.temperature = 5;
    const float logits[N] = {1, 1, 1, 1, 1.1f, 1, 1, 1};
    struct grammar g = {.allowed = 4, .is_scaffold = true};
    struct sampler *s = sampler_create(&params, N);
    for (int i = 0; i < 100; i++)
        assert_int_equal(sampler_draw(s, &model, logits, &g), 4);
    assert_int_equal(g.n_masks, 0);
    sampler_free(s);
}

static void test_sampler__draws_inside_a_reply_never_end_it(void **state)
{
    (void)state;
    const float logits[N] = {0, 0, 0, 90, 80, 1, 0, 0}; /* 3 ends, 4 begins a turn */
    struct sampler_params params = plain;
    params.temperature = 0;
    struct sampler *s = sampler_create(&params, N);
    assert_int_equal(sampler_draw(s, &model, logits, NULL), 3);
    assert_int_equal(sampler_draw_inside(s, &model, logits, NULL, MODEL_NO_TOKEN), 4);
    assert_int_equal(sampler_draw_inside(s, &model, logits, NULL, 4), 5);
    sampler_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sampler__scaffold_is_greedy_at_any_temperature),
        cmocka_unit_test(test_sampler__draws_inside_a_reply_never_end_it),
        cmocka_unit_test(test_sampler__greedy_takes_the_lowest_id_among_the_highest),
        cmocka_unit_test(test_sampler__draws_in_proportion_to_the_softmax),
        cmocka_unit_test(test_sampler__temperature_sharpens),
        cmocka_unit_test(test_sampler__top_k_keeps_the_k_highest),
        cmocka_unit_test(test_sampler__top_k_breaks_ties_by_id),
        cmocka_unit_test(test_sampler__top_p_keeps_the_fewest_that_reach_the_share),
        cmocka_unit_test(test_sampler__top_p_reaches_far_where_the_row_is_flat),
        cmocka_unit_test(test_sampler__min_p_drops_what_is_far_below_the_best),
        cmocka_unit_test(test_sampler__same_seed_gives_the_same_tokens),
        cmocka_unit_test(
            test_sampler__penalty_divides_positive_and_multiplies_negative_logits_once),
        cmocka_unit_test(test_sampler__asks_the_grammar_only_about_the_drawn_token),
        cmocka_unit_test(test_sampler__a_grammar_that_allows_nothing_does_not_stop_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
