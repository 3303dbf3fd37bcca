/* The writers: JSON of any bytes, numbers that read back, and server-sent events. */
#include "support/check.h"

#include <math.h>
#include <stdlib.h>

#include "support/guard.h"
#include "wire/json_in.h"
#include "wire/json_out.h"
#include "wire/sse.h"

static void test_json_out__puts_commas_between_and_nowhere_else(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 1000);
    struct json_out w;
    json_out_begin(&w, &out);
    json_array_begin(&w);
    json_array_begin(&w);
    json_array_end(&w);
    json_object_begin(&w);
    json_object_end(&w);
    json_object_begin(&w);
    json_field_int(&w, "i", INT64_MIN);
    json_field_bool(&w, "f", false);
    json_field_cstr(&w, "s", "");
    json_key(&w, "n");
    json_null(&w);
    json_key(&w, "r");
    json_raw(&w, STR("[0]"));
    json_object_end(&w);
    json_double(&w, 0.5);
    json_cstr(&w, "x");
    json_array_end(&w);
    json_out_end(&w);
    CHECK_STR(strbuf_str(&out), "[[],{},{\"i\":-9223372036854775808,\"f\":false,\"s\":\"\","
                                "\"n\":null,\"r\":[0]},0.5,\"x\"]");
    strbuf_free(&out);
}

static void test_json_out__numbers_are_short_and_read_back(void **state)
{
    (void)state;
    static const struct {
        double x;
        const char *text;
    } cases[] = {
        {0, "0"},
        {0.1, "0.1"},
        {1.0 / 3, "0.3333333333333333"},
        {1e21, "1e+21"},
        {5e-324, "4.94065645841247e-324"},
        {-2.5, "-2.5"},
        {NAN, "null"},
        {INFINITY, "null"},
        {-INFINITY, "null"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct strbuf out;
        strbuf_init(&out, 100);
        struct json_out w;
        json_out_begin(&w, &out);
        json_double(&w, cases[i].x);
        json_out_end(&w);
        CHECK_STR(strbuf_str(&out), cases[i].text);
        assert_true(!isfinite(cases[i].x) || strtod(strbuf_cstr(&out), NULL) == cases[i].x);
        strbuf_free(&out);
    }
}

/* Every pair of bytes becomes a JSON string that our own strict reader takes. */
static void test_json_escape__any_two_bytes_make_a_valid_string(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 100);
    for (unsigned pair = 0; pair < 65536; pair++) {
        char bytes[2] = {(char)(pair >> 8), (char)pair};
        strbuf_clear(&out);
        strbuf_append_char(&out, '"');
        json_escape(&out, (struct str){bytes, 2});
        strbuf_append_char(&out, '"');
        struct json_doc *doc = NULL;
        assert_int_equal(json_parse_copy(strbuf_str(&out), JSON_STRICT, &doc, NULL), STATUS_OK);
        bool is_ascii = (pair & 0x8080) == 0;
        struct str back = json_string(json_root(doc));
        assert_true(!is_ascii || str_equal(back, (struct str){bytes, 2}));
        json_doc_free(doc);
    }
    strbuf_free(&out);
}

static void test_json_escape__reads_no_byte_too_far(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "a", "\n", "a\xE2\x82", "\xF0", "\"", "é"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct guard g = guard_copy(str_from(texts[i]), 0);
        struct strbuf out;
        strbuf_init(&out, 100);
        json_escape(&out, (struct str){g.text, g.len});
        assert_int_equal(strbuf_status(&out), STATUS_OK);
        assert_true(out.len >= g.len);
        strbuf_free(&out);
        guard_free(&g);
    }
}

static void test_sse__an_event_is_name_data_and_an_empty_line(void **state)
{
    (void)state;
    struct strbuf out;
    strbuf_init(&out, 100);
    sse_write(&out, "a", STR("{\"x\":1}"));
    sse_write(&out, "b", STR("{}"));
    CHECK_STR(strbuf_str(&out), "event: a\ndata: {\"x\":1}\n\nevent: b\ndata: {}\n\n");
    strbuf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_out__puts_commas_between_and_nowhere_else),
        cmocka_unit_test(test_json_out__numbers_are_short_and_read_back),
        cmocka_unit_test(test_json_escape__any_two_bytes_make_a_valid_string),
        cmocka_unit_test(test_json_escape__reads_no_byte_too_far),
        cmocka_unit_test(test_sse__an_event_is_name_data_and_an_empty_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
