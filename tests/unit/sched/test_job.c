/* What a job keeps of what it was made of: the caller's texts end with the call. */
#include "support/check.h"

#include "sched/job.h"

static void wake_nobody(void *arg)
{
    (void)arg;
}

static struct job *make_job(const struct grammar_call *call)
{
    static const model_token prompt[] = {1, 2, 3};
    struct job_params params = {
        .tokens = prompt,
        .n_tokens = 3,
        .n_window = 8,
        .max_tokens = 2,
        .grammar = {.calls = call, .n_calls = 1},
    };
    struct job *job;
    struct error err = {0};
    if (job_create(&params, (struct job_waker){wake_nobody, NULL}, &job, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return job;
}

static void test_job__keeps_a_tool_with_both_of_its_schemas(void **state)
{
    (void)state;
    char name[] = "Read", schema[] = "{\"pattern\":1}", relaxed[] = "{}";
    struct grammar_call call = {str_from(name), str_from(schema), str_from(relaxed)};
    struct job *job = make_job(&call);
    memset(name, 'x', sizeof name - 1);
    memset(schema, 'x', sizeof schema - 1);
    memset(relaxed, 'x', sizeof relaxed - 1);
    CHECK_STR(job->grammar_spec.calls[0].name, "Read");
    CHECK_STR(job->grammar_spec.calls[0].schema_json, "{\"pattern\":1}");
    CHECK_STR(job->grammar_spec.calls[0].grammar_json, "{}");
    job_unref(job); /* the scheduler's reference, and the reader's */
    job_unref(job);
}

static void test_job__a_tool_without_a_relaxed_schema_has_none(void **state)
{
    (void)state;
    struct grammar_call call = {STR("Read"), STR("{}"), STR("")};
    struct job *job = make_job(&call);
    assert_int_equal(job->grammar_spec.calls[0].grammar_json.len, 0);
    job_unref(job);
    job_unref(job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_job__keeps_a_tool_with_both_of_its_schemas),
        cmocka_unit_test(test_job__a_tool_without_a_relaxed_schema_has_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
