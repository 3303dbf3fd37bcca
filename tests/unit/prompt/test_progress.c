/* Thinking blocks in which the server told its progress leave no trace in the next prompt. */
#include "prompt_fixture.h"

enum { TEXT_BYTES = 1024 * 1024 };

#define MARKED                                                                                     \
    "{\"type\":\"thinking\",\"thinking\":\"Reading\",\"signature\":\"pensieve-progress\"}"
#define THOUGHT "{\"type\":\"thinking\",\"thinking\":\"Hm.\",\"signature\":\"sig\"}"
#define WORDS   "{\"type\":\"text\",\"text\":\"Done.\"}"
#define CALL    "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"Read\",\"input\":{\"path\":\"a\"}}"
#define RESULT  "{\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"content\":\"text\"}"

/* A conversation whose second message is the assistant's `content`. */
static void conversation(struct strbuf *out, const char *content, const char *next)
{
    strbuf_clear(out);
    strbuf_printf(
        out,
        "{\"model\":\"m\",\"thinking\":{\"type\":\"adaptive\"},\"tools\":[%s],\"messages\":["
        "{\"role\":\"user\",\"content\":\"Hi\"},"
        "{\"role\":\"assistant\",\"content\":[%s]},"
        "{\"role\":\"user\",\"content\":[%s]}]}",
        FIXTURE_READ_TOOL, content, next);
}

static void test_progress__leaves_no_trace_in_the_prompt(void **state)
{
    (void)state;
    static const struct {
        const char *told, *plain, *next;
    } cases[] = {
        {MARKED "," WORDS, WORDS, WORDS},
        {MARKED "," THOUGHT "," WORDS, THOUGHT "," WORDS, WORDS},
        {MARKED "," THOUGHT "," CALL, THOUGHT "," CALL, RESULT},
        {WORDS "," MARKED "," CALL, WORDS "," CALL, RESULT},
        {MARKED, "", WORDS}, /* the turn was cut before the model said anything */
    };
    static const char *const templates[] = {FIXTURE_THINKING, FIXTURE_CHATML};
    struct strbuf json, with, without;
    strbuf_init(&json, TEXT_BYTES);
    strbuf_init(&with, TEXT_BYTES);
    strbuf_init(&without, TEXT_BYTES);
    for (size_t t = 0; t < sizeof templates / sizeof templates[0]; t++) {
        struct fixture_model f;
        fixture_open(&f, templates[t]);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct rendered a, b;
            conversation(&json, cases[i].told, cases[i].next);
            fixture_render(&f, strbuf_cstr(&json), &a, &with);
            conversation(&json, cases[i].plain, cases[i].next);
            fixture_render(&f, strbuf_cstr(&json), &b, &without);
            CHECK_STR(strbuf_str(&with), strbuf_cstr(&without));
            assert_int_equal(a.n_tokens, b.n_tokens);
            rendered_free(&a);
            rendered_free(&b);
        }
        fixture_close(&f);
    }
    strbuf_free(&json);
    strbuf_free(&with);
    strbuf_free(&without);
}

static void test_progress__the_models_own_thinking_stays(void **state)
{
    (void)state;
    struct fixture_model f;
    struct rendered r;
    struct strbuf json, text;
    strbuf_init(&json, TEXT_BYTES);
    strbuf_init(&text, TEXT_BYTES);
    fixture_open(&f, FIXTURE_THINKING);
    conversation(&json, MARKED "," THOUGHT "," CALL, RESULT);
    fixture_render(&f, strbuf_cstr(&json), &r, &text);
    assert_true(str_find(strbuf_str(&text), STR("Hm.")) != SIZE_MAX);
    assert_true(str_find(strbuf_str(&text), STR("Reading")) == SIZE_MAX);
    rendered_free(&r);
    fixture_close(&f);
    strbuf_free(&json);
    strbuf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_progress__leaves_no_trace_in_the_prompt),
        cmocka_unit_test(test_progress__the_models_own_thinking_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
