/* What a server did inside a message of the assistant, as it comes back: cut into rounds, and as
 * the text that the model reads.  And the tools that are named by their type. */
#include "support/check.h"

#include "api/anthropic_read.h"
#include "api/published_tools.h"
#include "base/limits.h"
#include "wire/json_in.h"

struct reading {
    struct json_doc *doc;
    struct arena arena;
    struct message_request request;
};

static enum status read_body(struct reading *r, const char *body, struct error *err)
{
    *r = (struct reading){0};
    arena_init(&r->arena, LIMIT_REQUEST_ARENA_BYTES);
    assert_int_equal(json_parse_copy(str_from(body), JSON_STRICT, &r->doc, err), STATUS_OK);
    return anthropic_read(json_root(r->doc), ANTHROPIC_MESSAGES, &r->arena, &r->request, err);
}

static void reading_free(struct reading *r)
{
    arena_free(&r->arena);
    json_doc_free(r->doc);
}

#define BODY(members) "{\"model\":\"m\",\"max_tokens\":9," members "}"
#define ANSWERED(block)                                                                            \
    BODY("\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\","            \
         "\"content\":["                                                                           \
         "{\"type\":\"server_tool_use\",\"id\":\"s1\",\"name\":\"t\",\"input\":{}}," block         \
         ",{\"type\":\"text\",\"text\":\"so\"}]}]")
#define RESULT(type, content)                                                                      \
    "{\"type\":\"" type "\",\"tool_use_id\":\"s1\",\"content\":" content "}"

/* Each result, and what the model reads of it. */
static const struct {
    const char *body, *text;
    bool is_error;
} results[] = {
    {ANSWERED(RESULT("web_search_tool_result",
                     "[{\"type\":\"web_search_result\",\"url\":\"https://a.b/c\",\"title\":\"One\","
                     "\"encrypted_content\":\"pensieve:an excerpt\",\"page_age\":\"2026-01-02\"},"
                     "{\"type\":\"web_search_result\",\"url\":\"https://d.e/\",\"title\":\"Two\","
                     "\"encrypted_content\":\"EqgfCioIARgB\",\"page_age\":null}]")),
     "One\nhttps://a.b/c\n2026-01-02\nan excerpt\n\nTwo\nhttps://d.e/\n", false},
    {ANSWERED(RESULT("web_search_tool_result", "[]")), "Nothing was found.", false},
    {ANSWERED(RESULT("web_search_tool_result", "{\"type\":\"web_search_tool_result_error\","
                                               "\"error_code\":\"unavailable\"}")),
     "The tool failed: unavailable\n", true},
    {ANSWERED(RESULT("web_fetch_tool_result",
                     "{\"type\":\"web_fetch_result\",\"url\":\"https://a.b/c\",\"content\":"
                     "{\"type\":\"document\",\"title\":\"T\",\"source\":{\"type\":\"text\","
                     "\"media_type\":\"text/plain\",\"data\":\"words\"}}}")),
     "T\nhttps://a.b/c\n\nwords\n", false},
    {ANSWERED(RESULT("web_fetch_tool_result",
                     "{\"type\":\"web_fetch_result\",\"url\":\"https://a.b/c\",\"content\":"
                     "{\"type\":\"document\",\"source\":{\"type\":\"base64\","
                     "\"media_type\":\"application/pdf\",\"data\":\"AAAA\"}}}")),
     "https://a.b/c\n[A document that this server cannot read stood here.]", false},
    {ANSWERED(RESULT("tool_search_tool_result",
                     "{\"type\":\"tool_search_tool_search_result\",\"tool_references\":[]}")),
     "No tool was found.  Try another query.", false},
    {ANSWERED(RESULT("tool_search_tool_result",
                     "{\"type\":\"tool_search_tool_result_error\",\"error_code\":"
                     "\"invalid_tool_input\",\"error_message\":\"no pattern\"}")),
     "The tool failed: invalid_tool_input\nno pattern\n", true},
    {ANSWERED(RESULT("code_execution_tool_result",
                     "{\"type\":\"code_execution_result\",\"stdout\":\"4\",\"return_code\":0}")),
     "{\"type\":\"code_execution_result\",\"stdout\":\"4\",\"return_code\":0}", false},
    {ANSWERED(RESULT("mcp_tool_result", "[{\"type\":\"text\",\"text\":\"4\"}]")), "4", false},
};

static void test_rounds__results_are_read_as_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof results / sizeof results[0]; i++) {
        struct reading r;
        struct error err = {.message = ""};
        if (read_body(&r, results[i].body, &err) != STATUS_OK)
            fail_msg("refused: %s: %s", err.message, results[i].body);
        const struct message *m = r.request.messages;
        assert_int_equal(r.request.n_messages, 4);
        assert_int_equal(m[1].role, ROLE_ASSISTANT);
        assert_int_equal(m[1].blocks[0].type, BLOCK_TOOL_USE);
        assert_int_equal(m[2].role, ROLE_USER);
        assert_int_equal(m[2].n_blocks, 1);
        assert_int_equal(m[2].blocks[0].type, BLOCK_TOOL_RESULT);
        CHECK_STR(m[2].blocks[0].id, "s1");
        CHECK_STR(m[2].blocks[0].content[0].text, results[i].text);
        assert_int_equal(m[2].blocks[0].is_error, results[i].is_error);
        assert_int_equal(m[3].role, ROLE_ASSISTANT);
        CHECK_STR(m[3].blocks[0].text, "so");
        reading_free(&r);
    }
}

static void test_rounds__a_found_tool_is_a_reference(void **state)
{
    (void)state;
    struct reading r;
    struct error err;
    assert_int_equal(read_body(&r,
                               ANSWERED(RESULT("tool_search_tool_result",
                                               "{\"type\":\"tool_search_tool_search_result\","
                                               "\"tool_references\":[{\"type\":\"tool_reference\","
                                               "\"tool_name\":\"get_weather\"}]}")),
                               &err),
                     STATUS_OK);
    const struct block *found = &r.request.messages[2].blocks[0].content[0];
    assert_int_equal(found->type, BLOCK_TOOL_REFERENCE);
    CHECK_STR(found->name, "get_weather");
    reading_free(&r);
}

static void test_rounds__mistakes_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *body, *message;
    } wrong[] = {
        {ANSWERED("{\"type\":\"web_search_tool_result\",\"content\":[]}"),
         "messages.1.content.1.tool_use_id: Field required"},
        {ANSWERED(RESULT("tool_search_tool_result",
                         "{\"tool_references\":[{\"type\":\"tool_reference\"}]}")),
         "messages.1.content.1.content.tool_references.0.tool_name: Field required"},
        {ANSWERED("{\"type\":\"compaction\",\"content\":5}"),
         "messages.1.content.1.content: Input should be a string, not number"},
        {BODY("\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"compaction\":"
              "{\"type\":\"forget\"}"),
         "compaction.type: Input should be 'summarize'"},
        {BODY("\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"tools\":"
              "[{\"type\":\"bash_20250124\",\"name\":\"no good\"}]"),
         "tools.0.name: String should have 1 to 128 characters, each a letter, digit, '_' or '-'"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct reading r;
        struct error err;
        assert_int_equal(read_body(&r, wrong[i].body, &err), STATUS_INVALID);
        assert_string_equal(err.message, wrong[i].message);
        reading_free(&r);
    }
}

static void test_rounds__compaction_is_read(void **state)
{
    (void)state;
    struct reading r;
    struct error err;
    assert_int_equal(
        read_body(&r,
                  BODY("\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],"
                       "\"context_management\":{\"edits\":[{\"type\":\"compact_20260112\","
                       "\"trigger\":{\"type\":\"input_tokens\",\"value\":50000},"
                       "\"pause_after_compaction\":true,\"instructions\":\"short\"}]}"),
                  &err),
        STATUS_OK);
    const struct compaction *c = &r.request.compaction;
    assert_true(c->is_wanted && c->pauses);
    assert_int_equal(c->trigger, 50000);
    CHECK_STR(c->instructions, "short");
    assert_int_equal(r.request.n_edits, 0);
    assert_true(r.request.reports_edits);
    reading_free(&r);
    assert_int_equal(read_body(&r,
                               BODY("\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],"
                                    "\"context_management\":{\"edits\":"
                                    "[{\"type\":\"compact_20260112\"}]}"),
                               &err),
                     STATUS_OK);
    assert_int_equal(r.request.compaction.trigger, 150000);
    assert_false(r.request.compaction.pauses);
    reading_free(&r);
}

/* Every published tool has a schema that is an object with properties. */
static void test_rounds__published_tools_have_schemas(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        enum tool_kind kind;
        const char *member;
    } known[] = {
        {"bash_20250124", TOOL_OF_CLIENT, "command"},
        {"text_editor_20241022", TOOL_OF_CLIENT, "new_str"},
        {"text_editor_20250728", TOOL_OF_CLIENT, "insert_text"},
        {"memory_20250818", TOOL_OF_CLIENT, "old_path"},
        {"computer_20251124", TOOL_OF_CLIENT, "region"},
        {"tool_search_tool_regex_20251119", TOOL_SEARCH_REGEX, "query"},
        {"tool_search_tool_regex", TOOL_SEARCH_REGEX, "query"},
        {"tool_search_tool_bm25_20251119", TOOL_SEARCH_BM25, "query"},
        {"web_search_20250305", TOOL_WEB_SEARCH, "query"},
        {"web_search_20260318", TOOL_WEB_SEARCH, "query"},
        {"web_fetch_20250910", TOOL_WEB_FETCH, "url"},
        {"code_execution_20250825", TOOL_CODE_EXECUTION, "code"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const struct published_tool *t = published_tool_find(str_from(known[i].type));
        assert_non_null(t);
        assert_int_equal(t->kind, known[i].kind);
        struct json_doc *doc;
        assert_int_equal(json_parse_copy(str_from(t->schema_json), JSON_STRICT, &doc, NULL),
                         STATUS_OK);
        const struct json *properties = json_get(json_root(doc), "properties");
        assert_non_null(json_get(properties, known[i].member));
        json_doc_free(doc);
    }
    static const char *const unknown[] = {"bash_session",
                                          "web_search_20250305x",
                                          "mcp_toolset",
                                          "web_searching",
                                          "",
                                          "computer_toolset_20260801"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        assert_null(published_tool_find(str_from(unknown[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounds__results_are_read_as_text),
        cmocka_unit_test(test_rounds__a_found_tool_is_a_reference),
        cmocka_unit_test(test_rounds__mistakes_are_named),
        cmocka_unit_test(test_rounds__compaction_is_read),
        cmocka_unit_test(test_rounds__published_tools_have_schemas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
