/* Replies with guesses are the replies without, call by call and over many random prompts. */
#include "spy.h"

#include "base/limits.h"
#include "base/metrics.h"

enum { N_PROMPTS = 300, CELLS = 8192 };

static uint64_t seed = 20261126;

static uint32_t draw(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

/* Few words, so that eight letters often stood before and often went on otherwise. */
static void append_words(struct strbuf *out, uint32_t n)
{
    static const char *const words[] = {"return ", "value ", "count ", "if (count) ", "while "};
    for (uint32_t i = 0; i < n; i++)
        strbuf_append_cstr(out, words[draw(5)]);
}

/* A file, and a reply that the toy is told to say; now and then it says letters of its own. */
static void make_prompt(struct strbuf *out)
{
    strbuf_clear(out);
    append_words(out, 20 + draw(60));
    if (draw(8) == 0)
        return;
    strbuf_append_cstr(out, "say:");
    append_words(out, 1 + draw(80));
    strbuf_append_cstr(out, "\n");
}

struct request {
    const char *prompt;
    uint32_t max_tokens;
    struct str stop; /* "" for none */
    float temperature;
    uint64_t seed;
};

static struct job_output ask(struct fixture *f, const struct request *r, struct strbuf *text)
{
    model_token *tokens;
    size_t n;
    struct job *j;
    assert_int_equal(model_tokenize(f->model, str_from(r->prompt), true, &tokens, &n), STATUS_OK);
    struct job_params params = {
        .tokens = tokens,
        .n_tokens = n,
        .max_tokens = r->max_tokens,
        .n_window = N_WINDOW,
        .turn_begin = MODEL_NO_TOKEN,
        .stops = &r->stop,
        .n_stops = r->stop.len > 0 ? 1 : 0,
        .sampler = {
            .top_p = 1, .repeat_penalty = 1, .temperature = r->temperature, .seed = r->seed}};
    assert_int_equal(sched_submit(f->sched, &params, &j, NULL), STATUS_OK);
    mem_free(tokens);
    return finish(j, text);
}

/* Asks both ways, and then goes on with the conversation, which shows what the pool holds. */
static void check_equal(struct fixture *plain, struct fixture *drafted, const struct request *r)
{
    struct strbuf wanted, found, longer;
    strbuf_init(&wanted, 100000);
    strbuf_init(&found, 100000);
    strbuf_init(&longer, 100000);
    struct job_output a = ask(plain, r, &wanted), b = ask(drafted, r, &found);
    CHECK_STR(strbuf_str(&found), strbuf_cstr(&wanted));
    assert_int_equal(a.end, b.end);
    assert_int_equal(a.n_sampled, b.n_sampled);
    assert_int_equal(a.stop_index, b.stop_index);
    strbuf_printf(&longer, "%s%s and on", r->prompt, strbuf_cstr(&wanted));
    struct request next = {.prompt = strbuf_cstr(&longer), .max_tokens = 3};
    a = ask(plain, &next, &wanted);
    b = ask(drafted, &next, &found);
    CHECK_STR(strbuf_str(&found), strbuf_cstr(&wanted));
    assert_int_equal(a.n_reused, b.n_reused);
    struct sched_stats stats;
    sched_get_stats(drafted->sched, &stats);
    assert_int_equal(stats.cells_used, model_toy_cells_used(drafted->model));
    strbuf_free(&wanted);
    strbuf_free(&found);
    strbuf_free(&longer);
}

/* Logits with a close second, so that at temperature 1 chance decides about each token. */
static const float *uncertain_logits(const struct model *m, size_t row)
{
    static float logits[MODEL_TOY_VOCAB];
    const float *sure = spy.inner->logits(m, row);
    memcpy(logits, sure, sizeof logits);
    for (size_t i = 0; i < MODEL_TOY_VOCAB; i++)
        if (sure[i] > 0)
            logits[i == ' ' ? 'x' : ' '] = sure[i] - 2;
    return logits;
}

static void compare_many(float temperature)
{
    struct fixture plain = make(&(struct setup){.n_cells = CELLS});
    struct model_ops ops = *spy.inner;
    ops.logits = temperature > 0 ? uncertain_logits : ops.logits;
    plain.model->ops = &ops; /* the spy is for the other one */
    struct fixture drafted = make(&(struct setup){.n_cells = CELLS, .drafts = true});
    spy.ops.logits = ops.logits;
    struct strbuf prompt;
    strbuf_init(&prompt, 100000);
    for (int i = 0; i < N_PROMPTS; i++) {
        make_prompt(&prompt);
        struct request r = {.prompt = strbuf_cstr(&prompt),
                            .max_tokens = draw(2) == 0 ? 1 + draw(60) : 1000,
                            .stop = draw(3) == 0 ? STR("count) while if") : STR(""),
                            .temperature = temperature,
                            .seed = draw(1000)};
        if (str_find(strbuf_str(&prompt), STR("say:")) == SIZE_MAX)
            r.max_tokens = 1 + draw(60);
        check_equal(&plain, &drafted, &r);
        spy.n_calls = 0; /* they are not looked at, and would be too many */
    }
    sched_destroy(plain.sched);
    sched_destroy(drafted.sched);
    strbuf_free(&prompt);
}

static void test_drafted__random_replies_are_the_same(void **state)
{
    (void)state;
    int64_t drafted = metric_get(METRIC_DRAFTED_TOKENS);
    int64_t accepted = metric_get(METRIC_ACCEPTED_TOKENS);
    compare_many(0);
    drafted = metric_get(METRIC_DRAFTED_TOKENS) - drafted;
    accepted = metric_get(METRIC_ACCEPTED_TOKENS) - accepted;
    assert_true(accepted > 10000);
    assert_true(drafted - accepted > 1000); /* so that what was rejected mattered */
}

static void test_drafted__chance_falls_the_same_way(void **state)
{
    (void)state;
    int64_t accepted = metric_get(METRIC_ACCEPTED_TOKENS);
    compare_many(1);
    assert_true(metric_get(METRIC_ACCEPTED_TOKENS) - accepted > 1000);
}

/* A text of n lines that repeat nothing, and the order to say it. */
static char *copy_prompt(int n)
{
    struct strbuf text;
    strbuf_init(&text, 100000);
    strbuf_append_cstr(&text, "say:");
    for (int i = 0; i < n; i++)
        strbuf_printf(&text, "line %d is %d; ", i * i, i * 37 % 101);
    strbuf_append_cstr(&text, "\n");
    char *prompt = mem_strdup(strbuf_cstr(&text));
    strbuf_free(&text);
    return prompt;
}

static void test_drafted__a_copy_takes_few_calls(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.drafts = true});
    char *prompt = copy_prompt(60);
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job_output out = finish(submit(&f, prompt, 2000), &text);
    sched_destroy(f.sched);
    assert_int_equal(out.end, JOB_END_OF_TURN);
    assert_memory_equal(text.data, prompt + 4, text.len);
    assert_int_equal(text.len, strlen(prompt) - 5);
    assert_true(spy.n_calls < out.n_sampled / 10);
    mem_free(prompt);
    strbuf_free(&text);
}

static void test_drafted__nobody_waits_for_the_guesses_of_another(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.drafts = true, .hold_at = 1});
    char *prompts[2] = {copy_prompt(40), copy_prompt(41)};
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job *a = submit(&f, prompts[0], 2000), *b = submit(&f, prompts[1], 2000);
    spy_await();
    spy_go();
    finish(a, &text);
    finish(b, &text);
    sched_destroy(f.sched);
    size_t n_together = 0;
    for (size_t i = 0; i < spy.n_calls; i++) {
        n_together += spy.calls[i].n_sequences == 2;
        if (spy.calls[i].n_sequences == 2)
            assert_int_equal(spy.calls[i].n_rows, 2);
    }
    assert_true(n_together > 100);
    mem_free(prompts[0]);
    mem_free(prompts[1]);
    strbuf_free(&text);
}

static void test_drafted__a_job_that_nobody_reads_stops_at_its_buffer(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.drafts = true});
    char *prompt = copy_prompt(60);
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job *slow = submit(&f, prompt, 2000);
    struct job *other = submit(&f, "words of another kind", 600);
    finish(other, &text);
    strbuf_clear(&text);
    struct job_output out = {.bytes = &text};
    assert_int_equal(job_next(slow, WAIT_MS, &out), STATUS_OK);
    assert_int_equal(out.n_sampled, LIMIT_JOB_TOKENS);
    while (out.end == JOB_RUNNING)
        assert_int_equal(job_next(slow, WAIT_MS, &out), STATUS_OK);
    assert_memory_equal(text.data, prompt + 4, text.len);
    assert_int_equal(text.len, strlen(prompt) - 5);
    job_release(slow);
    sched_destroy(f.sched);
    mem_free(prompt);
    strbuf_free(&text);
}

/* Cancels during the n-th call and asks the same again. */
static void cancel_at(size_t nth, const char *prompt)
{
    struct fixture f = make(&(struct setup){.drafts = true, .hold_at = nth});
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job *j = submit(&f, prompt, 2000);
    spy_await();
    job_cancel(j);
    spy_go();
    assert_int_equal(finish(j, &text).end, JOB_CANCELLED);
    struct sched_stats stats;
    sched_get_stats(f.sched, &stats);
    assert_int_equal(stats.cells_used, model_toy_cells_used(f.model));
    finish(submit(&f, prompt, 2000), &text);
    assert_memory_equal(text.data, prompt + 4, text.len);
    sched_destroy(f.sched);
    strbuf_free(&text);
}

static void test_drafted__cancel_at_every_call_leaves_the_pool_sound(void **state)
{
    (void)state;
    char *prompt = copy_prompt(15); /* a reply that nobody need read for it to go on */
    INVARIANT(strlen(prompt) < LIMIT_JOB_TOKENS);
    struct fixture f = make(&(struct setup){.drafts = true});
    struct strbuf text;
    strbuf_init(&text, 10000);
    finish(submit(&f, prompt, 2000), &text);
    sched_destroy(f.sched);
    size_t n_calls = spy.n_calls;
    assert_true(n_calls > 8);
    for (size_t nth = 1; nth < n_calls; nth++) /* in the last call it ends by itself */
        cancel_at(nth, prompt);
    strbuf_free(&text);
    mem_free(prompt);
}

static void test_drafted__no_guess_fills_the_pool(void **state)
{
    (void)state;
    char *prompt = copy_prompt(12);
    uint32_t n_cells = 2 * (uint32_t)strlen(prompt) - 10;
    struct fixture f = make(&(struct setup){.drafts = true, .n_cells = n_cells});
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job_output out = finish(submit(&f, prompt, 2000), &text);
    assert_int_equal(out.end, JOB_WINDOW); /* just as without */
    assert_int_equal(out.n_sampled, strlen(prompt) - 10 + 1);
    sched_destroy(f.sched);
    size_t n_full = 0;
    for (size_t i = 0; i < spy.n_calls; i++)
        if (spy.calls[i].result == MODEL_FULL) {
            assert_int_equal(spy.calls[i].n_rows, 1);
            n_full++;
        }
    assert_int_equal(n_full, 1);
    mem_free(prompt);
    strbuf_free(&text);
}

/* ---- A grammar that writes down what it is given ---- */

static char accepted[4096];
static size_t n_accepted;

static struct grammar *scribe_create(const struct model *m, const struct grammar_spec *spec)
{
    (void)spec;
    n_accepted = 0;
    return (struct grammar *)m; /* any pointer: only these functions see it */
}

static void scribe_free(struct grammar *g)
{
    (void)g;
}

static bool scribe_allows(struct grammar *g, model_token token)
{
    (void)g;
    return token != ';';
}

static void scribe_mask(struct grammar *g, float *logits, uint32_t n_vocab)
{
    (void)g;
    (void)n_vocab;
    logits[';'] = -100;
    logits['|'] = 30;
}

static void scribe_accept(struct grammar *g, model_token token)
{
    (void)g;
    INVARIANT(n_accepted < sizeof accepted);
    accepted[n_accepted++] = (char)token;
}

/* The toy, told to say a ';', is made to say '|', so each guess fails there. */
static void test_drafted__a_grammar_sees_what_is_sampled_and_no_more(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.drafts = true});
    spy.ops.grammar_create = scribe_create;
    spy.ops.grammar_free = scribe_free;
    spy.ops.grammar_allows = scribe_allows;
    spy.ops.grammar_mask = scribe_mask;
    spy.ops.grammar_accept = scribe_accept;
    char *prompt = copy_prompt(20);
    model_token *tokens;
    size_t n;
    struct job *j;
    struct strbuf text;
    strbuf_init(&text, 10000);
    assert_int_equal(model_tokenize(f.model, str_from(prompt), true, &tokens, &n), STATUS_OK);
    struct job_params params = {.tokens = tokens,
                                .n_tokens = n,
                                .max_tokens = 2000,
                                .n_window = N_WINDOW,
                                .turn_begin = MODEL_NO_TOKEN,
                                .grammar = {.text = STR("root ::= any")},
                                .sampler = {.top_p = 1, .repeat_penalty = 1}};
    assert_int_equal(sched_submit(f.sched, &params, &j, NULL), STATUS_OK);
    struct job_output out = finish(j, &text);
    sched_destroy(f.sched);
    assert_int_equal(out.n_sampled, n_accepted);
    assert_int_equal(text.len, n_accepted);
    assert_memory_equal(text.data, accepted, n_accepted);
    for (char *at = strchr(prompt, ';'); at != NULL; at = strchr(at, ';'))
        *at = '|';
    assert_memory_equal(text.data, prompt + 4, text.len);
    assert_int_equal(text.len, strlen(prompt) - 5);
    mem_free(tokens);
    mem_free(prompt);
    strbuf_free(&text);
}

int main(void)
{
    thread_cond_init(&spy.changed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drafted__random_replies_are_the_same),
        cmocka_unit_test(test_drafted__chance_falls_the_same_way),
        cmocka_unit_test(test_drafted__a_copy_takes_few_calls),
        cmocka_unit_test(test_drafted__nobody_waits_for_the_guesses_of_another),
        cmocka_unit_test(test_drafted__a_job_that_nobody_reads_stops_at_its_buffer),
        cmocka_unit_test(test_drafted__cancel_at_every_call_leaves_the_pool_sound),
        cmocka_unit_test(test_drafted__no_guess_fills_the_pool),
        cmocka_unit_test(test_drafted__a_grammar_sees_what_is_sampled_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
