/* Which requests may wait for others. */
#include "support/check.h"

#include "engine/classify.h"

#define TITLE_SCHEMA                                                                               \
    "{\"type\":\"object\",\"properties\":{\"title\":{\"type\":\"string\"}},"                       \
    "\"required\":[\"title\"],\"additionalProperties\":false}"

static enum job_class classify(const char *schema, size_t n_tools, bool is_agent_client,
                               bool is_subagent)
{
    struct message_request req = {.output_schema_json = str_from(schema), .n_tools = n_tools};
    struct engine_caller caller = {.is_agent_client = is_agent_client, .is_subagent = is_subagent};
    return classify_request(&req, &caller);
}

static void test_classify__a_title_for_an_agent_client_is_background(void **state)
{
    (void)state;
    assert_int_equal(classify(TITLE_SCHEMA, 0, true, false), JOB_BACKGROUND);
    assert_int_equal(classify("{\"properties\":{\"isNewTopic\":{},\"title\":{}}}", 0, true, false),
                     JOB_BACKGROUND);
}

static void test_classify__what_might_be_the_users_is_interactive(void **state)
{
    (void)state;
    assert_int_equal(classify("", 0, true, false), JOB_INTERACTIVE);
    assert_int_equal(classify(TITLE_SCHEMA, 1, true, false), JOB_INTERACTIVE);
    assert_int_equal(classify(TITLE_SCHEMA, 0, false, false), JOB_INTERACTIVE);
    static const char *const schemas[] = {
        "{\"properties\":{\"title\":{},\"body\":{}}}",
        "{\"properties\":{\"isNewTopic\":{}}}",
        "{\"properties\":{}}",
        "{\"title\":\"title\"}",
        "{\"properties\":\"title\"}",
        "[]",
        "no",
    };
    for (size_t i = 0; i < sizeof schemas / sizeof schemas[0]; i++)
        assert_int_equal(classify(schemas[i], 0, true, false), JOB_INTERACTIVE);
}

static void test_classify__a_subagent_is_what_says_so(void **state)
{
    (void)state;
    assert_int_equal(classify("", 9, true, true), JOB_SUBAGENT);
    assert_int_equal(classify(TITLE_SCHEMA, 0, true, true), JOB_BACKGROUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classify__a_title_for_an_agent_client_is_background),
        cmocka_unit_test(test_classify__what_might_be_the_users_is_interactive),
        cmocka_unit_test(test_classify__a_subagent_is_what_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
