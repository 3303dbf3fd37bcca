/* The tool search over a set as clients have them: who is found, in what order, and every mistake.
 */
#include "support/check.h"

#include "base/clock.h"
#include "base/limits.h"
#include "servertools/tool_search.h"
#include "tool_set.h"
#include "wire/json_in.h"
#include "wire/json_out.h"

/* Runs `input` over `tools`; the caller frees what it gets. */
static struct strbuf run(enum tool_search_kind kind, const struct tool *tools, size_t n,
                         struct str input)
{
    struct strbuf content;
    strbuf_init(&content, 100000);
    assert_int_equal(tool_search_run(kind, tools, n, input, &content), STATUS_OK);
    return content;
}

static struct strbuf run_query(enum tool_search_kind kind, const struct tool *tools, size_t n,
                               const char *query)
{
    struct strbuf input;
    strbuf_init(&input, 100000);
    strbuf_append_cstr(&input, "{\"query\":\"");
    json_escape(&input, str_from(query));
    strbuf_append_cstr(&input, "\"}");
    struct strbuf content = run(kind, tools, n, strbuf_str(&input));
    strbuf_free(&input);
    return content;
}

/* The names of the references, with a space between them; "error CODE" for an error. */
static void read_names(struct str content, struct strbuf *out)
{
    struct json_doc *doc;
    assert_int_equal(json_parse_copy(content, JSON_STRICT, &doc, NULL), STATUS_OK);
    const struct json *code = json_get(json_root(doc), "error_code");
    if (code != NULL) {
        strbuf_append_cstr(out, "error ");
        strbuf_append_str(out, json_string(code));
    }
    const struct json *references = json_get(json_root(doc), "tool_references");
    for (struct json_iter it = json_iter(references); json_next(&it);) {
        if (it.index > 0)
            strbuf_append_char(out, ' ');
        strbuf_append_str(out, json_string(json_get(it.value, "tool_name")));
    }
    json_doc_free(doc);
}

struct search_case {
    const char *query, *names;
};

static void check_found(enum tool_search_kind kind, const struct tool *tools, size_t n,
                        const struct search_case *c)
{
    struct strbuf content = run_query(kind, tools, n, c->query);
    struct strbuf names;
    strbuf_init(&names, 100000);
    read_names(strbuf_str(&content), &names);
    if (!str_is(strbuf_str(&names), c->names))
        fail_msg("%s\n found: %s\n   not: %s", c->query, strbuf_cstr(&names), c->names);
    strbuf_free(&names);
    strbuf_free(&content);
}

static void check_in_set(enum tool_search_kind kind, const struct search_case *cases, size_t n)
{
    struct tool tools[N_TOOL_SET];
    for (size_t i = 0; i < N_TOOL_SET; i++)
        tools[i] = tool_of_row(&tool_set[i]);
    for (size_t i = 0; i < n; i++)
        check_found(kind, tools, N_TOOL_SET, &cases[i]);
}

static void check_one(enum tool_search_kind kind, const char *query, const char *names)
{
    check_in_set(kind, &(struct search_case){query, names}, 1);
}

static void check_content(enum tool_search_kind kind, const char *input, const char *wanted)
{
    struct tool tool = tool_of_row(&tool_set[0]);
    struct strbuf content = run(kind, &tool, 1, str_from(input));
    CHECK_STR(strbuf_str(&content), wanted);
    strbuf_free(&content);
}

/* ---- Shape and mistakes ---- */

static void test_tool_search__answers_in_the_shape_of_the_api(void **state)
{
    (void)state;
    check_content(TOOL_SEARCH_BY_REGEX, "{\"query\":\"issue\"}",
                  "{\"type\":\"tool_search_tool_search_result\",\"tool_references\":[{\"type\":"
                  "\"tool_reference\",\"tool_name\":\"github_create_issue\"}]}");
    check_content(TOOL_SEARCH_BY_BM25, "{\"query\":\"weather\"}",
                  "{\"type\":\"tool_search_tool_search_result\",\"tool_references\":[]}");
}

static void test_tool_search__says_what_is_wrong_with_the_input(void **state)
{
    (void)state;
    static const struct {
        const char *input, *message;
    } cases[] = {
        {"", "the input is not valid JSON"},
        {"{\"query\":", "the input is not valid JSON"},
        {"[\"weather\"]", "the input must be an object with a \\\"query\\\""},
        {"{}", "the input must be an object with a \\\"query\\\""},
        {"{\"query\":7}", "\\\"query\\\" must be a string"},
        {"{\"query\":\"\"}", "\\\"query\\\" must not be empty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char wanted[300];
        snprintf(wanted, sizeof wanted,
                 "{\"type\":\"tool_search_tool_result_error\",\"error_code\":"
                 "\"invalid_tool_input\",\"error_message\":\"%s\"}",
                 cases[i].message);
        check_content(TOOL_SEARCH_BY_REGEX, cases[i].input, wanted);
        check_content(TOOL_SEARCH_BY_BM25, cases[i].input, wanted);
    }
}

static void test_tool_search__a_pattern_that_does_not_compile_is_the_models_mistake(void **state)
{
    (void)state;
    check_content(
        TOOL_SEARCH_BY_REGEX, "{\"query\":\"get_(weather\"}",
        "{\"type\":\"tool_search_tool_result_error\",\"error_code\":\"invalid_tool_input\""
        ",\"error_message\":\"the pattern is not a valid regular expression: missing "
        "closing parenthesis (byte 12)\"}");
    check_one(TOOL_SEARCH_BY_REGEX, "*weather", "error invalid_tool_input");
    check_one(TOOL_SEARCH_BY_REGEX, "[a-", "error invalid_tool_input");
    check_one(TOOL_SEARCH_BY_REGEX, "\\Cx", "error invalid_tool_input");
    check_one(TOOL_SEARCH_BY_BM25, "get_(weather",
              "get_weather get_forecast github_get_file_contents");
}

static void test_tool_search__a_pattern_has_at_most_200_characters(void **state)
{
    (void)state;
    char pattern[512] = "";
    for (size_t i = 0; i < 200; i++)
        memcpy(pattern + 2 * i, "\u00e9", 3);
    check_one(TOOL_SEARCH_BY_REGEX, pattern, "");
    memcpy(pattern + 400, "x", 2);
    check_one(TOOL_SEARCH_BY_REGEX, pattern, "error invalid_tool_input");
    check_one(TOOL_SEARCH_BY_BM25, pattern, "");
}

static void test_tool_search__no_room_and_no_memory_are_told(void **state)
{
    (void)state;
    struct tool tool = tool_of_row(&tool_set[0]);
    struct strbuf content;
    strbuf_init(&content, 20);
    assert_int_equal(
        tool_search_run(TOOL_SEARCH_BY_REGEX, &tool, 1, STR("{\"query\":\"issue\"}"), &content),
        STATUS_TOO_LARGE);
    strbuf_free(&content);
}

/* Every allocation fails once; then the answer is as it should be. */
static void check_memory(enum tool_search_kind kind, struct str input)
{
    struct tool tool = tool_of_row(&tool_set[0]);
    enum status st = STATUS_NO_MEMORY;
    long n = 0;
    while (st != STATUS_OK && n < 1000) {
        struct strbuf content;
        strbuf_init(&content, 10000);
        mem_fail_at(++n);
        st = tool_search_run(kind, &tool, 1, input, &content);
        mem_fail_at(0);
        assert_true(st == STATUS_OK || st == STATUS_NO_MEMORY);
        strbuf_free(&content);
    }
    assert_int_equal(st, STATUS_OK);
    assert_true(n > 4);
}

static void test_tool_search__every_allocation_may_fail(void **state)
{
    (void)state;
    check_memory(TOOL_SEARCH_BY_REGEX, STR("{\"query\":\"Labels (to|on)\"}"));
    check_memory(TOOL_SEARCH_BY_REGEX, STR("{\"query\":\"new bug in repository\"}"));
    check_memory(TOOL_SEARCH_BY_REGEX, STR("{\"query\":\"(\"}"));
    check_memory(TOOL_SEARCH_BY_BM25, STR("{\"query\":\"new bug in repository\"}"));
}

/* ---- Both kinds ---- */

static void test_tool_search__only_deferred_tools_are_found(void **state)
{
    (void)state;
    struct tool tools[3];
    for (size_t i = 0; i < 3; i++)
        tools[i] = tool_of_row(&tool_set[i]);
    tools[0].defer_loading = false;
    struct search_case c = {"github_create", "github_create_pull_request"};
    check_found(TOOL_SEARCH_BY_REGEX, tools, 3, &c);
    c = (struct search_case){"create", "github_create_pull_request"};
    check_found(TOOL_SEARCH_BY_BM25, tools, 3, &c);
    c.names = "";
    check_found(TOOL_SEARCH_BY_REGEX, tools, 1, &c);
    check_found(TOOL_SEARCH_BY_BM25, tools, 1, &c);
    check_found(TOOL_SEARCH_BY_REGEX, NULL, 0, &c);
    check_found(TOOL_SEARCH_BY_BM25, NULL, 0, &c);
}

static void test_tool_search__a_damaged_schema_hides_only_the_arguments(void **state)
{
    (void)state;
    struct tool tools[3] = {
        {.name = STR("alpha"), .schema_json = STR("{\"properties\":"), .defer_loading = true},
        {.name = STR("beta"), .schema_json = STR("[1]"), .defer_loading = true},
        {.name = STR("gamma"),
         .schema_json = STR("{\"properties\":{\"beta\":true}}"),
         .defer_loading = true},
    };
    struct search_case cases[] = {{"beta", "beta gamma"}, {"alpha", "alpha"}};
    for (size_t i = 0; i < 2; i++) {
        check_found(TOOL_SEARCH_BY_REGEX, tools, 3, &cases[i]);
        check_found(TOOL_SEARCH_BY_BM25, tools, 3, &cases[i]);
    }
}

/* ---- Regular expressions ---- */

static void test_tool_search__patterns_find_what_python_would(void **state)
{
    (void)state;
    static const struct search_case cases[] = {
        {"weather", "get_weather"},
        {"(?i)weather", "get_weather get_forecast"},
        {"^get_", "get_weather get_forecast get_air_quality"},
        {"get_.*_quality$", "get_air_quality"},
        {"database.*query|query.*database", "query_database"},
        {"slack_(send|search)_messages?", "slack_send_message slack_search_messages"},
        {"(?P<verb>create|list)_issues?", "github_create_issue github_list_issues"},
        {"(?i)SLACK.*message", "slack_send_message slack_search_messages"},
        {"\\bSQL\\b", "query_database"},
        {"filesystem\\.", "filesystem.readFile filesystem.writeFile"},
        {"jira-(?!create)", "jira-transition-ticket"},
        {"\\d{4}", "calendar_create_event"},
        {"nothing_like_this.*", ""},
        {"^$", ""},
    };
    check_in_set(TOOL_SEARCH_BY_REGEX, cases, sizeof cases / sizeof cases[0]);
}

static void test_tool_search__names_rank_before_descriptions_before_arguments(void **state)
{
    (void)state;
    static const struct search_case cases[] = {
        /* Two in arguments only, though they stand first in the list. */
        {"channel", "slack_list_channels slack_send_message"},
        {"[Cc]ontents", "github_get_file_contents filesystem.readFile"},
        {"mailbox", "gmail_search calendar_create_event"},
        {"location", "get_weather get_forecast"},
        {"refunded", "stripe_create_refund"},
        {"table", "list_tables describe_table"},
        /* Five at most, and the first ones of the list. */
        {"github", "github_create_issue github_list_issues github_create_pull_request "
                   "github_merge_pull_request github_search_code"},
        {".*", "github_create_issue github_list_issues github_create_pull_request "
               "github_merge_pull_request github_search_code"},
    };
    check_in_set(TOOL_SEARCH_BY_REGEX, cases, sizeof cases / sizeof cases[0]);
}

static void test_tool_search__values_in_a_schema_are_not_searched(void **state)
{
    (void)state;
    check_one(TOOL_SEARCH_BY_REGEX, "celsius$", "");
    check_one(TOOL_SEARCH_BY_REGEX, "(?i)^string", "");
}

static void test_tool_search__patterns_know_unicode(void **state)
{
    (void)state;
    static const struct search_case cases[] = {
        {"(?i)^\u00fcbersetzt", "translateText"},
        {"^\\wbersetzt", "translateText"},
        {"\u5929\u6c17", "tenki"},
        {"^.{9}$", "slack_send_message gmail_send_email"},
        {"\\u00dcber", "translateText"},
    };
    struct search_case with_length = {"^\\w{9}$", "tenki"};
    struct tool tool = tool_of_row(&tool_set[N_TOOL_SET - 2]);
    check_found(TOOL_SEARCH_BY_REGEX, &tool, 1, &with_length);
    check_in_set(TOOL_SEARCH_BY_REGEX, cases, 3);
    check_in_set(TOOL_SEARCH_BY_REGEX, &cases[4], 1);
}

static void test_tool_search__plain_words_that_match_nothing_are_searched_one_by_one(void **state)
{
    (void)state;
    static const struct search_case cases[] = {
        {"Weather", "get_forecast"}, /* it does match */
        {"WEATHER", "get_weather get_forecast"},
        {"send mail", "gmail_send_email gmail_create_draft slack_send_message gmail_search"},
        {"create a GitHub issue",
         "github_create_issue github_list_issues github_create_pull_request "
         "github_merge_pull_request github_search_code"},
        {"sql database", "query_database list_tables"},
        {"free slot in the calendar",
         "calendar_find_free_time calendar_create_event calendar_list_events"},
        {"\u00dcBERSETZT sprachen", "translateText"},
        {"the of and", ""},
        {"zebra quagga", ""},
        /* A pattern stays one. */
        {"WEATHER.*", ""},
        {"Send mail?", ""},
    };
    check_in_set(TOOL_SEARCH_BY_REGEX, cases, sizeof cases / sizeof cases[0]);
}

static void check_stopped(const char *pattern, const char *text)
{
    struct tool tool = {.name = STR("t"),
                        .description = str_from(text),
                        .schema_json = STR("{}"),
                        .defer_loading = true};
    struct search_case c = {pattern, "error execution_time_exceeded"};
    uint64_t begin = clock_now_ms();
    check_found(TOOL_SEARCH_BY_REGEX, &tool, 1, &c);
    assert_true(clock_now_ms() - begin < 60 * 1000);
}

static void test_tool_search__a_hostile_pattern_is_stopped(void **state)
{
    (void)state;
    enum { LENGTH = 1000 * 1000 };
    char *text = mem_zalloc(LENGTH + 1);
    memset(text, 'a', LENGTH - 1);
    text[LENGTH - 1] = '!';
    check_stopped("(a+)+$", text + LENGTH - 100);
    check_stopped("(a+)+$", text);
    check_stopped("^(a|a)*$", text + LENGTH - 100);
    check_stopped("(.*a){20}$", text + LENGTH - 100);
    check_stopped("a+$", text); /* quadratic, without going back */
    check_stopped("(?:a++){1}b?$", text);
    check_stopped("(?=a*)(?R)$", text); /* without end, but for a limit */
    mem_free(text);
}

static void test_tool_search__the_steps_of_all_texts_count_together(void **state)
{
    (void)state;
    enum { N = 3000, LENGTH = 1000 };
    char *text = mem_zalloc(LENGTH + 1);
    memset(text, 'a', LENGTH);
    struct tool *tools = mem_zalloc(N * sizeof *tools);
    for (size_t i = 0; i < N; i++)
        tools[i] = (struct tool){.name = STR("t"),
                                 .description = {text, LENGTH},
                                 .schema_json = STR("{}"),
                                 .defer_loading = true};
    struct search_case one = {"a+b?c", ""}, all = {"a+b?c", "error execution_time_exceeded"};
    check_found(TOOL_SEARCH_BY_REGEX, tools, 1, &one);
    text[LENGTH - 1] = 'c';
    struct search_case not_c = {"a+b?c!?c", ""};
    check_found(TOOL_SEARCH_BY_REGEX, tools, 1, &not_c);
    all.query = not_c.query;
    check_found(TOOL_SEARCH_BY_REGEX, tools, N, &all);
    mem_free(tools);
    mem_free(text);
}

/* ---- BM25 ---- */

static void test_tool_search__words_find_the_tool_that_is_meant_first(void **state)
{
    (void)state;
    static const struct search_case cases[] = {
        {"weather in Paris", "get_weather get_forecast"},
        {"weather forecast for the next 3 days", "get_forecast get_weather"},
        {"create github issue",
         "github_create_issue github_list_issues github_create_pull_request"},
        {"open a pull request",
         "github_create_pull_request github_merge_pull_request github_list_issues"},
        {"send a message on Slack", "slack_send_message slack_search_messages slack_add_reaction"},
        {"send email", "gmail_send_email slack_send_message gmail_search"},
        {"list database tables", "list_tables describe_table query_database"},
        {"run sql query", "query_database slack_search_messages gmail_search"},
        {"schedule a meeting calendar event",
         "calendar_create_event calendar_list_events calendar_find_free_time"},
        {"read file", "filesystem.readFile filesystem.writeFile github_get_file_contents"},
        {"refund a payment", "stripe_create_refund"},
        {"convert currency", "currency_convert"},
        {"GitHub repositories",
         "github_search_code github_list_issues github_create_issue github_get_file_contents"},
        {"tools to use for this", ""},
        {"zebra", ""},
    };
    check_in_set(TOOL_SEARCH_BY_BM25, cases, sizeof cases / sizeof cases[0]);
}

static void test_tool_search__words_are_parts_of_identifiers_in_any_case(void **state)
{
    (void)state;
    static const struct search_case cases[] = {
        {"READ_FILE", "filesystem.readFile filesystem.writeFile github_get_file_contents"},
        {"readFile", "filesystem.readFile filesystem.writeFile github_get_file_contents"},
        {"translate", "translateText"},
        {"TRANSLATETEXT", "translateText"},
        {"jira ticket transitions", "jira-transition-ticket jira-create-ticket"},
        {"currencies", "currency_convert"},
        {"branches", "github_create_pull_request"},
        {"\u00dcBERSETZT", "translateText"},
        {"\u5929\u6c17", "tenki"},
        {"invitations", "calendar_create_event"},
    };
    check_in_set(TOOL_SEARCH_BY_BM25, cases, sizeof cases / sizeof cases[0]);
}

static void test_tool_search__equal_scores_keep_the_order_of_the_list(void **state)
{
    (void)state;
    struct tool tools[8];
    for (size_t i = 0; i < 8; i++)
        tools[i] = (struct tool){.name = {&"abcdefgh"[i], 1},
                                 .description = STR("the same words"),
                                 .schema_json = STR("{}"),
                                 .defer_loading = true};
    struct search_case c = {"same", "a b c d e"};
    check_found(TOOL_SEARCH_BY_BM25, tools, 8, &c);
    check_found(TOOL_SEARCH_BY_REGEX, tools, 8, &c);
}

static void test_tool_search__a_word_weighs_by_the_field_it_is_in(void **state)
{
    (void)state;
    struct tool tools[3] = {
        {.name = STR("one"),
         .description = STR("plain"),
         .defer_loading = true,
         .schema_json = STR("{\"properties\":{\"lamp\":{\"description\":\"light\"}}}")},
        {.name = STR("two"),
         .description = STR("lamp"),
         .schema_json = STR("{}"),
         .defer_loading = true},
        {.name = STR("lamp"),
         .description = STR("plain"),
         .schema_json = STR("{}"),
         .defer_loading = true},
    };
    struct search_case c = {"lamp", "lamp two one"};
    check_found(TOOL_SEARCH_BY_BM25, tools, 3, &c);
    check_found(TOOL_SEARCH_BY_REGEX, tools, 3, &c);
}

/* ---- Schemas ---- */

static void test_tool_search__arguments_are_found_at_any_depth(void **state)
{
    (void)state;
    struct tool tool = {
        .name = STR("t"),
        .defer_loading = true,
        .schema_json =
            STR("{\"$defs\":{\"Hidden\":{\"properties\":{\"in_defs\":{}}}},\"properties\":{"
                "\"description\":{\"type\":\"string\",\"description\":\"of_description\"},"
                "\"list\":{\"items\":[{\"properties\":{\"in_items\":{}}}]},"
                "\"choice\":{\"anyOf\":[{\"description\":\"in_any\"},{\"type\":\"null\"}]},"
                "\"properties\":{\"default\":{\"description\":\"in_default\"},"
                "\"properties\":{\"nested\":{\"enum\":[\"in_enum\"]}}}},"
                "\"description\":\"of_root\",\"required\":[\"in_required\"]}")};
    static const char *const found[] = {"in_defs", "of_description", "^description$", "in_items",
                                        "in_any",  "^properties$",   "nested",        "of_root"};
    static const char *const missed[] = {"Hidden", "in_default", "in_enum", "in_required",
                                         "^items$"};
    for (size_t i = 0; i < sizeof found / sizeof found[0]; i++)
        check_found(TOOL_SEARCH_BY_REGEX, &tool, 1, &(struct search_case){found[i], "t"});
    for (size_t i = 0; i < sizeof missed / sizeof missed[0]; i++)
        check_found(TOOL_SEARCH_BY_REGEX, &tool, 1, &(struct search_case){missed[i], ""});
}

static void test_tool_search__a_very_deep_schema_is_searched_at_its_top(void **state)
{
    (void)state;
    struct strbuf schema;
    strbuf_init(&schema, 100000);
    for (int i = 0; i < 50; i++)
        strbuf_printf(&schema, "{\"properties\":{\"level%d\":", i);
    strbuf_append_cstr(&schema, "{}");
    for (int i = 0; i < 50; i++)
        strbuf_append_cstr(&schema, "}}");
    struct tool tool = {
        .name = STR("t"), .schema_json = strbuf_str(&schema), .defer_loading = true};
    check_found(TOOL_SEARCH_BY_REGEX, &tool, 1, &(struct search_case){"level15$", "t"});
    check_found(TOOL_SEARCH_BY_REGEX, &tool, 1, &(struct search_case){"level16$", ""});
    strbuf_free(&schema);
}

/* ---- Size ---- */

static void test_tool_search__ten_thousand_tools_with_long_schemas(void **state)
{
    (void)state;
    enum { NAME_BYTES = 32, SCHEMA_BYTES = 3000 };
    static char names[LIMIT_TOOLS][NAME_BYTES];
    struct tool *tools = mem_zalloc(LIMIT_TOOLS * sizeof *tools);
    struct strbuf schema;
    strbuf_init(&schema, 100000);
    strbuf_append_cstr(&schema, "{\"properties\":{\"first\":{\"description\":\"Start\"}");
    for (size_t i = 0; schema.len < SCHEMA_BYTES; i++)
        strbuf_printf(&schema, ",\"argument_%zu\":{\"description\":\"What the number %zu is for\"}",
                      i, i);
    strbuf_append_cstr(&schema, "}}");
    for (size_t i = 0; i < LIMIT_TOOLS; i++) {
        snprintf(names[i], sizeof names[i], "server_%zu_tool_%zu", i % 100, i);
        tools[i] = (struct tool){.name = str_from(names[i]),
                                 .description = STR("Does one of many things"),
                                 .schema_json = strbuf_str(&schema),
                                 .defer_loading = true};
    }
    tools[9000].description = STR("Waters the plants");
    static const struct search_case cases[] = {
        {"[Ww]aters the plants", "server_0_tool_9000"},
        {"water plants", "server_0_tool_9000"},
        {"tool_999\\d$",
         "server_90_tool_9990 server_91_tool_9991 server_92_tool_9992 server_93_tool_9993 "
         "server_94_tool_9994"},
    };
    check_found(TOOL_SEARCH_BY_REGEX, tools, LIMIT_TOOLS, &cases[0]);
    check_found(TOOL_SEARCH_BY_REGEX, tools, LIMIT_TOOLS, &cases[1]);
    check_found(TOOL_SEARCH_BY_REGEX, tools, LIMIT_TOOLS, &cases[2]);
    check_found(TOOL_SEARCH_BY_BM25, tools, LIMIT_TOOLS, &cases[1]);
    strbuf_free(&schema);
    mem_free(tools);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tool_search__answers_in_the_shape_of_the_api),
        cmocka_unit_test(test_tool_search__says_what_is_wrong_with_the_input),
        cmocka_unit_test(test_tool_search__a_pattern_that_does_not_compile_is_the_models_mistake),
        cmocka_unit_test(test_tool_search__a_pattern_has_at_most_200_characters),
        cmocka_unit_test(test_tool_search__no_room_and_no_memory_are_told),
        cmocka_unit_test(test_tool_search__every_allocation_may_fail),
        cmocka_unit_test(test_tool_search__only_deferred_tools_are_found),
        cmocka_unit_test(test_tool_search__a_damaged_schema_hides_only_the_arguments),
        cmocka_unit_test(test_tool_search__patterns_find_what_python_would),
        cmocka_unit_test(test_tool_search__names_rank_before_descriptions_before_arguments),
        cmocka_unit_test(test_tool_search__values_in_a_schema_are_not_searched),
        cmocka_unit_test(test_tool_search__patterns_know_unicode),
        cmocka_unit_test(test_tool_search__plain_words_that_match_nothing_are_searched_one_by_one),
        cmocka_unit_test(test_tool_search__a_hostile_pattern_is_stopped),
        cmocka_unit_test(test_tool_search__the_steps_of_all_texts_count_together),
        cmocka_unit_test(test_tool_search__words_find_the_tool_that_is_meant_first),
        cmocka_unit_test(test_tool_search__words_are_parts_of_identifiers_in_any_case),
        cmocka_unit_test(test_tool_search__equal_scores_keep_the_order_of_the_list),
        cmocka_unit_test(test_tool_search__a_word_weighs_by_the_field_it_is_in),
        cmocka_unit_test(test_tool_search__arguments_are_found_at_any_depth),
        cmocka_unit_test(test_tool_search__a_very_deep_schema_is_searched_at_its_top),
        cmocka_unit_test(test_tool_search__ten_thousand_tools_with_long_schemas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
