/* Classes of jobs, and prompts with a common beginning, call by call. */
#include "spy.h"

enum { MANY_CELLS = 16384 };

/* The first call from `from` on with rows of another sequence than `sequence`; n_calls: none. */
static size_t find_other(size_t from, uint32_t sequence)
{
    while (from < spy.n_calls && spy.calls[from].first == sequence)
        from++;
    return from;
}

static size_t count_rows(void)
{
    size_t n = 0;
    for (size_t i = 0; i < spy.n_calls; i++)
        n += spy.calls[i].result == MODEL_DONE ? spy.calls[i].n_rows : 0;
    return n;
}

/* `n` characters of long_prompt('L'), then `tail`. */
static char *branch(size_t n, const char *tail)
{
    char *common = long_prompt('L', n);
    struct strbuf text;
    strbuf_init(&text, 100000);
    strbuf_append_cstr(&text, common);
    strbuf_append_cstr(&text, tail);
    mem_free(common);
    char *prompt = mem_strdup(strbuf_cstr(&text));
    strbuf_free(&text);
    return prompt;
}

static void test_classes__a_user_takes_over_from_a_background_prompt(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.hold_at = 2});
    char *title = long_prompt('T', 600), *main = long_prompt('M', 700);
    struct strbuf text, wanted;
    strbuf_init(&text, 10000);
    strbuf_init(&wanted, 10000);
    struct job *background = submit_class(&f, JOB_BACKGROUND, title, 20);
    spy_await();
    struct job *user = submit(&f, main, 30);
    spy_go();
    struct job_output out = finish(user, &text);
    assert_int_equal(out.end, JOB_MAX_TOKENS);
    out = finish(background, &wanted);
    assert_int_equal(out.n_reused, 0);
    assert_int_equal(out.n_prefilled, 600); /* its chunks were kept */
    sched_destroy(f.sched);
    size_t n_rows[] = {128, 128, 512, 188};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(spy.calls[i].n_rows, n_rows[i]);
    assert_int_equal(spy.calls[2].begin, 0);
    assert_int_not_equal(spy.calls[2].first, spy.calls[1].first);
    assert_int_equal(spy.calls[5].begin, 256); /* then it goes on where it was */
    say_alone(main, 30, &wanted);
    CHECK_STR(strbuf_str(&text), strbuf_cstr(&wanted));
    mem_free(title);
    mem_free(main);
    strbuf_free(&text);
    strbuf_free(&wanted);
}

static void test_classes__the_only_place_is_given_up_and_got_back(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.max_running = 1, .hold_at = 3});
    char *title = long_prompt('T', 600), *main = long_prompt('M', 700);
    struct strbuf text, wanted;
    strbuf_init(&text, 10000);
    strbuf_init(&wanted, 10000);
    struct job *background = submit_class(&f, JOB_BACKGROUND, title, 20);
    spy_await();
    struct job *user = submit(&f, main, 30);
    spy_go();
    finish(user, &text);
    finish(background, &text);
    sched_destroy(f.sched);
    assert_int_equal(count_rows(), 600 + 700 + 29 + 19); /* nothing twice */
    assert_int_equal(spy.calls[3].begin, 0);
    assert_int_equal(spy.calls[3].n_rows, 512);
    say_alone(title, 20, &wanted);
    CHECK_STR(strbuf_str(&text), strbuf_cstr(&wanted));
    mem_free(title);
    mem_free(main);
    strbuf_free(&text);
    strbuf_free(&wanted);
}

/* A title that is being written does not make the chunks of the user's prompt small. */
static void test_classes__a_background_reply_is_written_between_large_chunks(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.hold_at = 5});
    char *main = long_prompt('M', 1200);
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job *background = submit_class(&f, JOB_BACKGROUND, "a short question", 20);
    spy_await();
    struct job *user = submit(&f, main, 5);
    spy_go();
    finish(user, &text);
    finish(background, &text);
    sched_destroy(f.sched);
    size_t n_rows[] = {1, 1, 512, 1, 512, 1, 176, 2};
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(spy.calls[4 + i].n_rows, n_rows[i]);
    mem_free(main);
    strbuf_free(&text);
}

static uint32_t reused_by(struct fixture *f, enum job_class class, char first, size_t n)
{
    char *prompt = long_prompt(first, n);
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job_output out = finish(submit_class(f, class, prompt, 1), &text);
    mem_free(prompt);
    strbuf_free(&text);
    return out.n_reused;
}

static void test_classes__background_prefixes_are_evicted_first(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){0}); /* 4096 cells */
    assert_int_equal(reused_by(&f, JOB_INTERACTIVE, 'I', 1500), 0);
    assert_int_equal(reused_by(&f, JOB_SUBAGENT, 'S', 1200), 0);
    for (char c = 'a'; c < 'f'; c++)
        assert_int_equal(reused_by(&f, JOB_BACKGROUND, c, 1000), 0);
    assert_int_equal(reused_by(&f, JOB_SUBAGENT, 'S', 1200), 1199);
    assert_int_equal(reused_by(&f, JOB_BACKGROUND, 'I', 1500), 1499); /* which stays a user's */
    assert_int_equal(reused_by(&f, JOB_BACKGROUND, 'B', 2000), 0);    /* goes the sub-agent's */
    assert_int_equal(reused_by(&f, JOB_INTERACTIVE, 'I', 1500), 1499);
    assert_int_equal(reused_by(&f, JOB_BACKGROUND, 'C', 4000), 0); /* there is no other choice */
    assert_int_equal(reused_by(&f, JOB_INTERACTIVE, 'I', 1500), 0);
    sched_destroy(f.sched);
}

static void test_classes__a_full_pool_parks_the_least_important(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.n_cells = 256, .hold_at = 1});
    char *prompts[] = {long_prompt('B', 40), long_prompt('I', 40)};
    struct strbuf text, wanted;
    strbuf_init(&text, 10000);
    strbuf_init(&wanted, 10000);
    struct job *background = submit_class(&f, JOB_BACKGROUND, prompts[0], 200);
    spy_await();
    struct job *user = submit(&f, prompts[1], 200);
    spy_go();
    assert_int_equal(finish(user, &text).end, JOB_MAX_TOKENS);
    assert_int_equal(finish(background, &text).end, JOB_MAX_TOKENS);
    sched_destroy(f.sched);
    size_t full = 0;
    while (full < spy.n_calls && spy.calls[full].result != MODEL_FULL)
        full++;
    assert_true(full + 1 < spy.n_calls);
    assert_int_equal(spy.calls[full].n_rows, 2); /* the older, less important one first */
    size_t next = full + 1;
    while (spy.calls[next].result == MODEL_FULL)
        next++;
    assert_int_equal(spy.calls[next].n_rows, 1);
    assert_int_equal(spy.calls[next].first, spy.calls[full].last);
    say_alone(prompts[0], 200, &wanted);
    CHECK_STR(strbuf_str(&text), strbuf_cstr(&wanted));
    mem_free(prompts[0]);
    mem_free(prompts[1]);
    strbuf_free(&text);
    strbuf_free(&wanted);
}

static void test_classes__two_subagents_compute_one_prefix_and_two_tails(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.n_cells = MANY_CELLS, .hold_at = 1});
    char *prompts[] = {branch(7000, "one and what it is to do, in fifty letters or so."),
                       branch(7000, "two, with another task")};
    struct strbuf text[2], wanted;
    strbuf_init(&text[0], 10000);
    strbuf_init(&text[1], 10000);
    strbuf_init(&wanted, 10000);
    struct job *jobs[2];
    for (int i = 0; i < 2; i++)
        jobs[i] = submit_class(&f, JOB_SUBAGENT, prompts[i], 10);
    spy_await();
    spy_go();
    assert_int_equal(finish(jobs[0], &text[0]).n_reused, 0);
    assert_int_equal(finish(jobs[1], &text[1]).n_reused, 7000);
    size_t n_tails = strlen(prompts[0]) + strlen(prompts[1]) - 2 * 7000;
    assert_int_equal(model_toy_rows(f.model), 7000 + n_tails + 2 * 9);
    sched_destroy(f.sched);
    struct fixture own = make(&(struct setup){.n_cells = MANY_CELLS});
    for (int i = 0; i < 2; i++) {
        finish(submit(&own, prompts[i], 10), &wanted);
        CHECK_STR(strbuf_str(&text[i]), strbuf_cstr(&wanted));
        mem_free(prompts[i]);
        strbuf_free(&text[i]);
    }
    sched_destroy(own.sched);
    strbuf_free(&wanted);
}

static void test_classes__a_user_waits_for_the_common_part_and_no_longer(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.n_cells = MANY_CELLS, .hold_at = 2});
    char *more = long_prompt('m', 1000), *agent = branch(3000, more),
         *user = branch(3000, "a question");
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job *first = submit_class(&f, JOB_SUBAGENT, agent, 3);
    spy_await();
    struct job *second = submit(&f, user, 3);
    spy_go();
    assert_int_equal(finish(second, &text).n_reused, 3000);
    assert_int_equal(finish(first, &text).n_reused, 0);
    assert_int_equal(model_toy_rows(f.model), 3000 + 1000 + strlen("a question") + 2 * 2);
    sched_destroy(f.sched);
    size_t at = find_other(0, spy.calls[0].first);
    assert_int_equal(spy.calls[at - 1].begin, 2560); /* the chunk that passed 3000 */
    assert_int_equal(spy.calls[at].begin, 3000);
    mem_free(more);
    mem_free(agent);
    mem_free(user);
    strbuf_free(&text);
}

static void test_classes__where_the_first_is_cancelled_the_second_carries_on(void **state)
{
    (void)state;
    struct fixture f = make(&(struct setup){.n_cells = MANY_CELLS, .hold_at = 4});
    char *agent = branch(3000, "one"), *other = branch(3000, "two");
    struct strbuf text;
    strbuf_init(&text, 10000);
    struct job *first = submit_class(&f, JOB_SUBAGENT, agent, 3);
    struct job *second = submit_class(&f, JOB_SUBAGENT, other, 3);
    spy_await();
    job_cancel(first);
    spy_go();
    assert_int_equal(finish(first, &text).end, JOB_CANCELLED);
    struct job_output out = finish(second, &text);
    assert_int_equal(out.n_reused, 3 * 512);
    assert_int_equal(model_toy_rows(f.model), 3003 + 2);
    sched_destroy(f.sched);
    mem_free(agent);
    mem_free(other);
    strbuf_free(&text);
}

int main(void)
{
    thread_cond_init(&spy.changed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes__a_user_takes_over_from_a_background_prompt),
        cmocka_unit_test(test_classes__the_only_place_is_given_up_and_got_back),
        cmocka_unit_test(test_classes__a_background_reply_is_written_between_large_chunks),
        cmocka_unit_test(test_classes__background_prefixes_are_evicted_first),
        cmocka_unit_test(test_classes__a_full_pool_parks_the_least_important),
        cmocka_unit_test(test_classes__two_subagents_compute_one_prefix_and_two_tails),
        cmocka_unit_test(test_classes__a_user_waits_for_the_common_part_and_no_longer),
        cmocka_unit_test(test_classes__where_the_first_is_cancelled_the_second_carries_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
