/* What a head alone decides, in a server that does not run: each refusal, its order, and that the
 * places and bytes that a request took are given back. */
#include "support/check.h"

#include "base/limits.h"
#include "engine/engine_script.h"
#include "server/admission.h"
#include "server/server_private.h"

#define HOST "Host: 127.0.0.1\r\n"
#define KEY  "X-Api-Key: " SERVER_DEFAULT_KEY "\r\n"
#define JSON "Content-Type: application/json\r\n"
#define GOOD HOST KEY JSON "Content-Length: 100\r\n"

struct fixture {
    struct engine *engine;
    struct server *server;
    struct framing framing;
};

static bool take_head(void *arg, struct framing *f)
{
    (void)arg;
    (void)f;
    return true;
}

static bool take_body(void *arg, const char *bytes, size_t n)
{
    (void)arg;
    (void)bytes;
    (void)n;
    return true;
}

static const struct framing_sink sink = {take_head, take_body};

static int setup(void **state)
{
    static struct fixture f;
    struct error err;
    f.engine = engine_script_create(".");
    struct server_options options = {
        .host = "127.0.0.1",
        .engine = f.engine,
        .version = "0",
        .model_id = "claude-local-script",
        .model_display_name = "script",
        .tuning = {.n_turns = 2, .bodies_bytes = 1000},
    };
    if (server_create(&options, &f.server, &err) != STATUS_OK)
        return -1;
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    server_destroy(f->server);
    engine_destroy(f->engine);
    return 0;
}

/* An exchange with this head, judged.  *out_may is the judgement. */
static struct exchange *judge(struct fixture *f, const char *line, const char *headers,
                              bool *out_may)
{
    struct strbuf text;
    size_t n_read;
    strbuf_init(&text, 4096);
    strbuf_printf(&text, "%s HTTP/1.1\r\n%s\r\n", line, headers);
    framing_init(&f->framing, &sink, NULL);
    enum framing_state read = framing_feed(&f->framing, strbuf_cstr(&text), text.len, &n_read);
    assert_true(read == FRAMING_DONE || read == FRAMING_BODY);
    strbuf_free(&text);
    struct exchange *x = exchange_create(f->server);
    x->head = f->framing.head;
    x->head_bytes = framing_detach_head(&f->framing);
    framing_free(&f->framing);
    *out_may = admission_check(x, STR("127.0.0.1"));
    return x;
}

/* An answer leaves the exchange with the I/O thread too, until it has looked. */
static void drop(struct fixture *f, struct exchange *x)
{
    exchange_release(x);
    uv_run(&f->server->loop, UV_RUN_NOWAIT);
}

static void test_admission__each_refusal_has_its_status_and_words(void **state)
{
    static const struct {
        const char *line, *headers;
        int http;
        const char *words;
    } cases[] = {
        {"POST /v1/messages", "Host: evil.example\r\n" KEY JSON, 403, "--allowed-host"},
        {"POST /v1/messages", GOOD "Origin: http://evil.example\r\n", 403, "web pages"},
        {"GET /nowhere", HOST KEY, 404, "nothing at this path"},
        {"GET /v1/messages", HOST KEY, 405, "allow: POST\r\n"},
        {"GET /test/stats", HOST KEY, 404, "nothing at this path"},
        {"POST /v1/messages", HOST JSON, 401, "x-should-retry: false\r\n"},
        {"POST /admin/stop", HOST, 401, "authentication_error"},
        {"POST /v1/messages", GOOD "Expect: 200-ok\r\n", 417, "expectation"},
        {"POST /v1/messages", HOST KEY JSON "Content-Length: 33554433\r\n", 413,
         "request_too_large"},
        {"POST /v1/messages", HOST KEY "Content-Length: 9\r\n", 415, "application/json"},
        {"POST /v1/messages", GOOD "Content-Encoding: gzip\r\n", 415, "content-encoding"},
        {"POST /v1/messages", HOST KEY JSON "Content-Length: 1001\r\n", 503,
         "too many large requests"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool may;
        struct exchange *x = judge(f, cases[i].line, cases[i].headers, &may);
        if (may || x->status != cases[i].http ||
            str_find(strbuf_str(&x->out), str_from(cases[i].words)) == SIZE_MAX)
            fail_msg("%s: %d, %s", cases[i].line, x->status, strbuf_cstr(&x->out));
        assert_true(x->is_ended);
        drop(f, x);
    }
}

static void test_admission__what_is_judged_first_is_told_first(void **state)
{
    struct fixture *f = *state;
    bool may;
    /* A foreign page learns nothing of paths and keys, a stranger nothing of sizes. */
    struct exchange *x = judge(f, "GET /nowhere", "Host: evil.example\r\n", &may);
    assert_int_equal(x->status, 403);
    drop(f, x);
    x = judge(f, "POST /v1/messages", HOST "Content-Length: 33554433\r\n", &may);
    assert_int_equal(x->status, 401);
    drop(f, x);
}

static void test_admission__a_refused_body_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    bool may;
    struct exchange *x = judge(f, "POST /v1/messages", HOST JSON "Content-Length: 9\r\n", &may);
    assert_true(x->close);
    drop(f, x);
    x = judge(f, "GET /nowhere", HOST KEY, &may);
    assert_false(x->close);
    drop(f, x);
    x = judge(f, "POST /v1/messages", GOOD, &may);
    assert_true(may);
    assert_false(x->close);
    drop(f, x);
}

static void test_admission__probes_need_no_key(void **state)
{
    static const char *const lines[] = {"GET /health", "HEAD /", "HEAD /api/hello"};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        bool may;
        struct exchange *x = judge(f, lines[i], HOST, &may);
        assert_true(may);
        assert_non_null(x->route);
        drop(f, x);
    }
}

static void test_admission__places_are_counted_and_given_back(void **state)
{
    struct fixture *f = *state;
    struct exchange *running[2], *x;
    bool may;
    for (size_t i = 0; i < 2; i++) {
        running[i] = judge(f, "POST /v1/messages", HOST KEY JSON, &may);
        assert_true(may);
    }
    x = judge(f, "POST /v1/messages", HOST KEY JSON, &may);
    assert_false(may);
    assert_int_equal(x->status, 529);
    assert_true(str_find(strbuf_str(&x->out), STR("retry-after: ")) != SIZE_MAX);
    drop(f, x);
    /* Counting is short work: it needs no place. */
    x = judge(f, "POST /v1/messages/count_tokens", HOST KEY JSON, &may);
    assert_true(may);
    drop(f, x);
    exchange_release(running[0]);
    x = judge(f, "POST /v1/messages", HOST KEY JSON, &may);
    assert_true(may);
    drop(f, x);
    exchange_release(running[1]);
    assert_int_equal(atomic_load(&f->server->n_turns), 0);
}

static void test_admission__bytes_of_bodies_are_counted_and_given_back(void **state)
{
    struct fixture *f = *state;
    bool may;
    struct exchange *large =
        judge(f, "POST /v1/messages", HOST KEY JSON "Content-Length: 950\r\n", &may);
    assert_true(may);
    assert_int_equal(atomic_load(&f->server->bodies_bytes), 950);
    struct exchange *x = judge(f, "POST /v1/messages", GOOD, &may);
    assert_false(may);
    assert_int_equal(x->status, 503);
    drop(f, x);
    assert_int_equal(atomic_load(&f->server->bodies_bytes), 950);
    exchange_release(large);
    assert_int_equal(atomic_load(&f->server->bodies_bytes), 0);
    assert_int_equal(atomic_load(&f->server->n_turns), 0);
}

static void test_admission__a_stopping_server_takes_no_work_but_tells_its_health(void **state)
{
    struct fixture *f = *state;
    bool may;
    atomic_store(&f->server->n_stops, 1);
    struct exchange *x = judge(f, "POST /v1/messages", HOST KEY JSON, &may);
    assert_false(may);
    assert_int_equal(x->status, 503);
    drop(f, x);
    x = judge(f, "GET /health", HOST, &may);
    assert_true(may);
    drop(f, x);
    atomic_store(&f->server->n_stops, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_admission__each_refusal_has_its_status_and_words),
        cmocka_unit_test(test_admission__what_is_judged_first_is_told_first),
        cmocka_unit_test(test_admission__a_refused_body_ends_the_connection),
        cmocka_unit_test(test_admission__probes_need_no_key),
        cmocka_unit_test(test_admission__places_are_counted_and_given_back),
        cmocka_unit_test(test_admission__bytes_of_bodies_are_counted_and_given_back),
        cmocka_unit_test(test_admission__a_stopping_server_takes_no_work_but_tells_its_health),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
