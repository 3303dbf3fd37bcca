/* The scheduler on the toy model, whose replies depend on every token before them: a mistake in
 * reused, shared or removed cells changes what is said. */
#include "support/check.h"

#include "sched/sched.h"

#include "model/model_toy.h"

enum { WAIT_MS = 20 * 1000 };

struct fixture {
    struct model *model;
    struct sched *sched;
};

static struct fixture make(uint32_t n_cells, uint32_t max_running, uint32_t step_us,
                           uint32_t fail_at)
{
    struct model_toy_options toy = {
        .n_cells = n_cells, .n_sequences = 16, .step_us = step_us, .fail_decode_at = fail_at};
    struct fixture f = {.model = model_toy_create(&toy)};
    struct sched_options options = {.max_running = max_running, .max_jobs = 32};
    f.sched = sched_create(f.model, &options);
    assert_non_null(f.sched);
    return f;
}

static struct job *submit(struct fixture *f, const char *prompt, uint32_t max_tokens,
                          uint32_t n_window, const struct str *stops, size_t n_stops)
{
    model_token *tokens;
    size_t n;
    assert_int_equal(model_tokenize(f->model, str_from(prompt), true, &tokens, &n), STATUS_OK);
    struct job_params params = {.tokens = tokens,
                                .n_tokens = n,
                                .namespace_key = 1,
                                .max_tokens = max_tokens,
                                .turn_begin = MODEL_NO_TOKEN,
                                .n_window = n_window,
                                .sampler = {.top_p = 1, .repeat_penalty = 1},
                                .stops = stops,
                                .n_stops = n_stops};
    struct job *j;
    struct error err;
    assert_int_equal(sched_submit(f->sched, &params, &j, &err), STATUS_OK);
    mem_free(tokens);
    return j;
}

static struct job_output read_all(struct job *j, struct strbuf *bytes)
{
    struct job_output out = {.bytes = bytes};
    while (out.end == JOB_RUNNING)
        assert_int_equal(job_next(j, WAIT_MS, &out), STATUS_OK);
    return out;
}

/* Runs one job to its end; the reply in *text. */
static struct job_output run(struct fixture *f, const char *prompt, uint32_t max_tokens,
                             struct strbuf *text)
{
    strbuf_clear(text);
    struct job *j = submit(f, prompt, max_tokens, 4096, NULL, 0);
    struct job_output out = read_all(j, text);
    job_release(j);
    return out;
}

static void test_sched__says_what_the_model_says(void **state)
{
    (void)state;
    struct fixture f = make(1024, 4, 0, 0);
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job_output out = run(&f, "say:hello world\n", 100, &text);
    CHECK_STR(strbuf_str(&text), "hello world");
    assert_int_equal(out.end, JOB_END_OF_TURN);
    assert_int_equal(out.n_reused + out.n_prefilled, strlen("say:hello world\n"));
    sched_destroy(f.sched);
    strbuf_free(&text);
}

static void test_sched__the_same_prompt_again_computes_one_token(void **state)
{
    (void)state;
    struct fixture f = make(4096, 4, 0, 0);
    struct strbuf first, again;
    strbuf_init(&first, 10000);
    strbuf_init(&again, 10000);
    const char *prompt = "a prompt of some length without a script in it";
    run(&f, prompt, 50, &first);
    struct job_output out = run(&f, prompt, 50, &again);
    assert_int_equal(out.n_reused, strlen(prompt) - 1);
    CHECK_STR(strbuf_str(&again), strbuf_cstr(&first));
    sched_destroy(f.sched);
    strbuf_free(&first);
    strbuf_free(&again);
}

static void test_sched__a_longer_conversation_goes_on_from_prompt_and_reply(void **state)
{
    (void)state;
    struct fixture f = make(4096, 4, 0, 0);
    struct strbuf text, next;
    strbuf_init(&text, 10000);
    strbuf_init(&next, 10000);
    run(&f, "begin of the conversation; ", 30, &text);
    strbuf_printf(&next, "begin of the conversation; %s and on", strbuf_cstr(&text));
    struct job_output out = run(&f, strbuf_cstr(&next), 10, &text);
    /* All but the last sampled token of the reply is in the pool. */
    assert_int_equal(out.n_reused, strlen("begin of the conversation; ") + 29);
    sched_destroy(f.sched);
    strbuf_free(&text);
    strbuf_free(&next);
}

static void test_sched__jobs_together_say_what_each_says_alone(void **state)
{
    (void)state;
    enum { N = 8 };
    struct fixture f = make(8192, 4, 0, 0);
    struct strbuf alone[N], text;
    struct job *jobs[N];
    char prompt[N][64];
    strbuf_init(&text, 10000);
    for (int i = 0; i < N; i++) {
        snprintf(prompt[i], sizeof prompt[i], "a common beginning of all prompts, then %d", i);
        struct fixture own = make(8192, 1, 0, 0);
        strbuf_init(&alone[i], 10000);
        run(&own, prompt[i], 60, &alone[i]);
        sched_destroy(own.sched);
    }
    for (int i = 0; i < N; i++)
        jobs[i] = submit(&f, prompt[i], 60, 4096, NULL, 0);
    uint32_t n_reused = 0;
    for (int i = 0; i < N; i++) {
        strbuf_clear(&text);
        n_reused += read_all(jobs[i], &text).n_reused;
        CHECK_STR(strbuf_str(&text), strbuf_cstr(&alone[i]));
        job_release(jobs[i]);
        strbuf_free(&alone[i]);
    }
    assert_true(n_reused >= (N - 1) * strlen("a common beginning of all prompts, then "));
    sched_destroy(f.sched);
    strbuf_free(&text);
}

static void test_sched__a_full_pool_makes_jobs_wait_and_none_fail(void **state)
{
    (void)state;
    enum { N = 6 };
    struct fixture f = make(256, 4, 0, 0);
    struct strbuf wanted, text;
    strbuf_init(&wanted, 10000);
    strbuf_init(&text, 10000);
    struct job *jobs[N];
    char prompt[N][80];
    for (int i = 0; i < N; i++) {
        snprintf(prompt[i], sizeof prompt[i], "%d different from its first letter on, and long", i);
        jobs[i] = submit(&f, prompt[i], 80, 4096, NULL, 0);
    }
    for (int i = 0; i < N; i++) {
        strbuf_clear(&text);
        struct job_output out = read_all(jobs[i], &text);
        assert_int_equal(out.end, JOB_MAX_TOKENS);
        job_release(jobs[i]);
        struct fixture own = make(4096, 1, 0, 0);
        run(&own, prompt[i], 80, &wanted);
        CHECK_STR(strbuf_str(&text), strbuf_cstr(&wanted));
        sched_destroy(own.sched);
    }
    sched_destroy(f.sched);
    strbuf_free(&wanted);
    strbuf_free(&text);
}

static void test_sched__a_slow_reader_loses_nothing(void **state)
{
    (void)state;
    struct fixture f = make(8192, 2, 0, 0);
    struct strbuf wanted, text, other;
    strbuf_init(&wanted, 100000);
    strbuf_init(&text, 100000);
    strbuf_init(&other, 100000);
    run(&f, "words without end", 2000, &wanted);
    struct job *slow = submit(&f, "words without end", 2000, 4096, NULL, 0);
    /* While nobody reads it, another turn runs from beginning to end. */
    run(&f, "say:other\n", 100, &other);
    CHECK_STR(strbuf_str(&other), "other");
    read_all(slow, &text);
    CHECK_STR(strbuf_str(&text), strbuf_cstr(&wanted));
    job_release(slow);
    sched_destroy(f.sched);
    strbuf_free(&wanted);
    strbuf_free(&text);
    strbuf_free(&other);
}

static void test_sched__limits_are_exact(void **state)
{
    (void)state;
    struct fixture f = make(1024, 2, 0, 0);
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job_output out = run(&f, "free words", 7, &text);
    assert_int_equal(out.end, JOB_MAX_TOKENS);
    assert_int_equal(text.len, 7);
    struct job *j = submit(&f, "free words", 1000, 30, NULL, 0);
    strbuf_clear(&text);
    out = read_all(j, &text);
    job_release(j);
    assert_int_equal(out.end, JOB_WINDOW);
    assert_int_equal(text.len, 30 - strlen("free words"));

    model_token token = 'a';
    struct job_params params = {.tokens = &token,
                                .n_tokens = 1,
                                .n_window = 1,
                                .sampler = {.top_p = 1, .repeat_penalty = 1}};
    struct error err;
    assert_int_equal(sched_submit(f.sched, &params, &j, &err), STATUS_TOO_LONG);
    sched_destroy(f.sched);
    strbuf_free(&text);
}

static void test_sched__a_stop_text_ends_over_token_borders(void **state)
{
    (void)state;
    struct fixture f = make(1024, 2, 0, 0);
    struct str stops[] = {STR("xyz"), STR("END")};
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job *j = submit(&f, "say:one EN two END three\n", 100, 4096, stops, 2);
    struct job_output out = read_all(j, &text);
    CHECK_STR(strbuf_str(&text), "one EN two ");
    assert_int_equal(out.end, JOB_STOP_TEXT);
    assert_int_equal(out.stop_index, 1);
    job_release(j);
    sched_destroy(f.sched);
    strbuf_free(&text);
}

static void test_sched__a_cancelled_prefill_is_gone_on_with(void **state)
{
    (void)state;
    struct fixture f = make(8192, 2, 100, 0);
    struct strbuf text, prompt, wanted;
    strbuf_init(&text, 100000);
    strbuf_init(&wanted, 100000);
    strbuf_init(&prompt, 100000);
    for (int i = 0; i < 400; i++)
        strbuf_printf(&prompt, "%d ", i);
    struct job *j = submit(&f, strbuf_cstr(&prompt), 5, 8000, NULL, 0);
    struct job_output out = {.bytes = &text};
    while (out.n_prefilled < 512)
        assert_int_equal(job_next(j, WAIT_MS, &out), STATUS_OK);
    job_cancel(j);
    out = read_all(j, &text);
    assert_int_equal(out.end, JOB_CANCELLED);
    job_release(j);

    out = run(&f, strbuf_cstr(&prompt), 5, &text);
    assert_true(out.n_reused >= 512);
    struct fixture own = make(8192, 1, 0, 0);
    run(&own, strbuf_cstr(&prompt), 5, &wanted);
    CHECK_STR(strbuf_str(&text), strbuf_cstr(&wanted));
    sched_destroy(own.sched);
    sched_destroy(f.sched);
    strbuf_free(&text);
    strbuf_free(&wanted);
    strbuf_free(&prompt);
}

static void test_sched__cancelling_at_any_step_leaves_the_pool_sound(void **state)
{
    (void)state;
    struct fixture f = make(512, 3, 0, 0);
    struct strbuf text, wanted;
    strbuf_init(&text, 100000);
    strbuf_init(&wanted, 100000);
    struct fixture own = make(512, 1, 0, 0);
    run(&own, "words to be checked in the end", 40, &wanted);
    sched_destroy(own.sched);
    for (uint32_t step = 0; step < 30; step++) {
        struct job *a = submit(&f, "words to be cancelled", 100, 400, NULL, 0);
        struct job *b = submit(&f, "words to be checked in the end", 40, 400, NULL, 0);
        strbuf_clear(&text);
        struct job_output out = {.bytes = &text};
        while (out.n_sampled < step && out.end == JOB_RUNNING)
            assert_int_equal(job_next(a, WAIT_MS, &out), STATUS_OK);
        job_release(a);
        strbuf_clear(&text);
        read_all(b, &text);
        CHECK_STR(strbuf_str(&text), strbuf_cstr(&wanted));
        job_release(b);
    }
    sched_destroy(f.sched);
    strbuf_free(&text);
    strbuf_free(&wanted);
}

static void test_sched__a_failed_model_fails_every_job_and_refuses_more(void **state)
{
    (void)state;
    struct fixture f = make(1024, 4, 0, 3);
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job *a = submit(&f, "one", 100, 400, NULL, 0);
    struct job_output out = read_all(a, &text);
    assert_int_equal(out.end, JOB_FAILED);
    assert_int_equal(out.error.status, STATUS_INTERNAL);
    job_release(a);
    model_token token = 'a';
    struct job_params params = {.tokens = &token,
                                .n_tokens = 1,
                                .n_window = 100,
                                .max_tokens = 1,
                                .turn_begin = MODEL_NO_TOKEN,
                                .sampler = {.top_p = 1, .repeat_penalty = 1}};
    struct error err;
    assert_int_equal(sched_submit(f.sched, &params, &a, &err), STATUS_INTERNAL);
    sched_destroy(f.sched);
    strbuf_free(&text);
}

static void test_sched__namespaces_share_nothing(void **state)
{
    (void)state;
    struct fixture f = make(4096, 2, 0, 0);
    struct strbuf text;
    strbuf_init(&text, 10000);
    const char *prompt = "a secret prompt that another key must not find";
    run(&f, prompt, 5, &text);
    model_token *tokens;
    size_t n;
    assert_int_equal(model_tokenize(f.model, str_from(prompt), true, &tokens, &n), STATUS_OK);
    struct job_params params = {.tokens = tokens,
                                .n_tokens = n,
                                .namespace_key = 2,
                                .max_tokens = 5,
                                .turn_begin = MODEL_NO_TOKEN,
                                .n_window = 400,
                                .sampler = {.top_p = 1, .repeat_penalty = 1}};
    struct job *j;
    assert_int_equal(sched_submit(f.sched, &params, &j, NULL), STATUS_OK);
    assert_int_equal(read_all(j, &text).n_reused, 0);
    job_release(j);
    mem_free(tokens);
    sched_destroy(f.sched);
    strbuf_free(&text);
}

static struct job_parting parting_of(struct fixture *f, const char *prompt, struct strbuf *text)
{
    model_token *tokens;
    size_t n;
    struct job *j;
    struct job_parting p = {0};
    assert_int_equal(model_tokenize(f->model, str_from(prompt), true, &tokens, &n), STATUS_OK);
    struct job_params params = {.tokens = tokens,
                                .n_tokens = n,
                                .max_tokens = 5,
                                .n_window = 4096,
                                .turn_begin = MODEL_TOY_IM_START,
                                .sampler = {.top_p = 1, .repeat_penalty = 1}};
    assert_int_equal(sched_submit(f->sched, &params, &j, NULL), STATUS_OK);
    assert_int_equal(job_await_parting(j, WAIT_MS, &p), STATUS_OK);
    strbuf_clear(text);
    read_all(j, text);
    assert_int_equal(job_await_parting(j, 0, &p), STATUS_OK); /* it stays */
    job_release(j);
    mem_free(tokens);
    return p;
}

static void test_sched__tells_where_a_prompt_parts_from_the_nearest(void **state)
{
    (void)state;
    struct fixture f = make(4096, 2, 0, 0);
    struct strbuf text, longer;
    strbuf_init(&text, 10000);
    strbuf_init(&longer, 10000);
    const char *first = "<|im_start|>the system text<|im_start|>a question of the user";
    const char *other = "<|im_start|>the system text<|im_start|>an answer is wanted";
    const size_t n = strlen("?the system text?a question of the user");
    struct job_parting p = parting_of(&f, first, &text);
    assert_int_equal(p.n_prompt, n);
    assert_int_equal(p.n_known, 0);
    assert_int_equal(p.n_nearest, 0);
    assert_int_equal(p.turn, 0);
    strbuf_printf(&longer, "%s%s and more", first, strbuf_cstr(&text));
    p = parting_of(&f, other, &text);
    assert_int_equal(p.n_known, strlen("?the system text?a"));
    assert_int_equal(p.n_nearest, n + 4); /* the last of five tokens was never computed */
    assert_int_equal(p.turn, 2);
    p = parting_of(&f, strbuf_cstr(&longer), &text);
    assert_int_equal(p.n_known, n + 4);
    assert_int_equal(p.n_nearest, n + 4); /* it goes on */
    sched_destroy(f.sched);
    strbuf_free(&text);
    strbuf_free(&longer);
}

static void test_sched__a_job_that_never_began_has_no_parting(void **state)
{
    (void)state;
    struct fixture f = make(4096, 1, 1000, 0);
    struct strbuf text;
    struct job_parting p;
    strbuf_init(&text, 10000);
    struct job *first = submit(&f, "words without end", 3000, 4000, NULL, 0);
    assert_int_equal(job_await_parting(first, WAIT_MS, &p), STATUS_OK);
    struct job *second = submit(&f, "others, that wait for its place", 5, 4000, NULL, 0);
    assert_int_equal(job_await_parting(second, 0, &p), STATUS_AGAIN);
    job_cancel(second);
    assert_int_equal(job_await_parting(second, WAIT_MS, &p), STATUS_CANCELLED);
    job_release(second);
    job_release(first);
    sched_destroy(f.sched);
    strbuf_free(&text);
}

static void test_sched__destroying_ends_what_runs(void **state)
{
    (void)state;
    struct fixture f = make(4096, 2, 1000, 0);
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job *j = submit(&f, "words without end", 3000, 4000, NULL, 0);
    sched_destroy(f.sched);
    assert_int_equal(read_all(j, &text).end, JOB_CANCELLED);
    job_release(j);
    strbuf_free(&text);
}

/* One turn of `prompt` with the two ends that are no token of the model's own. */
static struct job_output run_turn(struct fixture *f, const char *prompt, model_token turn_begin,
                                  bool must_speak, struct strbuf *text)
{
    model_token *tokens;
    size_t n;
    struct job *j;
    assert_int_equal(model_tokenize(f->model, str_from(prompt), true, &tokens, &n), STATUS_OK);
    struct job_params params = {.tokens = tokens,
                                .n_tokens = n,
                                .max_tokens = 20,
                                .n_window = 400,
                                .turn_begin = turn_begin,
                                .must_speak = must_speak,
                                .sampler = {.top_p = 1, .repeat_penalty = 1}};
    assert_int_equal(sched_submit(f->sched, &params, &j, NULL), STATUS_OK);
    strbuf_clear(text);
    struct job_output out = read_all(j, text);
    job_release(j);
    mem_free(tokens);
    return out;
}

static void test_sched__a_reply_that_must_speak_is_not_empty(void **state)
{
    (void)state;
    static const char prompt[] = "<|im_start|>user\nsay:<|im_end|>\n<|im_start|>assistant\n";
    struct fixture f = make(4096, 2, 0, 0);
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job_output out = run_turn(&f, prompt, MODEL_NO_TOKEN, false, &text);
    assert_int_equal(out.end, JOB_END_OF_TURN);
    assert_int_equal(out.n_sampled, 0);
    out = run_turn(&f, prompt, MODEL_NO_TOKEN, true, &text);
    assert_true(out.n_sampled > 0);
    sched_destroy(f.sched);
    strbuf_free(&text);
}

static void test_sched__what_begins_a_turn_ends_the_one_before(void **state)
{
    (void)state;
    struct fixture f = make(4096, 2, 0, 0);
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job_output out = run_turn(&f, "say:abcd\n", 'c', false, &text);
    assert_int_equal(out.end, JOB_END_OF_TURN);
    assert_int_equal(out.n_sampled, 2);
    CHECK_STR(strbuf_str(&text), "ab");
    sched_destroy(f.sched);
    strbuf_free(&text);
}

static void test_sched__a_reply_that_goes_round_in_circles_is_ended(void **state)
{
    (void)state;
    struct fixture f = make(4096, 2, 0, 0);
    struct strbuf text, prompt;
    strbuf_init(&text, 10000);
    strbuf_init(&prompt, 10000);
    strbuf_append_cstr(&prompt, "say:");
    for (int i = 0; i < 300; i++)
        strbuf_append_cstr(&prompt, "ab ");
    strbuf_append_cstr(&prompt, "never said\n");
    struct job *j = submit(&f, strbuf_cstr(&prompt), 2000, 4000, NULL, 0);
    struct job_output out = read_all(j, &text);
    job_release(j);
    assert_int_equal(out.end, JOB_END_OF_TURN);
    assert_in_range(out.n_sampled, 384, 384 + 32);

    strbuf_clear(&prompt);
    strbuf_append_cstr(&prompt, "say:"); /* the same passage, but never the same twice in a row */
    for (int i = 0; i < 150; i++)
        strbuf_printf(&prompt, "ab %d ", i);
    strbuf_append_cstr(&prompt, "all said\n");
    strbuf_clear(&text);
    j = submit(&f, strbuf_cstr(&prompt), 2000, 4000, NULL, 0);
    (void)read_all(j, &text);
    job_release(j);
    assert_int_not_equal(str_find(strbuf_str(&text), STR("all said")), SIZE_MAX);
    sched_destroy(f.sched);
    strbuf_free(&prompt);
    strbuf_free(&text);
}

/* ---- A grammar that is inside a call from the first token on, and forbids nothing ---- */

static struct grammar *call_create(const struct model *m, const struct grammar_spec *spec)
{
    (void)spec;
    return (struct grammar *)m; /* any pointer: only these functions see it */
}

static void call_free(struct grammar *g)
{
    (void)g;
}

static bool call_allows(struct grammar *g, model_token token)
{
    (void)g;
    (void)token;
    return true;
}

static void call_accept(struct grammar *g, model_token token)
{
    (void)g;
    (void)token;
}

static bool call_in_call(struct grammar *g)
{
    (void)g;
    return true;
}

/* Runs one job inside a call; its reply is n times "ab " and "all said". */
static struct job_output run_call(uint32_t n, struct strbuf *text)
{
    struct fixture f = make(16384, 2, 0, 0);
    struct model_ops ops = *f.model->ops;
    ops.grammar_create = call_create;
    ops.grammar_free = call_free;
    ops.grammar_allows = call_allows;
    ops.grammar_accept = call_accept;
    ops.grammar_in_call = call_in_call;
    f.model->ops = &ops;

    struct strbuf prompt;
    strbuf_init(&prompt, 16000);
    strbuf_append_cstr(&prompt, "say:");
    for (uint32_t i = 0; i < n; i++)
        strbuf_append_cstr(&prompt, "ab ");
    strbuf_append_cstr(&prompt, "all said\n");
    model_token *tokens;
    size_t n_tokens;
    struct job *j;
    struct grammar_call tool = {.name = STR("any"), .schema_json = STR("{}")};
    assert_int_equal(model_tokenize(f.model, strbuf_str(&prompt), true, &tokens, &n_tokens),
                     STATUS_OK);
    struct job_params params = {.tokens = tokens,
                                .n_tokens = n_tokens,
                                .max_tokens = 16,
                                .turn_begin = MODEL_NO_TOKEN,
                                .n_window = 16000,
                                .sampler = {.top_p = 1, .repeat_penalty = 1},
                                .grammar = {.calls = &tool, .n_calls = 1}};
    assert_int_equal(sched_submit(f.sched, &params, &j, NULL), STATUS_OK);
    strbuf_clear(text);
    struct job_output out = read_all(j, text);
    job_release(j);
    sched_destroy(f.sched);
    mem_free(tokens);
    strbuf_free(&prompt);
    return out;
}

/* max_tokens does not cut a call, and a file may repeat itself for long; not without end. */
static void test_sched__a_call_that_goes_round_in_circles_is_stopped_later(void **state)
{
    (void)state;
    struct strbuf text;
    strbuf_init(&text, 16000);
    struct job_output out = run_call(600, &text);
    assert_int_equal(out.end, JOB_END_OF_TURN);
    assert_int_equal(out.n_sampled, 600 * 3 + 8);
    assert_int_not_equal(str_find(strbuf_str(&text), STR("all said")), SIZE_MAX);

    out = run_call(2000, &text);
    assert_int_equal(out.end, JOB_CALL_LOOP);
    assert_in_range(out.n_sampled, 2048, 2048 + 32);
    strbuf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sched__a_call_that_goes_round_in_circles_is_stopped_later),
        cmocka_unit_test(test_sched__a_reply_that_goes_round_in_circles_is_ended),
        cmocka_unit_test(test_sched__a_reply_that_must_speak_is_not_empty),
        cmocka_unit_test(test_sched__what_begins_a_turn_ends_the_one_before),
        cmocka_unit_test(test_sched__says_what_the_model_says),
        cmocka_unit_test(test_sched__the_same_prompt_again_computes_one_token),
        cmocka_unit_test(test_sched__a_longer_conversation_goes_on_from_prompt_and_reply),
        cmocka_unit_test(test_sched__jobs_together_say_what_each_says_alone),
        cmocka_unit_test(test_sched__a_full_pool_makes_jobs_wait_and_none_fail),
        cmocka_unit_test(test_sched__a_slow_reader_loses_nothing),
        cmocka_unit_test(test_sched__limits_are_exact),
        cmocka_unit_test(test_sched__a_stop_text_ends_over_token_borders),
        cmocka_unit_test(test_sched__a_cancelled_prefill_is_gone_on_with),
        cmocka_unit_test(test_sched__cancelling_at_any_step_leaves_the_pool_sound),
        cmocka_unit_test(test_sched__a_failed_model_fails_every_job_and_refuses_more),
        cmocka_unit_test(test_sched__namespaces_share_nothing),
        cmocka_unit_test(test_sched__tells_where_a_prompt_parts_from_the_nearest),
        cmocka_unit_test(test_sched__a_job_that_never_began_has_no_parting),
        cmocka_unit_test(test_sched__destroying_ends_what_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
