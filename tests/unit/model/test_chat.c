/* What is kept between renderings must not show: text and format of a conversation are the same
 * whatever the template has rendered before. */
#include "support/check.h"
#include "support/templates.h"

#include "base/limits.h"
#include "model/chat.h"

#define SCHEMA                                                                                     \
    "{\"type\":\"object\",\"properties\":{\"path\":{\"type\":\"string\"},\"limit\":"               \
    "{\"type\":\"integer\"}},\"required\":[\"path\"]}"

/* As STR(), in tables. */
#define TEXT(literal) {literal, sizeof(literal) - 1}

static const struct chat_tool tools[] = {
    {TEXT("Read"), TEXT("Reads <a> \"file\"."), TEXT(SCHEMA), TEXT("")},
    {TEXT("List"), TEXT("Lists."), TEXT("{\"type\":\"object\",\"properties\":{}}"), TEXT("")},
};
/* Called alike, but they take other arguments. */
static const struct chat_tool other_tools[] = {
    {TEXT("Read"), TEXT("Reads."),
     TEXT("{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"}}}"), TEXT("")},
    {TEXT("List"), TEXT("Lists."), TEXT("{\"type\":\"object\",\"properties\":{}}"), TEXT("")},
};
static const struct chat_call call = {TEXT("c00000001"), TEXT("Read"), TEXT("{\"path\":\"a.c\"}")};

static const struct chat_message asked[] = {
    {.role = "user", .content = TEXT("Read a.c.")},
};
static const struct chat_message answered[] = {
    {.role = "user", .content = TEXT("Hi.")},
    {.role = "assistant", .content = TEXT("Hello."), .reasoning = TEXT("A greeting.")},
    {.role = "user", .content = TEXT("Read a.c.")},
};
static const struct chat_message called[] = {
    {.role = "user", .content = TEXT("Read a.c.")},
    {.role = "assistant", .content = TEXT(""), .calls = &call, .n_calls = 1},
    {.role = "tool",
     .content = TEXT("int x;"),
     .call_id = TEXT("c00000001"),
     .tool_name = TEXT("Read")},
};
static const struct chat_message opened[] = {
    {.role = "user", .content = TEXT("Say it.")},
    {.role = "assistant", .content = TEXT("Quite")},
};

static struct chat_template *open_template(const char *source)
{
    struct chat_template *t;
    struct error err = {0};
    if (chat_template_create(str_from(source), "<s>", "</s>", &t, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return t;
}

enum { TALKS = 4, TOOLS = 3, CHOICES = 2, THINKING = 2, ALL = TALKS * TOOLS * CHOICES * THINKING };

/* One of many conversations.  What a template of these abilities is never given is left out, as
 * prompt/canon does. */
static struct chat_inputs nth_inputs(size_t n, const struct chat_caps *caps)
{
    static const struct {
        const struct chat_message *messages;
        size_t n;
    } talks[TALKS] = {{asked, 1}, {answered, 3}, {called, 3}, {opened, 2}};
    size_t talk = talks[n % TALKS].messages == called && !caps->tool_calls ? 1 : n % TALKS;
    size_t which_tools = n / TALKS % TOOLS;
    bool is_forced = n / (TALKS * TOOLS) % CHOICES == 1;
    struct chat_inputs in = {
        .messages = talks[talk].messages,
        .n_messages = talks[talk].n,
        .tools = which_tools == 1 ? tools : other_tools,
        .n_tools = caps->tools && which_tools > 0 ? 2 : 0,
        .enable_thinking = n / (TALKS * TOOLS * CHOICES) == 1,
        .continue_last = talks[talk].messages == opened,
    };
    if (is_forced && in.n_tools > 0)
        in.tool_choice = CHAT_TOOLS_REQUIRED;
    else if (is_forced)
        in.json_schema = STR(SCHEMA);
    return in;
}

static void check_same_text(const char *a, const char *b)
{
    if (strcmp(a, b) != 0)
        fail_msg("\"%s\" is not \"%s\"", a, b);
}

static void check_same_grammar(const struct grammar_spec *a, const struct grammar_spec *b)
{
    assert_true(str_equal(a->text, b->text));
    assert_true(str_equal(a->prefix, b->prefix));
    assert_int_equal(a->lazy, b->lazy);
    assert_int_equal(a->n_triggers, b->n_triggers);
    for (size_t i = 0; i < a->n_triggers; i++) {
        assert_int_equal(a->triggers[i].type, b->triggers[i].type);
        assert_true(str_equal(a->triggers[i].text, b->triggers[i].text));
    }
}

static void check_same_reading(const struct chat_prompt *a, const struct chat_prompt *b)
{
    static const char *const replies[] = {
        "Just words.",
        "<tool_call>\n{\"name\": \"Read\", \"arguments\": {\"path\": \"b\"}}\n</tool_call>",
        "<think>\nHm.\n</think>\n\nSo.", "{\"name\": \"Read\", \"parameters\": {\"path\": \"b\"}}"};
    for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++) {
        struct chat_reply x = {0}, y = {0};
        enum status st = chat_parse(a, str_from(replies[i]), false, &x);
        assert_int_equal(chat_parse(b, str_from(replies[i]), false, &y), st);
        assert_true(str_equal(x.content, y.content));
        assert_true(str_equal(x.reasoning, y.reasoning));
        assert_int_equal(x.n_calls, y.n_calls);
        for (size_t k = 0; k < x.n_calls; k++)
            assert_true(str_equal(x.calls[k].arguments_json, y.calls[k].arguments_json));
        chat_reply_free(&x);
        chat_reply_free(&y);
    }
}

static void check_same_prompt(const struct chat_prompt *a, const struct chat_prompt *b)
{
    check_same_text(a->text, b->text);
    check_same_text(a->generation_prompt, b->generation_prompt);
    check_same_text(a->thinking_start, b->thinking_start);
    check_same_text(a->thinking_end, b->thinking_end);
    check_same_grammar(&a->grammar, &b->grammar);
    assert_int_equal(a->n_stops, b->n_stops);
    for (size_t i = 0; i < a->n_stops; i++)
        check_same_text(a->stops[i], b->stops[i]);
    check_same_reading(a, b);
}

/* The text alone, too. */
static void check_same_words(const struct chat_template *t, const struct chat_inputs *in,
                             const struct chat_prompt *wanted)
{
    struct strbuf text;
    struct error err = {0};
    strbuf_init(&text, LIMIT_PROMPT_BYTES);
    assert_int_equal(chat_render_text(t, in, &text, &err), STATUS_OK);
    check_same_text(strbuf_cstr(&text), wanted->text);
    strbuf_free(&text);
}

/* Two copies of one template: one reads the conversations forwards, one backwards, so that what is
 * made anew here was kept there. */
static void check_template(const char *source)
{
    struct chat_prompt forwards[ALL], backwards;
    struct error err = {0};
    struct chat_template *a = open_template(source);
    struct chat_template *b = open_template(source);
    for (size_t n = 0; n < ALL; n++) {
        struct chat_inputs in = nth_inputs(n, chat_template_get_caps(a));
        assert_int_equal(chat_render(a, &in, &forwards[n], &err), STATUS_OK);
    }
    for (size_t n = ALL; n-- > 0;) {
        struct chat_inputs in = nth_inputs(n, chat_template_get_caps(b));
        assert_int_equal(chat_render(b, &in, &backwards, &err), STATUS_OK);
        check_same_prompt(&forwards[n], &backwards);
        check_same_words(a, &in, &backwards);
        chat_prompt_free(&forwards[n]);
        chat_prompt_free(&backwards);
    }
    chat_template_free(a);
    chat_template_free(b);
}

static void test_chat__what_is_kept_between_renderings_never_shows(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIXTURE_TEMPLATES; i++)
        check_template(fixture_templates[i].source);
}

static void test_chat__a_reply_that_opens_otherwise_is_read_otherwise(void **state)
{
    (void)state;
    check_template(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
        "{% if messages|length > 1 %}{{ '<note>\\n' }}{% endif %}{% endif %}");
}

/* What reads and holds the reply begins behind words that are to be continued. */
static void test_chat__words_to_be_continued_belong_to_the_prompt(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIXTURE_TEMPLATES; i++) {
        struct chat_template *t = open_template(fixture_templates[i].source);
        struct chat_inputs in = nth_inputs(3, chat_template_get_caps(t));
        struct chat_prompt p;
        struct chat_reply reply;
        struct error err = {0};
        assert_true(in.continue_last);
        assert_int_equal(chat_render(t, &in, &p, &err), STATUS_OK);
        assert_string_equal(p.text + p.len - strlen("Quite"), "Quite");
        assert_null(strstr(p.generation_prompt, "Quite"));
        assert_int_equal(str_find(p.grammar.prefix, STR("Quite")), SIZE_MAX);
        assert_int_equal(chat_parse(&p, STR(" so."), false, &reply), STATUS_OK);
        assert_int_equal(str_find(reply.content, STR("Quite")), SIZE_MAX);
        assert_true(str_find(reply.content, STR("so.")) != SIZE_MAX);
        chat_reply_free(&reply);
        chat_prompt_free(&p);
        chat_template_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat__what_is_kept_between_renderings_never_shows),
        cmocka_unit_test(test_chat__a_reply_that_opens_otherwise_is_read_otherwise),
        cmocka_unit_test(test_chat__words_to_be_continued_belong_to_the_prompt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
