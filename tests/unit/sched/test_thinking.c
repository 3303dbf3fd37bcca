/* Reasoning that is kept to its budget: the counter alone, and in the scheduler. */
#include "support/check.h"

#include "model/model_toy.h"
#include "sched/sched.h"
#include "sched/thinking.h"

enum { WAIT_MS = 20 * 1000 };

static const model_token CLOSING[] = {'<', '/', 't', '>'};

static struct thinking_limit limit_of(uint32_t budget, bool begins_inside)
{
    return (struct thinking_limit){
        .start = STR("<t>"),
        .end = STR("</t>"),
        .begins_inside = begins_inside,
        .budget = budget,
        .closing = CLOSING,
        .n_closing = sizeof CLOSING / sizeof *CLOSING,
    };
}

/* Feeds a token for each character; returns after how many the first is forced, -1: after none. */
static int feed(struct thinking *t, const char *text)
{
    for (int i = 0; text[i] != '\0'; i++) {
        if (thinking_forced(t) != MODEL_NO_TOKEN)
            return i;
        thinking_feed(t, (struct str){text + i, 1});
    }
    return -1;
}

static void test_thinking__counts_what_stands_between_the_marks(void **state)
{
    (void)state;
    struct thinking t;
    struct thinking_limit limit = limit_of(5, false);
    thinking_init(&t, &limit);
    assert_int_equal(feed(&t, " \n<t>12345678"), (int)strlen(" \n<t>12345"));
}

static void test_thinking__the_prompt_may_have_begun_it(void **state)
{
    (void)state;
    struct thinking t;
    struct thinking_limit limit = limit_of(4, true);
    thinking_init(&t, &limit);
    assert_int_equal(feed(&t, "12345"), 4);
}

static void test_thinking__an_end_in_time_leaves_the_reply_free(void **state)
{
    (void)state;
    struct thinking t;
    struct thinking_limit limit = limit_of(8, true);
    thinking_init(&t, &limit);
    assert_int_equal(feed(&t, "123</t>and a long answer, with <t>0123456789 in it"), -1);
}

static void test_thinking__marks_inside_one_token_count(void **state)
{
    (void)state;
    struct thinking t;
    struct thinking_limit limit = limit_of(1, false);
    thinking_init(&t, &limit);
    thinking_feed(&t, STR("<t>b</t>\n<t>"));
    assert_true(t.is_inside);
    assert_int_equal(thinking_forced(&t), MODEL_NO_TOKEN);
    thinking_feed(&t, STR("d"));
    assert_int_equal(thinking_forced(&t), '<');
}

static void test_thinking__a_second_thought_is_closed_at_once(void **state)
{
    (void)state;
    struct thinking t;
    struct thinking_limit limit = limit_of(2, true);
    thinking_init(&t, &limit);
    assert_int_equal(feed(&t, "12"), -1);
    for (size_t i = 0; i < sizeof CLOSING / sizeof *CLOSING; i++) {
        char c = (char)thinking_forced(&t);
        assert_int_equal(c, CLOSING[i]);
        thinking_feed(&t, (struct str){&c, 1});
    }
    assert_int_equal(feed(&t, "\n<t>1"), (int)strlen("\n<t>"));
}

static void test_thinking__without_marks_or_budget_nothing_is_forced(void **state)
{
    (void)state;
    struct thinking t;
    struct thinking_limit limit = limit_of(UINT32_MAX, true);
    thinking_init(&t, &limit);
    assert_int_equal(feed(&t, "12345678"), -1);
    limit = limit_of(1, true);
    limit.end = STR("");
    thinking_init(&t, &limit);
    assert_int_equal(feed(&t, "12345678"), -1);
}

/* What the toy model says behind a prompt, in 24 tokens. */
static void say(const struct thinking_limit *limit, struct strbuf *text)
{
    struct model_toy_options toy = {.n_cells = 1024, .n_sequences = 4};
    struct model *model = model_toy_create(&toy);
    struct sched_options options = {.max_running = 1, .max_jobs = 1, .drafts = true};
    struct sched *sched = sched_create(model, &options);
    assert_non_null(sched);
    static const model_token prompt[] = {'n', 'o', ' ', 's', 'c', 'r', 'i', 'p', 't'};
    struct job_params params = {.tokens = prompt,
                                .n_tokens = sizeof prompt / sizeof *prompt,
                                .max_tokens = 24,
                                .n_window = 512,
                                .turn_begin = MODEL_NO_TOKEN,
                                .sampler = {.top_p = 1, .repeat_penalty = 1},
                                .thinking = *limit};
    struct job *job;
    struct error err;
    assert_int_equal(sched_submit(sched, &params, &job, &err), STATUS_OK);
    struct job_output out = {.bytes = text};
    while (out.end == JOB_RUNNING)
        assert_int_equal(job_next(job, WAIT_MS, &out), STATUS_OK);
    assert_int_equal(out.n_sampled, 24);
    job_release(job);
    sched_destroy(sched);
}

static void test_thinking__a_reply_is_closed_at_its_budget_and_goes_on(void **state)
{
    (void)state;
    struct strbuf kept, free_reply;
    strbuf_init(&kept, 1000);
    strbuf_init(&free_reply, 1000);
    struct thinking_limit limit = limit_of(7, true), none = limit_of(UINT32_MAX, true);
    say(&limit, &kept);
    say(&none, &free_reply);
    assert_memory_equal(kept.data, free_reply.data, 7);
    assert_memory_equal(kept.data + 7, "</t>", 4);
    assert_null(strchr(strbuf_cstr(&free_reply), '<'));
    assert_null(strchr(strbuf_cstr(&kept) + 11, '<'));
    strbuf_free(&kept);
    strbuf_free(&free_reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thinking__counts_what_stands_between_the_marks),
        cmocka_unit_test(test_thinking__the_prompt_may_have_begun_it),
        cmocka_unit_test(test_thinking__an_end_in_time_leaves_the_reply_free),
        cmocka_unit_test(test_thinking__marks_inside_one_token_count),
        cmocka_unit_test(test_thinking__a_second_thought_is_closed_at_once),
        cmocka_unit_test(test_thinking__without_marks_or_budget_nothing_is_forced),
        cmocka_unit_test(test_thinking__a_reply_is_closed_at_its_budget_and_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
