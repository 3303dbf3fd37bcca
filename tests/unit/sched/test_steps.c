/* The scheduler step by step: every decode call is recorded, and a test can hold the scheduler
 * before the n-th one, so that what happens during a call happens at that call and no other.
 *
 * The toy's replies without a script are hashes of all tokens before them: a mistake in shared,
 * removed or recomputed cells changes the reply. */
#include "support/check.h"

#include "sched/sched.h"

#include <pthread.h>

#include "base/limits.h"
#include "base/metrics.h"
#include "base/thread.h"
#include "model/model_toy.h"

enum {
    WAIT_MS = 20 * 1000,
    MAX_CALLS = 20000,
    N_SEQUENCES = 16,
};

struct call {
    size_t n_rows;
    uint32_t n_sequences; /* that have rows in it */
    uint32_t begin;       /* position of the first row */
    uint32_t cells;       /* used by the model afterwards */
    enum model_result result;
};

/* One at a time.  `calls` is written by the scheduler and read when it is held, or gone. */
static struct {
    const struct model_ops *inner;
    struct model_ops ops;
    struct call calls[MAX_CALLS];
    size_t n_calls;
    size_t hold_at; /* the call, from 1, before which the scheduler is held; 0: none */
    bool is_held;
    bool may_go;
    bool abort_ends_hold;
    bool (*should_abort)(void *arg); /* the scheduler's */
    void *abort_arg;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
} spy = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void spy_hold(void)
{
    pthread_mutex_lock(&spy.mutex);
    spy.n_calls++;
    if (spy.n_calls == spy.hold_at) {
        spy.is_held = true;
        pthread_cond_broadcast(&spy.changed);
        while (!spy.may_go && !(spy.abort_ends_hold && spy.should_abort(spy.abort_arg)))
            (void)thread_cond_wait_ms(&spy.changed, &spy.mutex, 1);
        spy.is_held = false;
    }
    pthread_mutex_unlock(&spy.mutex);
}

static enum model_result spy_decode(struct model *m, const struct model_row *rows, size_t n_rows)
{
    spy_hold();
    struct call call = {.n_rows = n_rows, .begin = rows[0].position};
    uint64_t seen = 0;
    for (size_t i = 0; i < n_rows; i++)
        seen |= UINT64_C(1) << rows[i].sequence;
    for (; seen != 0; seen &= seen - 1)
        call.n_sequences++;
    call.result = spy.inner->decode(m, rows, n_rows);
    call.cells = model_toy_cells_used(m);
    INVARIANT(spy.n_calls <= MAX_CALLS);
    spy.calls[spy.n_calls - 1] = call;
    return call.result;
}

static void spy_set_abort(struct model *m, bool (*should_abort)(void *arg), void *arg)
{
    spy.should_abort = should_abort;
    spy.abort_arg = arg;
    spy.inner->set_abort(m, should_abort, arg);
}

static void spy_await(void)
{
    pthread_mutex_lock(&spy.mutex);
    while (!spy.is_held) {
        if (!thread_cond_wait_ms(&spy.changed, &spy.mutex, WAIT_MS))
            fail_msg("the scheduler did not come to call %zu", spy.hold_at);
    }
    pthread_mutex_unlock(&spy.mutex);
}

static void spy_go(void)
{
    pthread_mutex_lock(&spy.mutex);
    spy.may_go = true;
    pthread_cond_broadcast(&spy.changed);
    pthread_mutex_unlock(&spy.mutex);
}

struct fixture {
    struct model *model;
    struct sched *sched;
};

struct setup {
    uint32_t n_cells;     /* 4096 */
    uint32_t max_running; /* 4 */
    uint32_t max_jobs;    /* 16 */
    uint32_t fail_at;
    size_t hold_at;
    bool abort_ends_hold;
};

static struct fixture make(const struct setup *setup)
{
    struct model_toy_options toy = {.n_cells = setup->n_cells ? setup->n_cells : 4096,
                                    .n_sequences = N_SEQUENCES,
                                    .fail_decode_at = setup->fail_at};
    struct fixture f = {.model = model_toy_create(&toy)};
    spy.inner = f.model->ops;
    spy.ops = *f.model->ops;
    spy.ops.decode = spy_decode;
    spy.ops.set_abort = spy_set_abort;
    f.model->ops = &spy.ops;
    spy.n_calls = 0;
    spy.hold_at = setup->hold_at;
    spy.abort_ends_hold = setup->abort_ends_hold;
    spy.is_held = false;
    spy.may_go = false;
    struct sched_options options = {.max_running = setup->max_running ? setup->max_running : 4,
                                    .max_jobs = setup->max_jobs ? setup->max_jobs : 16};
    f.sched = sched_create(f.model, &options);
    assert_non_null(f.sched);
    return f;
}

static enum status try_submit(struct fixture *f, const char *prompt, uint32_t max_tokens,
                              struct job **out)
{
    model_token *tokens;
    size_t n;
    assert_int_equal(model_tokenize(f->model, str_from(prompt), true, &tokens, &n), STATUS_OK);
    struct job_params params = {.tokens = tokens,
                                .n_tokens = n,
                                .namespace_key = 1,
                                .max_tokens = max_tokens,
                                .turn_begin = MODEL_NO_TOKEN,
                                .n_window = 4096,
                                .sampler = {.top_p = 1, .repeat_penalty = 1}};
    struct error err;
    enum status st = sched_submit(f->sched, &params, out, &err);
    mem_free(tokens);
    return st;
}

static struct job *submit(struct fixture *f, const char *prompt, uint32_t max_tokens)
{
    struct job *j = NULL;
    assert_int_equal(try_submit(f, prompt, max_tokens, &j), STATUS_OK);
    return j;
}

/* Reads to the end and releases; the text in *bytes. */
static struct job_output finish(struct job *j, struct strbuf *bytes)
{
    strbuf_clear(bytes);
    struct job_output out = {.bytes = bytes};
    while (out.end == JOB_RUNNING)
        assert_int_equal(job_next(j, WAIT_MS, &out), STATUS_OK);
    job_release(j);
    return out;
}

/* What the toy says after `prompt` when nothing else ever ran. */
static void say_alone(const char *prompt, uint32_t max_tokens, struct strbuf *bytes)
{
    struct fixture f = make(&(struct setup){0});
    finish(submit(&f, prompt, max_tokens), bytes);
    sched_destroy(f.sched);
}

static char *long_prompt(char first, size_t n)
{
    char *prompt = mem_alloc(n + 1);
    for (size_t i = 0; i < n; i++)
        prompt[i] = (char)('a' + (i * i / 7 + i) % 26);
    prompt[0] = first;
    prompt[n] = '\0';
    return prompt;
}

static void test_steps__a_stream_waits_for_small_chunks_only(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.hold_at = 5});
    char *prompt = long_prompt('L', 1200);
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job *stream = submit(&f, "words without end", 200);
    spy_await();
    struct job *reader = submit(&f, prompt, 3);
    spy_go();
    finish(reader, &text);
    finish(stream, &text);
    sched_destroy(f.sched);

    /* Call 5 was held; 6 is the stream's row again, and from 7 on chunks and rows take turns. */
    size_t n_read = 0;
    for (size_t i = 6; n_read < 1200; i += 2) {
        const struct call *chunk = &spy.calls[i];
        const struct call *row = &spy.calls[i + 1];
        assert_true(i + 1 < spy.n_calls);
        assert_in_range(chunk->n_rows, 1, 32);
        assert_int_equal(chunk->n_sequences, 1);
        assert_int_equal(chunk->begin, n_read);
        assert_int_equal(chunk->begin / 512, (chunk->begin + chunk->n_rows - 1) / 512);
        n_read += chunk->n_rows;
        assert_int_equal(row->n_rows, row->n_sequences);
        assert_int_equal(row->n_rows, n_read < 1200 ? 1 : 2);
    }
    assert_int_equal(n_read, 1200);
    mem_free(prompt);
    strbuf_free(&text);
}

static void test_steps__a_prompt_alone_is_read_in_pieces_of_512(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){0});
    char *prompt = long_prompt('L', 1200);
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job_output out = finish(submit(&f, prompt, 2), &text);
    assert_int_equal(out.n_prefilled, 1200);
    sched_destroy(f.sched);
    size_t wanted[] = {512, 512, 176, 1};
    assert_int_equal(spy.n_calls, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(spy.calls[i].n_rows, wanted[i]);
    mem_free(prompt);
    strbuf_free(&text);
}

static void test_steps__equal_prompts_at_once_are_computed_once(void **state)
{
    (void)state;
    enum { N = 4 };
    struct fixture f = make(&(struct setup){.hold_at = 1});
    char *prompt = long_prompt('L', 700);
    struct strbuf text, wanted;
    strbuf_init(&text, 10000);
    strbuf_init(&wanted, 10000);
    struct job *jobs[N];
    for (int i = 0; i < N; i++)
        jobs[i] = submit(&f, prompt, 50);
    spy_await();
    spy_go();
    for (int i = 0; i < N; i++) {
        struct job_output out = finish(jobs[i], &text);
        assert_int_equal(out.n_reused, i == 0 ? 0 : 699);
        assert_int_equal(out.n_prefilled, 700 - out.n_reused);
        assert_int_equal(out.n_sampled, 50);
        if (i == 0)
            strbuf_append_str(&wanted, strbuf_str(&text));
        CHECK_STR(strbuf_str(&text), strbuf_cstr(&wanted));
    }
    sched_destroy(f.sched);
    uint32_t most_sequences = 0;
    for (size_t i = 0; i < spy.n_calls; i++)
        if (spy.calls[i].n_sequences > most_sequences)
            most_sequences = spy.calls[i].n_sequences;
    assert_int_equal(most_sequences, N); /* and they were decoded together */
    mem_free(prompt);
    strbuf_free(&text);
    strbuf_free(&wanted);
}

static void test_steps__a_running_stream_lends_its_prefix(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.hold_at = 30});
    struct strbuf text, wanted;
    strbuf_init(&text, 10000);
    strbuf_init(&wanted, 10000);
    struct job *first = submit(&f, "the system prompt of both; a question", 100);
    spy_await();
    struct job *second = submit(&f, "the system prompt of both; another", 40);
    spy_go();
    struct job_output out = finish(second, &text);
    finish(first, &text);
    sched_destroy(f.sched);
    assert_int_equal(out.n_reused, strlen("the system prompt of both; a"));
    say_alone("the system prompt of both; a question", 100, &wanted);
    CHECK_STR(strbuf_str(&text), strbuf_cstr(&wanted));
    strbuf_free(&text);
    strbuf_free(&wanted);
}

/* Cancels during the n-th call, whatever it is, and asks the same again. */
static void cancel_at(size_t nth, const char *prompt, const char *wanted)
{
    struct fixture f = make(&(struct setup){.hold_at = nth});
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job *j = submit(&f, prompt, 20);
    spy_await();
    job_cancel(j);
    job_cancel(j);
    spy_go();
    assert_int_equal(finish(j, &text).end, JOB_CANCELLED);

    /* The end comes after the cells are idle and the figures right. */
    struct sched_stats stats;
    sched_get_stats(f.sched, &stats);
    assert_int_equal(stats.n_running, 0);
    assert_int_equal(stats.n_waiting, 0);
    assert_int_equal(stats.cells_used, model_toy_cells_used(f.model));
    size_t n_kept[] = {0, 512, 600};
    size_t kept = nth <= 3 ? n_kept[nth - 1] : 600 + nth - 3;
    /* A call of one row is let go on, a chunk is not. */
    assert_in_range(stats.cells_used, kept, nth <= 2 ? kept : kept + 1);

    struct job_output out = finish(submit(&f, prompt, 20), &text);
    assert_int_equal(out.end, JOB_MAX_TOKENS);
    assert_int_equal(out.n_reused, kept < 600 ? kept : 599);
    CHECK_STR(strbuf_str(&text), wanted);
    sched_destroy(f.sched);
    strbuf_free(&text);
}

static void test_steps__cancel_at_every_call_keeps_what_was_complete(void **state)
{
    (void)state;
    char *prompt = long_prompt('L', 600);
    struct strbuf wanted;
    strbuf_init(&wanted, 10000);
    say_alone(prompt, 20, &wanted);
    size_t n_calls = spy.n_calls;
    assert_int_equal(n_calls, 2 + 19);
    for (size_t nth = 1; nth < n_calls; nth++) /* in the last call it ends by itself */
        cancel_at(nth, prompt, strbuf_cstr(&wanted));
    mem_free(prompt);
    strbuf_free(&wanted);
}

static void test_steps__a_cancelled_prefill_frees_a_stream_beside_it(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.hold_at = 3});
    char *prompt = long_prompt('L', 600);
    struct strbuf text, wanted;
    strbuf_init(&text, 10000);
    strbuf_init(&wanted, 10000);
    struct job *stream = submit(&f, "words without end", 40);
    spy_await();
    struct job *reader = submit(&f, prompt, 3);
    job_release(reader); /* gone before it was ever admitted */
    spy_go();
    finish(stream, &text);
    sched_destroy(f.sched);
    for (size_t i = 2; i < spy.n_calls; i++)
        assert_int_equal(spy.calls[i].n_rows, 1);
    say_alone("words without end", 40, &wanted);
    CHECK_STR(strbuf_str(&text), strbuf_cstr(&wanted));
    mem_free(prompt);
    strbuf_free(&text);
    strbuf_free(&wanted);
}

static size_t count_full_calls(void)
{
    size_t n = 0;
    for (size_t i = 0; i < spy.n_calls; i++)
        n += spy.calls[i].result == MODEL_FULL;
    return n;
}

static void test_steps__jobs_that_gave_way_come_back_and_finish(void **state)
{
    (void)state;
    enum { N = 4 };
    /* Each needs 40 + 199 cells at its end: two fit at first, and one at last. */
    struct fixture f = make(&(struct setup){.n_cells = 256, .hold_at = 1});
    struct strbuf text[N], wanted;
    strbuf_init(&wanted, 10000);
    struct job *jobs[N];
    char *prompts[N];
    for (int i = 0; i < N; i++) {
        strbuf_init(&text[i], 10000);
        prompts[i] = long_prompt((char)('A' + i), 40);
        jobs[i] = submit(&f, prompts[i], 200);
    }
    spy_await();
    spy_go();
    for (int i = 0; i < N; i++) {
        struct job_output out = finish(jobs[i], &text[i]);
        assert_int_equal(out.end, JOB_MAX_TOKENS);
        assert_int_equal(out.n_sampled, 200);
        assert_int_equal(out.n_reused + out.n_prefilled, 40);
    }
    sched_destroy(f.sched);
    assert_true(count_full_calls() >= 2);
    uint32_t most_sequences = 0;
    for (size_t i = 0; i < spy.n_calls; i++)
        if (spy.calls[i].n_sequences > most_sequences)
            most_sequences = spy.calls[i].n_sequences;
    assert_true(most_sequences >= 2);
    assert_true(spy.n_calls < 4 * 200 * N); /* nobody goes round in circles */
    for (int i = 0; i < N; i++) {
        say_alone(prompts[i], 200, &wanted);
        CHECK_STR(strbuf_str(&text[i]), strbuf_cstr(&wanted));
        mem_free(prompts[i]);
        strbuf_free(&text[i]);
    }
    strbuf_free(&wanted);
}

static void test_steps__a_job_alone_ends_where_the_pool_ends(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.n_cells = 100});
    struct strbuf text, other;
    strbuf_init(&text, 10000);
    strbuf_init(&other, 10000);
    finish(submit(&f, "an older turn, which gives way to it", 10), &other);
    char *prompt = long_prompt('L', 40);
    struct job_output out = finish(submit(&f, prompt, 1000), &text);
    assert_int_equal(out.end, JOB_WINDOW);
    assert_int_equal(out.n_sampled, 61); /* the last one needs no cell */
    assert_int_equal(text.len, 61);
    mem_free(prompt);

    prompt = long_prompt('L', 101);
    struct job *j;
    assert_int_equal(try_submit(&f, prompt, 1, &j), STATUS_TOO_LONG);
    prompt[100] = '\0';
    out = finish(submit(&f, prompt, 5), &text);
    assert_int_equal(out.end, JOB_WINDOW);
    assert_int_equal(out.n_sampled, 1);
    mem_free(prompt);
    sched_destroy(f.sched);
    strbuf_free(&text);
    strbuf_free(&other);
}

static void test_steps__a_job_that_nobody_reads_stops_at_its_buffer(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.n_cells = 8192, .hold_at = 1});
    struct strbuf text, wanted;
    strbuf_init(&text, 10000);
    strbuf_init(&wanted, 10000);
    struct job *slow = submit(&f, "words that nobody reads", 1000);
    struct job *quick = submit(&f, "words of another kind", 1500);
    spy_await();
    spy_go();
    finish(quick, &text);

    /* It was decoded first in each of 1500 steps. */
    strbuf_clear(&text);
    struct job_output out = {.bytes = &text};
    assert_int_equal(job_next(slow, WAIT_MS, &out), STATUS_OK);
    assert_int_equal(out.end, JOB_RUNNING);
    assert_int_equal(out.n_sampled, LIMIT_JOB_TOKENS);
    assert_int_equal(text.len, LIMIT_JOB_TOKENS);
    while (out.end == JOB_RUNNING)
        assert_int_equal(job_next(slow, WAIT_MS, &out), STATUS_OK);
    assert_int_equal(out.n_sampled, 1000);
    job_release(slow);
    sched_destroy(f.sched);
    say_alone("words that nobody reads", 1000, &wanted);
    CHECK_STR(strbuf_str(&text), strbuf_cstr(&wanted));
    strbuf_free(&text);
    strbuf_free(&wanted);
}

static void test_steps__no_more_jobs_run_or_wait_than_allowed(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.max_running = 2, .max_jobs = 3, .hold_at = 4});
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job *jobs[3], *fourth;
    for (int i = 0; i < 3; i++) {
        char prompt[] = "0 words without end";
        prompt[0] = (char)('0' + i);
        jobs[i] = submit(&f, prompt, 60);
    }
    spy_await();
    struct sched_stats stats;
    sched_get_stats(f.sched, &stats);
    assert_int_equal(stats.n_running + stats.n_waiting, 3);
    assert_int_equal(try_submit(&f, "one too many", 5, &fourth), STATUS_BUSY);
    spy_go();
    finish(jobs[0], &text);
    fourth = submit(&f, "now there is a place", 5); /* at once: the end is told last */
    assert_int_equal(finish(fourth, &text).end, JOB_MAX_TOKENS);
    finish(jobs[1], &text);
    finish(jobs[2], &text);
    sched_get_stats(f.sched, &stats);
    assert_int_equal(stats.n_running + stats.n_waiting, 0);
    sched_destroy(f.sched);
    for (size_t i = 0; i < spy.n_calls; i++)
        assert_true(spy.calls[i].n_sequences <= 2);
    strbuf_free(&text);
}

static void test_steps__a_failed_call_ends_all_jobs_with_the_cause(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.fail_at = 20, .hold_at = 1, .max_running = 2});
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job *jobs[3], *late;
    for (int i = 0; i < 3; i++) {
        char prompt[] = "0 words without end";
        prompt[0] = (char)('0' + i);
        jobs[i] = submit(&f, prompt, 60);
    }
    spy_await();
    spy_go();
    for (int i = 0; i < 3; i++) {
        struct job_output out = finish(jobs[i], &text);
        assert_int_equal(out.end, JOB_FAILED);
        assert_int_equal(out.error.status, STATUS_INTERNAL);
        assert_true(strlen(out.error.message) > 0);
    }
    assert_int_equal(try_submit(&f, "too late", 5, &late), STATUS_INTERNAL);
    sched_destroy(f.sched);
    strbuf_free(&text);
}

static void test_steps__bad_jobs_are_refused(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){0});
    model_token token = 'a';
    struct str empty = STR("");
    struct job_params params = {
        .tokens = &token, .n_window = 10, .sampler = {.top_p = 1, .repeat_penalty = 1}};
    struct job *j;
    struct error err;
    assert_int_equal(sched_submit(f.sched, &params, &j, &err), STATUS_INVALID);
    params.n_tokens = 1;
    params.stops = &empty;
    params.n_stops = 1;
    assert_int_equal(sched_submit(f.sched, &params, &j, &err), STATUS_INVALID);
    params.n_stops = 0;
    params.n_window = 0;
    assert_int_equal(sched_submit(f.sched, &params, &j, &err), STATUS_TOO_LONG);
    sched_destroy(f.sched);
}

static void test_steps__the_counters_add_up(void **state)
{
    (void)state;
    int64_t sampled = metric_get(METRIC_GENERATED_TOKENS);
    int64_t asked = metric_get(METRIC_PROMPT_TOKENS);
    int64_t reused = metric_get(METRIC_REUSED_TOKENS);
    int64_t computed = metric_get(METRIC_PREFILLED_TOKENS);
    int64_t done = metric_get(METRIC_TURNS_DONE);
    struct fixture f = make(&(struct setup){0});
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job_output out = finish(submit(&f, "a longer text, then say:twelve bytes\n", 99), &text);
    assert_int_equal(out.end, JOB_END_OF_TURN);
    assert_int_equal(out.n_sampled, 12);
    finish(submit(&f, "a longer text, then say:twelve bytes\n", 5), &text);
    CHECK_STR(strbuf_str(&text), "twelv");
    struct sched_stats stats;
    sched_get_stats(f.sched, &stats);
    assert_int_equal(stats.cells_total, 4096);
    assert_int_equal(metric_get(METRIC_KV_CELLS_USED), stats.cells_used);
    assert_int_equal(metric_get(METRIC_GENERATED_TOKENS) - sampled, 12 + 5);
    assert_int_equal(metric_get(METRIC_PROMPT_TOKENS) - asked, 2 * 37);
    assert_int_equal(metric_get(METRIC_REUSED_TOKENS) - reused, 36);
    assert_int_equal(metric_get(METRIC_PREFILLED_TOKENS) - computed, 37 + 1);
    assert_int_equal(metric_get(METRIC_TURNS_DONE) - done, 2);
    sched_destroy(f.sched);
    strbuf_free(&text);
}

static void test_steps__destroy_during_a_chunk_ends_every_job(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.hold_at = 2, .abort_ends_hold = true});
    char *prompt = long_prompt('L', 1500);
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job *reading = submit(&f, prompt, 10);
    spy_await();
    struct job *waiting = submit(&f, "never admitted", 10);
    sched_destroy(f.sched); /* ends the hold, as it asks the call to abort */
    assert_int_equal(finish(waiting, &text).end, JOB_CANCELLED);
    assert_int_equal(finish(reading, &text).end, JOB_CANCELLED);
    mem_free(prompt);
    strbuf_free(&text);
}

int main(void)
{
    thread_cond_init(&spy.changed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps__a_stream_waits_for_small_chunks_only),
        cmocka_unit_test(test_steps__a_prompt_alone_is_read_in_pieces_of_512),
        cmocka_unit_test(test_steps__equal_prompts_at_once_are_computed_once),
        cmocka_unit_test(test_steps__a_running_stream_lends_its_prefix),
        cmocka_unit_test(test_steps__cancel_at_every_call_keeps_what_was_complete),
        cmocka_unit_test(test_steps__a_cancelled_prefill_frees_a_stream_beside_it),
        cmocka_unit_test(test_steps__jobs_that_gave_way_come_back_and_finish),
        cmocka_unit_test(test_steps__a_job_alone_ends_where_the_pool_ends),
        cmocka_unit_test(test_steps__a_job_that_nobody_reads_stops_at_its_buffer),
        cmocka_unit_test(test_steps__no_more_jobs_run_or_wait_than_allowed),
        cmocka_unit_test(test_steps__a_failed_call_ends_all_jobs_with_the_cause),
        cmocka_unit_test(test_steps__bad_jobs_are_refused),
        cmocka_unit_test(test_steps__the_counters_add_up),
        cmocka_unit_test(test_steps__destroy_during_a_chunk_ends_every_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
