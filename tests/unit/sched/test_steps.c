/* The scheduler step by step: which calls it makes of the model, and that whatever happens during
 * any of them leaves pool and replies sound. */
#include "spy.h"

#include "base/limits.h"
#include "base/metrics.h"

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

/* The toy asks before each row: cancels the job at the n-th question. */
static struct {
    struct job *job;
    size_t at, n_asked;
} plan;

static bool cancel_by_plan(void *arg)
{
    (void)arg;
    if (++plan.n_asked == plan.at)
        job_cancel(plan.job);
    return spy.should_abort(spy.abort_arg);
}

static void test_steps__a_chunk_cancelled_midway_keeps_the_rows_that_are_whole(void **state)
{
    (void)state;
    char *prompt = long_prompt('L', 600);
    struct strbuf text, wanted;
    strbuf_init(&text, 10000);
    strbuf_init(&wanted, 10000);
    say_alone(prompt, 20, &wanted);
    const size_t rows[] = {1, 2, 300, 513, 551, 600};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f = make(&(struct setup){.hold_at = 1});
        plan.job = submit(&f, prompt, 20);
        plan.at = rows[i];
        plan.n_asked = 0;
        int64_t rows_before = metric_get(METRIC_ROWS_COMPUTED);
        spy_await();
        spy.inner->set_abort(f.model, cancel_by_plan, NULL);
        spy_go();
        struct job_output out = finish(plan.job, &text);
        assert_int_equal(out.end, JOB_CANCELLED);
        assert_int_equal(out.n_prefilled, rows[i] - 1);
        assert_int_equal(metric_get(METRIC_ROWS_COMPUTED), rows_before + (int64_t)rows[i] - 1);
        out = finish(submit(&f, prompt, 20), &text);
        CHECK_STR(strbuf_str(&text), strbuf_cstr(&wanted));
        /* What is shorter than a leaf must be is not kept. */
        assert_int_equal(out.n_reused, rows[i] <= 16 ? 0 : rows[i] - 1);
        sched_destroy(f.sched);
    }
    mem_free(prompt);
    strbuf_free(&text);
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
        cmocka_unit_test(test_steps__a_chunk_cancelled_midway_keeps_the_rows_that_are_whole),
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
