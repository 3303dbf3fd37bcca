/* JSON in and out: what is accepted, what is refused and where, and that text survives the round.
 */
#include "support/check.h"

#include "base/limits.h"
#include "wire/json_in.h"
#include "wire/json_out.h"
#include "wire/sse.h"

static void test_json_in__accepts_and_refuses_what_the_standard_says(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_good;
    } cases[] = {
        {"{}", true},           {"[]", true},           {"[1,2]", true},
        {"\"\\u00e9\"", true},  {"-0", true},           {"1e5", true},
        {"null", true},         {" {\"a\":[]} ", true}, {"", false},
        {"{", false},           {"[1,]", false},        {"{\"a\":1,}", false},
        {"01", false},          {"+1", false},          {".5", false},
        {"nul", false},         {"\"\\x\"", false},     {"\"\xFF\"", false},
        {"[1] 2", false},       {"// c\n1", false},     {"\"\t\"", false},
        {"'a'", false},         {"{a:1}", false},       {"NaN", false},
        {"\"\\ud800\"", false}, {"[", false},           {"{\"a\"}", false},
        {"\"", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct json_doc *doc = NULL;
        struct error err;
        enum status st = json_parse_copy(str_from(cases[i].text), JSON_STRICT, &doc, &err);
        if ((st == STATUS_OK) != cases[i].is_good)
            fail_msg("%s: %s", cases[i].text, status_text(st));
        json_doc_free(doc);
    }
}

static void test_json_in__depth_and_number_of_values_have_ceilings(void **state)
{
    (void)state;
    struct strbuf text;
    strbuf_init(&text, 8u * 1024 * 1024);
    for (int i = 0; i < LIMIT_JSON_DEPTH + 1; i++)
        strbuf_append_char(&text, '[');
    for (int i = 0; i < LIMIT_JSON_DEPTH + 1; i++)
        strbuf_append_char(&text, ']');
    struct json_doc *doc;
    struct error err;
    assert_int_not_equal(json_parse_copy(strbuf_str(&text), JSON_STRICT, &doc, &err), STATUS_OK);
    strbuf_clear(&text);
    strbuf_append_char(&text, '[');
    for (int i = 0; i < LIMIT_JSON_VALUES; i++)
        strbuf_append_cstr(&text, "1,");
    strbuf_append_cstr(&text, "1]");
    assert_int_equal(json_parse_copy(strbuf_str(&text), JSON_STRICT, &doc, &err), STATUS_TOO_LARGE);
    strbuf_free(&text);
}

static void test_json_in__reads_values_and_is_safe_on_null(void **state)
{
    (void)state;
    struct json_doc *doc;
    assert_int_equal(
        json_parse_copy(STR("{\"a\":1,\"b\":[true,\"x\"],\"a\":5.0}"), JSON_STRICT, &doc, NULL),
        STATUS_OK);
    const struct json *root = json_root(doc);
    assert_int_equal(json_integer(json_get(root, "a")), 5);
    assert_true(json_is_integer(json_get(root, "a")));
    size_t n = 0;
    for (struct json_iter it = json_iter(json_get(root, "b")); json_next(&it);)
        n++;
    assert_int_equal(n, 2);
    assert_null(json_get(NULL, "a"));
    assert_int_equal(json_type(NULL), JSON_NULL);
    assert_int_equal(json_string(NULL).len, 0);
    json_doc_free(doc);
}

static void test_json_in__prints_minified_in_the_order_given(void **state)
{
    (void)state;
    struct json_doc *doc;
    struct strbuf out;
    strbuf_init(&out, 1000);
    assert_int_equal(json_parse_copy(STR("{ \"b\" : [ 1.5 , \"\\u00e9\\n\" ], \"a\" : {} }"),
                                     JSON_STRICT, &doc, NULL),
                     STATUS_OK);
    json_print(&out, json_root(doc));
    CHECK_STR(strbuf_str(&out), "{\"b\":[1.5,\"é\\n\"],\"a\":{}}");
    strbuf_clear(&out);
    json_print_sorted(&out, json_root(doc));
    CHECK_STR(strbuf_str(&out), "{\"a\":{},\"b\":[1.5,\"é\\n\"]}");
    json_doc_free(doc);
    strbuf_free(&out);
}

static void test_json_out__writes_valid_json_of_any_bytes(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 1000);
    struct json_out w;
    json_out_begin(&w, &out);
    json_object_begin(&w);
    json_field_str(&w, "a", STR("q\"\\\n\x01\xFF"));
    json_key(&w, "b");
    json_array_begin(&w);
    json_int(&w, -3);
    json_boolean(&w, true);
    json_null(&w);
    json_array_end(&w);
    json_object_end(&w);
    json_out_end(&w);
    CHECK_STR(strbuf_str(&out), "{\"a\":\"q\\\"\\\\\\n\\u0001\xEF\xBF\xBD\",\"b\":[-3,true,null]}");
    strbuf_clear(&out);
    sse_write(&out, "ping", STR("{}"));
    CHECK_STR(strbuf_str(&out), "event: ping\ndata: {}\n\n");
    strbuf_free(&out);
}

static void test_json_path__names_the_place(void **state)
{
    (void)state;
    struct json_path a = {.key = "messages"}, b = {.parent = &a, .index = 2},
                     c = {.parent = &b, .key = "role"};
    struct error err;
    assert_int_equal(json_fail(&c, &err, "Field required"), STATUS_INVALID);
    assert_string_equal(err.message, "messages.2.role: Field required");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_in__accepts_and_refuses_what_the_standard_says),
        cmocka_unit_test(test_json_in__depth_and_number_of_values_have_ceilings),
        cmocka_unit_test(test_json_in__reads_values_and_is_safe_on_null),
        cmocka_unit_test(test_json_in__prints_minified_in_the_order_given),
        cmocka_unit_test(test_json_out__writes_valid_json_of_any_bytes),
        cmocka_unit_test(test_json_path__names_the_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
