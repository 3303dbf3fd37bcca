/* Calls as small models write them, and texts that talk about calls: of those none may run. */
#include "unit/prompt/splitter_cases.h"

#define CALL(path)  "{\"name\": \"Read\", \"arguments\": {\"path\": \"" path "\"}}"
#define FENCE(text) "```json\n" text "\n```"
#define RUN(path)   "C(Read,{\"path\":\"" path "\"})"
#define WORDS(said) {.body = BODY_TOOLS, .reply = said, .wanted = "T(" said ")"}

static void test_call_forms__a_fence_that_is_a_call_is_run(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        {.body = BODY_TOOLS, .reply = FENCE(CALL("a")), .wanted = RUN("a")},
        {.body = BODY_TOOLS,
         .reply = "I read it.\n\n" FENCE(CALL("a")) "\n\n",
         .wanted = "T(I read it.)" RUN("a")},
        {.body = BODY_TOOLS,
         .reply = "```\n\n" CALL("a") "\n" CALL("b") "\n```\n",
         .wanted = RUN("a") RUN("b")},
        {.body = BODY_TOOLS,
         .reply = FENCE(CALL("a")) "\n\n" FENCE(CALL("b")),
         .wanted = RUN("a") RUN("b")},
        {.body = BODY_TOOLS,
         .reply = "```tool_call\n[" CALL("a") ", " CALL("b") "]\n```",
         .wanted = RUN("a") RUN("b")},
        {.body = BODY_TOOLS,
         .reply = "```json\n{\n  \"name\": \"Read\",\n  \"arguments\": {\n    \"path\": \"a\"\n  "
                  "}\n}\n```",
         .wanted = RUN("a")},
        {.body = BODY_TOOLS, .reply = "```json\n" CALL("a"), .wanted = RUN("a")},
        {.body = BODY_TOOLS,
         .reply = "```xml\n<tool_call>\n" CALL("a") "\n</tool_call>\n```",
         .wanted = RUN("a")},
    };
    CHECK_CASES(cases);
}

static void test_call_forms__a_bare_object_is_run(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        {.body = BODY_TOOLS, .reply = CALL("a"), .wanted = RUN("a")},
        {.body = BODY_TOOLS,
         .reply = "I read it:\n" CALL("a") "\n",
         .wanted = "T(I read it:)" RUN("a")},
        {.body = BODY_TOOLS,
         .reply = "{\"arguments\": {\"path\": \"a\"}, \"name\": \"Read\"}",
         .wanted = RUN("a")},
        {.body = BODY_TOOLS,
         .reply = "{{\"name\": \"Read\", \"arguments\": {\"path\": \"a\"}}}",
         .wanted = RUN("a")},
        {.body = BODY_TOOLS,
         .reply = "{{\"name\": \"Read\", \"arguments\": {\"path\": \"a\"}}",
         .wanted = RUN("a")},
        {.body = BODY_TOOLS,
         .reply = "{\"id\": 7, \"type\": \"function\", \"function\": \"Read\", \"parameters\": "
                  "\"{\\\"path\\\": \\\"a\\\"}\"}",
         .wanted = RUN("a")},
        {.body = BODY_TOOLS,
         .reply = CALL("a") "\n<tool_call>\n" CALL("b") "\n</tool_call>",
         .wanted = RUN("a") RUN("b")},
    };
    CHECK_CASES(cases);
}

static void test_call_forms__arguments_are_mended(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        {.body = BODY_TOOLS,
         .reply = FENCE("{\"name\": \"Read\", \"arguments\": {\"path\": \"a\", \"limit\": \"5\"}}"),
         .wanted = "C(Read,{\"path\":\"a\",\"limit\":5})"},
        {.body = BODY_TOOLS,
         .reply = "<tool_call>\n{\"name\": \"Read\", \"arguments\": {\"path\": \"a\", \"limit\": "
                  "null}}\n</tool_call>",
         .wanted = RUN("a")},
        {.body = BODY_TOOLS,
         .reply = FENCE("{\"name\": \"Read\", \"arguments\": {\"path\": \"two\nlines\"}}"),
         .wanted = "C(Read,{\"path\":\"two\\nlines\"})"},
    };
    CHECK_CASES(cases);
}

/* The corpus of quoted and discussed calls. */
static void test_call_forms__what_is_only_talked_about_is_never_run(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        WORDS("A call looks like this:\n" FENCE(CALL("a")) "\nThe name comes first."),
        WORDS(FENCE(CALL("a")) "\nThis would read the file."),
        WORDS(FENCE(CALL("a")) " <- an example"),
        WORDS(CALL("a") " is what a call looks like."),
        WORDS(CALL("a") "\nis what a call looks like."),
        WORDS("Write " CALL("a") " to read."),
        WORDS("Inline: `" CALL("a") "`"),
        WORDS("- " CALL("a")),
        WORDS("> " CALL("a")),
        WORDS("```json\n// a call\n" CALL("a") "\n```"),
        WORDS("```json\n" CALL("a") "\n// and its result\n```"),
        WORDS("```python\ncall = " CALL("a") "\nrun(call)\n```"),
        WORDS("```js\nsend(" CALL("a") ");\n```"),
        WORDS(FENCE("{\"tools\": [" CALL("a") "]}")),
        WORDS(FENCE("[" CALL("a") ", {\"name\": \"x\"}]")),
        WORDS(
            FENCE("{\"name\": \"Read\", \"description\": \"Reads a file.\", \"parameters\": {}}")),
        WORDS(FENCE("{\"name\": \"Read\"}")),
        WORDS(FENCE("{\"name\": \"read\", \"arguments\": {\"path\": \"a\"}}")),
        WORDS(FENCE("{\"name\": \"Delete\", \"arguments\": {\"path\": \"a\"}}")),
        WORDS(FENCE("{\"name\": \"Read\", \"arguments\": [1]}")),
        WORDS(FENCE("{\"name\": \"Read\", \"arguments\": \"a.c\"}")),
        WORDS(FENCE("{\"name\": \"my-package\", \"version\": \"1.0.0\"}")),
        WORDS("{\"users\": [{\"name\": \"Read\", \"arguments\": {}}]}"),
        WORDS("{\"path\": \"a\"}"),
        WORDS("{\"name\": \"Read\", \"arguments\": {\"path\": \"a\"}"
              "{\"path\": \"b\"}}"),
        WORDS("Use `<tool_call>` and `</tool_call>` around it."),
        WORDS("The tag <tool_call> begins a call."),
        WORDS("It says \"<tool_call>\" there."),
        WORDS("In the README:\n```\n<tool_call>\n" CALL("a") "\n</tool_call>\nis a call\n```\nSo."),
        WORDS("```markdown\nExample\n<tool_call>\n" CALL("a") "\n</tool_call>\n```"),
        WORDS("````md\n" FENCE(CALL("a")) "\n````"),
        WORDS("Three ticks: ``` and on."),
    };
    CHECK_CASES(cases);
}

static void test_call_forms__a_brace_is_added_only_where_the_model_stopped(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        {.body = BODY_TOOLS,
         .reply = "{\"name\": \"Read\", \"arguments\": {\"path\": \"a\"",
         .wanted = RUN("a")},
        {.body = BODY_TOOLS,
         .reply = "```json\n{\"name\": \"Read\", \"arguments\": {\"path\": \"a\"}\n",
         .wanted = RUN("a")},
        WORDS("{\"name\": \"Read\", \"arguments\": {\"path\": \"a"),
        WORDS("{\"name\": \"Read\", \"argum"),
        WORDS("```json\n{\"name\": \"Read\""),
    };
    CHECK_CASES(cases);
}

/* The client says that there is no such tool, which helps the model on.  Nothing can run. */
static void test_call_forms__a_whole_fence_may_name_any_tool_where_the_client_answers(void **state)
{
    (void)state;
#define OTHER "{\"name\": \"Python\", \"arguments\": {\"code\": \"1\"}}"
    static const struct splitter_case cases[] = {
        WORDS(FENCE(OTHER)),
        {.body = BODY_TOOLS,
         .names_any = true,
         .reply = "\n" FENCE(OTHER) "\n",
         .wanted = "C(Python,{\"code\":\"1\"})"},
        {.body = BODY_TOOLS,
         .names_any = true,
         .reply = FENCE(CALL("a") "\n" OTHER),
         .wanted = RUN("a") "C(Python,{\"code\":\"1\"})"},
        {.body = BODY_TOOLS, .names_any = true, .reply = OTHER, .wanted = "T(" OTHER ")"},
        {.body = BODY_TOOLS,
         .names_any = true,
         .reply = "So:\n" FENCE(OTHER),
         .wanted = "T(So:\n" FENCE(OTHER) ")"},
        {.body = BODY_TOOLS,
         .names_any = true,
         .reply = FENCE(OTHER) "\nThat would be it.",
         .wanted = "T(" FENCE(OTHER) "\nThat would be it.)"},
        {.body = BODY_TOOLS,
         .names_any = true,
         .reply = FENCE("{\"name\": \"my-app\", \"version\": \"1.0\"}"),
         .wanted = "T(" FENCE("{\"name\": \"my-app\", \"version\": \"1.0\"}") ")"},
        {.body = BODY_TOOLS,
         .names_any = true,
         .was_cut = true,
         .reply = "```json\n{\"name\": \"Python\", \"arguments\": {\"code\": \"1",
         .wanted = "T(```json\n{\"name\": \"Python\", \"arguments\": {\"code\": \"1)"},
    };
    CHECK_CASES(cases);
#undef OTHER
}

static void test_call_forms__a_cut_call_is_left_open(void **state)
{
    (void)state;
    static const struct splitter_case cases[] = {
        {.body = BODY_TOOLS,
         .was_cut = true,
         .reply = FENCE("{\"name\": \"Read\", \"arguments\": {\"path\": \"a\"}"),
         .wanted = "C(Read,{\"path\":\"a\")"},
        {.body = BODY_TOOLS,
         .was_cut = true,
         .reply = "{\"name\": \"Read\", \"arguments\": {\"path\": \"a\"}",
         .wanted = "C(Read,{\"path\":\"a\")"},
        {.body = BODY_TOOLS,
         .was_cut = true,
         .reply = "```json\n{\"name\": \"Read\", \"arguments\": {\"path\": \"half",
         .wanted = "C(Read,{\"path\":\"half)"},
        {.body = BODY_TOOLS,
         .was_cut = true,
         .reply = CALL("a") "\n{\"name\": \"Read\", \"arguments\": {\"path\": \"b\"",
         .wanted = RUN("a") "C(Read,{\"path\":\"b\")"},
        {.body = BODY_TOOLS,
         .was_cut = true,
         .reply = "{\"name\": \"Read\", \"arguments\":",
         .wanted = "C(Read,{)"},
        {.body = BODY_TOOLS,
         .was_cut = true,
         .reply = "{\"name\": \"Read\", \"arg",
         .wanted = "T({\"name\": \"Read\", \"arg)"},
        {.body = BODY_TOOLS,
         .was_cut = true,
         .reply = "<tool_call>\n{\"name\": \"Read\", \"arguments\": {\"path\": \"a\"",
         .wanted = "C(Read,{\"path\":\"a\")"},
    };
    CHECK_CASES(cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call_forms__a_fence_that_is_a_call_is_run),
        cmocka_unit_test(test_call_forms__a_bare_object_is_run),
        cmocka_unit_test(test_call_forms__arguments_are_mended),
        cmocka_unit_test(test_call_forms__what_is_only_talked_about_is_never_run),
        cmocka_unit_test(test_call_forms__a_brace_is_added_only_where_the_model_stopped),
        cmocka_unit_test(test_call_forms__a_whole_fence_may_name_any_tool_where_the_client_answers),
        cmocka_unit_test(test_call_forms__a_cut_call_is_left_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
