/* Schemas as clients write them -> what a grammar is made of. */
#include "support/check.h"

#include "base/arena.h"
#include "prompt/tool_pattern.h"
#include "prompt/tool_schema.h"

struct schema_case {
    const char *written, *wanted;
    size_t n_relaxed;
};

static void check_schemas(const struct schema_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct arena arena;
        arena_init(&arena, 1 << 20);
        size_t n_relaxed = 99;
        struct str got = tool_schema_for_grammar(str_from(cases[i].written), &arena, &n_relaxed);
        CHECK_STR(got, cases[i].wanted);
        assert_int_equal(n_relaxed, cases[i].n_relaxed);
        arena_free(&arena);
    }
}

#define CHECK_SCHEMAS(cases) check_schemas(cases, sizeof(cases) / sizeof(cases)[0])

/* Most cases look at one property of an object. */
#define ONE(value) "{\"type\":\"object\",\"properties\":{\"a\":" value "}}"

static void test_tool_schema__what_a_grammar_holds_stays(void **state)
{
    (void)state;
    static const struct schema_case cases[] = {
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"description\":\"A\"},"
         "\"b\":{\"type\":\"integer\",\"minimum\":0}},\"required\":[\"a\"],"
         "\"additionalProperties\":false}",
         "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"},"
         "\"b\":{\"type\":\"integer\",\"minimum\":0}},\"required\":[\"a\"],"
         "\"additionalProperties\":false}",
         0},
        {ONE("{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"maxItems\":3}"),
         ONE("{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"maxItems\":3}"), 0},
        {ONE("{\"enum\":[\"x\",1,null]}"), ONE("{\"enum\":[\"x\",1,null]}"), 0},
        {ONE("{\"const\":7}"), ONE("{\"enum\":[7]}"), 0},
        {ONE("{}"), ONE("{}"), 0},
        {ONE("{\"type\":\"object\"}"), ONE("{\"type\":\"object\"}"), 0},
        {"{\"type\":\"object\",\"additionalProperties\":{\"type\":\"number\"}}",
         "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"number\"}}", 0},
    };
    CHECK_SCHEMAS(cases);
}

static void test_tool_schema__what_is_no_object_becomes_one(void **state)
{
    (void)state;
    static const struct schema_case cases[] = {
        {"{}", "{\"type\":\"object\"}", 0},
        {"[]", "{\"type\":\"object\"}", 1},
        {"{\"properties\":{\"a\":true}}", ONE("{}"), 0},
        {"{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}",
         "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}", 0},
    };
    CHECK_SCHEMAS(cases);
}

static void test_tool_schema__what_stands_side_by_side_is_merged(void **state)
{
    (void)state;
    static const struct schema_case cases[] = {
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"},\"b\":{}},"
         "\"anyOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}]}",
         "{\"anyOf\":[{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"},\"b\":{}},"
         "\"required\":[\"a\"]},{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\"},"
         "\"b\":{}},\"required\":[\"b\"]}]}",
         0},
        {ONE("{\"allOf\":[{\"type\":\"integer\",\"minimum\":1},{\"minimum\":3,\"maximum\":9}]}"),
         ONE("{\"type\":\"integer\",\"minimum\":3,\"maximum\":9}"), 0},
        {ONE("{\"type\":[\"string\",\"null\"],\"maxLength\":3}"),
         ONE("{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"string\",\"maxLength\":3}]}"), 0},
        {ONE("{\"type\":\"string\",\"enum\":[\"x\",5]}"), ONE("{\"enum\":[\"x\"]}"), 0},
        {ONE("{\"type\":\"integer\",\"anyOf\":[{\"type\":\"string\"},{\"maximum\":4}]}"),
         ONE("{\"anyOf\":[{\"type\":\"integer\",\"maximum\":4}]}"), 0},
    };
    CHECK_SCHEMAS(cases);
}

static void test_tool_schema__references_point_into_one_list(void **state)
{
    (void)state;
    static const struct schema_case cases[] = {
        {"{\"properties\":{\"a\":{\"$ref\":\"#/definitions/a~1b\"}},"
         "\"definitions\":{\"a/b\":{\"type\":\"boolean\"}}}",
         "{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#/$defs/d0\"}},"
         "\"$defs\":{\"d0\":{\"type\":\"boolean\"}}}",
         0},
        {"{\"properties\":{\"next\":{\"$ref\":\"#\",\"description\":\"The next\"}}}",
         "{\"type\":\"object\",\"properties\":{\"next\":{\"$ref\":\"#/$defs/d0\"}},\"$defs\":"
         "{\"d0\":{\"type\":\"object\",\"properties\":{\"next\":{\"$ref\":\"#/$defs/d0\"}}}}}",
         0},
        {"{\"properties\":{\"a\":{\"$ref\":\"#/$defs/x\",\"maxLength\":2}},"
         "\"$defs\":{\"x\":{\"type\":\"string\"}}}",
         ONE("{\"type\":\"string\",\"maxLength\":2}"), 0},
        {ONE("{\"$ref\":\"https://example.org/a.json\"}"), ONE("{}"), 1},
        {ONE("{\"$ref\":\"#/$defs/none\"}"), ONE("{}"), 1},
    };
    CHECK_SCHEMAS(cases);
}

static void test_tool_schema__what_no_grammar_holds_is_left_out_alone(void **state)
{
    (void)state;
    static const struct schema_case cases[] = {
        {ONE("{\"type\":\"number\",\"minimum\":0}"), ONE("{\"type\":\"number\"}"), 1},
        {ONE("{\"type\":\"string\",\"pattern\":\"^(?=a)\",\"minLength\":1}"),
         ONE("{\"type\":\"string\",\"minLength\":1}"), 1},
        {ONE("{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"uniqueItems\":true}"),
         ONE("{\"type\":\"array\",\"items\":{\"type\":\"null\"}}"), 1},
        {ONE("{\"type\":\"string\",\"maxLength\":100000}"), ONE("{\"type\":\"string\"}"), 0},
        {ONE("{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}"), ONE("{\"type\":\"integer\"}"),
         1},
        {ONE("{\"type\":\"strange\"}"), ONE("{}"), 0},
    };
    CHECK_SCHEMAS(cases);
}

static void test_tool_schema__recursion_that_merges_comes_to_an_end(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1 << 20);
    size_t n_relaxed = 0;
    struct str got =
        tool_schema_for_grammar(STR("{\"properties\":{\"l\":{\"$ref\":\"#\",\"minProperties\":1},"
                                    "\"r\":{\"$ref\":\"#\",\"minProperties\":1}}}"),
                                &arena, &n_relaxed);
    assert_true(got.len > 0);
    assert_true(n_relaxed > 0);
    arena_free(&arena);
}

static void test_tool_pattern__is_spelt_out(void **state)
{
    (void)state;
    static const struct {
        const char *written, *wanted;
    } cases[] = {
        {"^[a-z]{1,8}$", "^[a-z]{1,8}$"},
        {"^\\d{4}$", "^[0-9]{4}$"},
        {"^v\\d+\\.\\d+$", "^v[0-9]+\\x2E[0-9]+$"},
        {"^[A-Z]{2}-[0-9]$", "^[A-Z]{2}\\x2D[0-9]$"},
        {"^(?:a|b)?c$", "^(a|b)?c$"},
        {"^a-*$", "^a[\\x2D]*$"},
        {"^[^/]+$", "^[^\\x22\\x5C\\x00-\\x1F\\x2F]+$"},
        {"^https?://", "^http[s]?\\x3A\\x2F\\x2F[^\\x22\\x5C\\x00-\\x1F]*$"},
        {"a|b", "^[^\\x22\\x5C\\x00-\\x1F]*(a|b)[^\\x22\\x5C\\x00-\\x1F]*$"},
        {"^[\\w-]$", "^[a-zA-Z0-9\\x5F\\x2D]$"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct strbuf out;
        strbuf_init(&out, 10000);
        assert_true(tool_pattern_for_grammar(str_from(cases[i].written), &out));
        CHECK_STR(strbuf_str(&out), cases[i].wanted);
        strbuf_free(&out);
    }
}

static void test_tool_pattern__what_is_not_taken(void **state)
{
    (void)state;
    static const char *const patterns[] = {
        "",        "^$",       "^a|b$",    "^(a$",   "^a)$",  "^[a$",
        "^a+?$",   "^(?=a)b$", "^a{500}$", "^\\bx$", "^\\1$", "^a{2,1,}$",
        "^\"a\"$", "^\\\\$",   "^a\\",     "^*a$",   "^a{$",  "^[]$",
    };
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        struct strbuf out;
        strbuf_init(&out, 10000);
        assert_false(tool_pattern_for_grammar(str_from(patterns[i]), &out));
        assert_int_equal(out.len, 0);
        strbuf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tool_schema__what_a_grammar_holds_stays),
        cmocka_unit_test(test_tool_schema__what_is_no_object_becomes_one),
        cmocka_unit_test(test_tool_schema__what_stands_side_by_side_is_merged),
        cmocka_unit_test(test_tool_schema__references_point_into_one_list),
        cmocka_unit_test(test_tool_schema__what_no_grammar_holds_is_left_out_alone),
        cmocka_unit_test(test_tool_schema__recursion_that_merges_comes_to_an_end),
        cmocka_unit_test(test_tool_pattern__is_spelt_out),
        cmocka_unit_test(test_tool_pattern__what_is_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
