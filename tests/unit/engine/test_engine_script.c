/* The scripted engine, on which the whole-server tests stand: what it plays must be what the script
 * says, by the grammar of event.h. */
#include "support/check.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/anthropic_read.h"
#include "base/limits.h"
#include "base/thread.h"
#include "engine/engine_script.h"

enum {
    WAIT_MS = 20 * 1000,
    TEXT_BYTES = 64 * 1024,
};

struct fixture {
    struct engine *engine;
    char folder[64];
};

static int setup(void **state)
{
    static struct fixture f;
    snprintf(f.folder, sizeof f.folder, "/tmp/pensieve-script-XXXXXX");
    if (mkdtemp(f.folder) == NULL)
        return -1;
    f.engine = engine_script_create(f.folder);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    engine_destroy(f->engine);
    return rmdir(f->folder); /* every test removes its script */
}

static void script_path(const struct fixture *f, const char *name, char *out, size_t size)
{
    snprintf(out, size, "%s/%s.script", f->folder, name);
}

static void write_script(const struct fixture *f, const char *name, const char *text)
{
    char path[128];
    script_path(f, name, path, sizeof path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void remove_script(const struct fixture *f, const char *name)
{
    char path[128];
    script_path(f, name, path, sizeof path);
    assert_int_equal(unlink(path), 0);
}

struct request {
    struct json_doc *doc;
    struct arena arena;
    struct message_request req;
};

static void read_request(struct request *r, const char *messages)
{
    struct strbuf body;
    struct error err = {0};
    strbuf_init(&body, TEXT_BYTES);
    strbuf_printf(&body, "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[%s]}", messages);
    arena_init(&r->arena, LIMIT_REQUEST_ARENA_BYTES);
    if (json_parse_copy(strbuf_str(&body), JSON_STRICT, &r->doc, &err) != STATUS_OK ||
        anthropic_read(json_root(r->doc), ANTHROPIC_MESSAGES, &r->arena, &r->req, &err) !=
            STATUS_OK)
        fail_msg("%s", err.message);
    strbuf_free(&body);
}

static void free_request(struct request *r)
{
    json_doc_free(r->doc);
    arena_free(&r->arena);
}

static const struct engine_caller anybody = {0};

#define SAY(name) "{\"role\":\"user\",\"content\":\"" name "\"}"

/* A tool ran: the call of an assistant, and the result that the user's client sends back. */
#define RAN(content)                                                                               \
    "{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"N\","     \
    "\"input\":{}}]},{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":"   \
    "\"t\","                                                                                       \
    "\"content\":" content "}]}"

static enum status start(struct fixture *f, struct request *r, struct turn **out, uint32_t *n,
                         struct error *err)
{
    return engine_start(f->engine, &r->req, &anybody, out, n, err);
}

/* One event as text; checks the grammar of event.h on the way. */
static void print_event(const struct event *ev, bool *is_open, struct strbuf *out)
{
    static const char *const blocks[] = {"text", "thinking", "tool"};
    switch (ev->type) {
    case EVENT_BLOCK_START:
        assert_false(*is_open);
        *is_open = true;
        strbuf_printf(out, "<%s%s%.*s%s%.*s>", blocks[ev->block], ev->id.len > 0 ? " " : "",
                      (int)ev->id.len, ev->id.ptr, ev->name.len > 0 ? " " : "", (int)ev->name.len,
                      ev->name.ptr);
        break;
    case EVENT_TEXT:
    case EVENT_THINKING:
    case EVENT_TOOL_INPUT:
    case EVENT_SUMMARY:
        assert_true(*is_open);
        strbuf_printf(out, "%.*s|", (int)ev->text.len, ev->text.ptr);
        break;
    case EVENT_BLOCK_STOP:
        assert_true(*is_open);
        *is_open = false;
        strbuf_printf(out, "</%.*s>", (int)ev->signature.len, ev->signature.ptr);
        break;
    case EVENT_DONE:
        assert_false(*is_open);
        strbuf_printf(out, "done %d %.*s", ev->reason, (int)ev->stop_sequence.len,
                      ev->stop_sequence.ptr);
        break;
    case EVENT_FAILED:
        strbuf_printf(out, "failed %d %s", ev->error.status, ev->error.message);
        break;
    }
}

/* Plays `script` to its end: all of its events as text, the last one in *last. */
static void play(struct fixture *f, const char *script, struct strbuf *out, struct event *last)
{
    struct request r;
    struct turn *t;
    struct error err = {0};
    uint32_t n;
    bool is_open = false;
    write_script(f, "one", script);
    read_request(&r, SAY("one"));
    assert_int_equal(start(f, &r, &t, &n, &err), STATUS_OK);
    strbuf_init(out, TEXT_BYTES);
    do {
        assert_int_equal(turn_next(t, WAIT_MS, last), STATUS_OK);
        print_event(last, &is_open, out);
    } while (last->type != EVENT_DONE && last->type != EVENT_FAILED);
    turn_finish(t);
    free_request(&r);
    remove_script(f, "one");
}

static void test_engine_script__plays_every_word(void **state)
{
    static const struct {
        const char *script, *played;
    } cases[] = {
        {"", "done 0 "},
        {"text \"a\\nb\"\ntext c\n", "<text>a\nb|c|</>done 0 "},
        {"# a comment\n\nthinking hm\nsignature s1\ntext x\ndone max_tokens\n",
         "<thinking>hm|</s1><text>x|</>done 1 "},
        {"thinking hm\ntext x\n", "<thinking>hm|</><text>x|</>done 0 "},
        {"tool t1 Read\ninput \"{}\"\ntool t2 Now\ndone tool_use\n",
         "<tool t1 Read>{}|</><tool t2 Now></>done 3 "},
        {"text a\nblock_end\ntext b\ndone stop_sequence \"E N D\"\n",
         "<text>a|</><text>b|</>done 2 E N D"},
        {"text a\nfail overloaded \"no room\"\ntext never\n", "<text>a|failed 10 no room"},
        {"split 1\ntext \"a\xC3\xA4\xF0\x9F\x98\x80\"\n",
         "<text>a|\xC3\xA4|\xF0\x9F\x98\x80|</>done 0 "},
        {"split 2\ntext abcde", "<text>ab|cd|e|</>done 0 "},
    };
    assert_int_equal(STATUS_NO_MEMORY, 10); /* as in the words above */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct strbuf out;
        struct event last;
        play(*state, cases[i].script, &out, &last);
        CHECK_STR(strbuf_str(&out), cases[i].played);
        strbuf_free(&out);
    }
}

static void test_engine_script__counts_what_the_script_says(void **state)
{
    struct strbuf out;
    struct event last;
    play(*state, "prompt 10\ncached 4\ntext a\ntext b\n", &out, &last);
    assert_int_equal(last.usage.input_tokens, 6);
    assert_int_equal(last.usage.cache_read_tokens, 4);
    assert_int_equal(last.usage.output_tokens, 2);
    strbuf_free(&out);
}

static void test_engine_script__the_last_words_of_the_user_choose_it(void **state)
{
    static const struct {
        const char *messages;
        uint32_t n_prompt;
    } cases[] = {
        {SAY("one"), 1},
        {SAY("one") "," SAY("two"), 2},
        {SAY("one") "," SAY("No name of a script!"), 1},
        {SAY("two") ",{\"role\":\"assistant\",\"content\":\"one\"}", 2},
        {"{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"two\"},"
         "{\"type\":\"text\",\"text\":\"../x\"}]}",
         2},
        {SAY("one") "," RAN("\"two\""), 3},
        {SAY("one") "," RAN("\"two\"") "," RAN("\"two\""), 4},
        {SAY("one") "," RAN("\"two\"") "," SAY("Go on."), 3},
        {SAY("one") "," RAN("\"two\"") "," SAY("two"), 2},
    };
    struct fixture *f = *state;
    write_script(f, "one", "prompt 1\n");
    write_script(f, "two", "prompt 2\n");
    write_script(f, "one-after", "prompt 3\n");
    write_script(f, "one-after2", "prompt 4\n");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct request r;
        struct error err = {0};
        uint32_t n = 0;
        read_request(&r, cases[i].messages);
        assert_int_equal(engine_count_tokens(f->engine, &r.req, &anybody, &n, NULL, &err),
                         STATUS_OK);
        assert_int_equal(n, cases[i].n_prompt);
        free_request(&r);
    }
    remove_script(f, "one");
    remove_script(f, "two");
    remove_script(f, "one-after");
    remove_script(f, "one-after2");
}

static void test_engine_script__refuses_as_the_script_says_or_for_want_of_one(void **state)
{
    struct fixture *f = *state;
    struct request r;
    struct turn *t;
    struct error err = {0};
    uint32_t n;
    write_script(f, "one", "refuse too_long \"prompt is too long\"\n");
    read_request(&r, SAY("one"));
    assert_int_equal(start(f, &r, &t, &n, &err), STATUS_TOO_LONG);
    CHECK_STR(str_from(err.message), "prompt is too long");
    remove_script(f, "one");
    assert_int_equal(start(f, &r, &t, &n, &err), STATUS_INVALID);
    free_request(&r);
}

static void test_engine_script__expects_what_was_said_or_came_back(void **state)
{
    static const struct {
        const char *messages;
        enum status st;
    } cases[] = {
        {SAY("a b\\nc") "," SAY("one"), STATUS_OK},
        {SAY("one") ",{\"role\":\"assistant\",\"content\":\"b\\nc\"}", STATUS_OK},
        {SAY("one") "," RAN("\"b\\nc\"") "," SAY("one"), STATUS_OK},
        {SAY("b c") "," SAY("one"), STATUS_INVALID},
        {"{\"role\":\"system\",\"content\":\"b\\nc\"}," SAY("one"), STATUS_INVALID},
    };
    struct fixture *f = *state;
    write_script(f, "one", "expect \"b\\nc\"\n");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct request r;
        struct error err = {0};
        uint32_t n;
        read_request(&r, cases[i].messages);
        assert_int_equal(engine_count_tokens(f->engine, &r.req, &anybody, &n, NULL, &err),
                         cases[i].st);
        free_request(&r);
    }
    write_script(f, "one", "expect loaded\n");
    struct request r;
    struct error err = {0};
    uint32_t n;
    read_request(&r,
                 RAN("[{\"type\":\"tool_reference\",\"tool_name\":\"is_loaded\"}]") "," SAY("one"));
    assert_int_equal(engine_count_tokens(f->engine, &r.req, &anybody, &n, NULL, &err), STATUS_OK);
    free_request(&r);
    read_request(&r, SAY("one"));
    assert_int_equal(engine_count_tokens(f->engine, &r.req, &anybody, &n, NULL, &err),
                     STATUS_INVALID);
    CHECK_STR(str_from(err.message), "expected in the messages: loaded");
    write_script(f, "one", "otherwise too_long \"prompt is too long\"\nexpect loaded\n");
    assert_int_equal(engine_count_tokens(f->engine, &r.req, &anybody, &n, NULL, &err),
                     STATUS_TOO_LONG);
    CHECK_STR(str_from(err.message), "prompt is too long");
    free_request(&r);
    remove_script(f, "one");
}

static void test_engine_script__waits_until_it_is_let_go(void **state)
{
    struct fixture *f = *state;
    struct request r;
    struct turn *t;
    struct error err;
    struct event ev;
    struct turn_progress at;
    uint32_t n;
    write_script(f, "one", "prompt 9\nwait first\nread 5\nwait second\ntext a\n");
    read_request(&r, SAY("one"));
    assert_int_equal(start(f, &r, &t, &n, &err), STATUS_OK);
    assert_int_equal(turn_next(t, 0, &ev), STATUS_AGAIN);
    turn_get_progress(t, &at);
    assert_int_equal(at.n_prompt, 9);
    assert_int_equal(at.n_read, 0);
    engine_script_release(f->engine, "first");
    assert_int_equal(turn_next(t, 0, &ev), STATUS_AGAIN);
    turn_get_progress(t, &at);
    assert_int_equal(at.n_read, 5);
    engine_script_release(f->engine, "second");
    assert_int_equal(turn_next(t, 0, &ev), STATUS_OK);
    assert_int_equal(ev.type, EVENT_BLOCK_START);
    turn_finish(t);
    free_request(&r);
    remove_script(f, "one");
}

static void *cancel_turn(void *arg)
{
    turn_cancel(arg);
    return NULL;
}

static void test_engine_script__a_cancelled_wait_ends_at_once(void **state)
{
    struct fixture *f = *state;
    struct request r;
    struct turn *t;
    struct error err;
    struct event ev;
    struct strbuf stats;
    pthread_t canceller;
    uint32_t n;
    write_script(f, "one", "wait never\n");
    read_request(&r, SAY("one"));
    assert_int_equal(start(f, &r, &t, &n, &err), STATUS_OK);
    assert_int_equal(thread_start(&canceller, "canceller", cancel_turn, t), STATUS_OK);
    assert_int_equal(turn_next(t, WAIT_MS, &ev), STATUS_OK);
    pthread_join(canceller, NULL);
    assert_int_equal(ev.type, EVENT_FAILED);
    assert_int_equal(ev.error.status, STATUS_CANCELLED);
    turn_finish(t);
    strbuf_init(&stats, TEXT_BYTES);
    engine_script_print_stats(f->engine, &stats);
    assert_true(str_find(strbuf_str(&stats), STR("\"cancelled\":1,\"waiting\":0}")) != SIZE_MAX);
    strbuf_free(&stats);
    free_request(&r);
    remove_script(f, "one");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_engine_script__plays_every_word),
        cmocka_unit_test(test_engine_script__counts_what_the_script_says),
        cmocka_unit_test(test_engine_script__the_last_words_of_the_user_choose_it),
        cmocka_unit_test(test_engine_script__refuses_as_the_script_says_or_for_want_of_one),
        cmocka_unit_test(test_engine_script__expects_what_was_said_or_came_back),
        cmocka_unit_test(test_engine_script__waits_until_it_is_let_go),
        cmocka_unit_test(test_engine_script__a_cancelled_wait_ends_at_once),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
