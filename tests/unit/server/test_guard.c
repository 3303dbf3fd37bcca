/* Who may talk to the server: heads as they come over the wire, read by framing and judged. */
#include "support/check.h"

#include "server/guard.h"

enum { PORT = 7777 };

static const char *const allowed[] = {"box.example", "proxy.example:8443"};

static const struct guard guard = {
    .port = PORT,
    .allowed_hosts = allowed,
    .n_allowed_hosts = 2,
    .key = {"secret-key-1", 12},
};

/* ---- Heads ---- */

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

/* Reads a request with these header lines (each with its end); the head lives as long as `f`. */
static const struct http_head *read_head(struct framing *f, const char *lines)
{
    struct strbuf text;
    size_t n_read;
    strbuf_init(&text, 4096);
    strbuf_printf(&text, "GET / HTTP/1.1\r\n%s\r\n", lines);
    framing_init(f, &sink, NULL);
    assert_int_equal(framing_feed(f, strbuf_cstr(&text), text.len, &n_read), FRAMING_DONE);
    strbuf_free(&text);
    return &f->head;
}

/* ---- Host ---- */

static void test_guard__knows_its_own_names_only(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        bool may;
    } cases[] = {
        {"127.0.0.1", true},
        {"127.0.0.1:7777", true},
        {"localhost:7777", true},
        {"LocalHost", true},
        {"[::1]", true},
        {"[::1]:7777", true},
        {"192.168.0.5:7777", true}, /* the address that the connection came in on */
        {"box.example", true},
        {"box.example:7777", true},
        {"BOX.example", true},
        {"proxy.example:8443", true}, /* listed with its port */
        {"", false},
        {":7777", false},
        {"127.0.0.1:", false},
        {"127.0.0.1:77777", false},
        {"127.0.0.1:07777", false},
        {"127.0.0.1:8080", false},
        {"127.0.0.1:7777:7777", false},
        {"127.0.0.2", false},
        {"192.168.0.6", false},
        {"localhost.", false},
        {"localhost.evil.example", false},
        {"evil.example", false},
        {"box.example.evil.example", false},
        {"box.example:8080", false},
        {"proxy.example", false}, /* another port than the listed one */
        {"::1", false},           /* an IPv6 address wears brackets */
        {"[::1", false},
        {"[::1]7777", false},
        {"[::2]:7777", false},
        {"127.0.0.1 ", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (guard_host(&guard, str_from(cases[i].host), STR("192.168.0.5")) != cases[i].may)
            fail_msg("host \"%s\" should be %s", cases[i].host,
                     cases[i].may ? "let in" : "refused");
}

static void test_guard__an_unknown_local_address_is_no_name(void **state)
{
    (void)state;
    assert_false(guard_host(&guard, STR(":7777"), STR("")));
    assert_false(guard_host(&guard, STR("[]:7777"), STR("")));
    assert_true(guard_host(&guard, STR("[fe80::1]:7777"), STR("fe80::1")));
}

/* ---- Origin ---- */

static void test_guard__other_pages_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *lines;
        bool may;
    } cases[] = {
        {"", true},
        {"Origin: http://127.0.0.1:7777\r\n", true},
        {"Origin: http://localhost:7777\r\n", true}, /* our page by another of our names */
        {"Origin: HTTP://127.0.0.1:7777\r\n", false},
        {"Origin: https://127.0.0.1:7777\r\n", false},
        {"Origin: http://localhost\r\n", false}, /* port 80 is somebody else */
        {"Origin: http://localhost:3000\r\n", false},
        {"Origin: http://box.example:7777\r\n", false}, /* a name that others could rebind */
        {"Origin: http://evil.example\r\n", false},
        {"Origin: http://127.0.0.1:7777.evil.example\r\n", false},
        {"Origin: null\r\n", false},
        {"Origin:\r\n", false},
        {"Sec-Fetch-Site: cross-site\r\n", false},
        {"Sec-Fetch-Site: Cross-Site\r\nOrigin: http://127.0.0.1:7777\r\n", false},
        {"Sec-Fetch-Site: same-origin\r\nOrigin: http://127.0.0.1:7777\r\n", true},
        {"Sec-Fetch-Site: none\r\n", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct framing f;
        char lines[256];
        snprintf(lines, sizeof lines, "Host: 127.0.0.1:7777\r\n%s", cases[i].lines);
        if (guard_origin(&guard, read_head(&f, lines)) != cases[i].may)
            fail_msg("should be %s: %s", cases[i].may ? "let in" : "refused", cases[i].lines);
        framing_free(&f);
    }
}

/* ---- Key ---- */

static void test_guard__takes_the_key_in_either_header(void **state)
{
    (void)state;
    static const struct {
        const char *lines;
        bool may;
    } cases[] = {
        {"X-Api-Key: secret-key-1\r\n", true},
        {"x-api-key:secret-key-1  \r\n", true}, /* white space around a value is none of it */
        {"Authorization: Bearer secret-key-1\r\n", true},
        {"Authorization: bearer secret-key-1\r\n", true},
        {"X-Api-Key: wrong\r\nAuthorization: Bearer secret-key-1\r\n", true},
        {"X-Api-Key: secret-key-1\r\nAuthorization: Bearer wrong\r\n", true},
        {"", false},
        {"X-Api-Key:\r\n", false},
        {"X-Api-Key: secret-key-\r\n", false},
        {"X-Api-Key: secret-key-12\r\n", false},
        {"X-Api-Key: Secret-key-1\r\n", false},
        {"X-Api-Key: Bearer secret-key-1\r\n", false},
        {"Authorization: secret-key-1\r\n", false},
        {"Authorization: Bearer\r\n", false},
        {"Authorization: Bearer  secret-key-1\r\n", false},
        {"Authorization: Basic secret-key-1\r\n", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct framing f;
        struct str key = {0};
        char lines[256];
        snprintf(lines, sizeof lines, "Host: a\r\n%s", cases[i].lines);
        if (guard_key(&guard, read_head(&f, lines), &key) != cases[i].may)
            fail_msg("should be %s: %s", cases[i].may ? "right" : "wrong", cases[i].lines);
        CHECK_STR(key, cases[i].may ? "secret-key-1" : "");
        framing_free(&f);
    }
}

/* ---- The rest ---- */

static void test_guard__wants_json_with_any_parameters(void **state)
{
    (void)state;
    static const char *const good[] = {"application/json", "Application/JSON",
                                       "application/json;charset=utf-8",
                                       "application/json \t; x=y"};
    static const char *const bad[] = {"",
                                      "text/plain",
                                      "application/jsonp",
                                      "application/json x",
                                      "application/jso",
                                      "multipart/form-data; application/json"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(guard_content_type(str_from(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(guard_content_type(str_from(bad[i])));
}

static void test_guard__tells_loopback_from_the_world(void **state)
{
    (void)state;
    static const char *const here[] = {"127.0.0.1", "127.255.0.3", "::1", "localhost", "LOCALHOST"};
    static const char *const there[] = {"0.0.0.0",    "::", "192.168.0.5",    "128.0.0.1",
                                        "127.0.0.1x", "",   "::ffff:8.8.8.8", "example"};
    for (size_t i = 0; i < sizeof here / sizeof here[0]; i++)
        assert_true(guard_is_loopback(here[i]));
    for (size_t i = 0; i < sizeof there / sizeof there[0]; i++)
        assert_false(guard_is_loopback(there[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guard__knows_its_own_names_only),
        cmocka_unit_test(test_guard__an_unknown_local_address_is_no_name),
        cmocka_unit_test(test_guard__other_pages_are_refused),
        cmocka_unit_test(test_guard__takes_the_key_in_either_header),
        cmocka_unit_test(test_guard__wants_json_with_any_parameters),
        cmocka_unit_test(test_guard__tells_loopback_from_the_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
