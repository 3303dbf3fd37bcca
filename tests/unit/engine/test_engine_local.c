/* The local engine on the toy model: what turns say, how they are counted, and what happens while
 * the model loads, when it cannot be loaded, and when it breaks. */
#include "support/check.h"

#include <pthread.h>

#include "api/anthropic_read.h"
#include "base/limits.h"
#include "base/thread.h"
#include "engine/engine_local.h"
#include "model/model_toy.h"

enum {
    WAIT_MS = 20 * 1000,
    BODY_BYTES = 64 * 1024,
    WINDOW = 2048,
};

/* The loader waits for `may_load`; then it makes the toy, or fails. */
struct fixture {
    struct engine *engine;
    struct model_toy_options toy;
    bool fails_to_load;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool may_load;
};

static enum status load_toy(void *arg, bool (*on_progress)(float fraction, void *progress_arg),
                            void *progress_arg, struct model **out, struct error *err)
{
    struct fixture *f = arg;
    (void)on_progress(0.5f, progress_arg);
    pthread_mutex_lock(&f->mutex);
    while (!f->may_load)
        (void)thread_cond_wait_ms(&f->changed, &f->mutex, WAIT_MS);
    pthread_mutex_unlock(&f->mutex);
    if (f->fails_to_load)
        return error_set(err, STATUS_CORRUPT, "the file is damaged");
    *out = model_toy_create(&f->toy);
    return STATUS_OK;
}

static void let_load(struct fixture *f)
{
    pthread_mutex_lock(&f->mutex);
    f->may_load = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->mutex);
}

static void create_engine(struct fixture *f, struct model_toy_options toy)
{
    *f = (struct fixture){.toy = toy};
    pthread_mutex_init(&f->mutex, NULL);
    thread_cond_init(&f->changed);
    struct engine_local_options options = {
        .model_name = "toy:1",
        .sampling = {.temperature = 0, .top_p = 1, .repeat_penalty = 1},
        .n_window = WINDOW,
        .parallel = 2,
        .load = load_toy,
        .arg = f,
    };
    f->engine = engine_local_create(&options);
    assert_non_null(f->engine);
}

/* Loading is over soon after let_load(): nothing to wait on is offered, as the server asks too. */
static void await_state(struct fixture *f, enum engine_state wanted)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t never;
    thread_cond_init(&never);
    struct engine_status status;
    engine_get_status(f->engine, &status);
    pthread_mutex_lock(&mutex);
    for (int i = 0; status.state != wanted && i < WAIT_MS; i++) {
        (void)thread_cond_wait_ms(&never, &mutex, 1);
        engine_get_status(f->engine, &status);
    }
    pthread_mutex_unlock(&mutex);
    pthread_cond_destroy(&never);
    assert_int_equal(status.state, wanted);
}

static void open_engine(struct fixture *f, struct model_toy_options toy)
{
    create_engine(f, toy);
    let_load(f);
    await_state(f, ENGINE_READY);
}

static void close_engine(struct fixture *f)
{
    engine_destroy(f->engine);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->mutex);
}

static const struct model_toy_options plain_toy = {.n_cells = 4096, .n_sequences = 8};

static const struct engine_caller anybody = {.namespace_key = 1};

/* ---- Requests ---- */

struct request {
    struct json_doc *doc;
    struct arena arena;
    struct message_request req;
};

static void read_body(struct request *r, enum anthropic_endpoint endpoint, struct str body)
{
    struct error err = {0};
    arena_init(&r->arena, LIMIT_REQUEST_ARENA_BYTES);
    if (json_parse_copy(body, JSON_STRICT, &r->doc, &err) != STATUS_OK ||
        anthropic_read(json_root(r->doc), endpoint, &r->arena, &r->req, &err) != STATUS_OK)
        fail_msg("%s", err.message);
}

static void read_request(struct request *r, const char *more, const char *text)
{
    struct strbuf body;
    strbuf_init(&body, BODY_BYTES);
    strbuf_printf(&body,
                  "{\"model\":\"m\",\"max_tokens\":200%s,\"messages\":[{\"role\":\"user\","
                  "\"content\":\"%s\"}]}",
                  more, text);
    read_body(r, ANTHROPIC_MESSAGES, strbuf_str(&body));
    strbuf_free(&body);
}

static void free_request(struct request *r)
{
    json_doc_free(r->doc);
    arena_free(&r->arena);
}

/* What a turn said, as text: "[text]words[/]", "[tool Name]{...}[/]"; the last event in `end`. */
struct said {
    struct strbuf text;
    struct event end;
    struct strbuf stop_sequence;
    uint32_t n_prompt;
};

static void note_event(struct said *s, const struct event *ev)
{
    static const char *const kinds[] = {"text", "thinking", "tool "};
    switch (ev->type) {
    case EVENT_BLOCK_START:
        strbuf_printf(&s->text, "[%s%.*s]", kinds[ev->block], (int)ev->name.len, ev->name.ptr);
        break;
    case EVENT_TEXT:
    case EVENT_THINKING:
    case EVENT_TOOL_INPUT:
    case EVENT_SUMMARY:
        strbuf_append_str(&s->text, ev->text);
        break;
    case EVENT_BLOCK_STOP:
        strbuf_append_cstr(&s->text, "[/]");
        break;
    case EVENT_DONE:
    case EVENT_FAILED:
        s->end = *ev;
        strbuf_append_str(&s->stop_sequence, ev->stop_sequence);
        break;
    }
}

/* Reads a turn to its end and finishes it. */
static void hear_out(struct turn *t, struct said *s)
{
    struct event ev = {.type = EVENT_TEXT};
    while (ev.type != EVENT_DONE && ev.type != EVENT_FAILED) {
        enum status st = turn_next(t, WAIT_MS, &ev);
        if (st == STATUS_OK)
            note_event(s, &ev);
        else
            ev.type = EVENT_TEXT;
    }
    turn_finish(t);
}

static void init_said(struct said *s)
{
    *s = (struct said){0};
    strbuf_init(&s->text, BODY_BYTES);
    strbuf_init(&s->stop_sequence, BODY_BYTES);
}

static void free_said(struct said *s)
{
    strbuf_free(&s->text);
    strbuf_free(&s->stop_sequence);
}

static enum status start(struct fixture *f, struct request *r, struct turn **out, uint32_t *n,
                         struct error *err)
{
    return engine_start(f->engine, &r->req, &anybody, out, n, err);
}

static void ask(struct fixture *f, const char *more, const char *text, struct said *s)
{
    struct request r;
    struct turn *t;
    struct error err = {0};
    init_said(s);
    read_request(&r, more, text);
    if (start(f, &r, &t, &s->n_prompt, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    hear_out(t, s);
    free_request(&r);
}

#define TOOLS                                                                                      \
    ",\"tools\":[{\"name\":\"Read\",\"input_schema\":{\"type\":\"object\",\"properties\":{"        \
    "\"path\":{\"type\":\"string\"}}}}]"

/* ---- Turns ---- */

static void test_engine_local__says_what_the_model_says_and_why_it_ends(void **state)
{
    (void)state;
    static const struct {
        const char *more, *ask, *said;
        enum stop_reason reason;
        const char *stop_sequence;
    } cases[] = {
        {"", "say:Hello", "[text]Hello[/]", STOP_END_TURN, ""},
        {",\"stop_sequences\":[\"lo\"]", "say:Hello", "[text]Hel[/]", STOP_SEQUENCE, "lo"},
        {TOOLS,
         "say:<tool_call>\\\\n{\\\"name\\\": \\\"Read\\\", \\\"arguments\\\": {\\\"path\\\": "
         "\\\"a\\\"}}\\\\n</tool_call>",
         "[tool Read]{\"path\":\"a\"}[/]", STOP_TOOL_USE, ""},
    };
    struct fixture f;
    open_engine(&f, plain_toy);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct said s;
        ask(&f, cases[i].more, cases[i].ask, &s);
        assert_int_equal(s.end.type, EVENT_DONE);
        CHECK_STR(strbuf_str(&s.text), cases[i].said);
        assert_int_equal(s.end.reason, cases[i].reason);
        CHECK_STR(strbuf_str(&s.stop_sequence), cases[i].stop_sequence);
        free_said(&s);
    }
    close_engine(&f);
}

static void test_engine_local__max_tokens_and_the_window_are_told_apart(void **state)
{
    (void)state;
    struct fixture f;
    struct said s;
    open_engine(&f, plain_toy);
    ask(&f, "", "go on", &s); /* the toy never ends by itself: 200 tokens */
    assert_int_equal(s.end.reason, STOP_MAX_TOKENS);
    assert_int_equal(s.end.usage.output_tokens, 200);
    free_said(&s);
    ask(&f, ",\"max_tokens\":1000000", "go on", &s);
    assert_int_equal(s.end.reason, STOP_CONTEXT_WINDOW);
    assert_int_equal(s.n_prompt + s.end.usage.output_tokens, WINDOW);
    free_said(&s);
    close_engine(&f);
}

/* Half a call must not run: who reports broken input is handed it, others get an error. */
static void test_engine_local__a_cut_call_is_no_tool_use(void **state)
{
    (void)state;
    static const struct {
        bool reports_broken_input;
        enum event_type end;
    } cases[] = {{true, EVENT_DONE}, {false, EVENT_FAILED}};
    struct fixture f;
    open_engine(&f, plain_toy);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct engine_caller caller = {.reports_broken_input = cases[i].reports_broken_input};
        struct request r;
        struct turn *t;
        struct error err;
        struct said s;
        init_said(&s);
        read_request(&r, TOOLS ",\"max_tokens\":40",
                     "say:<tool_call>\\\\n{\\\"name\\\": \\\"Read\\\", \\\"arguments\\\": "
                     "{\\\"path\\\": \\\"abcdefghijklmnopqrstuvwxyz\\\"}}\\\\n</tool_call>");
        assert_int_equal(engine_start(f.engine, &r.req, &caller, &t, &s.n_prompt, &err), STATUS_OK);
        hear_out(t, &s);
        assert_int_equal(s.end.type, cases[i].end);
        assert_int_not_equal(s.end.reason, STOP_TOOL_USE);
        free_said(&s);
        free_request(&r);
    }
    close_engine(&f);
}

static void test_engine_local__the_counts_agree_and_the_second_turn_reads_the_pool(void **state)
{
    (void)state;
    struct fixture f;
    struct said first, second;
    struct request r;
    struct error err;
    uint32_t counted = 0;
    open_engine(&f, plain_toy);
    read_request(&r, "", "say:Hello");
    assert_int_equal(engine_count_tokens(f.engine, &r.req, &anybody, &counted, NULL, &err),
                     STATUS_OK);
    free_request(&r);

    ask(&f, "", "say:Hello", &first);
    ask(&f, "", "say:Hello", &second);
    const struct usage *a = &first.end.usage, *b = &second.end.usage;
    assert_int_equal(first.n_prompt, counted);
    assert_int_equal(a->input_tokens + a->cache_read_tokens + a->cache_creation_tokens, counted);
    assert_int_equal(a->cache_read_tokens, 0);
    assert_int_equal(b->cache_read_tokens, counted - 1);
    assert_int_equal(b->input_tokens, 1);
    assert_int_equal(b->cache_creation_tokens, 0);
    assert_int_equal(a->output_tokens, 5);
    free_said(&first);
    free_said(&second);
    close_engine(&f);
}

/* Claude Code sends inputs back with their members in the schema's order.  The reply's cells are
 * found all the same: of the second prompt only what is new is computed. */
static void
test_engine_local__a_reply_that_comes_back_in_other_words_is_not_read_again(void **state)
{
    (void)state;
    static const char *const inputs[] = {"{\"path\":\"a\",\"limit\":5}",
                                         "{\"limit\":\"5\",\"path\":\"a\"}"};
    const char *tools = ",\"tools\":[{\"name\":\"Read\",\"input_schema\":{\"type\":\"object\","
                        "\"properties\":{\"path\":{\"type\":\"string\"},\"limit\":{\"type\":"
                        "\"integer\"}},\"required\":[\"path\"]}}]";
    const char *question = "say:{\\\"name\\\": \\\"Read\\\", \\\"arguments\\\": {\\\"path\\\":  "
                           "\\\"a\\\", \\\"limit\\\": 5}}";
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        struct fixture f;
        struct said first, second;
        struct strbuf messages;
        open_engine(&f, plain_toy);
        ask(&f, tools, question, &first);
        assert_int_equal(first.end.reason, STOP_TOOL_USE);
        strbuf_init(&messages, BODY_BYTES);
        strbuf_printf(
            &messages,
            "%s\"},{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"t\","
            "\"name\":\"Read\",\"input\":%s}]},{\"role\":\"user\",\"content\":[{\"type\":"
            "\"tool_result\",\"tool_use_id\":\"t\",\"content\":\"x\"},{\"type\":\"text\","
            "\"text\":\"say:Done\"}]},{\"role\":\"user\",\"content\":\"Now.",
            question, inputs[i]);
        ask(&f, tools, strbuf_cstr(&messages), &second);
        assert_int_equal(second.end.usage.cache_read_tokens,
                         first.n_prompt + first.end.usage.output_tokens);
        strbuf_free(&messages);
        free_said(&first);
        free_said(&second);
        close_engine(&f);
    }
}

/* One request of each shape that changes what the model is shown; `what` is printed on a failure.
 */
static const struct shape {
    const char *what, *members, *messages;
} shapes[] = {
    {"words", "", "{\"role\":\"user\",\"content\":\"Hello\"}"},
    {"system and blocks", ",\"system\":[{\"type\":\"text\",\"text\":\"Be brief.\"}]",
     "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Hello\"}]}"},
    {"system among the messages", "",
     "{\"role\":\"user\",\"content\":\"Hello\"},{\"role\":\"system\",\"content\":\"Be brief.\"}"},
    {"thinking sent back", ",\"thinking\":{\"type\":\"adaptive\",\"display\":\"omitted\"}",
     "{\"role\":\"user\",\"content\":\"Hello\"},{\"role\":\"assistant\",\"content\":[{\"type\":"
     "\"thinking\",\"thinking\":\"Hm.\",\"signature\":\"s\"},{\"type\":\"redacted_thinking\","
     "\"data\":\"x\"},{\"type\":\"text\",\"text\":\"Yes?\"}]},{\"role\":\"user\",\"content\":"
     "\"Go\"}"},
    {"tools", TOOLS, "{\"role\":\"user\",\"content\":\"Hello\"}"},
    {"tools that may not be used", TOOLS ",\"tool_choice\":{\"type\":\"none\"}",
     "{\"role\":\"user\",\"content\":\"Hello\"}"},
    {"a call and its result", TOOLS,
     "{\"role\":\"user\",\"content\":\"Hello\"},{\"role\":\"assistant\",\"content\":[{\"type\":"
     "\"tool_use\",\"id\":\"toolu_1\",\"name\":\"Read\",\"input\":{\"path\":\"a\"}}]},{\"role\":"
     "\"user\","
     "\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_1\",\"is_error\":true,"
     "\"content\":\"no such file\"}]}"},
    {"an image", "",
     "{\"role\":\"user\",\"content\":[{\"type\":\"image\",\"source\":{\"type\":\"base64\","
     "\"media_type\":\"image/png\",\"data\":\"AAAA\"}}]}"},
    {"a beginning of the answer", "",
     "{\"role\":\"user\",\"content\":\"Hello\"},{\"role\":\"assistant\",\"content\":\"Well\"}"},
    {"fields that are ignored",
     ",\"output_config\":{\"effort\":\"low\"},\"metadata\":{\"user_id\":\"u\"},\"context_"
     "management\":"
     "{\"edits\":[{\"type\":\"clear_thinking_20251015\",\"keep\":\"all\"}]}",
     "{\"role\":\"user\",\"content\":\"Hello\"}"},
};

static void read_shape(struct request *r, enum anthropic_endpoint endpoint,
                       const struct shape *shape)
{
    struct strbuf body;
    strbuf_init(&body, BODY_BYTES);
    strbuf_printf(&body, "{\"model\":\"m\"%s%s,\"messages\":[%s]}",
                  endpoint == ANTHROPIC_MESSAGES ? ",\"max_tokens\":8" : "", shape->members,
                  shape->messages);
    read_body(r, endpoint, strbuf_str(&body));
    strbuf_free(&body);
}

static uint32_t count_shape(struct fixture *f, const struct shape *shape)
{
    struct request r;
    struct error err = {0};
    uint32_t n = 0;
    read_shape(&r, ANTHROPIC_COUNT_TOKENS, shape);
    if (engine_count_tokens(f->engine, &r.req, &anybody, &n, NULL, &err) != STATUS_OK)
        fail_msg("%s: %s", shape->what, err.message);
    free_request(&r);
    return n;
}

/* What the turn's usage says of its prompt, which message_start must have said too. */
static uint32_t read_prompt_of_shape(struct fixture *f, const struct shape *shape)
{
    struct request r;
    struct turn *t;
    struct said s;
    struct error err = {0};
    init_said(&s);
    read_shape(&r, ANTHROPIC_MESSAGES, shape);
    if (start(f, &r, &t, &s.n_prompt, &err) != STATUS_OK)
        fail_msg("%s: %s", shape->what, err.message);
    hear_out(t, &s);
    const struct usage *u = &s.end.usage;
    uint32_t n = u->input_tokens + u->cache_read_tokens + u->cache_creation_tokens;
    assert_int_equal(s.end.type, EVENT_DONE);
    assert_int_equal(n, s.n_prompt);
    free_said(&s);
    free_request(&r);
    return n;
}

/* Twice each: the second time the prompt is known, and the parts of `usage` differ. */
static void test_engine_local__every_shape_of_request_counts_as_its_usage_says(void **state)
{
    (void)state;
    struct fixture f;
    open_engine(&f, plain_toy);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        uint32_t counted = count_shape(&f, &shapes[i]);
        uint32_t read = read_prompt_of_shape(&f, &shapes[i]);
        uint32_t read_again = read_prompt_of_shape(&f, &shapes[i]);
        if (counted == 0 || counted != read || counted != read_again)
            fail_msg("%s: counted %u, read %u, then %u", shapes[i].what, counted, read, read_again);
    }
    close_engine(&f);
}

static void test_engine_local__a_prompt_that_fills_the_window_is_refused_with_numbers(void **state)
{
    (void)state;
    struct fixture f;
    struct request r;
    struct turn *t;
    uint32_t n;
    struct error err = {0};
    static char text[WINDOW + 1];
    memset(text, 'x', WINDOW);
    open_engine(&f, plain_toy);
    read_request(&r, "", text);
    assert_int_equal(start(&f, &r, &t, &n, &err), STATUS_TOO_LONG);
    assert_true(str_starts_with(str_from(err.message), STR("prompt is too long: ")));
    assert_true(str_find(str_from(err.message), STR(" tokens > 2046 maximum")) != SIZE_MAX);
    free_request(&r);
    close_engine(&f);
}

static void test_engine_local__progress_counts_the_prompt_and_the_reply(void **state)
{
    (void)state;
    struct fixture f;
    struct request r;
    struct turn *t;
    struct error err;
    struct event ev = {.type = EVENT_TEXT};
    struct turn_progress before, after;
    uint32_t n;
    open_engine(&f, plain_toy);
    read_request(&r, "", "say:Hello");
    assert_int_equal(start(&f, &r, &t, &n, &err), STATUS_OK);
    turn_get_progress(t, &before);
    while (ev.type != EVENT_DONE)
        if (turn_next(t, WAIT_MS, &ev) != STATUS_OK)
            ev.type = EVENT_TEXT;
    turn_get_progress(t, &after);
    assert_int_equal(before.n_prompt, n);
    assert_int_equal(before.n_read, 0);
    assert_int_equal(before.n_sampled, 0);
    assert_int_equal(after.n_read, n);
    assert_int_equal(after.n_sampled, 5);
    turn_finish(t);
    free_request(&r);
    close_engine(&f);
}

static void test_engine_local__a_cancelled_turn_still_says_its_end(void **state)
{
    (void)state;
    struct fixture f;
    struct request r;
    struct turn *t;
    struct error err;
    struct said s;
    uint32_t n;
    struct model_toy_options slow = plain_toy;
    slow.step_us = 1000; /* 200 tokens last longer than the cancellation takes */
    open_engine(&f, slow);
    init_said(&s);
    read_request(&r, ",\"max_tokens\":100000", "go on");
    assert_int_equal(start(&f, &r, &t, &n, &err), STATUS_OK);
    turn_cancel(t);
    hear_out(t, &s);
    assert_int_equal(s.end.type, EVENT_FAILED);
    assert_int_equal(s.end.error.status, STATUS_CANCELLED);
    free_said(&s);
    free_request(&r);
    close_engine(&f);
}

/* ---- States ---- */

static void test_engine_local__requests_come_back_later_while_it_loads(void **state)
{
    (void)state;
    struct fixture f;
    struct request r;
    struct turn *t;
    uint32_t n;
    struct error err = {0};
    struct engine_status status;
    create_engine(&f, plain_toy);
    read_request(&r, "", "say:Hello");
    engine_get_status(f.engine, &status);
    assert_int_equal(status.state, ENGINE_LOADING);
    assert_int_equal(start(&f, &r, &t, &n, &err), STATUS_BUSY);
    assert_int_equal(engine_count_tokens(f.engine, &r.req, &anybody, &n, NULL, &err), STATUS_BUSY);
    let_load(&f);
    await_state(&f, ENGINE_READY);
    assert_int_equal(engine_count_tokens(f.engine, &r.req, &anybody, &n, NULL, &err), STATUS_OK);
    free_request(&r);
    close_engine(&f);
}

static void test_engine_local__a_model_that_cannot_be_loaded_is_named(void **state)
{
    (void)state;
    struct fixture f;
    struct request r;
    struct turn *t;
    uint32_t n;
    struct error err = {0};
    struct engine_status status;
    create_engine(&f, plain_toy);
    f.fails_to_load = true;
    let_load(&f);
    await_state(&f, ENGINE_FAILED);
    engine_get_status(f.engine, &status);
    CHECK_STR(str_from(status.error.message), "the file is damaged");
    read_request(&r, "", "say:Hello");
    assert_int_equal(start(&f, &r, &t, &n, &err), STATUS_INTERNAL);
    CHECK_STR(str_from(err.message), "the model could not be loaded: the file is damaged");
    free_request(&r);
    close_engine(&f);
}

/* The model breaks at each of its first calls: in the prompt, and in the reply. */
static void test_engine_local__a_model_that_breaks_ends_all_turns_and_refuses_new_ones(void **state)
{
    (void)state;
    for (uint32_t fail_at = 1; fail_at <= 6; fail_at++) {
        struct fixture f;
        struct model_toy_options toy = plain_toy;
        struct request r;
        struct turn *turns[2], *refused;
        struct said said[2];
        struct error err = {0};
        struct engine_status status;
        uint32_t n;
        toy.fail_decode_at = fail_at;
        open_engine(&f, toy);
        read_request(&r, "", "go on");
        assert_int_equal(start(&f, &r, &turns[0], &n, &err), STATUS_OK);
        /* The second may already be refused: then the first has ended. */
        enum status st = start(&f, &r, &turns[1], &n, &err);
        size_t n_turns = st == STATUS_OK ? 2 : 1;
        for (size_t i = 0; i < n_turns; i++) {
            init_said(&said[i]);
            hear_out(turns[i], &said[i]);
            assert_int_equal(said[i].end.type, EVENT_FAILED);
            assert_int_equal(said[i].end.error.status, STATUS_INTERNAL);
            assert_true(str_find(str_from(said[i].end.error.message), STR("restart")) != SIZE_MAX);
            free_said(&said[i]);
        }
        engine_get_status(f.engine, &status);
        assert_int_equal(status.state, ENGINE_FAILED);
        assert_true(str_find(str_from(status.error.message), STR("restart")) != SIZE_MAX);
        assert_int_equal(status.n_running + status.n_waiting, 0);
        assert_int_equal(start(&f, &r, &refused, &n, &err), STATUS_INTERNAL);
        assert_true(str_find(str_from(err.message), STR("restart")) != SIZE_MAX);
        assert_int_equal(engine_count_tokens(f.engine, &r.req, &anybody, &n, NULL, &err),
                         STATUS_INTERNAL);
        free_request(&r);
        close_engine(&f);
    }
}

/* ---- Allocations that fail ---- */

/* One turn whose n-th allocation fails.  True where it went as it should have gone. */
static bool try_turn(struct fixture *f, struct request *r, long n, const struct said *wanted,
                     long *out_left)
{
    struct turn *t;
    struct error err = {0};
    struct said s;
    uint32_t n_prompt;
    init_said(&s);
    mem_fail_at(n);
    enum status st = start(f, r, &t, &n_prompt, &err);
    if (st == STATUS_OK)
        hear_out(t, &s);
    *out_left = mem_fail_at(0);
    bool is_heard = !s.text.failed && !s.stop_sequence.failed; /* else it was ours that failed */
    bool is_right = st == STATUS_OK && s.end.type == EVENT_DONE && is_heard;
    if (is_right && !str_equal(strbuf_str(&s.text), strbuf_str(&wanted->text)))
        fail_msg("allocation %ld: said \"%s\"", n, strbuf_cstr(&s.text));
    if (st != STATUS_OK && st != STATUS_NO_MEMORY && st != STATUS_TOO_LARGE)
        fail_msg("allocation %ld: refused as \"%s\"", n, err.message);
    free_said(&s);
    return is_right;
}

static void test_engine_local__an_allocation_that_fails_costs_one_turn(void **state)
{
    (void)state;
    static const struct {
        const char *more, *ask;
    } cases[] = {
        {"", "say:Hello"},
        {",\"stop_sequences\":[\"lo\"],\"system\":\"Be brief.\"", "say:Hello"},
        {TOOLS, "say:<tool_call>\\\\n{\\\"name\\\": \\\"Read\\\", \\\"arguments\\\": "
                "{\\\"path\\\": \\\"a\\\"}}\\\\n</tool_call>"},
        {"", "go on"},
    };
    struct fixture f;
    open_engine(&f, plain_toy);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct request r;
        struct said wanted;
        long left = 0;
        size_t n_failed = 0;
        ask(&f, cases[i].more, cases[i].ask, &wanted);
        read_request(&r, cases[i].more, cases[i].ask);
        for (long n = 1; left == 0; n++)
            n_failed += !try_turn(&f, &r, n, &wanted, &left);
        assert_true(n_failed > 0);
        assert_true(try_turn(&f, &r, 0, &wanted, &left));
        free_said(&wanted);
        free_request(&r);
    }
    close_engine(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_engine_local__says_what_the_model_says_and_why_it_ends),
        cmocka_unit_test(test_engine_local__max_tokens_and_the_window_are_told_apart),
        cmocka_unit_test(test_engine_local__a_cut_call_is_no_tool_use),
        cmocka_unit_test(test_engine_local__the_counts_agree_and_the_second_turn_reads_the_pool),
        cmocka_unit_test(
            test_engine_local__a_reply_that_comes_back_in_other_words_is_not_read_again),
        cmocka_unit_test(test_engine_local__every_shape_of_request_counts_as_its_usage_says),
        cmocka_unit_test(test_engine_local__a_prompt_that_fills_the_window_is_refused_with_numbers),
        cmocka_unit_test(test_engine_local__progress_counts_the_prompt_and_the_reply),
        cmocka_unit_test(test_engine_local__a_cancelled_turn_still_says_its_end),
        cmocka_unit_test(test_engine_local__requests_come_back_later_while_it_loads),
        cmocka_unit_test(test_engine_local__a_model_that_cannot_be_loaded_is_named),
        cmocka_unit_test(
            test_engine_local__a_model_that_breaks_ends_all_turns_and_refuses_new_ones),
        cmocka_unit_test(test_engine_local__an_allocation_that_fails_costs_one_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
