/* Conversations that go round in circles, and ones that only look so. */
#include "support/check.h"

#include "api/anthropic_read.h"
#include "base/limits.h"
#include "prompt/repetition.h"

#define TOOLS                                                                                      \
    "\"tools\":[{\"name\":\"Run\",\"input_schema\":{\"type\":\"object\",\"properties\":{"          \
    "\"command\":{\"type\":\"string\"},\"note\":{\"type\":\"string\"}},\"required\":["             \
    "\"command\"]}}],"
#define ASKS "{\"role\":\"user\",\"content\":\"go\"}"
#define CALLS(input)                                                                               \
    ",{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"Run\","  \
    "\"input\":" input "}]}"
#define RESULT(text) "{\"type\":\"tool_result\",\"tool_use_id\":\"t\",\"content\":\"" text "\"}"
#define GETS(text)   ",{\"role\":\"user\",\"content\":[" RESULT(text) "]}"
#define GETS_AND_ASK(text)                                                                         \
    ",{\"role\":\"user\",\"content\":[" RESULT(text) ",{\"type\":\"text\",\"text\":\"again\"}]}"

static bool is_found(const char *messages)
{
    struct strbuf body;
    strbuf_init(&body, 100000);
    strbuf_printf(&body, "{\"model\":\"m\",\"max_tokens\":9," TOOLS "\"messages\":[%s]}", messages);
    struct arena arena;
    arena_init(&arena, LIMIT_REQUEST_ARENA_BYTES);
    struct message_request req;
    struct error err;
    struct json_doc *doc;
    assert_int_equal(json_parse_copy(strbuf_str(&body), JSON_STRICT, &doc, &err), STATUS_OK);
    assert_int_equal(anthropic_read(json_root(doc), ANTHROPIC_MESSAGES, &arena, &req, &err),
                     STATUS_OK);
    bool found = repetition_found(&req);
    json_doc_free(doc);
    arena_free(&arena);
    strbuf_free(&body);
    return found;
}

static void test_repetition__two_equal_rounds_are_found(void **state)
{
    (void)state;
    assert_true(is_found(ASKS CALLS("{\"command\":\"ls\"}") GETS("a") CALLS("{\"command\":\"ls\"}")
                             GETS("a")));
}

static void test_repetition__optional_members_make_no_difference(void **state)
{
    (void)state;
    assert_true(is_found(ASKS CALLS("{\"command\":\"ls\"}") GETS("a")
                             CALLS("{\"note\":\"x\",\"command\":\"ls\"}") GETS("a")));
}

static void test_repetition__anything_new_is_none(void **state)
{
    (void)state;
    assert_false(is_found(ASKS));
    assert_false(is_found(ASKS CALLS("{\"command\":\"ls\"}") GETS("a")));
    assert_false(is_found(ASKS CALLS("{\"command\":\"ls\"}") GETS("a")
                              CALLS("{\"command\":\"ls -l\"}") GETS("a")));
    assert_false(is_found(ASKS CALLS("{\"command\":\"ls\"}") GETS("a") CALLS("{\"command\":\"ls\"}")
                              GETS("b")));
    assert_false(is_found(ASKS CALLS("{\"command\":\"ls\"}") GETS_AND_ASK("a")
                              CALLS("{\"command\":\"ls\"}") GETS("a")));
    assert_false(is_found(ASKS CALLS("{\"command\":\"ls\"}") GETS("a") CALLS("{\"command\":\"ls\"}")
                              GETS_AND_ASK("a")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_repetition__two_equal_rounds_are_found),
        cmocka_unit_test(test_repetition__optional_members_make_no_difference),
        cmocka_unit_test(test_repetition__anything_new_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
