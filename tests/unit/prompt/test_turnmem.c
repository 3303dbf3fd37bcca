/* Replies that come back in other words are told in the tokens that were sampled; edited ones are
 * told as they came. */
#include "unit/prompt/prompt_fixture.h"

#include "prompt/reply_form.h"

enum { BODY_BYTES = 100000 };

#define TOOLS                                                                                      \
    "[{\"name\":\"Read\",\"input_schema\":{\"type\":\"object\",\"properties\":{\"path\":{"         \
    "\"type\":"                                                                                    \
    "\"string\"},\"limit\":{\"type\":\"integer\"},\"deep\":{\"type\":\"boolean\",\"default\":"     \
    "false},"                                                                                      \
    "\"marks\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{\"at\":{"        \
    "\"type\":"                                                                                    \
    "\"integer\"},\"on\":{\"type\":\"boolean\",\"default\":true}}}}},\"required\":[\"path\"],"     \
    "\"additionalProperties\":false}}]"

/* ---- A scene: a model, a prompt, and the reply that was sampled to it ---- */

struct scene {
    struct fixture_model f;
    struct turnmem *turnmem;
    const char *more;      /* members of each request */
    struct rendered asked; /* the prompt of the first request */
    model_token *sampled;
    size_t n_sampled;
};

#define ASK "{\"role\":\"user\",\"content\":\"Look.\"}"

static void render_messages(struct scene *s, const char *messages, uint64_t namespace_key,
                            struct rendered *out)
{
    struct strbuf body;
    struct fixture_request r;
    struct canon canon;
    struct error err = {0};
    strbuf_init(&body, BODY_BYTES);
    strbuf_printf(&body, "{\"model\":\"m\",\"tools\":" TOOLS "%s,\"messages\":[%s]}", s->more,
                  messages);
    fixture_read(&r, strbuf_cstr(&body));
    if (canon_make(&r.req, render_caps(s->f.render), &r.arena, &canon, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    canon.namespace_key = namespace_key;
    size_t n_counted;
    if (render_prompt(s->f.render, &canon, out, &err) != STATUS_OK ||
        render_count(s->f.render, &canon, &n_counted, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    assert_int_equal(n_counted, out->n_tokens);
    fixture_free(&r);
    strbuf_free(&body);
}

/* What the model said to ASK, in which tokens. */
static void remember(struct scene *s, struct reply_form form, const char *reasoning,
                     const char *sampled)
{
    struct fixture_request r;
    unsigned char digest[SHA256_BYTES];
    struct turn_place place;
    fixture_read(&r, "{\"model\":\"m\",\"messages\":[" ASK "],\"tools\":" TOOLS "}");
    form.tools = r.req.tools;
    form.n_tools = r.req.n_tools;
    reply_digest(&form, digest);
    render_messages(s, ASK, 1, &s->asked);
    turn_place_begin(&place, 1);
    struct token_key key =
        turn_place_key(&place, s->asked.tokens, s->asked.n_tokens, digest, str_from(reasoning));
    assert_int_equal(
        model_tokenize(s->f.model, str_from(sampled), true, &s->sampled, &s->n_sampled), STATUS_OK);
    turnmem_put(s->turnmem, &key, s->sampled, s->n_sampled);
    fixture_free(&r);
}

static void open_scene(struct scene *s, const char *chat_template, const char *more)
{
    *s = (struct scene){.more = more};
    fixture_open(&s->f, chat_template);
    s->turnmem = turnmem_create(1 << 20);
    render_use_turnmem(s->f.render, s->turnmem);
}

static void close_scene(struct scene *s)
{
    rendered_free(&s->asked);
    mem_free(s->sampled);
    turnmem_destroy(s->turnmem);
    fixture_close(&s->f);
}

/* Whether the prompt of `messages` goes on with what was sampled, and with the end of its turn; one
 * that does not is what is written where nothing is remembered. */
static bool is_replayed(struct scene *s, const char *messages, uint64_t namespace_key)
{
    struct rendered with, without;
    render_messages(s, messages, namespace_key, &with);
    render_use_turnmem(s->f.render, NULL);
    render_messages(s, messages, namespace_key, &without);
    render_use_turnmem(s->f.render, s->turnmem);

    size_t n_asked = s->asked.n_tokens, n_known = n_asked + s->n_sampled;
    bool is_known =
        with.n_tokens > n_known &&
        memcmp(with.tokens, s->asked.tokens, n_asked * sizeof *with.tokens) == 0 &&
        memcmp(with.tokens + n_asked, s->sampled, s->n_sampled * sizeof *with.tokens) == 0;
    if (is_known)
        assert_int_equal(with.tokens[n_known], MODEL_TOY_IM_END);
    else
        assert_true(with.n_tokens == without.n_tokens &&
                    memcmp(with.tokens, without.tokens, with.n_tokens * sizeof *with.tokens) == 0);
    rendered_free(&with);
    rendered_free(&without);
    return is_known;
}

/* ---- What comes back ---- */

#define ANSWER(blocks, words)                                                                      \
    ASK ",{\"role\":\"assistant\",\"content\":[" blocks "]},{\"role\":\"user\",\"content\":[{"     \
        "\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"content\":\"" words "\"}]}"
#define SAID(text)    "{\"type\":\"text\",\"text\":\"" text "\"}"
#define CALLED(input) "{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":\"Read\",\"input\":" input "}"

static const struct chat_call read_call = {
    .name = {"Read", 4},
    .arguments_json = {"{\"path\":\"a\",\"limit\":5,\"marks\":[{\"at\":1}]}", 41},
};

static const struct come_back {
    const char *what, *messages;
    bool is_replayed;
} come_backs[] = {
    {"as it was sent",
     ANSWER(SAID("So.") "," CALLED("{\"path\":\"a\",\"limit\":5,\"marks\":[{\"at\":1}]}"), "x"),
     true},
    {"members in another order",
     ANSWER(SAID("So.") "," CALLED("{\"marks\":[{\"at\":1}],\"limit\":5,\"path\":\"a\"}"), "x"),
     true},
    {"defaults put in",
     ANSWER(SAID("So.") "," CALLED(
                "{\"deep\":false,\"path\":\"a\",\"limit\":5,\"marks\":[{\"at\":1,\"on\":true}]}"),
            "x"),
     true},
    {"a number as text, and as a fraction",
     ANSWER(SAID("So.") "," CALLED("{\"path\":\"a\",\"limit\":\"5\",\"marks\":[{\"at\":1.0}]}"),
            "x"),
     true},
    {"blank blocks, and blanks at the ends",
     ANSWER(SAID(" \\n") "," SAID("So.\\n") "," CALLED(
                "{\"path\":\"a\",\"limit\":5,\"marks\":[{\"at\":1}]}"),
            "x"),
     true},
    {"another result",
     ANSWER(SAID("So.") "," CALLED("{\"path\":\"a\",\"limit\":5,\"marks\":[{\"at\":1}]}"), "y"),
     true},
    {"another value",
     ANSWER(SAID("So.") "," CALLED("{\"path\":\"b\",\"limit\":5,\"marks\":[{\"at\":1}]}"), "x"),
     false},
    {"another value inside",
     ANSWER(SAID("So.") "," CALLED("{\"path\":\"a\",\"limit\":5,\"marks\":[{\"at\":2}]}"), "x"),
     false},
    {"no default",
     ANSWER(SAID("So.") "," CALLED(
                "{\"deep\":true,\"path\":\"a\",\"limit\":5,\"marks\":[{\"at\":1}]}"),
            "x"),
     false},
    {"other words",
     ANSWER(SAID("So!") "," CALLED("{\"path\":\"a\",\"limit\":5,\"marks\":[{\"at\":1}]}"), "x"),
     false},
    {"a call less",
     ASK ",{\"role\":\"assistant\",\"content\":[" SAID(
         "So.") "]},{\"role\":\"user\",\"content\":\"And?\"}",
     false},
    {"a call more",
     ANSWER(
         SAID("So.") "," CALLED("{\"path\":\"a\",\"limit\":5,\"marks\":[{\"at\":1}]}") "," CALLED(
             "{\"path\":\"a\"}"),
         "x"),
     false},
    {"another question",
     "{\"role\":\"user\",\"content\":\"Look!\"},{\"role\":\"assistant\",\"content\":[" SAID(
         "So.") "," CALLED("{\"path\":\"a\",\"limit\":5,\"marks\":[{\"at\":1}]}") "]},{\"role\":"
                                                                                  "\"user\","
                                                                                  "\"content\":"
                                                                                  "\"And?\"}",
     false},
};

/* So that a prompt ends as the template writes earlier turns, without an empty thought. */
#define THINKING ",\"thinking\":{\"type\":\"adaptive\"}"

static void check_come_backs(const char *name, const char *chat_template, const char *sampled)
{
    struct scene s;
    open_scene(&s, chat_template, THINKING);
    remember(&s, (struct reply_form){.text = STR("So."), .calls = &read_call, .n_calls = 1}, "",
             sampled);
    for (size_t i = 0; i < sizeof come_backs / sizeof come_backs[0]; i++) {
        const struct come_back *c = &come_backs[i];
        if (is_replayed(&s, c->messages, 1) != c->is_replayed)
            fail_msg("%s: %s", name, c->what);
        if (is_replayed(&s, c->messages, 2))
            fail_msg("%s: %s: known in another namespace", name, c->what);
    }
    close_scene(&s);
}

static void test_turnmem__what_means_the_same_is_replayed_and_what_was_edited_is_not(void **state)
{
    (void)state;
    /* As models write calls, and the templates do not. */
    check_come_backs("qwen3", FIXTURE_THINKING,
                     "So.\n<tool_call>\n{\"arguments\":{\"path\":\"a\",\"limit\":5,\"marks\":"
                     "[{\"at\":1}]},\"name\":\"Read\"}</tool_call>");
    check_come_backs("qwen3-coder", FIXTURE_TAGGED,
                     "So.\n\n<tool_call><function=Read><parameter=limit>5</parameter></function>");
    check_come_backs("chatml", FIXTURE_CHATML, "So.\n```json\n{\"name\":\"Read\"}\n```");
    check_come_backs("smollm2", FIXTURE_SMOLLM2, "So. {\"name\": \"Read\"}");
}

static void test_turnmem__results_in_another_order_do_not_matter(void **state)
{
    (void)state;
    struct scene s;
    struct chat_call calls[] = {{.name = STR("Read"), .arguments_json = STR("{\"path\":\"a\"}")},
                                {.name = STR("Read"), .arguments_json = STR("{\"path\":\"b\"}")}};
    open_scene(&s, FIXTURE_THINKING, THINKING);
    remember(&s, (struct reply_form){.calls = calls, .n_calls = 2}, "",
             "<tool_call>{}</tool_call>");
#define TWO(first, second)                                                                         \
    ASK ",{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"t1\",\"name\":"     \
        "\"Read\",\"input\":{\"path\":\"a\"}},{\"type\":\"tool_use\",\"id\":\"t2\",\"name\":"      \
        "\"Read\",\"input\":{\"path\":\"b\"}}]},{\"role\":\"user\",\"content\":[{\"type\":"        \
        "\"tool_result\",\"tool_use_id\":\"" first "\",\"content\":\"1\"},{\"type\":"              \
        "\"tool_result\",\"tool_use_id\":\"" second "\",\"content\":\"2\"}]}"
    assert_true(is_replayed(&s, TWO("t1", "t2"), 1));
    assert_true(is_replayed(&s, TWO("t2", "t1"), 1));
    close_scene(&s);
}

/* Behind the user's next words the template shows no reasoning: then what was sampled with it is
 * not what the model was trained to see. */
static void test_turnmem__reasoning_is_replayed_only_where_the_template_shows_it(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, FIXTURE_THINKING, THINKING);
    remember(&s, (struct reply_form){.calls = &read_call, .n_calls = 1}, "Hm.",
             "<think>Hm.</think><tool_call>{}</tool_call>");
#define THOUGHT(thinking)                                                                          \
    "{\"type\":\"thinking\",\"signature\":\"s\",\"thinking\":\"" thinking                          \
    "\"}," CALLED("{\"limit\":5,\"path\":\"a\",\"marks\":[{\"at\":1}]}")
    assert_true(is_replayed(&s, ANSWER(THOUGHT("Hm."), "x"), 1));
    assert_false(is_replayed(&s, ANSWER(THOUGHT("Hm?"), "x"), 1));
    assert_false(is_replayed(
        &s, ANSWER(CALLED("{\"limit\":5,\"path\":\"a\",\"marks\":[{\"at\":1}]}"), "x"), 1));
    assert_false(
        is_replayed(&s,
                    ANSWER(THOUGHT("Hm."), "x") ",{\"role\":\"assistant\",\"content\":\"A.\"},"
                                                "{\"role\":\"user\",\"content\":\"B.\"}",
                    1));
    close_scene(&s);
}

/* A reply that the model opened itself with its thinking mark, where the prompt has one already. */
static void test_turnmem__what_the_prompt_opened_a_reply_with_belongs_to_the_prompt(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, FIXTURE_THINKING, ",\"thinking\":{\"type\":\"disabled\"}");
    remember(&s, (struct reply_form){.text = STR("So.")}, "", "So .");
    /* The template writes earlier turns without what it opened them with. */
    assert_false(is_replayed(&s,
                             ASK ",{\"role\":\"assistant\",\"content\":\"So.\"},{\"role\":\"user\","
                                 "\"content\":\"And?\"}",
                             1));
    close_scene(&s);
}

static void test_turnmem__a_reply_that_is_to_be_continued_is_written_as_it_came(void **state)
{
    (void)state;
    struct scene s;
    open_scene(&s, FIXTURE_CHATML, "");
    remember(&s, (struct reply_form){.text = STR("So.")}, "", "So .");
    assert_false(is_replayed(&s, ASK ",{\"role\":\"assistant\",\"content\":\"So.\"}", 1));
    assert_true(is_replayed(
        &s,
        ASK ",{\"role\":\"assistant\",\"content\":\"So.\"},{\"role\":\"user\",\"content\":\"?\"}",
        1));
    close_scene(&s);
}

/* The fourth exchange stands on the replay of the ones before. */
static void test_turnmem__replies_of_a_long_conversation_stand_on_one_another(void **state)
{
    (void)state;
    enum { EXCHANGES = 40 }; /* several blocks of turn_place */
    struct scene s;
    struct strbuf talk;
    open_scene(&s, FIXTURE_CHATML, "");
    strbuf_init(&talk, BODY_BYTES);
    strbuf_append_cstr(&talk, ASK);
    struct reply_form form = {.text = STR("Yes, so it is.")};
    unsigned char digest[SHA256_BYTES];
    reply_digest(&form, digest);
    model_token said[] = {'Y', 'e', 's', '!'};
    for (size_t i = 0; i < EXCHANGES; i++) {
        struct rendered shorter, longer;
        struct turn_place place;
        render_messages(&s, strbuf_cstr(&talk), 1, &shorter);
        turn_place_begin(&place, 1);
        struct token_key key =
            turn_place_key(&place, shorter.tokens, shorter.n_tokens, digest, STR(""));
        turnmem_put(s.turnmem, &key, said, 4);
        strbuf_append_cstr(&talk,
                           ",{\"role\":\"assistant\",\"content\":\"Yes, so it is.\"},{\"role\":"
                           "\"user\",\"content\":\"And so on?\"}");
        render_messages(&s, strbuf_cstr(&talk), 1, &longer);
        assert_true(longer.n_tokens > shorter.n_tokens + 4);
        assert_memory_equal(longer.tokens, shorter.tokens,
                            shorter.n_tokens * sizeof *shorter.tokens);
        assert_memory_equal(longer.tokens + shorter.n_tokens, said, sizeof said);
        rendered_free(&shorter);
        rendered_free(&longer);
    }
    strbuf_free(&talk);
    close_scene(&s);
}

/* ---- The memory ---- */

struct kept {
    size_t n;
    struct token_key key;
    size_t n_tokens;
};

static void note_kept(void *arg, const struct token_key *key, const model_token *tokens, size_t n)
{
    (void)tokens;
    struct kept *kept = arg;
    *kept = (struct kept){kept->n + 1, *key, n};
}

static struct token_key key_of(unsigned i)
{
    struct token_key key = {{0}};
    memcpy(key.bytes, &i, sizeof i);
    return key;
}

static void test_turnmem__what_is_put_is_kept_and_what_was_kept_is_not_kept_again(void **state)
{
    (void)state;
    struct turnmem *m = turnmem_create(1 << 16);
    struct kept kept = {0};
    struct token_list out = {0};
    model_token tokens[] = {1, 2, 3};
    struct token_key a = key_of(1), b = key_of(2);
    turnmem_set_keeper(m, note_kept, &kept);
    turnmem_put(m, &a, tokens, 3);
    turnmem_put_back(m, &b, tokens, 2);
    turnmem_put(m, &a, tokens, 0); /* nothing was said */
    assert_int_equal(kept.n, 1);
    assert_memory_equal(&kept.key, &a, sizeof a);
    assert_int_equal(kept.n_tokens, 3);
    assert_int_equal(turnmem_append(m, &a, &out), STATUS_OK);
    assert_int_equal(turnmem_append(m, &b, &out), STATUS_OK);
    assert_int_equal(out.n, 5);
    mem_free(out.tokens);
    turnmem_destroy(m);
}

static void test_turnmem__the_least_recently_used_goes(void **state)
{
    (void)state;
    enum { LIMIT = 64 * 1024, MANY = 1000, TOKENS = 100 };
    struct turnmem *m = turnmem_create(LIMIT);
    struct token_list out = {0};
    model_token tokens[TOKENS] = {0};
    struct token_key first = key_of(0), second = key_of(1);
    for (unsigned i = 0; i < MANY; i++) {
        struct token_key key = key_of(i);
        turnmem_put(m, &key, tokens, TOKENS);
        assert_int_equal(turnmem_append(m, &first, &out), STATUS_OK); /* so it stays */
        out.n = 0;
    }
    assert_int_equal(turnmem_append(m, &second, &out), STATUS_NOT_FOUND);
    assert_int_equal(out.n, 0);
    mem_free(out.tokens);
    turnmem_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turnmem__what_means_the_same_is_replayed_and_what_was_edited_is_not),
        cmocka_unit_test(test_turnmem__results_in_another_order_do_not_matter),
        cmocka_unit_test(test_turnmem__reasoning_is_replayed_only_where_the_template_shows_it),
        cmocka_unit_test(test_turnmem__what_the_prompt_opened_a_reply_with_belongs_to_the_prompt),
        cmocka_unit_test(test_turnmem__a_reply_that_is_to_be_continued_is_written_as_it_came),
        cmocka_unit_test(test_turnmem__replies_of_a_long_conversation_stand_on_one_another),
        cmocka_unit_test(test_turnmem__what_is_put_is_kept_and_what_was_kept_is_not_kept_again),
        cmocka_unit_test(test_turnmem__the_least_recently_used_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
