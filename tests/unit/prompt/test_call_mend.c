/* Arguments as small models write them, against a schema with one member of each kind; every
 * beginning of them must give a beginning of what the whole gives. */
#include "support/check.h"

#include "prompt/call_mend.h"
#include "wire/json_in.h"

#define SCHEMA                                                                                     \
    "{\"type\":\"object\",\"properties\":{"                                                        \
    "\"file_path\":{\"type\":\"string\"},\"limit\":{\"type\":\"integer\"},"                        \
    "\"all\":{\"type\":\"boolean\"},\"lines\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}" \
    "},"                                                                                           \
    "\"mode\":{\"type\":\"string\",\"enum\":[\"\",\"a\"]},\"any\":{},"                             \
    "\"options\":{\"type\":\"object\"},\"note\":{\"type\":[\"string\",\"null\"]}},"                \
    "\"required\":[\"file_path\"],\"additionalProperties\":false}"

struct mend_case {
    const char *written, *wanted;
};

static void check_mending(const char *schema, const struct mend_case *cases, size_t n)
{
    struct call_mender *m = call_mender_create(str_from(schema));
    struct strbuf whole, part;
    strbuf_init(&whole, 100000);
    strbuf_init(&part, 100000);
    for (size_t i = 0; i < n; i++) {
        struct str written = str_from(cases[i].written);
        strbuf_clear(&whole);
        (void)call_mend(m, written, &whole);
        CHECK_STR(strbuf_str(&whole), cases[i].wanted);
        for (size_t len = 0; len < written.len; len++) {
            strbuf_clear(&part);
            assert_false(call_mend(m, (struct str){written.ptr, len}, &part));
            assert_true(str_starts_with(strbuf_str(&whole), strbuf_str(&part)));
        }
    }
    strbuf_free(&part);
    strbuf_free(&whole);
    call_mender_free(m);
}

#define CHECK_MENDING(schema, cases) check_mending(schema, cases, sizeof(cases) / sizeof(cases)[0])

static void test_call_mend__what_is_right_stays(void **state)
{
    (void)state;
    static const struct mend_case cases[] = {
        {"{}", "{}"},
        {"{\"file_path\": \"a b\\n\\\"c\\\"\", \"limit\": 5}",
         "{\"file_path\":\"a b\\n\\\"c\\\"\",\"limit\":5}"},
        {"{ \"file_path\" : \"}{,\" , \"options\" : {\"a\": [1, {\"b\": \"}\"}]} }",
         "{\"file_path\":\"}{,\",\"options\":{\"a\": [1, {\"b\": \"}\"}]}}"},
        {"{\"any\": 1, \"note\": null}", "{\"any\":1,\"note\":null}"},
        {"{\"any\": \"text\", \"mode\": \"\"}", "{\"any\":\"text\",\"mode\":\"\"}"},
        {"{\"file_path\": \"\"}", "{\"file_path\":\"\"}"},
    };
    CHECK_MENDING(SCHEMA, cases);
}

/* Line ends between the tokens of a value are no text: escaped, they would be no JSON. */
static void test_call_mend__values_over_several_lines_stay(void **state)
{
    (void)state;
    static const struct mend_case cases[] = {
        {"{\n  \"options\": {\n\t\"a\": [\n1,\n\"b\nc\\\"\td\"\n]\n}\n}",
         "{\"options\":{\n\t\"a\": [\n1,\n\"b\\nc\\\"\\td\"\n]\n}}"},
        {"{\"lines\": [\r\n\"a\",\r\n\"b\"\r\n]}", "{\"lines\":[\r\n\"a\",\r\n\"b\"\r\n]}"},
        {"{\"limit\": [\n1\n]}", "{\"limit\":[\n1\n]}"},
        {"{\"options\": \"{\\n\\\"a\\\": 1\\n}\"}", "{\"options\":{\"a\":1}}"},
    };
    CHECK_MENDING(SCHEMA, cases);
}

static void test_call_mend__types_that_are_plainly_meant(void **state)
{
    (void)state;
    static const struct mend_case cases[] = {
        {"{\"limit\": \"5\"}", "{\"limit\":5}"},
        {"{\"all\": \"true\"}", "{\"all\":true}"},
        {"{\"all\": \"False\"}", "{\"all\":false}"},
        {"{\"file_path\": 5}", "{\"file_path\":\"5\"}"},
        {"{\"file_path\": {\"a\": 1}}", "{\"file_path\":\"{\\\"a\\\": 1}\"}"},
        {"{\"lines\": \"[\\\"a\\\", \\\"b\\\"]\"}", "{\"lines\":[\"a\",\"b\"]}"},
        {"{\"lines\": \"one\"}", "{\"lines\":[\"one\"]}"},
        {"{\"options\": \"{\\\"a\\\": 1}\"}", "{\"options\":{\"a\":1}}"},
    };
    CHECK_MENDING(SCHEMA, cases);
}

static void test_call_mend__optional_members_that_say_nothing_are_left_out(void **state)
{
    (void)state;
    static const struct mend_case cases[] = {
        {"{\"limit\": \"\", \"file_path\": \"a\"}", "{\"file_path\":\"a\"}"},
        {"{\"file_path\": \"a\", \"limit\": null}", "{\"file_path\":\"a\"}"},
        {"{\"note\": \"\", \"lines\": null}", "{}"},
    };
    CHECK_MENDING(SCHEMA, cases);
}

static void test_call_mend__names_that_are_nearly_right_or_unknown(void **state)
{
    (void)state;
    static const struct mend_case cases[] = {
        {"{\"filePath\": \"a\"}", "{\"file_path\":\"a\"}"},
        {"{\"FILE-PATH\": \"a\", \"limit\": 1}", "{\"file_path\":\"a\",\"limit\":1}"},
        {"{\"colour\": \"red\", \"limit\": 1}", "{\"limit\":1}"},
    };
    CHECK_MENDING(SCHEMA, cases);
    static const struct mend_case open[] = {
        {"{\"colour\": \"red\", \"limit\": \"1\"}", "{\"colour\":\"red\",\"limit\":\"1\"}"},
    };
    CHECK_MENDING("{\"type\":\"object\"}", open);
    CHECK_MENDING("no schema", open);
}

static void test_call_mend__raw_control_characters_are_escaped(void **state)
{
    (void)state;
    static const struct mend_case cases[] = {
        {"{\"file_path\": \"a\nb\tc\x01\"}", "{\"file_path\":\"a\\nb\\tc\\u0001\"}"},
        {"{\"limit\": \"5\n\"}", "{\"limit\":5}"},
    };
    CHECK_MENDING(SCHEMA, cases);
}

static void test_call_mend__what_can_not_be_mended_stays_as_it_is(void **state)
{
    (void)state;
    static const struct mend_case cases[] = {
        {"{\"limit\": \"many\"}", "{\"limit\":\"many\"}"},
        {"{\"all\": 3}", "{\"all\":3}"},
        {"{\"options\": [1]}", "{\"options\":[1]}"},
        {"[1]", ""},
        {"text", ""},
    };
    CHECK_MENDING(SCHEMA, cases);
}

static void test_call_mend__what_is_cut_is_never_json(void **state)
{
    (void)state;
    static const char written[] =
        "{\"file_path\": \"/a/b.c\", \"limit\": 12, \"lines\": [\"x\", \"y\"], \"all\": true}";
    struct call_mender *m = call_mender_create(STR(SCHEMA));
    struct strbuf part;
    strbuf_init(&part, 100000);
    for (size_t len = 1; len < sizeof written - 1; len++) {
        strbuf_clear(&part);
        (void)call_mend(m, (struct str){written, len}, &part);
        struct json_doc *doc;
        assert_int_not_equal(json_parse_copy(strbuf_str(&part), JSON_STRICT, &doc, NULL),
                             STATUS_OK);
    }
    strbuf_free(&part);
    call_mender_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call_mend__what_is_right_stays),
        cmocka_unit_test(test_call_mend__types_that_are_plainly_meant),
        cmocka_unit_test(test_call_mend__optional_members_that_say_nothing_are_left_out),
        cmocka_unit_test(test_call_mend__names_that_are_nearly_right_or_unknown),
        cmocka_unit_test(test_call_mend__values_over_several_lines_stay),
        cmocka_unit_test(test_call_mend__raw_control_characters_are_escaped),
        cmocka_unit_test(test_call_mend__what_can_not_be_mended_stays_as_it_is),
        cmocka_unit_test(test_call_mend__what_is_cut_is_never_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
