/* The stopper against a plain search, with the input cut at every byte. */
#include "model/stopper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct outcome {
    int found;
    size_t released;
};

/* What the header promises, by brute force: the earliest end, then the longest sequence. */
static struct outcome expected_outcome(struct str text, const struct str *stops, size_t n_stops)
{
    struct outcome result = {STOPPER_NONE, text.len};
    for (size_t end = 1; end <= text.len && result.found == STOPPER_NONE; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < n_stops; i++) {
            size_t len = stops[i].len;
            if (len > end || len <= longest || memcmp(text.ptr + end - len, stops[i].ptr, len) != 0)
                continue;
            longest = len;
            result = (struct outcome){(int)i, end - len};
        }
    }
    return result;
}

/* Feeds text[0..first), text[first..second) and the rest. */
static int feed_cut(struct str text, size_t first, size_t second, const struct str *stops,
                    size_t n_stops, struct strbuf *out)
{
    struct stopper s;
    stopper_init(&s, stops, n_stops);
    size_t borders[] = {0, first, second, text.len};
    int found = STOPPER_NONE;
    for (size_t i = 0; i + 1 < 4 && found == STOPPER_NONE; i++)
        found =
            stopper_feed(&s, (struct str){text.ptr + borders[i], borders[i + 1] - borders[i]}, out);
    if (found == STOPPER_NONE)
        stopper_finish(&s, out);
    stopper_free(&s);
    return found;
}

static void check_all_cuts(const char *input, const struct str *stops, size_t n_stops)
{
    struct str text = str_from(input);
    struct outcome expected = expected_outcome(text, stops, n_stops);
    for (size_t first = 0; first <= text.len; first++) {
        for (size_t second = first; second <= text.len; second++) {
            struct strbuf out;
            strbuf_init(&out, 4096);
            int found = feed_cut(text, first, second, stops, n_stops, &out);
            assert_int_equal(found, expected.found);
            assert_int_equal(out.len, expected.released);
            assert_memory_equal(strbuf_cstr(&out), text.ptr, out.len);
            strbuf_free(&out);
        }
    }
}

static void test_stopper__finds_what_a_plain_search_finds_at_every_cut(void **state)
{
    (void)state;
    const struct str one[] = {STR("STOP")};
    const struct str overlapping[] = {STR("abab"), STR("bab"), STR("abac"), STR("b\n\n")};
    const struct str nested[] = {STR("</a>"), STR("</a></b>"), STR("a></b"), STR(">")};
    const struct str periodic[] = {STR("aaaab"), STR("aab")};
    check_all_cuts("some text without it", one, 1);
    check_all_cuts("some SSTOSTOP text", one, 1);
    check_all_cuts("STO", one, 1);
    check_all_cuts("STOP", one, 1);
    check_all_cuts("xabaabacabab", overlapping, 4);
    check_all_cuts("aab\nab\n\nx", overlapping, 4);
    check_all_cuts("x</a></b>", nested, 3);
    check_all_cuts("x</a></b>", nested, 4);
    check_all_cuts("aaaaaaaab", periodic, 2);
    check_all_cuts("caab", periodic, 2);
    check_all_cuts("nothing at all", NULL, 0);
}

static void test_stopper__of_two_that_end_together_the_longer_wins(void **state)
{
    (void)state;
    const struct str stops[] = {STR("end"), STR("the end"), STR("e end")};
    struct strbuf out;
    strbuf_init(&out, 100);
    assert_int_equal(feed_cut(STR("this is the end"), 3, 9, stops, 3, &out), 1);
    assert_string_equal(strbuf_cstr(&out), "this is ");
    strbuf_free(&out);
}

static void test_stopper__holds_back_only_what_may_be_the_beginning(void **state)
{
    (void)state;
    const struct str stops[] = {STR("</tool>")};
    struct stopper s;
    struct strbuf out;
    stopper_init(&s, stops, 1);
    strbuf_init(&out, 100);
    assert_int_equal(stopper_feed(&s, STR("a</to"), &out), STOPPER_NONE);
    assert_string_equal(strbuf_cstr(&out), "a");
    assert_int_equal(stopper_feed(&s, STR("p"), &out), STOPPER_NONE);
    assert_string_equal(strbuf_cstr(&out), "a</top");
    strbuf_free(&out);
    stopper_free(&s);
}

static void test_stopper__handles_bytes_that_are_not_text(void **state)
{
    (void)state;
    const struct str stops[] = {{"\0\xff\0", 3}};
    struct stopper s;
    struct strbuf out;
    stopper_init(&s, stops, 1);
    strbuf_init(&out, 100);
    assert_int_equal(stopper_feed(&s, (struct str){"\0\0\xff", 3}, &out), STOPPER_NONE);
    assert_int_equal(out.len, 1);
    assert_int_equal(stopper_feed(&s, (struct str){"\0", 1}, &out), 0);
    assert_int_equal(out.len, 1);
    strbuf_free(&out);
    stopper_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stopper__finds_what_a_plain_search_finds_at_every_cut),
        cmocka_unit_test(test_stopper__of_two_that_end_together_the_longer_wins),
        cmocka_unit_test(test_stopper__holds_back_only_what_may_be_the_beginning),
        cmocka_unit_test(test_stopper__handles_bytes_that_are_not_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
