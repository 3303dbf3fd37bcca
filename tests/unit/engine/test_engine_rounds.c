/* Turns of several rounds, over an inner engine whose rounds are written down here: what the client
 * is told, and what the inner engine is asked in each round. */
#include "support/check.h"

#include "api/anthropic_read.h"
#include "base/limits.h"
#include "base/thread.h"
#include "engine/engine_rounds.h"

enum { MOST_ROUNDS = 16, TEXT_BYTES = 64 * 1024, WAIT_MS = 10000 };

/* ---- The inner engine ---- */

/* Plays rounds[0], then rounds[1], ...; the last one again and again. */
struct fake {
    struct engine base;
    const struct event *rounds[MOST_ROUNDS]; /* each ends with DONE or FAILED */
    size_t n_started, n_finished, n_cancelled;
    uint32_t n_counted;  /* what count_tokens says */
    size_t too_long_at;  /* this start is refused; SIZE_MAX: none */
    struct strbuf asked; /* what it was asked, as text */
};

struct fake_turn {
    struct turn base;
    const struct event *next;
    bool is_cancelled;
};

static void print_block(struct strbuf *out, const struct block *b)
{
    static const char *const names[] = {"text",   "thinking", "redacted", "call",
                                        "result", "ref",      "note",     "compaction"};
    strbuf_printf(out, "%s", names[b->type]);
    if (b->id.len > 0)
        strbuf_printf(out, " %.*s", (int)b->id.len, b->id.ptr);
    if (b->name.len > 0)
        strbuf_printf(out, " %.*s", (int)b->name.len, b->name.ptr);
    if (b->input_json.len > 0)
        strbuf_printf(out, " %.*s", (int)b->input_json.len, b->input_json.ptr);
    if (b->text.len > 0)
        strbuf_printf(out, " '%.*s'", (int)b->text.len, b->text.ptr);
    for (size_t i = 0; i < b->n_content; i++) {
        strbuf_append_cstr(out, " (");
        print_block(out, &b->content[i]);
        strbuf_append_cstr(out, ")");
    }
}

static void print_request(struct strbuf *out, const struct message_request *req)
{
    static const char *const roles[] = {"S", "U", "A"};
    strbuf_printf(out, "max %u choice %d:", req->max_tokens, req->tool_choice.type);
    for (size_t i = 0; i < req->n_messages; i++) {
        strbuf_printf(out, " %s[", roles[req->messages[i].role]);
        for (size_t k = 0; k < req->messages[i].n_blocks; k++) {
            strbuf_append_cstr(out, k > 0 ? ", " : "");
            print_block(out, &req->messages[i].blocks[k]);
        }
        strbuf_append_cstr(out, "]");
    }
    strbuf_append_cstr(out, "\n");
}

static enum status fake_start(struct engine *e, const struct message_request *req,
                              const struct engine_caller *caller, struct turn **out,
                              uint32_t *out_prompt_tokens, struct error *err)
{
    (void)caller;
    struct fake *f = (struct fake *)e;
    print_request(&f->asked, req);
    if (f->n_started == f->too_long_at)
        return error_set(err, STATUS_TOO_LONG, "prompt is too long: 9 tokens > 8 maximum");
    size_t last = 0;
    while (last + 1 < MOST_ROUNDS && f->rounds[last + 1] != NULL)
        last++;
    struct fake_turn *t = mem_zalloc(sizeof *t);
    t->base.engine = e;
    t->next = f->rounds[f->n_started < last ? f->n_started : last];
    f->n_started++;
    *out_prompt_tokens = 100;
    *out = &t->base;
    return STATUS_OK;
}

static enum status fake_next(struct turn *turn, unsigned timeout_ms, struct event *out)
{
    (void)timeout_ms;
    struct fake_turn *t = (struct fake_turn *)turn;
    *out = *t->next++;
    if (t->is_cancelled) {
        *out = (struct event){.type = EVENT_FAILED};
        error_set(&out->error, STATUS_CANCELLED, "the turn was cancelled");
    }
    return STATUS_OK;
}

static void fake_progress(struct turn *turn, struct turn_progress *out)
{
    (void)turn;
    *out = (struct turn_progress){.n_prompt = 100, .n_read = 100};
}

static void fake_cancel(struct turn *turn)
{
    ((struct fake *)turn->engine)->n_cancelled++;
    ((struct fake_turn *)turn)->is_cancelled = true;
}

static void fake_finish(struct turn *turn)
{
    ((struct fake *)turn->engine)->n_finished++;
    mem_free(turn);
}

static enum status fake_count(struct engine *e, const struct message_request *req,
                              const struct engine_caller *caller, uint32_t *out_tokens,
                              struct context_report *edits, struct error *err)
{
    (void)req, (void)caller, (void)edits, (void)err;
    *out_tokens = ((struct fake *)e)->n_counted;
    return STATUS_OK;
}

static void fake_status(struct engine *e, struct engine_status *out)
{
    (void)e;
    *out = (struct engine_status){.state = ENGINE_READY, .n_window = 32768};
}

static void fake_destroy(struct engine *e)
{
    (void)e;
}

static const struct engine_ops fake_ops = {
    .start = fake_start,
    .next = fake_next,
    .get_progress = fake_progress,
    .cancel = fake_cancel,
    .finish = fake_finish,
    .count_tokens = fake_count,
    .get_status = fake_status,
    .destroy = fake_destroy,
};

#define START(kind, i, n)                                                                          \
    {.type = EVENT_BLOCK_START,                                                                    \
     .block = EVENT_BLOCK_##kind,                                                                  \
     .id = {i, sizeof i - 1},                                                                      \
     .name = {n, sizeof n - 1}}
#define DELTA(kind, s)        {.type = EVENT_##kind, .text = {s, sizeof s - 1}}
#define STOP                  {.type = EVENT_BLOCK_STOP}
#define SAY(s)                START(TEXT, "", ""), DELTA(TEXT, s), STOP
#define CALL(id, name, input) START(TOOL_USE, id, name), DELTA(TOOL_INPUT, input), STOP
#define DONE(why, n_in, n_out)                                                                     \
    {                                                                                              \
        .type = EVENT_DONE, .reason = STOP_##why,                                                  \
        .usage = {.input_tokens = 1, .cache_read_tokens = (n_in) - 1, .output_tokens = n_out}      \
    }

/* ---- Playing ---- */

struct fixture {
    struct fake fake;
    struct engine *engine;
    struct json_doc *doc;
    struct arena arena;
    struct message_request req;
    struct strbuf told; /* what the client was told, as text */
    struct event end;
    struct server_work work;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof *f);
    f->fake.base.ops = &fake_ops;
    f->fake.too_long_at = SIZE_MAX;
    strbuf_init(&f->fake.asked, TEXT_BYTES);
    strbuf_init(&f->told, TEXT_BYTES);
    arena_init(&f->arena, LIMIT_REQUEST_ARENA_BYTES);
    struct web_options web = {0};
    f->engine = engine_rounds_create(&f->fake.base, &web);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    engine_destroy(f->engine);
    arena_free(&f->arena);
    json_doc_free(f->doc);
    strbuf_free(&f->fake.asked);
    strbuf_free(&f->told);
    mem_free(f);
    return 0;
}

static void read_request(struct fixture *f, const char *body)
{
    struct error err;
    assert_int_equal(json_parse_copy(str_from(body), JSON_STRICT, &f->doc, &err), STATUS_OK);
    enum status st =
        anthropic_read(json_root(f->doc), ANTHROPIC_MESSAGES, &f->arena, &f->req, &err);
    assert_int_equal(st, STATUS_OK);
}

static void tell(struct fixture *f, const struct event *ev)
{
    static const char *const kinds[] = {"text", "thinking", "call", "server call", "", "summary"};
    struct strbuf *out = &f->told;
    switch (ev->type) {
    case EVENT_BLOCK_START:
        strbuf_printf(out, "[%s", kinds[ev->block]);
        if (ev->id.len > 0)
            strbuf_printf(out, " %.*s %.*s", (int)ev->id.len, ev->id.ptr, (int)ev->name.len,
                          ev->name.ptr);
        strbuf_append_str(out, ev->json);
        strbuf_append_cstr(out, "]");
        break;
    case EVENT_TEXT:
    case EVENT_THINKING:
    case EVENT_TOOL_INPUT:
    case EVENT_SUMMARY:
        strbuf_append_str(out, ev->text);
        break;
    case EVENT_BLOCK_STOP:
        strbuf_append_cstr(out, "[/]\n");
        break;
    case EVENT_DONE:
    case EVENT_FAILED:
        f->end = *ev;
        if (ev->work != NULL)
            f->work = *ev->work;
        break;
    }
}

static struct turn *start(struct fixture *f)
{
    struct error err;
    struct turn *t;
    uint32_t n;
    struct engine_caller caller = {0};
    assert_int_equal(engine_start(f->engine, &f->req, &caller, &t, &n, &err), STATUS_OK);
    assert_int_equal(n, 100);
    return t;
}

/* The next event; every round is at hand, so that only tools are waited for. */
static void next_event(struct turn *t, struct event *ev)
{
    enum status st = STATUS_AGAIN;
    for (int i = 0; i < 100 && st != STATUS_OK; i++)
        st = turn_next(t, WAIT_MS, ev);
    assert_int_equal(st, STATUS_OK);
}

static void hear_out(struct fixture *f, struct turn *t)
{
    struct event ev = {.type = EVENT_TEXT};
    while (ev.type != EVENT_DONE && ev.type != EVENT_FAILED) {
        next_event(t, &ev);
        tell(f, &ev);
    }
    turn_finish(t);
    assert_int_equal(f->fake.n_started, f->fake.n_finished);
}

/* Asks for `body` where the inner engine plays these rounds; `second` may be NULL. */
static void play(struct fixture *f, const char *body, const struct event *first,
                 const struct event *second)
{
    f->fake.rounds[0] = first;
    f->fake.rounds[1] = second;
    read_request(f, body);
    hear_out(f, start(f));
}

#define BODY(more) "{\"model\":\"m\",\"max_tokens\":1000," more "}"
#define ASK        "\"messages\":[{\"role\":\"user\",\"content\":\"how warm is it?\"}]"
#define WEATHER(deferred)                                                                          \
    "{\"name\":\"get_weather\",\"description\":\"weather of a place\",\"defer_loading\":" deferred \
    ",\"input_schema\":{\"type\":\"object\"}}"
#define SEARCH_TOOL "{\"type\":\"tool_search_tool_bm25_20251119\",\"name\":\"find\"}"

/* ---- Tools of the server ---- */

static void test_rounds__a_found_tool_is_called_in_the_same_turn(void **state)
{
    struct fixture *f = *state;
    static const struct event first[] = {SAY("I look."),
                                         CALL("toolu_1", "find", "{\"query\":\"weather\"}"),
                                         DONE(TOOL_USE, 100, 20)};
    static const struct event second[] = {CALL("toolu_2", "get_weather", "{}"),
                                          DONE(TOOL_USE, 150, 10)};
    play(f, BODY("\"tools\":[" SEARCH_TOOL "," WEATHER("true") "]," ASK), first, second);
    CHECK_STR(strbuf_str(&f->told),
              "[text]I look.[/]\n"
              "[server call srvtoolu_1 find]{\"query\":\"weather\"}[/]\n"
              "[{\"type\":\"tool_search_tool_result\",\"tool_use_id\":\"srvtoolu_1\",\"content\":"
              "{\"type\":\"tool_search_tool_search_result\",\"tool_references\":"
              "[{\"type\":\"tool_reference\",\"tool_name\":\"get_weather\"}]}}][/]\n"
              "[call toolu_2 get_weather]{}[/]\n");
    CHECK_STR(strbuf_str(&f->fake.asked),
              "max 1000 choice 0: U[text 'how warm is it?']\n"
              "max 980 choice 0: U[text 'how warm is it?'] "
              "A[text 'I look.', call srvtoolu_1 find {\"query\":\"weather\"}] "
              "U[result srvtoolu_1 (ref get_weather)]\n");
    assert_int_equal(f->end.reason, STOP_TOOL_USE);
    assert_int_equal(f->end.usage.input_tokens, 2);
    assert_int_equal(f->end.usage.cache_read_tokens, 248);
    assert_int_equal(f->end.usage.output_tokens, 30);
}

static void test_rounds__without_the_web_a_search_is_unavailable(void **state)
{
    struct fixture *f = *state;
    static const struct event first[] = {CALL("toolu_1", "web_search", "{\"query\":\"q\"}"),
                                         CALL("toolu_2", "web_fetch", "{\"url\":\"http://a.b\"}"),
                                         CALL("toolu_3", "code_execution", "{\"code\":\"1\"}"),
                                         DONE(TOOL_USE, 100, 20)};
    static const struct event second[] = {SAY("I cannot."), DONE(END_TURN, 150, 10)};
    play(f,
         BODY("\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"web_search\"},"
              "{\"type\":\"web_fetch_20250910\",\"name\":\"web_fetch\"},"
              "{\"type\":\"code_execution_20250522\",\"name\":\"code_execution\"}],"
              "\"tool_choice\":{\"type\":\"any\"}," ASK),
         first, second);
    CHECK_STR(strbuf_str(&f->told),
              "[server call srvtoolu_1 web_search]{\"query\":\"q\"}[/]\n"
              "[server call srvtoolu_2 web_fetch]{\"url\":\"http://a.b\"}[/]\n"
              "[server call srvtoolu_3 code_execution]{\"code\":\"1\"}[/]\n"
              "[{\"type\":\"web_search_tool_result\",\"tool_use_id\":\"srvtoolu_1\",\"content\":"
              "{\"type\":\"web_search_tool_result_error\",\"error_code\":\"unavailable\"}}][/]\n"
              "[{\"type\":\"web_fetch_tool_result\",\"tool_use_id\":\"srvtoolu_2\",\"content\":"
              "{\"type\":\"web_fetch_tool_result_error\",\"error_code\":\"unavailable\"}}][/]\n"
              "[{\"type\":\"code_execution_tool_result\",\"tool_use_id\":\"srvtoolu_3\","
              "\"content\":{\"type\":\"code_execution_tool_result_error\",\"error_code\":"
              "\"unavailable\"}}][/]\n"
              "[text]I cannot.[/]\n");
    assert_int_equal(f->end.reason, STOP_END_TURN);
    assert_int_equal(f->work.n_web_searches, 1);
    assert_int_equal(f->work.n_web_fetches, 1);
    /* What was demanded has been done: the next round is free. */
    assert_true(str_find(strbuf_str(&f->fake.asked), STR("max 1000 choice 2:")) == 0);
    assert_true(str_find(strbuf_str(&f->fake.asked), STR("max 980 choice 0:")) != SIZE_MAX);
}

static void test_rounds__a_tool_of_the_clients_ends_the_turn_behind_the_results(void **state)
{
    struct fixture *f = *state;
    static const struct event first[] = {CALL("toolu_1", "get_weather", "{}"),
                                         CALL("toolu_2", "web_search", "{\"query\":\"q\"}"),
                                         DONE(TOOL_USE, 100, 20)};
    play(f,
         BODY("\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}," WEATHER(
             "false") "]," ASK),
         first, NULL);
    CHECK_STR(strbuf_str(&f->told),
              "[call toolu_1 get_weather]{}[/]\n"
              "[server call srvtoolu_2 web_search]{\"query\":\"q\"}[/]\n"
              "[{\"type\":\"web_search_tool_result\",\"tool_use_id\":\"srvtoolu_2\",\"content\":"
              "{\"type\":\"web_search_tool_result_error\",\"error_code\":\"unavailable\"}}][/]\n");
    assert_int_equal(f->end.reason, STOP_TOOL_USE);
    assert_int_equal(f->fake.n_started, 1);
}

static void test_rounds__uses_are_counted(void **state)
{
    struct fixture *f = *state;
    static const struct event first[] = {CALL("toolu_1", "web_search", "{\"query\":\"a\"}"),
                                         CALL("toolu_2", "web_search", "{\"query\":\"b\"}"),
                                         DONE(TOOL_USE, 100, 20)};
    static const struct event second[] = {SAY("So."), DONE(END_TURN, 150, 10)};
    play(f,
         BODY("\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"web_search\","
              "\"max_uses\":1}]," ASK),
         first, second);
    assert_true(str_find(strbuf_str(&f->told), STR("srvtoolu_2\",\"content\":{\"type\":"
                                                   "\"web_search_tool_result_error\","
                                                   "\"error_code\":\"max_uses_exceeded\"}")) !=
                SIZE_MAX);
    assert_int_equal(f->work.n_web_searches, 1);
}

static void test_rounds__after_ten_the_client_is_asked(void **state)
{
    struct fixture *f = *state;
    static const struct event again[] = {CALL("toolu_1", "find", "{\"query\":\"x\"}"),
                                         DONE(TOOL_USE, 100, 1)};
    play(f, BODY("\"tools\":[" SEARCH_TOOL "]," ASK), again, NULL);
    assert_int_equal(f->end.reason, STOP_PAUSE);
    assert_int_equal(f->fake.n_started, LIMIT_ROUNDS);
    assert_int_equal(f->end.usage.output_tokens, LIMIT_ROUNDS);
}

static void test_rounds__max_tokens_is_of_all_rounds(void **state)
{
    struct fixture *f = *state;
    static const struct event first[] = {CALL("toolu_1", "find", "{\"query\":\"x\"}"),
                                         DONE(TOOL_USE, 100, 1000)};
    play(f, BODY("\"tools\":[" SEARCH_TOOL "]," ASK), first, NULL);
    assert_int_equal(f->end.reason, STOP_MAX_TOKENS);
    assert_int_equal(f->fake.n_started, 1);
}

static void test_rounds__a_result_too_long_for_the_window_ends_the_turn(void **state)
{
    struct fixture *f = *state;
    static const struct event first[] = {CALL("toolu_1", "find", "{\"query\":\"x\"}"),
                                         DONE(TOOL_USE, 100, 10)};
    f->fake.too_long_at = 1;
    play(f, BODY("\"tools\":[" SEARCH_TOOL "]," ASK), first, NULL);
    assert_int_equal(f->end.type, EVENT_DONE);
    assert_int_equal(f->end.reason, STOP_CONTEXT_WINDOW);
    assert_int_equal(f->end.usage.output_tokens, 10);
}

static void test_rounds__other_turns_are_the_inner_engines(void **state)
{
    struct fixture *f = *state;
    static const struct event only[] = {SAY("hi"), DONE(END_TURN, 100, 1)};
    f->fake.rounds[0] = only;
    read_request(f, BODY("\"tools\":[" WEATHER("false") "]," ASK));
    struct turn *t = start(f);
    assert_ptr_equal(t->engine, &f->fake.base);
    hear_out(f, t);
    CHECK_STR(strbuf_str(&f->told), "[text]hi[/]\n");
}

static void test_rounds__a_cancelled_turn_ends_in_any_phase(void **state)
{
    struct fixture *f = *state;
    static const struct event first[] = {CALL("toolu_1", "find", "{\"query\":\"x\"}"),
                                         DONE(TOOL_USE, 100, 10)};
    f->fake.rounds[0] = first;
    read_request(f, BODY("\"tools\":[" SEARCH_TOOL "]," ASK));
    /* After each number of events the turn is cancelled once, and still comes to its end. */
    for (int n_before = 0; n_before < 6; n_before++) {
        struct turn *t = start(f);
        struct event ev;
        for (int i = 0; i < n_before; i++)
            next_event(t, &ev);
        turn_cancel(t);
        hear_out(f, t);
        assert_int_equal(f->end.type, EVENT_FAILED);
        assert_int_equal(f->end.error.status, STATUS_CANCELLED);
    }
}

/* ---- What comes back ---- */

static void test_rounds__what_comes_back_is_asked_as_it_was(void **state)
{
    struct fixture *f = *state;
    static const struct event only[] = {SAY("so"), DONE(END_TURN, 100, 1)};
    play(f,
         BODY("\"tools\":[" SEARCH_TOOL "," WEATHER(
             "true") "],\"messages\":["
                     "{\"role\":\"user\",\"content\":\"how warm is it?\"},"
                     "{\"role\":\"assistant\",\"content\":["
                     "{\"type\":\"text\",\"text\":\"I look.\"},"
                     "{\"type\":\"server_tool_use\",\"id\":\"srvtoolu_1\",\"name\":\"find\","
                     "\"input\":"
                     "{\"query\":\"weather\"}},"
                     "{\"type\":\"tool_search_tool_result\",\"tool_use_id\":\"srvtoolu_1\","
                     "\"content\":"
                     "{\"type\":\"tool_search_tool_search_result\",\"tool_references\":"
                     "[{\"type\":\"tool_reference\",\"tool_name\":\"get_weather\"}]}},"
                     "{\"type\":\"tool_use\",\"id\":\"toolu_2\",\"name\":\"get_weather\","
                     "\"input\":{}}]},"
                     "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":"
                     "\"toolu_2\",\"content\":\"17\"}]}]"),
         only, NULL);
    CHECK_STR(strbuf_str(&f->fake.asked),
              "max 1000 choice 0: U[text 'how warm is it?'] "
              "A[text 'I look.', call srvtoolu_1 find {\"query\":\"weather\"}] "
              "U[result srvtoolu_1 (ref get_weather)] "
              "A[call toolu_2 get_weather {}] "
              "U[result toolu_2 (text '17')]\n");
}

/* ---- Summing up ---- */

#define COMPACT(more)                                                                              \
    "\"context_management\":{\"edits\":[{\"type\":\"compact_20260112\"" more "}]},"
#define LONG_TALK                                                                                  \
    "\"messages\":[{\"role\":\"user\",\"content\":\"first\"},{\"role\":\"assistant\","             \
    "\"content\":\"yes\"},{\"role\":\"user\",\"content\":\"go on\"}]"
#define HEADING "text 'The conversation up to here was summed up, and only the summary is left:', "

static void test_rounds__a_long_conversation_is_summed_up_first(void **state)
{
    struct fixture *f = *state;
    static const struct event first[] = {SAY("<summary>\nall of it\n</summary>"),
                                         DONE(END_TURN, 60000, 50)};
    static const struct event second[] = {SAY("here"), DONE(END_TURN, 80, 7)};
    f->fake.n_counted = 20001;
    play(f,
         BODY(COMPACT(",\"trigger\":{\"type\":\"input_tokens\",\"value\":20000},"
                      "\"instructions\":\"SUM UP\"") LONG_TALK),
         first, second);
    CHECK_STR(strbuf_str(&f->told),
              "[summary]all of it\n\nThe user's last message:\n\ngo on[/]\n[text]here[/]\n");
    CHECK_STR(strbuf_str(&f->fake.asked),
              "max 4096 choice 1: U[text 'first'] A[text 'yes'] U[text 'go on'] U[text 'SUM UP']\n"
              "max 1000 choice 0: U[" HEADING
              "text 'all of it\n\nThe user's last message:\n\ngo on']\n");
    assert_int_equal(f->end.usage.output_tokens, 7);
    assert_true(f->work.has_compaction);
    assert_int_equal(f->work.compaction.output_tokens, 50);
}

static void test_rounds__a_shorter_one_is_not(void **state)
{
    struct fixture *f = *state;
    static const struct event only[] = {SAY("here"), DONE(END_TURN, 80, 7)};
    f->fake.n_counted = 20000;
    play(f, BODY(COMPACT(",\"trigger\":{\"type\":\"input_tokens\",\"value\":20000}") LONG_TALK),
         only, NULL);
    CHECK_STR(strbuf_str(&f->told), "[text]here[/]\n");
    assert_false(f->work.has_compaction);
}

static void test_rounds__the_window_is_a_trigger_too(void **state)
{
    struct fixture *f = *state;
    static const struct event first[] = {SAY("all"), DONE(END_TURN, 24577, 50)};
    f->fake.n_counted = 32768 / 4 * 3 + 1;
    play(f, BODY(COMPACT(",\"pause_after_compaction\":true") LONG_TALK), first, NULL);
    CHECK_STR(strbuf_str(&f->told), "[summary]all\n\nThe user's last message:\n\ngo on[/]\n");
    assert_int_equal(f->end.reason, STOP_COMPACTION);
    assert_int_equal(f->fake.n_started, 1);
}

static void test_rounds__a_summary_can_be_all_that_is_asked_for(void **state)
{
    struct fixture *f = *state;
    static const struct event first[] = {SAY("all"), DONE(END_TURN, 100, 5)};
    play(f, BODY("\"compaction\":{\"type\":\"summarize\"}," LONG_TALK), first, NULL);
    assert_int_equal(f->end.reason, STOP_COMPACTION);
    assert_true(f->work.has_compaction);
}

static void test_rounds__without_a_summary_the_conversation_stays(void **state)
{
    struct fixture *f = *state;
    static const struct event first[] = {DONE(END_TURN, 60000, 0)};
    static const struct event second[] = {SAY("here"), DONE(END_TURN, 60000, 7)};
    f->fake.n_counted = 20001;
    play(f,
         BODY(COMPACT(",\"trigger\":{\"type\":\"input_tokens\",\"value\":20000},"
                      "\"instructions\":\"SUM UP\"") LONG_TALK),
         first, second);
    CHECK_STR(strbuf_str(&f->told), "[summary][/]\n[text]here[/]\n");
    CHECK_STR(strbuf_str(&f->fake.asked),
              "max 4096 choice 1: U[text 'first'] A[text 'yes'] U[text 'go on'] U[text 'SUM UP']\n"
              "max 1000 choice 0: U[text 'first'] A[text 'yes'] U[text 'go on']\n");
}

static void test_rounds__a_summary_that_comes_back_stands_for_what_was_before(void **state)
{
    struct fixture *f = *state;
    static const struct event only[] = {SAY("so"), DONE(END_TURN, 100, 1)};
    play(f,
         BODY("\"messages\":[{\"role\":\"user\",\"content\":\"old\"},"
              "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"x\"},"
              "{\"type\":\"compaction\",\"content\":\"all\"},"
              "{\"type\":\"text\",\"text\":\"here\"}]},"
              "{\"role\":\"assistant\",\"content\":[{\"type\":\"compaction\","
              "\"content\":null}]},"
              "{\"role\":\"user\",\"content\":\"new\"}]"),
         only, NULL);
    CHECK_STR(strbuf_str(&f->fake.asked),
              "max 1000 choice 0: U[" HEADING "text 'all'] A[text 'here'] A[text] "
              "U[text 'new']\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_rounds__##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_found_tool_is_called_in_the_same_turn),
        TEST(without_the_web_a_search_is_unavailable),
        TEST(a_tool_of_the_clients_ends_the_turn_behind_the_results),
        TEST(uses_are_counted),
        TEST(after_ten_the_client_is_asked),
        TEST(max_tokens_is_of_all_rounds),
        TEST(a_result_too_long_for_the_window_ends_the_turn),
        TEST(other_turns_are_the_inner_engines),
        TEST(a_cancelled_turn_ends_in_any_phase),
        TEST(what_comes_back_is_asked_as_it_was),
        TEST(a_long_conversation_is_summed_up_first),
        TEST(a_shorter_one_is_not),
        TEST(the_window_is_a_trigger_too),
        TEST(a_summary_can_be_all_that_is_asked_for),
        TEST(without_a_summary_the_conversation_stays),
        TEST(a_summary_that_comes_back_stands_for_what_was_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
