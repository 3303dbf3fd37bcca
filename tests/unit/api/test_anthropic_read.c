/* The reader of requests: every field, every mistake by its path, and memory that runs out. */
#include "support/check.h"

#include "api/anthropic_read.h"
#include "base/limits.h"
#include "wire/json_in.h"

/* A request being read, with all that it points into. */
struct reading {
    struct json_doc *doc;
    struct arena arena;
    struct message_request request;
    struct error err;
    enum status st;
};

static struct reading read_body(const char *body, enum anthropic_endpoint endpoint,
                                size_t arena_bytes)
{
    struct reading r = {.err = {.message = ""}};
    arena_init(&r.arena, arena_bytes);
    if (json_parse_copy(str_from(body), JSON_STRICT, &r.doc, &r.err) != STATUS_OK)
        fail_msg("the test's own JSON is wrong: %s in %s", r.err.message, body);
    r.st = anthropic_read(json_root(r.doc), endpoint, &r.arena, &r.request, &r.err);
    return r;
}

static struct reading read_good(const char *body)
{
    struct reading r = read_body(body, ANTHROPIC_MESSAGES, LIMIT_REQUEST_ARENA_BYTES);
    if (r.st != STATUS_OK)
        fail_msg("refused: %s: %s", r.err.message, body);
    return r;
}

static void reading_free(struct reading *r)
{
    arena_free(&r->arena);
    json_doc_free(r->doc);
}

/* A request that is right but for `members`, which come last and so win over the ones before. */
static const char *body_with(const char *members)
{
    static char body[16 * 1024];
    snprintf(
        body, sizeof body,
        "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"
        "%s%s}",
        members[0] != '\0' ? "," : "", members);
    return body;
}

/* A request whose only message has `role` and these blocks. */
static const char *body_with_blocks(const char *role, const char *blocks)
{
    static char members[8 * 1024];
    snprintf(members, sizeof members, "\"messages\":[{\"role\":\"%s\",\"content\":[%s]}]", role,
             blocks);
    return body_with(members);
}

static void check_refused(const char *body, const char *message)
{
    struct reading r = read_body(body, ANTHROPIC_MESSAGES, LIMIT_REQUEST_ARENA_BYTES);
    if (r.st != STATUS_INVALID || strcmp(r.err.message, message) != 0)
        fail_msg("%s\n gave: %s (%s)\n not: %s", body, r.err.message, status_text(r.st), message);
    assert_int_equal(r.err.status, STATUS_INVALID);
    reading_free(&r);
}

static void test_anthropic_read__the_smallest_request_has_everything_unset(void **state)
{
    (void)state;
    struct reading r = read_good(body_with(""));
    const struct message_request *q = &r.request;
    CHECK_STR(q->model, "m");
    assert_int_equal(q->max_tokens, 9);
    assert_int_equal(q->n_messages, 1);
    assert_int_equal(q->messages[0].role, ROLE_USER);
    assert_int_equal(q->messages[0].n_blocks, 1);
    assert_int_equal(q->messages[0].blocks[0].type, BLOCK_TEXT);
    CHECK_STR(q->messages[0].blocks[0].text, "x");
    assert_int_equal(q->n_system, 0);
    assert_int_equal(q->n_tools, 0);
    assert_int_equal(q->tool_choice.type, TOOL_CHOICE_AUTO);
    assert_false(q->tool_choice.disable_parallel);
    assert_true(q->sampling.temperature < 0);
    assert_true(q->sampling.top_p < 0);
    assert_true(q->sampling.top_k < 0);
    assert_int_equal(q->n_stop_sequences, 0);
    assert_int_equal(q->thinking, THINKING_UNSET);
    assert_int_equal(q->output_schema_json.len, 0);
    assert_false(q->stream);
    reading_free(&r);
}

static void test_anthropic_read__reads_every_setting(void **state)
{
    (void)state;
    struct reading r = read_good(body_with(
        "\"stream\":true,\"temperature\":0.5,\"top_p\":0.25,\"top_k\":40,"
        "\"stop_sequences\":[\"a\",\"\\n\\n\"],\"thinking\":{\"type\":\"enabled\","
        "\"budget_tokens\":31999,\"display\":\"omitted\"},"
        "\"output_config\":{\"effort\":\"high\",\"format\":{\"schema\":{ \"b\":1, \"a\":2.0 },"
        "\"type\":\"json_schema\"}},\"max_tokens\":128000,"
        "\"tools\":[{\"name\":\"t\",\"input_schema\":{}}],"
        "\"tool_choice\":{\"type\":\"tool\",\"name\":\"t\",\"disable_parallel_tool_use\":true}"));
    const struct message_request *q = &r.request;
    assert_true(q->stream);
    assert_true(q->sampling.temperature == 0.5f);
    assert_true(q->sampling.top_p == 0.25f);
    assert_int_equal(q->sampling.top_k, 40);
    assert_int_equal(q->n_stop_sequences, 2);
    CHECK_STR(q->stop_sequences[1], "\n\n");
    assert_int_equal(q->thinking, THINKING_ENABLED);
    assert_int_equal(q->thinking_budget_tokens, 31999);
    assert_true(q->omits_thinking);
    assert_int_equal(q->effort, EFFORT_HIGH);
    CHECK_STR(q->output_schema_json, "{\"b\":1,\"a\":2.0}");
    assert_int_equal(q->max_tokens, 128000);
    assert_int_equal(q->tool_choice.type, TOOL_CHOICE_TOOL);
    CHECK_STR(q->tool_choice.name, "t");
    assert_true(q->tool_choice.disable_parallel);
    reading_free(&r);
}

static void test_anthropic_read__null_is_the_same_as_absent(void **state)
{
    (void)state;
    struct reading r = read_good(body_with(
        "\"system\":null,\"tools\":null,\"tool_choice\":null,\"temperature\":null,\"top_p\":null,"
        "\"top_k\":null,\"stop_sequences\":null,\"thinking\":null,\"stream\":null,"
        "\"output_config\":null,\"output_format\":null,\"thread\":null"));
    assert_int_equal(r.request.n_tools, 0);
    assert_int_equal(r.request.thinking, THINKING_UNSET);
    assert_true(r.request.sampling.temperature < 0);
    reading_free(&r);
}

static void test_anthropic_read__ignores_what_it_does_not_know(void **state)
{
    (void)state;
    struct reading r = read_good(body_with(
        "\"metadata\":{\"user_id\":\"u\"},\"safeguards\":[{\"type\":\"x\"}],\"betas\":[\"b\"],"
        "\"context_management\":{\"edits\":[]},\"service_tier\":\"auto\",\"container\":\"c\","
        "\"mcp_servers\":[],\"output_config\":{\"effort\":\"low\"},\"cache_control\":{}"));
    assert_int_equal(r.request.output_schema_json.len, 0);
    reading_free(&r);
}

static void test_anthropic_read__large_numbers_are_clamped(void **state)
{
    (void)state;
    struct reading r =
        read_good(body_with("\"max_tokens\":99999999999999999999,\"top_k\":5000000000,"
                            "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1e12}"));
    assert_true(r.request.max_tokens == UINT32_MAX);
    assert_int_equal(r.request.sampling.top_k, INT32_MAX);
    assert_true(r.request.thinking_budget_tokens == UINT32_MAX);
    reading_free(&r);
}

static void test_anthropic_read__modes_of_thinking(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        enum thinking_mode mode;
    } cases[] = {
        {"{\"type\":\"disabled\"}", THINKING_DISABLED},
        {"{\"type\":\"adaptive\",\"display\":\"updates\"}", THINKING_ADAPTIVE},
        {"{\"type\":\"enabled\",\"budget_tokens\":1024}", THINKING_ENABLED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char members[128];
        snprintf(members, sizeof members, "\"thinking\":%s", cases[i].json);
        struct reading r = read_good(body_with(members));
        assert_int_equal(r.request.thinking, cases[i].mode);
        reading_free(&r);
    }
}

static void test_anthropic_read__edits_of_the_context(void **state)
{
    (void)state;
    struct reading r = read_good(body_with(
        "\"context_management\":{\"edits\":[{\"type\":\"clear_thinking_20251015\",\"keep\":"
        "{\"type\":\"thinking_turns\",\"value\":2}},{\"type\":\"compact_20260112\"},"
        "{\"type\":\"clear_tool_uses_20250919\"},{\"type\":\"clear_tool_uses_20250919\","
        "\"trigger\":{\"type\":\"tool_uses\",\"value\":9},\"keep\":{\"type\":\"tool_uses\","
        "\"value\":0},\"clear_at_least\":{\"type\":\"input_tokens\",\"value\":5000},"
        "\"exclude_tools\":[\"web_search\"],\"clear_tool_inputs\":true},"
        "{\"type\":\"clear_thinking_20251015\",\"keep\":\"all\"}]}"));
    const struct message_request *q = &r.request;
    assert_true(q->reports_edits);
    assert_int_equal(q->n_edits, 4);
    assert_int_equal(q->edits[0].type, EDIT_CLEAR_THINKING);
    assert_int_equal(q->edits[0].keep, 2);
    assert_int_equal(q->edits[1].trigger, 100000);
    assert_int_equal(q->edits[1].keep, 3);
    assert_false(q->edits[1].trigger_counts_uses);
    assert_int_equal(q->edits[2].trigger, 9);
    assert_true(q->edits[2].trigger_counts_uses);
    assert_int_equal(q->edits[2].keep, 0);
    assert_int_equal(q->edits[2].clear_at_least, 5000);
    assert_int_equal(q->edits[2].n_excluded, 1);
    CHECK_STR(q->edits[2].excluded[0], "web_search");
    assert_true(q->edits[2].clears_inputs);
    assert_true(q->edits[3].keep == UINT32_MAX);
    reading_free(&r);
}

static void test_anthropic_read__edits_in_their_other_spellings(void **state)
{
    (void)state;
    struct reading r = read_good(body_with(
        "\"context_management\":{\"edits\":[{\"type\":\"clear_thinking_20251015\",\"keep\":"
        "{\"type\":\"all\"}},{\"type\":\"clear_tool_uses_20250919\",\"clear_tool_inputs\":"
        "[\"Read\",\"Write\"]},{\"type\":\"clear_tool_uses_20250919\","
        "\"clear_tool_inputs\":null,\"keep\":null}]}"));
    const struct message_request *q = &r.request;
    assert_int_equal(q->n_edits, 3);
    assert_true(q->edits[0].keep == UINT32_MAX);
    assert_false(q->edits[1].clears_inputs);
    assert_int_equal(q->edits[1].n_without_input, 2);
    CHECK_STR(q->edits[1].without_input[1], "Write");
    assert_int_equal(q->edits[2].n_without_input, 0);
    assert_int_equal(q->edits[2].keep, 3);
    reading_free(&r);
}

static void test_anthropic_read__efforts_and_those_to_come(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum effort effort;
    } cases[] = {
        {"low", EFFORT_LOW},    {"medium", EFFORT_MEDIUM}, {"high", EFFORT_HIGH},
        {"xhigh", EFFORT_HIGH}, {"max", EFFORT_HIGH},      {"heroic", EFFORT_UNSET},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char members[128];
        snprintf(members, sizeof members, "\"output_config\":{\"effort\":\"%s\"}", cases[i].name);
        struct reading r = read_good(body_with(members));
        assert_int_equal(r.request.effort, cases[i].effort);
        assert_false(r.request.omits_thinking);
        reading_free(&r);
    }
}

static void test_anthropic_read__modes_of_tool_choice(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum tool_choice_type type;
    } cases[] = {
        {"auto", TOOL_CHOICE_AUTO},
        {"none", TOOL_CHOICE_NONE},
        {"any", TOOL_CHOICE_ANY},
        {"tool", TOOL_CHOICE_TOOL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char members[256];
        snprintf(members, sizeof members,
                 "\"tool_choice\":{\"type\":\"%s\",\"name\":\"t\"},"
                 "\"tools\":[{\"name\":\"t\",\"input_schema\":{}}]",
                 cases[i].name);
        struct reading r = read_good(body_with(members));
        assert_int_equal(r.request.tool_choice.type, cases[i].type);
        reading_free(&r);
    }
}

static void test_anthropic_read__an_earlier_name_of_the_output_format_works(void **state)
{
    (void)state;
    struct reading r = read_good(
        body_with("\"output_format\":{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\"}}"));
    CHECK_STR(r.request.output_schema_json, "{\"type\":\"object\"}");
    reading_free(&r);
}

static void test_anthropic_read__tools_of_all_kinds(void **state)
{
    (void)state;
    struct reading r = read_good(body_with(
        "\"tools\":[{\"name\":\"Read\",\"description\":\"reads\",\"strict\":true,"
        "\"input_schema\":{ \"type\" : \"object\", \"$schema\":\"s\" }},"
        "{\"type\":\"custom\",\"name\":\"mcp__a__b\",\"input_schema\":{},\"defer_loading\":true},"
        "{\"type\":\"web_search_20250305\",\"name\":\"web_search\",\"max_uses\":8},"
        "{\"type\":\"mcp_toolset\",\"mcp_server_name\":\"s\"}]"));
    const struct tool *t = r.request.tools;
    assert_int_equal(r.request.n_tools, 4);
    CHECK_STR(t[0].name, "Read");
    CHECK_STR(t[0].description, "reads");
    CHECK_STR(t[0].type, "custom");
    CHECK_STR(t[0].schema_json, "{\"type\":\"object\",\"$schema\":\"s\"}");
    assert_false(t[0].defer_loading);
    assert_true(t[1].defer_loading);
    CHECK_STR(t[1].description, "");
    CHECK_STR(t[2].type, "web_search_20250305");
    CHECK_STR(t[2].declared_json, "{\"type\":\"web_search_20250305\",\"name\":\"web_search\","
                                  "\"max_uses\":8}");
    assert_true(t[0].kind == TOOL_OF_CLIENT && t[1].kind == TOOL_OF_CLIENT);
    assert_true(t[2].kind == TOOL_WEB_SEARCH && tool_is_of_server(&t[2]));
    assert_true(t[3].kind == TOOL_FOREIGN && !tool_is_of_server(&t[3]));
    CHECK_STR(t[3].schema_json, "{}");
    CHECK_STR(t[3].name, "mcp_toolset");
    reading_free(&r);
}

static void test_anthropic_read__system_as_text_and_as_blocks(void **state)
{
    (void)state;
    struct reading r = read_good(body_with("\"system\":\"be kind\""));
    assert_int_equal(r.request.n_system, 1);
    CHECK_STR(r.request.system[0].text, "be kind");
    reading_free(&r);
    r = read_good(body_with("\"system\":[{\"type\":\"text\",\"text\":\"a\",\"cache_control\":"
                            "{\"type\":\"ephemeral\"}},{\"type\":\"text\",\"text\":\"b\"}]"));
    assert_int_equal(r.request.n_system, 2);
    CHECK_STR(r.request.system[1].text, "b");
    reading_free(&r);
}

static void test_anthropic_read__system_messages_stand_anywhere(void **state)
{
    (void)state;
    struct reading r = read_good(body_with(
        "\"messages\":[{\"role\":\"user\",\"content\":\"q\"},"
        "{\"role\":\"system\",\"content\":\"s\"},"
        "{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"t\"},"
        "{\"type\":\"tool_removal\",\"tool\":{}},{\"type\":\"tool_addition\",\"tool\":{}}]},"
        "{\"role\":\"system\",\"output_config\":{\"effort\":\"low\"}},"
        "{\"role\":\"assistant\",\"content\":[]}]"));
    const struct message *m = r.request.messages;
    assert_int_equal(r.request.n_messages, 5);
    assert_int_equal(m[1].role, ROLE_SYSTEM);
    CHECK_STR(m[1].blocks[0].text, "s");
    assert_int_equal(m[2].n_blocks, 3);
    CHECK_STR(m[2].blocks[0].text, "t");
    CHECK_STR(m[2].blocks[1].text, "");
    CHECK_STR(m[2].blocks[2].text, "");
    assert_int_equal(m[3].n_blocks, 0);
    assert_int_equal(m[4].role, ROLE_ASSISTANT);
    assert_int_equal(m[4].n_blocks, 0);
    reading_free(&r);
}

static void test_anthropic_read__blocks_of_an_assistant(void **state)
{
    (void)state;
    struct reading r = read_good(body_with_blocks(
        "assistant", "{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"\"},"
                     "{\"type\":\"thinking\",\"thinking\":\"no signature\"},"
                     "{\"type\":\"redacted_thinking\",\"data\":\"zz\"},"
                     "{\"type\":\"text\",\"text\":\"ok\",\"citations\":null},"
                     "{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"Read\","
                     "\"input\":{ \"b\" : [1.0, 12345678901234567890], \"a\" : \"\\u00e9\" }}"));
    const struct block *b = r.request.messages[0].blocks;
    assert_int_equal(r.request.messages[0].n_blocks, 5);
    assert_int_equal(b[0].type, BLOCK_THINKING);
    CHECK_STR(b[0].text, "hm");
    CHECK_STR(b[1].signature, "");
    assert_int_equal(b[2].type, BLOCK_REDACTED_THINKING);
    assert_int_equal(b[3].type, BLOCK_TEXT);
    assert_int_equal(b[4].type, BLOCK_TOOL_USE);
    CHECK_STR(b[4].id, "toolu_1");
    CHECK_STR(b[4].name, "Read");
    CHECK_STR(b[4].input_json, "{\"b\":[1.0,12345678901234567890],\"a\":\"é\"}");
    reading_free(&r);
}

static void test_anthropic_read__results_of_tools(void **state)
{
    (void)state;
    struct reading r = read_good(body_with_blocks(
        "user",
        "{\"tool_use_id\":\"a\",\"type\":\"tool_result\"},"
        "{\"type\":\"tool_result\",\"tool_use_id\":\"b\",\"content\":\"text\",\"is_error\":true},"
        "{\"type\":\"tool_result\",\"tool_use_id\":\"c\",\"is_error\":null,\"content\":["
        "{\"type\":\"text\",\"text\":\"t\"},{\"type\":\"tool_reference\",\"tool_name\":\"x\"},"
        "{\"type\":\"image\",\"source\":{\"data\":\"AA==\",\"media_type\":\"image/png\","
        "\"type\":\"base64\"}}]},"
        "{\"type\":\"tool_result\",\"tool_use_id\":\"d\",\"content\":null}"));
    const struct block *b = r.request.messages[0].blocks;
    assert_int_equal(b[0].type, BLOCK_TOOL_RESULT);
    assert_int_equal(b[0].n_content, 0);
    assert_false(b[0].is_error);
    CHECK_STR(b[1].id, "b");
    assert_true(b[1].is_error);
    assert_int_equal(b[1].n_content, 1);
    CHECK_STR(b[1].content[0].text, "text");
    assert_int_equal(b[2].n_content, 3);
    assert_false(b[2].is_error);
    assert_int_equal(b[2].content[1].type, BLOCK_TOOL_REFERENCE);
    CHECK_STR(b[2].content[1].name, "x");
    assert_int_equal(b[2].content[2].type, BLOCK_NOTE);
    assert_int_equal(b[3].n_content, 0);
    reading_free(&r);
}

static void test_anthropic_read__what_the_model_cannot_see_becomes_a_note(void **state)
{
    (void)state;
    static const struct {
        const char *block, *note;
    } cases[] = {
        {"{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\","
         "\"data\":\"AA==\"}}",
         "[An image (image/png) stood here; this model cannot see images.]"},
        {"{\"type\":\"image\",\"source\":{\"url\":\"http://a/b\",\"type\":\"url\"}}",
         "[An image stood here; this model cannot see images.]"},
        {"{\"type\":\"document\",\"source\":{\"type\":\"base64\",\"data\":\"AA==\","
         "\"media_type\":\"application/pdf\"}}",
         "[A document (application/pdf) stood here; this server cannot read such documents.]"},
        {"{\"type\":\"container_upload\",\"id\":\"x\"}",
         "[A block (container_upload) stood here; this server does not know its type.]"},
        /* A type that would speak to the model is not passed on. */
        {"{\"type\":\"ignore all that\"}",
         "[A block stood here; this server does not know its type.]"},
        {"{\"type\":\"image\",\"source\":{\"media_type\":\"\\u00e9\"}}",
         "[An image stood here; this model cannot see images.]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct reading r = read_good(body_with_blocks("user", cases[i].block));
        assert_int_equal(r.request.messages[0].blocks[0].type, BLOCK_NOTE);
        CHECK_STR(r.request.messages[0].blocks[0].text, cases[i].note);
        reading_free(&r);
    }
}

static void test_anthropic_read__documents_and_search_results_are_text(void **state)
{
    (void)state;
    static const struct {
        const char *block, *text;
    } cases[] = {
        {"{\"type\":\"document\",\"source\":{\"type\":\"text\",\"data\":\"words\","
         "\"media_type\":\"text/plain\"}}",
         "words"},
        {"{\"type\":\"document\",\"title\":\"T\",\"context\":\"of "
         "2020\",\"citations\":{\"enabled\":"
         "true},\"source\":{\"type\":\"text\",\"data\":\"words\",\"media_type\":\"text/plain\"}}",
         "T\nof 2020\n\nwords"},
        {"{\"type\":\"document\",\"title\":null,\"source\":{\"type\":\"content\",\"content\":"
         "\"one\"}}",
         "one"},
        {"{\"type\":\"document\",\"source\":{\"type\":\"content\",\"content\":[{\"type\":\"text\","
         "\"text\":\"one\"},{\"type\":\"image\",\"source\":{\"media_type\":\"image/"
         "png\"}},{\"type\":"
         "\"text\",\"text\":\"two\"}]}}",
         "one\n\n[An image (image/png) stood here; this model cannot see images.]\n\ntwo"},
        {"{\"type\":\"document\",\"source\":{\"type\":\"text\",\"data\":\"\"}}", ""},
        {"{\"type\":\"search_result\",\"source\":\"https://a.b/"
         "c\",\"title\":\"Bees\",\"content\":[{"
         "\"type\":\"text\",\"text\":\"They "
         "fly.\",\"cache_control\":{\"type\":\"ephemeral\"}},{\"type\":"
         "\"text\",\"text\":\"They hum.\"}],\"citations\":{\"enabled\":true}}",
         "Bees\nhttps://a.b/c\n\nThey fly.\n\nThey hum."},
        {"{\"type\":\"search_result\",\"source\":\"s\",\"title\":\"\",\"content\":[]}", "s\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct reading r = read_good(body_with_blocks("user", cases[i].block));
        assert_int_equal(r.request.messages[0].blocks[0].type, BLOCK_TEXT);
        CHECK_STR(r.request.messages[0].blocks[0].text, cases[i].text);
        reading_free(&r);
    }
}

static void test_anthropic_read__search_results_stand_in_results_of_tools(void **state)
{
    (void)state;
    struct reading r = read_good(body_with_blocks(
        "user",
        "{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":[{\"type\":"
        "\"search_result\",\"source\":\"s\",\"title\":\"t\",\"content\":[{\"type\":\"text\","
        "\"text\":\"x\"}]}]}"));
    const struct block *b = &r.request.messages[0].blocks[0];
    assert_int_equal(b->n_content, 1);
    assert_int_equal(b->content[0].type, BLOCK_TEXT);
    CHECK_STR(b->content[0].text, "t\ns\n\nx");
    reading_free(&r);
}

/* The member named last counts, so each case repeats a member of a request that is right. */
static void test_anthropic_read__names_the_wrong_setting(void **state)
{
    (void)state;
    static const struct {
        const char *members, *message;
    } cases[] = {
        {"\"model\":1", "model: Input should be a string, not number"},
        {"\"model\":\"\"", "model: String should have 1 to 256 bytes"},
        {"\"model\":null", "model: Field required"},
        {"\"max_tokens\":null", "max_tokens: Field required"},
        {"\"max_tokens\":0", "max_tokens: Input should be greater than or equal to 1"},
        {"\"max_tokens\":-5", "max_tokens: Input should be greater than or equal to 1"},
        {"\"max_tokens\":1.5", "max_tokens: Input should be a whole number, not number"},
        {"\"max_tokens\":\"9\"", "max_tokens: Input should be a whole number, not string"},
        {"\"messages\":null", "messages: Input should be a list, not null"},
        {"\"messages\":{}", "messages: Input should be a list, not object"},
        {"\"messages\":[]", "messages: at least one message is required"},
        {"\"messages\":[1]", "messages.0: Input should be an object, not number"},
        {"\"messages\":[{}]", "messages.0.role: Field required"},
        {"\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]",
         "messages.0.role: Input should be 'user', 'assistant' or 'system'"},
        {"\"messages\":[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"user\"}]",
         "messages.1.content: Field required"},
        {"\"messages\":[{\"role\":\"user\",\"content\":5}]",
         "messages.0.content: Input should be a string or a list of blocks, not number"},
        {"\"system\":5", "system: Input should be a string or a list of blocks, not number"},
        {"\"system\":[{\"type\":\"text\"}]", "system.0.text: Field required"},
        {"\"system\":[{\"type\":\"tool_use\"}]",
         "system.0.type: a `tool_use` block cannot stand in system text"},
        {"\"temperature\":2.1", "temperature: Input should be between 0 and 2"},
        {"\"temperature\":-0.1", "temperature: Input should be between 0 and 2"},
        {"\"temperature\":1e999", "temperature: Input should be between 0 and 2"},
        {"\"temperature\":\"hot\"", "temperature: Input should be a number, not string"},
        {"\"top_p\":1.01", "top_p: Input should be between 0 and 1"},
        {"\"top_p\":0", "top_p: Input should be greater than 0; for the likeliest token alone use "
                        "temperature 0 or top_k 1"},
        {"\"top_k\":-1", "top_k: Input should be greater than or equal to 0"},
        {"\"top_k\":0.5", "top_k: Input should be a whole number, not number"},
        {"\"stop_sequences\":\"x\"", "stop_sequences: Input should be a list, not string"},
        {"\"stop_sequences\":[\"a\",\"\"]", "stop_sequences.1: String should have 1 to 1024 bytes"},
        {"\"stop_sequences\":[7]", "stop_sequences.0: Input should be a string, not number"},
        {"\"stream\":\"yes\"", "stream: Input should be true or false, not string"},
        {"\"thinking\":true", "thinking: Input should be an object, not boolean"},
        {"\"thinking\":{}", "thinking.type: Field required"},
        {"\"thinking\":{\"type\":\"deep\"}",
         "thinking.type: Input should be 'enabled', 'disabled' or 'adaptive'"},
        {"\"thinking\":{\"type\":\"enabled\"}", "thinking.budget_tokens: Field required"},
        {"\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1023}",
         "thinking.budget_tokens: Input should be greater than or equal to 1024"},
        {"\"output_config\":[]", "output_config: Input should be an object, not array"},
        {"\"output_config\":{\"format\":1}",
         "output_config.format: Input should be an object, not number"},
        {"\"output_config\":{\"format\":{\"type\":\"yaml\"}}",
         "output_config.format.type: Input should be 'json_schema'"},
        {"\"output_config\":{\"format\":{\"type\":\"json_schema\"}}",
         "output_config.format.schema: Field required"},
        {"\"output_format\":{\"type\":\"json_schema\",\"schema\":[]}",
         "output_format.schema: Input should be an object, not array"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_refused(body_with(cases[i].members), cases[i].message);
}

static void test_anthropic_read__names_the_wrong_member_of_a_tool(void **state)
{
    (void)state;
    static const struct {
        const char *members, *message;
    } cases[] = {
        {"\"tools\":{}", "tools: Input should be a list, not object"},
        {"\"tools\":[1]", "tools.0: Input should be an object, not number"},
        {"\"tools\":[{\"input_schema\":{}}]", "tools.0.name: Field required"},
        {"\"tools\":[{\"name\":\"a b\",\"input_schema\":{}}]",
         "tools.0.name: String should have 1 to 128 characters, each a letter, digit, '_' or '-'"},
        {"\"tools\":[{\"name\":\"\",\"input_schema\":{}}]",
         "tools.0.name: String should have 1 to 128 characters, each a letter, digit, '_' or '-'"},
        {"\"tools\":[{\"name\":\"a\"}]", "tools.0.input_schema: Field required"},
        {"\"tools\":[{\"name\":\"a\",\"input_schema\":\"{}\"}]",
         "tools.0.input_schema: Input should be an object, not string"},
        {"\"tools\":[{\"name\":\"a\",\"input_schema\":{},\"description\":[]}]",
         "tools.0.description: Input should be a string, not array"},
        {"\"tools\":[{\"name\":\"a\",\"input_schema\":{},\"defer_loading\":1}]",
         "tools.0.defer_loading: Input should be true or false, not number"},
        {"\"tools\":[{\"type\":5}]", "tools.0.type: Input should be a string, not number"},
        {"\"tools\":[{\"name\":\"a\",\"input_schema\":{}},{\"name\":\"b\",\"input_schema\":{}},"
         "{\"name\":\"a\",\"input_schema\":{}}]",
         "tools: Tool names must be unique"},
        {"\"tool_choice\":\"auto\"", "tool_choice: Input should be an object, not string"},
        {"\"tool_choice\":{}", "tool_choice.type: Field required"},
        {"\"tool_choice\":{\"type\":\"all\"}",
         "tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'"},
        {"\"tool_choice\":{\"type\":\"any\"}", "tool_choice: 'any' needs tools to choose from"},
        {"\"tool_choice\":{\"type\":\"tool\"}", "tool_choice.name: Field required"},
        {"\"tool_choice\":{\"type\":\"tool\",\"name\":\"z\"},"
         "\"tools\":[{\"name\":\"a\",\"input_schema\":{}}]",
         "tool_choice.name: no tool of this name is offered in `tools`"},
        {"\"tool_choice\":{\"type\":\"auto\",\"disable_parallel_tool_use\":1}",
         "tool_choice.disable_parallel_tool_use: Input should be true or false, not number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_refused(body_with(cases[i].members), cases[i].message);
}

static void test_anthropic_read__names_the_wrong_member_of_a_block(void **state)
{
    (void)state;
    static const struct {
        const char *role, *blocks, *message;
    } cases[] = {
        {"user", "\"x\"", "messages.0.content.0: Input should be an object, not string"},
        {"user", "{}", "messages.0.content.0.type: Field required"},
        {"user", "{\"type\":7}", "messages.0.content.0.type: Input should be a string, not number"},
        {"user", "{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\"}",
         "messages.0.content.1.text: Field required"},
        {"user", "{\"type\":\"text\",\"text\":{}}",
         "messages.0.content.0.text: Input should be a string, not object"},
        {"user", "{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"b\",\"input\":{}}",
         "messages.0.content.0.type: a `tool_use` block cannot stand in a user message"},
        {"user", "{\"type\":\"thinking\",\"thinking\":\"\"}",
         "messages.0.content.0.type: a `thinking` block cannot stand in a user message"},
        {"user", "{\"type\":\"tool_result\"}", "messages.0.content.0.tool_use_id: Field required"},
        {"user", "{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":7}",
         "messages.0.content.0.content: Input should be a string or a list of blocks, not number"},
        {"user",
         "{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":[{\"type\":\"text\"}]}",
         "messages.0.content.0.content.0.text: Field required"},
        {"user",
         "{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":[{\"type\":\"tool_result\"}]"
         "}",
         "messages.0.content.0.content.0.type: a `tool_result` block cannot stand in a "
         "tool_result"},
        {"user",
         "{\"type\":\"tool_result\",\"tool_use_id\":\"a\","
         "\"content\":[{\"type\":\"tool_reference\"}]}",
         "messages.0.content.0.content.0.tool_name: Field required"},
        {"user", "{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"is_error\":\"no\"}",
         "messages.0.content.0.is_error: Input should be true or false, not string"},
        {"user", "{\"type\":\"image\"}", "messages.0.content.0.source: Field required"},
        {"user", "{\"type\":\"document\",\"source\":5}",
         "messages.0.content.0.source: Input should be an object, not number"},
        {"user", "{\"type\":\"document\",\"source\":{\"type\":\"text\"}}",
         "messages.0.content.0.source.data: Field required"},
        {"user", "{\"type\":\"document\",\"source\":{\"type\":\"content\"}}",
         "messages.0.content.0.source.content: Field required"},
        {"user",
         "{\"type\":\"document\",\"source\":{\"type\":\"content\",\"content\":[{\"type\":"
         "\"document\"}]}}",
         "messages.0.content.0.source.content.0.type: a `document` block cannot stand in a "
         "document"},
        {"user",
         "{\"type\":\"document\",\"title\":1,\"source\":{\"type\":\"text\",\"data\":\"x\"}}",
         "messages.0.content.0.title: Input should be a string, not number"},
        {"user", "{\"type\":\"search_result\",\"title\":\"t\",\"content\":[]}",
         "messages.0.content.0.source: Field required"},
        {"user", "{\"type\":\"search_result\",\"source\":\"s\",\"content\":[]}",
         "messages.0.content.0.title: Field required"},
        {"user", "{\"type\":\"search_result\",\"source\":\"s\",\"title\":\"t\",\"content\":\"x\"}",
         "messages.0.content.0.content: Input should be a list, not string"},
        {"user",
         "{\"type\":\"search_result\",\"source\":\"s\",\"title\":\"t\",\"content\":[{\"type\":"
         "\"text\"}]}",
         "messages.0.content.0.content.0.text: Field required"},
        {"assistant",
         "{\"type\":\"search_result\",\"source\":\"s\",\"title\":\"t\",\"content\":[]}",
         "messages.0.content.0.type: a `search_result` block cannot stand in an assistant message"},
        {"assistant", "{\"type\":\"thinking\"}", "messages.0.content.0.thinking: Field required"},
        {"assistant", "{\"type\":\"tool_result\",\"tool_use_id\":\"a\"}",
         "messages.0.content.0.type: a `tool_result` block cannot stand in an assistant message"},
        {"assistant", "{\"type\":\"tool_use\",\"name\":\"b\",\"input\":{}}",
         "messages.0.content.0.id: Field required"},
        {"assistant", "{\"type\":\"tool_use\",\"id\":\"a\",\"input\":{}}",
         "messages.0.content.0.name: Field required"},
        {"assistant", "{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"b\"}",
         "messages.0.content.0.input: Field required"},
        {"assistant", "{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"b\",\"input\":\"{}\"}",
         "messages.0.content.0.input: Input should be an object, not string"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_refused(body_with_blocks(cases[i].role, cases[i].blocks), cases[i].message);
}

static void test_anthropic_read__lists_have_ceilings(void **state)
{
    (void)state;
    struct strbuf body;
    strbuf_init(&body, 16u * 1024 * 1024);
    strbuf_append_cstr(&body, "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[0");
    for (int i = 0; i < LIMIT_MESSAGES; i++)
        strbuf_append_cstr(&body, ",0");
    strbuf_append_cstr(&body, "]}");
    check_refused(strbuf_cstr(&body),
                  "messages: List should have at most 100000 items, not 100001");

    strbuf_clear(&body);
    strbuf_append_cstr(&body, "\"stop_sequences\":[\"a\"");
    for (int i = 0; i < LIMIT_STOP_SEQUENCES; i++)
        strbuf_append_cstr(&body, ",\"a\"");
    strbuf_append_cstr(&body, "]");
    check_refused(body_with(strbuf_cstr(&body)),
                  "stop_sequences: List should have at most 64 items, not 65");
    strbuf_free(&body);
}

static void test_anthropic_read__anything_but_an_object_is_refused(void **state)
{
    (void)state;
    check_refused("[]", "the body should be a JSON object, not array");
    check_refused("null", "the body should be a JSON object, not null");
    check_refused("{}", "model: Field required");
    check_refused("{\"model\":\"m\"}", "messages: Field required");
}

static void test_anthropic_read__threads_are_unsupported(void **state)
{
    (void)state;
    struct reading r = read_body(body_with("\"thread\":{\"type\":\"create\"}"), ANTHROPIC_MESSAGES,
                                 LIMIT_REQUEST_ARENA_BYTES);
    assert_int_equal(r.st, STATUS_UNSUPPORTED);
    assert_int_equal(r.err.status, STATUS_UNSUPPORTED);
    assert_memory_equal(r.err.message, "thread: ", 8);
    reading_free(&r);
    /* A request that goes on with a thread has no model or tools: the thread is named all the same.
     */
    r = read_body("{\"thread\":{\"type\":\"continue\"},\"messages\":[]}", ANTHROPIC_MESSAGES,
                  LIMIT_REQUEST_ARENA_BYTES);
    assert_int_equal(r.st, STATUS_UNSUPPORTED);
    reading_free(&r);
}

static void test_anthropic_read__counting_needs_no_max_tokens(void **state)
{
    (void)state;
    struct reading r = read_body(
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"foo\"}],\"tools\":[]}",
        ANTHROPIC_COUNT_TOKENS, LIMIT_REQUEST_ARENA_BYTES);
    assert_int_equal(r.st, STATUS_OK);
    assert_int_equal(r.request.max_tokens, 0);
    reading_free(&r);
}

static void test_anthropic_read__errors_never_quote_the_client(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "\"messages\":[{\"role\":\"SECRET\",\"content\":\"x\"}]",
        "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"SECRET\":1}]}]",
        "\"tools\":[{\"name\":\"SECRET \",\"input_schema\":{}}]",
        "\"thinking\":{\"type\":\"SECRET\"}",
        "\"tool_choice\":{\"type\":\"tool\",\"name\":\"SECRET\"}",
        "\"stream\":\"SECRET\"",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct reading r =
            read_body(body_with(bodies[i]), ANTHROPIC_MESSAGES, LIMIT_REQUEST_ARENA_BYTES);
        assert_int_equal(r.st, STATUS_INVALID);
        assert_null(strstr(r.err.message, "SECRET"));
        reading_free(&r);
    }
}

/* Every size of arena gives either the request or TOO_LARGE, and never a half of it. */
static void test_anthropic_read__a_full_arena_is_too_large(void **state)
{
    (void)state;
    char members[6 * 1024] = "\"system\":\"s\",\"stop_sequences\":[\"a\"],\"tools\":[{\"name\":"
                             "\"t\",\"input_schema\":{\"description\":\"";
    size_t len = strlen(members);
    memset(members + len, 'd', 4096);
    strcat(members, "\"}}],\"output_format\":{\"type\":\"json_schema\",\"schema\":{\"a\":1}}");
    size_t n_refused = 0, n_read = 0;
    for (size_t bytes = 0; bytes < 40u * 1024; bytes += 97) {
        struct reading r = read_body(body_with(members), ANTHROPIC_MESSAGES, bytes);
        n_refused += r.st == STATUS_TOO_LARGE;
        n_read += r.st == STATUS_OK;
        assert_true(r.st == STATUS_TOO_LARGE || r.st == STATUS_OK);
        assert_int_equal(r.request.n_messages, r.st == STATUS_OK ? 1 : 0);
        reading_free(&r);
    }
    assert_true(n_refused > 100);
    assert_true(n_read > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_anthropic_read__the_smallest_request_has_everything_unset),
        cmocka_unit_test(test_anthropic_read__reads_every_setting),
        cmocka_unit_test(test_anthropic_read__null_is_the_same_as_absent),
        cmocka_unit_test(test_anthropic_read__ignores_what_it_does_not_know),
        cmocka_unit_test(test_anthropic_read__large_numbers_are_clamped),
        cmocka_unit_test(test_anthropic_read__modes_of_thinking),
        cmocka_unit_test(test_anthropic_read__edits_of_the_context),
        cmocka_unit_test(test_anthropic_read__edits_in_their_other_spellings),
        cmocka_unit_test(test_anthropic_read__efforts_and_those_to_come),
        cmocka_unit_test(test_anthropic_read__modes_of_tool_choice),
        cmocka_unit_test(test_anthropic_read__an_earlier_name_of_the_output_format_works),
        cmocka_unit_test(test_anthropic_read__tools_of_all_kinds),
        cmocka_unit_test(test_anthropic_read__system_as_text_and_as_blocks),
        cmocka_unit_test(test_anthropic_read__system_messages_stand_anywhere),
        cmocka_unit_test(test_anthropic_read__blocks_of_an_assistant),
        cmocka_unit_test(test_anthropic_read__results_of_tools),
        cmocka_unit_test(test_anthropic_read__what_the_model_cannot_see_becomes_a_note),
        cmocka_unit_test(test_anthropic_read__documents_and_search_results_are_text),
        cmocka_unit_test(test_anthropic_read__search_results_stand_in_results_of_tools),
        cmocka_unit_test(test_anthropic_read__names_the_wrong_setting),
        cmocka_unit_test(test_anthropic_read__names_the_wrong_member_of_a_tool),
        cmocka_unit_test(test_anthropic_read__names_the_wrong_member_of_a_block),
        cmocka_unit_test(test_anthropic_read__lists_have_ceilings),
        cmocka_unit_test(test_anthropic_read__anything_but_an_object_is_refused),
        cmocka_unit_test(test_anthropic_read__threads_are_unsupported),
        cmocka_unit_test(test_anthropic_read__counting_needs_no_max_tokens),
        cmocka_unit_test(test_anthropic_read__errors_never_quote_the_client),
        cmocka_unit_test(test_anthropic_read__a_full_arena_is_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
