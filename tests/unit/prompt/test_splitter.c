/* Replies in the formats of several template families, fed in pieces of every size: what comes out
 * must not depend on the pieces. */
#include "unit/prompt/splitter_cases.h"

static void test_splitter__arguments_in_tags_become_json(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        {.chat_template = FIXTURE_TAGGED,
         .body = BODY_TOOLS,
         .reply = "I look.\n<tool_call>\n<function=Read>\n<parameter=path>\na \"b\"\n</parameter>\n"
                  "<parameter=limit>\n5\n</parameter>\n</function>\n</tool_call>",
         .wanted = "T(I look.)C(Read,{\"path\":\"a \\\"b\\\"\",\"limit\":5})"},
        {.chat_template = FIXTURE_TAGGED,
         .body = BODY_TOOLS,
         .reply = "No call at all.",
         .wanted = "T(No call at all.)"},
    };
    CHECK_CASES(cases);
}

static void test_splitter__a_bare_json_call_is_found(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        {.chat_template = FIXTURE_LLAMA3,
         .body = BODY_TOOLS,
         .reply = "{\"name\": \"Read\", \"parameters\": {\"path\": \"a.c\"}}",
         .wanted = "C(Read,{\"path\":\"a.c\"})"},
        {.chat_template = FIXTURE_LLAMA3,
         .body = BODY_TOOLS,
         .reply = "An object: {\"a\": 1}.",
         .wanted = "T(An object: {\"a\": 1}.)"},
        {.chat_template = FIXTURE_LLAMA3,
         .body = BODY_TOOLS,
         .reply = "{\"name\": 5} is no call.",
         .wanted = "T({\"name\": 5} is no call.)"},
    };
    CHECK_CASES(cases);
}

static void test_splitter__calls_in_a_list_are_found(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        {.chat_template = FIXTURE_MISTRAL,
         .body = BODY_TOOLS,
         .reply = "[TOOL_CALLS][{\"name\": \"Read\", \"arguments\": {\"path\": \"a\"}, \"id\": "
                  "\"abcdefghi\"}]",
         .wanted = "C(Read,{\"path\":\"a\"})"},
    };
    CHECK_CASES(cases);
}

static void test_splitter__a_forced_call_needs_no_mark(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        {.chat_template = NULL,
         .body = BODY_FORCED,
         .reply =
             "<tool_call>\n{\"name\": \"Read\", \"arguments\": {\"path\": \"a.c\"}}\n</tool_call>",
         .wanted = "C(Read,{\"path\":\"a.c\"})"},
        {.chat_template = FIXTURE_LLAMA3,
         .body = BODY_FORCED,
         .reply = "{\"name\": \"Read\", \"parameters\": {\"path\": \"a.c\"}}",
         .wanted = "C(Read,{\"path\":\"a.c\"})"},
    };
    CHECK_CASES(cases);
}

static void test_splitter__thinking_words_and_calls_follow_each_other(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        {.chat_template = FIXTURE_THINKING,
         .body = BODY_THINKING,
         .reply = "<think>\nHm, \xC3\xA9.\n</think>\n\nI look.\n<tool_call>\n{\"name\": \"Read\", "
                  "\"arguments\": {\"path\": \"a\"}}\n</tool_call>",
         .wanted = "K(Hm, \xC3\xA9.)T(I look.)C(Read,{\"path\":\"a\"})"},
        {.chat_template = FIXTURE_THINKING,
         .body = BODY_THINKING,
         .reply = "<think>\nNever done",
         .wanted = "K(Never done)",
         .was_cut = true},
        {.chat_template = FIXTURE_THINKING,
         .body = BODY_THINKING,
         .reply = "<think>\n\n</think>\n\nAt once.",
         .wanted = "T(At once.)"},
        {.chat_template = FIXTURE_THINKING,
         .body = BODY_THINKING,
         .reply = "Words, then <think>.",
         .wanted = "T(Words, then <think>.)"},
    };
    CHECK_CASES(cases);
}

/* As where a grammar could not hold it. */
static void test_splitter__words_where_a_call_must_come_are_not_lost(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        {.chat_template = NULL,
         .body = BODY_FORCED,
         .reply = "I would rather not.\n<too",
         .wanted = "T(I would rather not.\n<too)",
         .was_cut = true},
        {.chat_template = NULL,
         .body = BODY_FORCED,
         .reply = "See \xC3\xA9: <tool_call> is {no} call.",
         .wanted = "T(See \xC3\xA9: <tool_call> is {no} call.)"},
        {.chat_template = FIXTURE_THINKING,
         .body = BODY_FORCED,
         .reply = "<think>Hm.</think>\n\nNo.",
         .wanted = "K(Hm.)T(No.)"},
    };
    CHECK_CASES(cases);
}

static void test_splitter__what_follows_a_call_is_not_lost(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        {.chat_template = NULL,
         .body = BODY_TOOLS,
         .reply = "<tool_call>\n{\"name\": \"Read\", \"arguments\": {\"path\": "
                  "\"a.c\"}}\n</tool_call>\nThen I "
                  "wait.",
         .wanted = "C(Read,{\"path\":\"a.c\"})T(\nThen I wait.)"},
        {.chat_template = NULL,
         .body = BODY_TOOLS,
         .reply =
             "<tool_call>\n{\"name\": \"Other\", \"arguments\": {\"path\": \"a.c\"}}\n</tool_call>",
         .wanted = "C(Other,{\"path\":\"a.c\"})"},
    };
    CHECK_CASES(cases);
}

/* A call that has been begun can't be taken back; one that has not is text. */
static void test_splitter__a_call_that_is_none_stays_text(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        {.chat_template = NULL,
         .body = BODY_TOOLS,
         .reply = "<tool_call>\n{\"name\": \"Read\", \"arg\n</tool_call> sorry",
         .wanted = "T(<tool_call>\n{\"name\": \"Read\", \"arg\n</tool_call> sorry)"},
        {.chat_template = NULL,
         .body = BODY_TOOLS,
         .reply = "<tool_call>\n{\"name\": \"\", \"arguments\": {}}\n</tool_call>",
         .wanted = "T(<tool_call>\n{\"name\": \"\", \"arguments\": {}}\n</tool_call>)"},
        {.chat_template = NULL,
         .body = BODY_TOOLS,
         .reply = "{\"name\": \"Read\", \"arguments\": {\"path\": a}}\n<tool_call> none",
         .wanted = "T({\"name\": \"Read\", \"arguments\": {\"path\": a}})T(<tool_call> none)"},
    };
    CHECK_CASES(cases);
}

/* Some of the readings on the way show a call that the last one does not. */
static void test_splitter__a_broken_call_does_not_depend_on_the_pieces(void **state)
{
    (void)state;
    static const char *const replies[] = {
        "<tool_call>\n{\"name\": \"Read\", \"arguments\": {\"path\": \"a.c\"}, "
        "\"x\"}}\n</tool_call> no",
        "<tool_call>\n{\"name\": \"Read\", \"arguments\": {\"path\": \"a.c\", ]}\n</tool_call>",
        "<tool_call>\n<tool_call>\n{\"name\": \"Read\", \"arguments\": {\"path\"}}\n</tool_call>",
    };
    struct fixture_model f;
    struct rendered r;
    struct strbuf text, whole, pieces;
    strbuf_init(&text, 1000000);
    strbuf_init(&whole, 10000);
    strbuf_init(&pieces, 10000);
    fixture_open(&f, NULL);
    fixture_render(&f, BODY_TOOLS, &r, &text);
    struct splitter_options options = {.prompt = &r.chat, .tools = FIXTURE_TOOLS, .n_tools = 1};
    for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++) {
        struct str reply = str_from(replies[i]);
        split(&options, reply, reply.len, false, &whole);
        for (size_t step = 1; step < reply.len; step++) {
            split(&options, reply, step, false, &pieces);
            CHECK_STR(strbuf_str(&pieces), strbuf_cstr(&whole));
        }
    }
    rendered_free(&r);
    fixture_close(&f);
    strbuf_free(&text);
    strbuf_free(&whole);
    strbuf_free(&pieces);
}

static void test_splitter__one_call_is_enough_where_the_client_says_so(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        {.chat_template = NULL,
         .body = BODY_TOOLS,
         .reply =
             "<tool_call>\n{\"name\": \"Read\", \"arguments\": {\"path\": \"a\"}}\n</tool_call>\n"
             "<tool_call>\n{\"name\": \"Read\", \"arguments\": {\"path\": \"b\"}}\n</tool_call>",
         .wanted = "C(Read,{\"path\":\"a\"})",
         .single_call = true},
    };
    CHECK_CASES(cases);
}

static void test_splitter__tools_told_as_text_are_called_as_text(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        {.chat_template = FIXTURE_CHATML,
         .body = BODY_TOOLS,
         .reply = "I look.\n<tool_call>\n{\"name\": \"Read\", \"arguments\": {\"path\": "
                  "\"a\"}}\n</tool_call>\n"
                  "<tool_call>\n{\"name\": \"Read\"}\n</tool_call> Done.",
         .wanted = "T(I look.)C(Read,{\"path\":\"a\"})C(Read,{})T( Done.)",
         .text_tools = true},
        {.chat_template = FIXTURE_CHATML,
         .body = BODY_FORCED,
         .reply =
             "<tool_call>\n{\"name\": \"Read\", \"arguments\": {\"path\": \"a\"}}\n</tool_call>",
         .wanted = "C(Read,{\"path\":\"a\"})",
         .text_tools = true},
        {.chat_template = FIXTURE_CHATML,
         .body = BODY_TOOLS,
         .reply = "<tool_call>\n{\"name\": \"Rea",
         .wanted = "T(<tool_call>\n{\"name\": \"Rea)",
         .was_cut = true,
         .text_tools = true},
    };
    CHECK_CASES(cases);
}

static void test_splitter__bytes_that_are_no_text_are_replaced(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        {.chat_template = NULL,
         .body = BODY_TOOLS,
         .reply = "a\xFF"
                  "b \xE2\x82",
         .wanted = "T(a\xEF\xBF\xBD"
                   "b \xEF\xBF\xBD)",
         .was_cut = true},
        {.chat_template = NULL,
         .body = BODY_TOOLS,
         .reply = "See \xC3<tool_call> it is no call.",
         .wanted = "T(See \xEF\xBF\xBD)T(<tool_call> it is no call.)"},
        {.chat_template = NULL,
         .body = BODY_TOOLS,
         .reply = "<tool_call>\n{\"name\": \"R\xFF\", \"arguments\": {}}\n</tool_call>",
         .wanted = "C(R\xEF\xBF\xBD,{})"},
        {.chat_template = FIXTURE_TAGGED,
         .body = BODY_TOOLS,
         .reply = "<tool_call>\n<function=Read>\n<parameter=path>\na\xFF\n</parameter>\n"
                  "</function>\n</tool_call>",
         .wanted = "C(Read,{\"path\":\"a\xEF\xBF\xBD\"})"},
    };
    CHECK_CASES(cases);
}

static void test_splitter__a_byte_of_zero_is_no_white_space(void **state)
{
    (void)state;
    struct fixture_model f;
    struct rendered r;
    struct strbuf text, out;
    strbuf_init(&text, 1000000);
    strbuf_init(&out, 10000);
    fixture_open(&f, NULL);
    fixture_render(&f, BODY_TOOLS, &r, &text);
    struct splitter_options options = {.prompt = &r.chat, .tools = FIXTURE_TOOLS, .n_tools = 1};
    split(&options, STR("a\0<tool_call> is no call."), 1, false, &out);
    assert_true(str_equal(strbuf_str(&out), STR("T(a\0)T(<tool_call> is no call.)")));
    rendered_free(&r);
    fixture_close(&f);
    strbuf_free(&text);
    strbuf_free(&out);
}

static void test_splitter__ids_and_signatures_are_given(void **state)
{
    (void)state;
    struct fixture_model f;
    struct rendered r;
    struct strbuf text;
    strbuf_init(&text, 1000000);
    fixture_open(&f, FIXTURE_THINKING);
    fixture_render(&f, BODY_THINKING, &r, &text);
    struct splitter_options options = {
        .prompt = &r.chat, .tools = FIXTURE_TOOLS, .n_tools = 1, .keep_thinking = true};
    struct splitter *s = splitter_create(&options);
    splitter_feed(s,
                  STR("<think>\nHm.\n</think>\n\n<tool_call>\n{\"name\": \"Read\", \"arguments\": "
                      "{\"path\": \"a\"}}\n</tool_call>"));
    splitter_finish(s, false);
    size_t n_ids = 0, n_signatures = 0;
    struct event ev;
    while (splitter_next(s, &ev)) {
        n_ids += ev.type == EVENT_BLOCK_START && str_starts_with(ev.id, STR("toolu_")) &&
                 ev.id.len == 30;
        n_signatures += ev.type == EVENT_BLOCK_STOP && str_starts_with(ev.signature, STR("pv1."));
    }
    assert_int_equal(n_ids, 1);
    assert_int_equal(n_signatures, 1);
    assert_true(splitter_called_tool(s));
    splitter_free(s);
    rendered_free(&r);
    fixture_close(&f);
    strbuf_free(&text);
}

static void test_splitter__thinking_that_nobody_asked_for_is_dropped(void **state)
{
    (void)state;
    char empty[] = "", start[] = "<think>", end[] = "</think>";
    struct chat_prompt prompt = {
        .generation_prompt = empty, .thinking_start = start, .thinking_end = end};
    struct splitter_options options = {.prompt = &prompt};
    struct strbuf out;
    strbuf_init(&out, 10000);
    for (size_t step = 1; step < 32; step++) {
        split(&options, STR("<think>Secret.</think>\nDone."), step, false, &out);
        CHECK_STR(strbuf_str(&out), "T(Done.)");
    }
    strbuf_free(&out);
}

static void test_splitter__thinking_that_is_omitted_leaves_a_signed_block(void **state)
{
    (void)state;
    char empty[] = "", start[] = "<think>", end[] = "</think>";
    struct chat_prompt prompt = {
        .generation_prompt = empty, .thinking_start = start, .thinking_end = end};
    struct splitter_options options = {
        .prompt = &prompt, .keep_thinking = true, .omit_thinking = true};
    struct splitter *s = splitter_create(&options);
    splitter_feed(s, STR("<think>Secret.</think>\nDone."));
    splitter_finish(s, false);
    struct event ev;
    assert_true(splitter_next(s, &ev));
    assert_int_equal(ev.type, EVENT_BLOCK_START);
    assert_int_equal(ev.block, EVENT_BLOCK_THINKING);
    assert_true(splitter_next(s, &ev));
    assert_int_equal(ev.type, EVENT_BLOCK_STOP);
    assert_true(str_starts_with(ev.signature, STR("pv1.")));
    assert_true(splitter_next(s, &ev));
    assert_int_equal(ev.block, EVENT_BLOCK_TEXT);
    splitter_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_splitter__arguments_in_tags_become_json),
        cmocka_unit_test(test_splitter__a_bare_json_call_is_found),
        cmocka_unit_test(test_splitter__calls_in_a_list_are_found),
        cmocka_unit_test(test_splitter__a_forced_call_needs_no_mark),
        cmocka_unit_test(test_splitter__thinking_words_and_calls_follow_each_other),
        cmocka_unit_test(test_splitter__words_where_a_call_must_come_are_not_lost),
        cmocka_unit_test(test_splitter__what_follows_a_call_is_not_lost),
        cmocka_unit_test(test_splitter__a_call_that_is_none_stays_text),
        cmocka_unit_test(test_splitter__a_broken_call_does_not_depend_on_the_pieces),
        cmocka_unit_test(test_splitter__one_call_is_enough_where_the_client_says_so),
        cmocka_unit_test(test_splitter__tools_told_as_text_are_called_as_text),
        cmocka_unit_test(test_splitter__bytes_that_are_no_text_are_replaced),
        cmocka_unit_test(test_splitter__a_byte_of_zero_is_no_white_space),
        cmocka_unit_test(test_splitter__ids_and_signatures_are_given),
        cmocka_unit_test(test_splitter__thinking_that_nobody_asked_for_is_dropped),
        cmocka_unit_test(test_splitter__thinking_that_is_omitted_leaves_a_signed_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
