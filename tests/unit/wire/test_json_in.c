/* The reader of JSON: a table of texts right and wrong, each against a guard page; where errors
 * are; limits; numbers; and printing. */
#include "support/check.h"
#include "support/guard.h"

#include "base/limits.h"
#include "wire/json_in.h"

static enum status parse_guarded(struct str text, enum json_flags flags, struct guard *g,
                                 struct json_doc **out, struct error *err)
{
    *g = guard_copy(text, JSON_PADDING_BYTES);
    *out = NULL;
    return json_parse(g->text, g->len, flags, out, err);
}

static void check_text(struct str text, enum json_flags flags, bool is_good)
{
    struct guard g;
    struct json_doc *doc;
    struct error err = {.message = ""};
    enum status st = parse_guarded(text, flags, &g, &doc, &err);
    if ((st == STATUS_OK) != is_good || (st != STATUS_OK && st != STATUS_INVALID))
        fail_msg("\"%.*s\": %s (%s)", (int)text.len, text.ptr, status_text(st), err.message);
    json_doc_free(doc);
    guard_free(&g);
}

static const char *const good_texts[] = {
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-1",
    "10",
    "1.5",
    "0.0",
    "1e5",
    "1E+5",
    "1e-5",
    "-0.0e-0",
    "123456789012345678901234567890",
    "1e999",
    "\"\"",
    "\"a\"",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"\\u0000\"",
    "\"\\u00E9\\u20ac\"",
    "\"\\ud83d\\ude00\"",
    "\"\x7F\"",
    "\"é€😀\"",
    "\"\xEF\xBF\xBF\"",
    "[]",
    "[ ]",
    "[1]",
    "[1,2]",
    "[[],[[]]]",
    "{}",
    "{ }",
    "{\"\":0}",
    "{\"a\":1,\"a\":2}",
    " \t\r\n[ \n1 , 2 ]\t",
    "[\"a]b\",\"{\"]",
    "[\"\\\\\"]",
    "[\"\\\\\\\"\"]",
    "{\"a\":{\"b\":[{\"c\":null}]}}",
};

static const char *const bad_texts[] = {
    "",
    " ",
    "\n",
    "nul",
    "nulll",
    "NULL",
    "True",
    "undefined",
    "NaN",
    "Infinity",
    "-Infinity",
    "-",
    "+1",
    "01",
    "-01",
    "1.",
    ".5",
    "1.e5",
    "1e",
    "1e+",
    "0x10",
    "1_000",
    "1 2",
    "1,",
    "--1",
    "\"",
    "\"a",
    "\"\\\"",
    "\"\\\"a",
    "'a'",
    "\"\\x41\"",
    "\"\\u12\"",
    "\"\\u12g4\"",
    "\"\\ud800\"",
    "\"\\ude00\"",
    "\"\\ud800\\u0041\"",
    "\"\t\"",
    "\"\n\"",
    "\"\x01\"",
    "\"\xFF\"",
    "\"\xC3\"",
    "\"\xC0\x80\"",
    "\"\xED\xA0\x80\"",
    "\"\xF4\x90\x80\x80\"",
    "\"\xE2\x82\"",
    "[",
    "]",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1,,2]",
    "[1 2]",
    "[1}",
    "[\"a\"",
    "{",
    "}",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,",
    "{\"a\":1,}",
    "{\"a\" 1}",
    "{a:1}",
    "{'a':1}",
    "{1:1}",
    "{\"a\":1]",
    "{,}",
    "[]]",
    "{}{}",
    "[] x",
    "\xEF\xBB\xBF{}",
    "\xFE\xFF",
    "// c\n1",
    "/* c */1",
    "[1]//",
    "\\u0031",
    "\xC2\xA0"
    "1",
};

static void test_json_in__takes_what_the_standard_allows_and_nothing_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good_texts / sizeof good_texts[0]; i++)
        check_text(str_from(good_texts[i]), JSON_STRICT, true);
    for (size_t i = 0; i < sizeof bad_texts / sizeof bad_texts[0]; i++)
        check_text(str_from(bad_texts[i]), JSON_STRICT, false);
    check_text(STR("[1]\0"), JSON_STRICT, false);
    check_text(STR("\"a\0b\""), JSON_STRICT, false);
}

/* Every beginning of a text ends right at the guard page. */
static void test_json_in__a_text_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct str whole =
        STR("{\"a\\\"\\\\\":[1.5e-3,true,null,\"é\\ud83d\\ude00\"],\"b\":{\"c\":-0}}");
    for (size_t len = 0; len < whole.len; len++)
        check_text((struct str){whole.ptr, len}, JSON_STRICT, false);
    check_text(whole, JSON_STRICT, true);
}

static void test_json_in__settings_may_hold_comments_and_trailing_commas(void **state)
{
    (void)state;
    static const char *const good[] = {
        "// c\n{}", "/* c\n */ {\"a\": 1, /* ] */ \"b\": [1, 2,], // }\n}",
        "[1]//",    "[\"// no comment\", \"/*\"]",
        "{}/**/",
    };
    static const char *const bad[] = {"/* c", "/", "{}/", "[1,,]", "[,]", "{\"a\":1 / 2}", "{a:1}"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        check_text(str_from(good[i]), JSON_COMMENTS, true);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        check_text(str_from(bad[i]), JSON_COMMENTS, false);
}

static void test_json_in__says_where_an_error_is(void **state)
{
    (void)state;
    static const struct {
        const char *text, *where;
        enum json_flags flags;
    } cases[] = {
        {"{\"a\": x}", " at line 1, column 7", JSON_STRICT},
        {"{\n  \"a\": 1,\n  b: 2\n}", " at line 3, column 3", JSON_STRICT},
        /* A break written as \n becomes a real one in place, but is none of the text's. */
        {"{\"a\":\"1\\n2\\n3\\n\",\n \"b\": x}", " at line 2, column 7", JSON_STRICT},
        {"// one\n/* two\n three */\n{\"a\": x}", " at line 4, column 7", JSON_COMMENTS},
        {"{\"a\":1}\r\n\r\n?", " at line 3, column 1", JSON_STRICT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct guard g;
        struct json_doc *doc;
        struct error err = {.message = ""};
        assert_int_equal(parse_guarded(str_from(cases[i].text), cases[i].flags, &g, &doc, &err),
                         STATUS_INVALID);
        size_t len = strlen(err.message), tail = strlen(cases[i].where);
        if (len < tail || strcmp(err.message + len - tail, cases[i].where) != 0)
            fail_msg("%s: \"%s\" does not end in \"%s\"", cases[i].text, err.message,
                     cases[i].where);
        guard_free(&g);
    }
}

static void test_json_in__far_down_an_error_is_located_by_its_byte(void **state)
{
    (void)state;
    struct strbuf text;
    strbuf_init(&text, 10000);
    for (int i = 0; i < 2000; i++)
        strbuf_append_char(&text, '\n');
    strbuf_append_char(&text, 'x');
    struct json_doc *doc;
    struct error err;
    assert_int_equal(json_parse_copy(strbuf_str(&text), JSON_STRICT, &doc, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, " at byte 2001"));
    strbuf_free(&text);
}

static void test_json_in__errors_do_not_quote_the_text(void **state)
{
    (void)state;
    struct json_doc *doc;
    struct error err;
    assert_int_equal(json_parse_copy(STR("{\"key\": SECRET}"), JSON_STRICT, &doc, &err),
                     STATUS_INVALID);
    assert_null(strstr(err.message, "SECRET"));
}

/* `n` opening brackets and as many closing ones. */
static enum status parse_nested(size_t n, struct error *err)
{
    struct strbuf text;
    struct json_doc *doc = NULL;
    strbuf_init(&text, 1024 * 1024);
    for (size_t i = 0; i < n; i++)
        strbuf_append_cstr(&text, i % 2 == 0 ? "[" : "{\"a\":");
    strbuf_append_cstr(&text, "1");
    for (size_t i = n; i > 0; i--)
        strbuf_append_cstr(&text, i % 2 == 1 ? "]" : "}");
    enum status st = json_parse_copy(strbuf_str(&text), JSON_STRICT, &doc, err);
    struct strbuf printed;
    strbuf_init(&printed, 1024 * 1024);
    if (st == STATUS_OK)
        json_print_sorted(&printed, json_root(doc));
    bool same = st != STATUS_OK || str_equal(strbuf_str(&printed), strbuf_str(&text));
    json_doc_free(doc);
    strbuf_free(&printed);
    strbuf_free(&text);
    assert_true(same);
    return st;
}

static void test_json_in__depth_is_limited_exactly(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(parse_nested(LIMIT_JSON_DEPTH, &err), STATUS_OK);
    assert_int_equal(parse_nested(LIMIT_JSON_DEPTH + 1, &err), STATUS_TOO_LARGE);
    assert_non_null(strstr(err.message, "128 levels at line 1, column "));
    assert_int_equal(parse_nested(100000, &err), STATUS_TOO_LARGE);
    /* Brackets inside strings are no depth. */
    struct strbuf text;
    strbuf_init(&text, 1000);
    strbuf_append_char(&text, '"');
    for (int i = 0; i < 2 * LIMIT_JSON_DEPTH; i++)
        strbuf_append_char(&text, '[');
    strbuf_append_char(&text, '"');
    check_text(strbuf_str(&text), JSON_STRICT, true);
    strbuf_free(&text);
}

static void test_json_in__the_number_of_values_is_limited_exactly(void **state)
{
    (void)state;
    struct strbuf text;
    struct json_doc *doc;
    struct error err;
    strbuf_init(&text, 16u * 1024 * 1024);
    strbuf_append_char(&text, '[');
    for (int i = 0; i < LIMIT_JSON_VALUES - 2; i++)
        strbuf_append_cstr(&text, i % 2 == 0 ? "1," : "\"\",");
    strbuf_append_cstr(&text, "1]"); /* the list itself is one */
    assert_int_equal(json_parse_copy(strbuf_str(&text), JSON_STRICT, &doc, &err), STATUS_OK);
    assert_int_equal(json_length(json_root(doc)), LIMIT_JSON_VALUES - 1);
    json_doc_free(doc);
    text.data[text.len - 1] = ',';
    strbuf_append_cstr(&text, "1]");
    assert_int_equal(json_parse_copy(strbuf_str(&text), JSON_STRICT, &doc, &err), STATUS_TOO_LARGE);
    strbuf_free(&text);
}

static void test_json_in__numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_integer;
        int64_t integer;
        double number;
    } cases[] = {
        {"0", true, 0, 0},
        {"-0", true, 0, 0},
        {"5.0", true, 5, 5},
        {"5.7", false, 5, 5.7},
        {"1e2", true, 100, 100},
        {"-9223372036854775808", true, INT64_MIN, -0x1p63},
        {"9223372036854775807", true, INT64_MAX, 0x1p63},
        {"9223372036854775808", true, INT64_MAX, 0x1p63},
        {"-99999999999999999999", true, INT64_MIN, -1e20},
        {"1e30", true, INT64_MAX, 1e30},
        {"-1e30", true, INT64_MIN, -1e30},
        {"\"5\"", false, 0, 0},
        {"true", false, 0, 0},
        {"null", false, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_doc *doc;
        assert_int_equal(json_parse_copy(str_from(cases[i].text), JSON_STRICT, &doc, NULL),
                         STATUS_OK);
        const struct json *v = json_root(doc);
        assert_int_equal(json_is_integer(v), cases[i].is_integer);
        assert_true(json_integer(v) == cases[i].integer);
        assert_true(json_number(v) == cases[i].number);
        json_doc_free(doc);
    }
}

static void test_json_in__accessors_answer_for_nothing_and_for_other_types(void **state)
{
    (void)state;
    struct json_doc *doc;
    assert_int_equal(json_parse_copy(STR("[1,\"s\",{\"k\":null}]"), JSON_STRICT, &doc, NULL),
                     STATUS_OK);
    const struct json *list = json_root(doc);
    const struct json *const values[] = {NULL, list};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(json_string(values[i]).len, 0);
        assert_non_null(json_string(values[i]).ptr);
        assert_false(json_bool(values[i]));
        assert_true(json_number(values[i]) == 0);
        assert_int_equal(json_integer(values[i]), 0);
        assert_false(json_is_integer(values[i]));
        assert_null(json_get(values[i], "k"));
    }
    assert_int_equal(json_length(NULL), 0);
    assert_int_equal(json_length(list), 3);
    assert_string_equal(json_type_name(NULL), "null");
    assert_string_equal(json_type_name(list), "array");
    struct json_iter none = json_iter(NULL);
    assert_false(json_next(&none));
    assert_null(json_root(NULL));
    json_doc_free(doc);
    json_doc_free(NULL);
}

static void test_json_in__iterates_in_the_order_given(void **state)
{
    (void)state;
    struct json_doc *doc;
    assert_int_equal(
        json_parse_copy(STR("{\"b\":[1,[2,3]],\"a\":{},\"b\":7}"), JSON_STRICT, &doc, NULL),
        STATUS_OK);
    struct strbuf seen;
    strbuf_init(&seen, 100);
    for (struct json_iter it = json_iter(json_root(doc)); json_next(&it);)
        strbuf_printf(&seen, "%zu%.*s%s ", it.index, (int)it.key.len, it.key.ptr,
                      json_type_name(it.value));
    CHECK_STR(strbuf_str(&seen), "0barray 1aobject 2bnumber ");
    assert_int_equal(json_integer(json_get(json_root(doc), "b")), 7);
    strbuf_free(&seen);
    json_doc_free(doc);
}

static void test_json_in__strings_lie_in_the_callers_buffer(void **state)
{
    (void)state;
    struct guard g;
    struct json_doc *doc;
    struct error err;
    assert_int_equal(parse_guarded(STR("[\"a\\u0000\\u00e9\"]"), JSON_STRICT, &g, &doc, &err),
                     STATUS_OK);
    struct json_iter it = json_iter(json_root(doc));
    assert_true(json_next(&it));
    struct str s = json_string(it.value);
    assert_true(s.ptr >= g.text && s.ptr < g.text + g.len);
    assert_int_equal(s.len, 4);
    assert_memory_equal(s.ptr, "a\0\xC3\xA9", 4);
    json_doc_free(doc);
    guard_free(&g);
}

/* text, printed, printed sorted */
static void test_json_in__prints_keep_order_and_sorted_prints_are_equal_for_equals(void **state)
{
    (void)state;
    static const struct {
        const char *text, *plain, *sorted;
    } cases[] = {
        {"{ \"b\" : 1 , \"a\" : [ ] }", "{\"b\":1,\"a\":[]}", "{\"a\":[],\"b\":1}"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "{\"a\":1,\"b\":2,\"a\":3}", "{\"a\":3,\"b\":2}"},
        {"{\"aa\":1,\"a\":2,\"\":3}", "{\"aa\":1,\"a\":2,\"\":3}", "{\"\":3,\"a\":2,\"aa\":1}"},
        {"[{\"z\":{\"y\":1,\"x\":2}},{}]", "[{\"z\":{\"y\":1,\"x\":2}},{}]",
         "[{\"z\":{\"x\":2,\"y\":1}},{}]"},
        {"1.0", "1.0", "1"},
        {"-0.0", "-0.0", "0"},
        {"1E2", "1E2", "100"},
        {"0.10", "0.10", "0.1"},
        {"1e999", "1e999", "1e999"},
        {"12345678901234567890123", "12345678901234567890123", "12345678901234567890123"},
        {"\"\\u0041\\/\\u00e9\\u0007\\t\\\"\"", "\"A/é\\u0007\\t\\\"\"", "\"A/é\\u0007\\t\\\"\""},
        {"[true,false,null,\"\"]", "[true,false,null,\"\"]", "[true,false,null,\"\"]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_doc *doc;
        struct strbuf out;
        strbuf_init(&out, 1000);
        assert_int_equal(json_parse_copy(str_from(cases[i].text), JSON_STRICT, &doc, NULL),
                         STATUS_OK);
        json_print(&out, json_root(doc));
        CHECK_STR(strbuf_str(&out), cases[i].plain);
        strbuf_clear(&out);
        json_print_sorted(&out, json_root(doc));
        CHECK_STR(strbuf_str(&out), cases[i].sorted);
        strbuf_free(&out);
        json_doc_free(doc);
    }
}

static void test_json_in__printing_nothing_is_null(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 100);
    json_print(&out, NULL);
    CHECK_STR(strbuf_str(&out), "null");
    strbuf_free(&out);
}

static void test_json_fail__without_a_path_or_an_error_still_says_invalid(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(json_fail(NULL, &err, "no %s", "good"), STATUS_INVALID);
    assert_string_equal(err.message, "no good");
    assert_int_equal(err.status, STATUS_INVALID);
    assert_int_equal(json_fail(NULL, NULL, "no"), STATUS_INVALID);
    struct json_path at = {.key = "a"};
    char text[600];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(json_fail(&at, &err, "%s", text), STATUS_INVALID);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_memory_equal(err.message, "a: xxx", 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_in__takes_what_the_standard_allows_and_nothing_else),
        cmocka_unit_test(test_json_in__a_text_cut_anywhere_is_refused),
        cmocka_unit_test(test_json_in__settings_may_hold_comments_and_trailing_commas),
        cmocka_unit_test(test_json_in__says_where_an_error_is),
        cmocka_unit_test(test_json_in__far_down_an_error_is_located_by_its_byte),
        cmocka_unit_test(test_json_in__errors_do_not_quote_the_text),
        cmocka_unit_test(test_json_in__depth_is_limited_exactly),
        cmocka_unit_test(test_json_in__the_number_of_values_is_limited_exactly),
        cmocka_unit_test(test_json_in__numbers),
        cmocka_unit_test(test_json_in__accessors_answer_for_nothing_and_for_other_types),
        cmocka_unit_test(test_json_in__iterates_in_the_order_given),
        cmocka_unit_test(test_json_in__strings_lie_in_the_callers_buffer),
        cmocka_unit_test(test_json_in__prints_keep_order_and_sorted_prints_are_equal_for_equals),
        cmocka_unit_test(test_json_in__printing_nothing_is_null),
        cmocka_unit_test(test_json_fail__without_a_path_or_an_error_still_says_invalid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
