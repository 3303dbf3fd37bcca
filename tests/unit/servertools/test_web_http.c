/* The web tools against a server of this test's own: SearXNG and pages, good and bad. */
#include "support/check.h"

#include <stdlib.h>

#include "tiny_server.h"

#include "api/message.h"
#include "servertools/http_get.h"
#include "servertools/web_fetch.h"
#include "servertools/web_search.h"

#define OK_JSON "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
#define OK_HTML "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
#define OK_TEXT "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
enum { KIB = 1024 };
static char kib[KIB + 1]; /* text of that length, and what a header line makes of it */
static char kib_header[KIB + 8];

/* A server with one page, and what came of a call. */
struct fixture {
    struct tiny_server server;
    struct web_options options;
    struct strbuf out;
};

static void set_up(struct fixture *f)
{
    memset(kib, 'x', KIB);
    snprintf(kib_header, sizeof kib_header, "X: %s\r\n", kib);
    tiny_bind(&f->server);
    strbuf_init(&f->out, 16 * 1024 * 1024);
    f->options = (struct web_options){.searxng_url = f->server.url, .allows_private = true};
}

static void set_up_page(struct fixture *f, const char *path, const char *answer)
{
    set_up(f);
    f->server.pages[0] = (struct tiny_page){.path = path, .answer = answer};
    tiny_start(&f->server);
}

static void tear_down(struct fixture *f)
{
    tiny_stop(&f->server);
    strbuf_free(&f->out);
}

/* ---- Search ---- */

static enum status search(struct fixture *f, const char *declared)
{
    return web_search_run(&f->options, str_from(declared), STR("{\"query\":\"b\xC3\xBC& c?\"}"),
                          NULL, &f->out);
}

static void check_search(const char *answer, const char *declared, const char *wanted)
{
    struct fixture f;
    set_up_page(&f, "/search", answer);
    assert_int_equal(search(&f, declared), STATUS_OK);
    CHECK_STR(strbuf_str(&f.out), wanted);
    assert_int_equal(tiny_requests(&f.server), 1);
    tear_down(&f);
}

#define SEARCH_ERROR(code) "{\"type\":\"web_search_tool_result_error\",\"error_code\":\"" code "\"}"

static void test_web_search__results_become_blocks(void **state)
{
    (void)state;
    check_search(
        OK_JSON
        "{\"query\":\"x\",\"results\":["
        "{\"url\":\"https://a.test/1\",\"title\":\"One\",\"content\":\"About \\\"one\\\"\","
        "\"publishedDate\":\"2024-05-01T00:00:00\",\"engine\":\"e\"},"
        "{\"url\":\"https://b.test/2\",\"title\":\"Two\",\"content\":\"\",\"publishedDate\":null},"
        "{\"url\":\"javascript:alert(1)\",\"title\":\"bad\",\"content\":\"bad\"},"
        "{\"title\":\"no address\"},7,"
        "{\"url\":\"http://c.test\"}]}",
        "{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}",
        "[{\"type\":\"web_search_result\",\"url\":\"https://a.test/1\",\"title\":\"One\","
        "\"encrypted_content\":\"pensieve:About \\\"one\\\"\","
        "\"page_age\":\"2024-05-01T00:00:00\"},"
        "{\"type\":\"web_search_result\",\"url\":\"https://b.test/2\",\"title\":\"Two\","
        "\"encrypted_content\":\"pensieve:\",\"page_age\":null},"
        "{\"type\":\"web_search_result\",\"url\":\"http://c.test/\",\"title\":\"\","
        "\"encrypted_content\":\"pensieve:\",\"page_age\":null}]");
    check_search(OK_JSON "{\"results\":[]}", "{}", "[]");
}

static void test_web_search__domain_lists_filter_results(void **state)
{
    (void)state;
    static const char *const answer =
        OK_JSON "{\"results\":[{\"url\":\"https://x.a.test/\"},{\"url\":\"https://b.test/\"}]}";
    check_search(answer, "{\"blocked_domains\":[\"a.test\"]}",
                 "[{\"type\":\"web_search_result\",\"url\":\"https://b.test/\",\"title\":\"\","
                 "\"encrypted_content\":\"pensieve:\",\"page_age\":null}]");
    check_search(answer, "{\"allowed_domains\":[\"a.test\"]}",
                 "[{\"type\":\"web_search_result\",\"url\":\"https://x.a.test/\",\"title\":\"\","
                 "\"encrypted_content\":\"pensieve:\",\"page_age\":null}]");
}

static void test_web_search__asks_as_searxng_wants_it(void **state)
{
    (void)state;
    struct fixture f;
    char url[96];
    set_up_page(&f, "/below/search", OK_JSON "{\"results\":[]}");
    snprintf(url, sizeof url, "%s/below//", f.server.url);
    f.options.searxng_url = url;
    f.options.allows_private = false; /* the search server is the user's choice, not the model's */
    assert_int_equal(search(&f, "{\"blocked_domains\":[\"a.test\"]}"), STATUS_OK);
    assert_true(tiny_was_asked(&f.server,
                               "GET /below/search?q=b%C3%BC%26%20c%3F&format=json HTTP/1.1\r\n"));
    assert_int_equal(search(&f, "{\"allowed_domains\":[\"a.test\",\"b.test/x\"]}"), STATUS_OK);
    assert_true(tiny_was_asked(&f.server, "?q=b%C3%BC%26%20c%3F%20site%3Aa.test%20OR%20"
                                          "site%3Ab.test%2Fx&format=json"));
    CHECK_STR(strbuf_str(&f.out), "[][]");
    tear_down(&f);
}

static void test_web_search__is_bounded(void **state)
{
    (void)state;
    struct fixture f;
    struct strbuf answer;
    strbuf_init(&answer, KIB * KIB);
    memset(kib, 'x', KIB);
    strbuf_append_cstr(&answer, OK_JSON "{\"results\":[{}");
    for (int i = 0; i < 30; i++)
        strbuf_printf(&answer,
                      ",{\"url\":\"https://a.test/\",\"title\":\"%s\",\"content\":\"%s%s%s\","
                      "\"publishedDate\":\"%s\"}",
                      kib, kib, kib, kib, kib);
    strbuf_append_cstr(&answer, "]}");
    set_up_page(&f, "/search", strbuf_cstr(&answer));
    assert_int_equal(search(&f, "{}"), STATUS_OK);
    struct json_doc *doc;
    assert_int_equal(json_parse_copy(strbuf_str(&f.out), JSON_STRICT, &doc, NULL), STATUS_OK);
    assert_int_equal(json_length(json_root(doc)), LIMIT_WEB_RESULTS);
    for (struct json_iter it = json_iter(json_root(doc)); json_next(&it);) {
        assert_int_equal(json_string(json_get(it.value, "title")).len, LIMIT_WEB_TITLE_BYTES);
        assert_int_equal(json_string(json_get(it.value, "encrypted_content")).len,
                         strlen(READABLE_CONTENT_MARK) + LIMIT_WEB_SNIPPET_BYTES);
        assert_int_equal(json_type(json_get(it.value, "page_age")), JSON_NULL);
    }
    json_doc_free(doc);
    tear_down(&f);
    strbuf_free(&answer); /* which the server sends from */
}

static void test_web_search__failures_have_their_codes(void **state)
{
    (void)state;
    check_search("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}", "{}",
                 SEARCH_ERROR("too_many_requests"));
    check_search("HTTP/1.1 403 Forbidden\r\n\r\n", "{}", SEARCH_ERROR("unavailable"));
    check_search("HTTP/1.1 302 Found\r\nLocation: /search\r\n\r\n", "{}",
                 SEARCH_ERROR("unavailable"));
    check_search(OK_HTML "<html>no JSON</html>", "{}", SEARCH_ERROR("unavailable"));
    check_search(OK_JSON "{\"results\":7}", "{}", SEARCH_ERROR("unavailable"));
    check_search(OK_JSON "{\"results\":[", "{}", SEARCH_ERROR("unavailable"));
    check_search("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"results\":[]}", "{}",
                 SEARCH_ERROR("unavailable"));
    check_search("no HTTP", "{}", SEARCH_ERROR("unavailable"));
    check_search("", "{}", SEARCH_ERROR("unavailable"));
}

static void test_web_search__a_server_that_is_not_there_is_unavailable(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    tiny_start(&f.server);
    tiny_stop(&f.server);
    assert_int_equal(search(&f, "{}"), STATUS_OK);
    CHECK_STR(strbuf_str(&f.out), SEARCH_ERROR("unavailable"));
    strbuf_free(&f.out);
}

static void test_web_search__a_cancel_ends_the_wait(void **state)
{
    (void)state;
    struct fixture f;
    set_up_page(&f, "/search", NULL);
    /* The server's own note that a request hangs is the cancel: it comes while this waits. */
    assert_int_equal(
        web_search_run(&f.options, STR("{}"), STR("{\"query\":\"x\"}"), &f.server.has_hung, &f.out),
        STATUS_CANCELLED);
    assert_int_equal(f.out.len, 0);
    tear_down(&f);
}

static void test_web_search__no_memory_is_told(void **state)
{
    (void)state;
    struct fixture f;
    set_up_page(&f, "/search", OK_JSON "{\"results\":[{\"url\":\"https://a.test/\"}]}");
    bool was_reached = true;
    for (long n = 1; was_reached; n++) {
        struct strbuf out;
        strbuf_init(&out, 4096);
        mem_fail_at(n);
        enum status st = web_search_run(&f.options, STR("{\"allowed_domains\":[\"a.test\"]}"),
                                        STR("{\"query\":\"x\"}"), NULL, &out);
        was_reached = mem_fail_at(0) == 0;
        assert_int_equal(st, was_reached ? STATUS_NO_MEMORY : STATUS_OK);
        strbuf_free(&out);
    }
    tear_down(&f);
}

/* ---- Fetch ---- */

static enum status fetch(struct fixture *f, const char *path, const char *declared)
{
    char input[256];
    snprintf(input, sizeof input, "{\"url\":\"%s%s\"}", f->server.url, path);
    struct web_fetch_request request = {.declared_json = str_from(declared),
                                        .input_json = str_from(input)};
    return web_fetch_run(&f->options, &request, NULL, &f->out);
}

static void check_fetch_error(struct fixture *f, const char *path, const char *declared,
                              const char *wanted_code)
{
    struct strbuf wanted;
    strbuf_init(&wanted, 1024);
    strbuf_printf(&wanted, "{\"type\":\"web_fetch_tool_result_error\",\"error_code\":\"%s\"}",
                  wanted_code);
    strbuf_clear(&f->out);
    assert_int_equal(fetch(f, path, declared), STATUS_OK);
    CHECK_STR(strbuf_str(&f->out), strbuf_cstr(&wanted));
    strbuf_free(&wanted);
}

/* The result but for its time, with "URL" in place of the server's address. */
static void check_fetch(struct fixture *f, const char *path, const char *declared,
                        const char *wanted_path, const char *wanted_content)
{
    struct strbuf wanted;
    struct json_doc *doc;
    strbuf_init(&wanted, 16 * 1024 * 1024);
    strbuf_printf(&wanted, "{\"type\":\"web_fetch_result\",\"url\":\"%s%s\",\"content\":%s,",
                  f->server.url, wanted_path, wanted_content);
    strbuf_clear(&f->out);
    assert_int_equal(fetch(f, path, declared), STATUS_OK);
    assert_true(f->out.len > wanted.len);
    CHECK_STR(((struct str){f->out.data, wanted.len}), strbuf_cstr(&wanted));
    assert_int_equal(json_parse_copy(strbuf_str(&f->out), JSON_STRICT, &doc, NULL), STATUS_OK);
    struct str at = json_string(json_get(json_root(doc), "retrieved_at"));
    assert_int_equal(at.len, strlen("2026-11-27T07:30:00Z"));
    assert_int_equal(at.ptr[at.len - 1], 'Z');
    json_doc_free(doc);
    strbuf_free(&wanted);
}

#define DOCUMENT(data, title)                                                                      \
    "{\"type\":\"document\",\"source\":{\"type\":\"text\",\"media_type\":\"text/plain\","          \
    "\"data\":\"" data "\"},\"title\":" title ",\"citations\":null}"

static void test_web_fetch__pages_become_documents(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    f.server.pages[0] = (struct tiny_page){
        .path = "/page",
        .answer = OK_HTML "<title>The page</title><script>x</script><h1>Head</h1><p>T\xC3\xA4xt "
                          "<a href='https://a.test/'>a</a>"};
    f.server.pages[1] = (struct tiny_page){.path = "/json", .answer = OK_JSON "{\"a\": [1,\r\n2]}"};
    f.server.pages[2] = (struct tiny_page){
        .path = "/latin",
        .answer = "HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; Charset=ISO-8859-1\r\n\r\nT\xE4xt"};
    f.server.pages[3] = (struct tiny_page){.path = "/empty", .answer = OK_TEXT};
    f.server.pages[4] = (struct tiny_page){
        .path = "/feed",
        .answer = "HTTP/1.1 200 OK\r\nContent-Type: application/rss+xml\r\n\r\n<rss/>"};
    tiny_start(&f.server);
    check_fetch(&f, "/page?q=1#part", "{}", "/page?q=1",
                DOCUMENT("# Head\\n\\nT\xC3\xA4xt a (https://a.test/)", "\"The page\""));
    assert_true(tiny_was_asked(&f.server, "GET /page?q=1 HTTP/1.1\r\n"));
    check_fetch(&f, "/json", "{}", "/json", DOCUMENT("{\\\"a\\\": [1,\\n2]}", "null"));
    check_fetch(&f, "/latin", "{}", "/latin", DOCUMENT("T\xC3\xA4xt", "null"));
    check_fetch(&f, "/empty", "{}", "/empty", DOCUMENT("", "null"));
    check_fetch(&f, "/feed", "{}", "/feed", DOCUMENT("<rss/>", "null"));
    tear_down(&f);
}

#define CUT "\\n\\n[The page goes on here; its text was cut at the tool's limit.]"

static void test_web_fetch__max_content_tokens_cuts_at_a_character(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    f.server.pages[0] =
        (struct tiny_page){.path = "/text", .answer = OK_TEXT "abcdef\xE2\x82\xACghi"};
    f.server.pages[1] =
        (struct tiny_page){.path = "/html", .answer = OK_HTML "<p>abcdef\xE2\x82\xACghi"};
    tiny_start(&f.server);
    check_fetch(&f, "/text", "{\"max_content_tokens\":2}", "/text", DOCUMENT("abcdef" CUT, "null"));
    check_fetch(&f, "/html", "{\"max_content_tokens\":2}", "/html", DOCUMENT("abcdef" CUT, "null"));
    check_fetch(&f, "/text", "{\"max_content_tokens\":3}", "/text",
                DOCUMENT("abcdef\xE2\x82\xACghi", "null"));
    check_fetch(&f, "/html", "{\"max_content_tokens\":1000000000}", "/html",
                DOCUMENT("abcdef\xE2\x82\xACghi", "null"));
    tear_down(&f);
}

static void test_web_fetch__a_long_page_is_cut_and_a_too_long_one_refused(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    f.server.pages[0] =
        (struct tiny_page){.path = "/long", .answer = OK_TEXT, .n_more = KIB, .more = kib};
    f.server.pages[1] = (struct tiny_page){.path = "/toolong",
                                           .answer = OK_TEXT "x",
                                           .n_more = LIMIT_WEB_PAGE_BYTES / KIB,
                                           .more = kib};
    tiny_start(&f.server);
    assert_int_equal(fetch(&f, "/long", "{}"), STATUS_OK);
    assert_in_range(f.out.len, LIMIT_WEB_TOKENS * 4, LIMIT_WEB_TOKENS * 4 + 400);
    assert_non_null(strstr(strbuf_cstr(&f.out), CUT));
    check_fetch_error(&f, "/toolong", "{}", "content_too_large");
    tear_down(&f);
}

static void test_web_fetch__failures_have_their_codes(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    f.server.pages[0] = (struct tiny_page){.path = "/429", .answer = "HTTP/1.1 429 Slow\r\n\r\n"};
    f.server.pages[1] = (struct tiny_page){.path = "/500", .answer = "HTTP/1.1 500 No\r\n\r\nx"};
    f.server.pages[2] =
        (struct tiny_page){.path = "/pdf",
                           .answer = "HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\n\r\n%PDF",
                           .n_more = 8 * 1024,
                           .more = kib};
    f.server.pages[3] =
        (struct tiny_page){.path = "/untyped", .answer = "HTTP/1.1 200 OK\r\n\r\nx"};
    f.server.pages[4] =
        (struct tiny_page){.path = "/half",
                           .answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                                     "Content-Length: 99\r\n\r\nhalf"};
    f.server.pages[5] = (struct tiny_page){
        .path = "/loop", .answer = "HTTP/1.1 301 Moved\r\nLocation: /loop\r\n\r\n"};
    f.server.pages[6] = (struct tiny_page){
        .path = "/heads", .answer = "HTTP/1.1 200 OK\r\n", .n_more = 600, .more = kib_header};
    f.server.pages[7] = (struct tiny_page){.path = "/gone", .answer = ""};
    tiny_start(&f.server);
    check_fetch_error(&f, "/429", "{}", "too_many_requests");
    check_fetch_error(&f, "/404", "{}", "url_not_accessible");
    check_fetch_error(&f, "/500", "{}", "url_not_accessible");
    check_fetch_error(&f, "/pdf", "{}", "unsupported_content_type");
    check_fetch_error(&f, "/untyped", "{}", "unsupported_content_type");
    check_fetch_error(&f, "/half", "{}", "url_not_accessible");
    check_fetch_error(&f, "/heads", "{}", "url_not_accessible");
    check_fetch_error(&f, "/gone", "{}", "url_not_accessible");
    unsigned before = tiny_requests(&f.server);
    check_fetch_error(&f, "/loop", "{}", "url_not_accessible");
    assert_int_equal(tiny_requests(&f.server) - before, LIMIT_WEB_REDIRECTS + 1);
    tear_down(&f);
}

static void test_web_fetch__redirects_obey_the_same_rules(void **state)
{
    (void)state;
    struct fixture f;
    char elsewhere[256];
    set_up(&f);
    snprintf(elsewhere, sizeof elsewhere,
             "HTTP/1.1 307 Moved\r\nLocation: http://localhost:%u/page\r\n\r\n", f.server.port);
    f.server.pages[0] = (struct tiny_page){.path = "/page", .answer = OK_TEXT "here"};
    f.server.pages[1] = (struct tiny_page){
        .path = "/near", .answer = "HTTP/1.1 302 Found\r\nLocation: page?x#y\r\n\r\nmoved"};
    f.server.pages[2] = (struct tiny_page){.path = "/far", .answer = elsewhere};
    f.server.pages[3] = (struct tiny_page){
        .path = "/file", .answer = "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n"};
    f.server.pages[4] = (struct tiny_page){
        .path = "/user", .answer = "HTTP/1.1 302 Found\r\nLocation: http://u:w@127.0.0.1/\r\n\r\n"};
    f.server.pages[5] = (struct tiny_page){
        .path = "/blocked", .answer = "HTTP/1.1 302 Found\r\nLocation: /page/%2e/\r\n\r\n"};
    tiny_start(&f.server);
    check_fetch(&f, "/near", "{}", "/page?x", DOCUMENT("here", "null"));
    check_fetch_error(&f, "/far", "{\"allowed_domains\":[\"127.0.0.1\"]}", "url_not_allowed");
    check_fetch_error(&f, "/file", "{}", "url_not_allowed");
    check_fetch_error(&f, "/user", "{}", "url_not_allowed");
    check_fetch_error(&f, "/blocked", "{\"blocked_domains\":[\"127.0.0.1/page\"]}",
                      "url_not_allowed");
    tear_down(&f);
}

static void test_web_fetch__a_private_server_sees_no_connection(void **state)
{
    (void)state;
    struct fixture f;
    set_up_page(&f, "/page", OK_TEXT "secret");
    f.options.allows_private = false;
    check_fetch_error(&f, "/page", "{}", "url_not_allowed");
    assert_int_equal(tiny_requests(&f.server), 0);
    tear_down(&f);
}

static void test_web_fetch__a_cancel_ends_the_wait(void **state)
{
    (void)state;
    struct fixture f;
    char input[128];
    set_up_page(&f, "/page", NULL);
    snprintf(input, sizeof input, "{\"url\":\"%s/page\"}", f.server.url);
    struct web_fetch_request request = {.declared_json = STR("{}"), .input_json = str_from(input)};
    assert_int_equal(web_fetch_run(&f.options, &request, &f.server.has_hung, &f.out),
                     STATUS_CANCELLED);
    assert_int_equal(f.out.len, 0);
    tear_down(&f);
}

static void test_web_fetch__no_memory_is_told(void **state)
{
    (void)state;
    struct fixture f;
    set_up_page(&f, "/page", OK_HTML "<title>t</title><p>text");
    bool was_reached = true;
    for (long n = 1; was_reached; n++) {
        strbuf_free(&f.out);
        strbuf_init(&f.out, 4096);
        mem_fail_at(n);
        enum status st = fetch(&f, "/page", "{\"blocked_domains\":[\"a.test\"]}");
        was_reached = mem_fail_at(0) == 0;
        assert_int_equal(st, was_reached ? STATUS_NO_MEMORY : STATUS_OK);
    }
    tear_down(&f);
}

/* ---- The transfer itself ---- */

static bool is_first_loopback(const unsigned char *bytes, size_t n)
{
    return n == 4 && memcmp(bytes, "\x7f\0\0\1", 4) == 0;
}

static bool visits_all(const struct web_url *url, void *arg)
{
    (void)url, (void)arg;
    return true;
}

/* As a public page would that redirects into the network of the reader. */
static void test_http_get__a_redirect_to_a_refused_address_is_not_followed(void **state)
{
    (void)state;
    struct fixture f;
    struct http_answer answer;
    struct http_get_options options = {.accept = "*/*",
                                       .limit_bytes = 4096,
                                       .may_connect = is_first_loopback,
                                       .may_visit = visits_all};
    char inside[256], url[128];
    set_up(&f);
    snprintf(inside, sizeof inside,
             "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2:%u/page\r\n\r\n", f.server.port);
    snprintf(url, sizeof url, "%s/inside", f.server.url);
    f.server.pages[0] = (struct tiny_page){.path = "/inside", .answer = inside};
    f.server.pages[1] = (struct tiny_page){.path = "/page", .answer = OK_TEXT "secret"};
    tiny_start(&f.server);
    assert_int_equal(http_get(url, &options, &answer), STATUS_OK);
    assert_int_equal(answer.outcome, HTTP_REFUSED);
    assert_int_equal(answer.body.len, 0);
    assert_int_equal(tiny_requests(&f.server), 1);
    http_answer_free(&answer);
    tear_down(&f);
}

static void test_http_get__proxies_of_the_environment_are_not_used(void **state)
{
    (void)state;
    struct fixture f;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    set_up_page(&f, "/page", OK_TEXT "direct");
    check_fetch(&f, "/page", "{}", "/page", DOCUMENT("direct", "null"));
    tear_down(&f);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
}

static void test_http_get__bare_types(void **state)
{
    (void)state;
    char out[HTTP_TYPE_BYTES];
    CHECK_STR(http_bare_type("Text/HTML; charset=x", out), "text/html");
    CHECK_STR(http_bare_type("application/json", out), "application/json");
    CHECK_STR(http_bare_type("", out), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_web_search__results_become_blocks),
        cmocka_unit_test(test_web_search__domain_lists_filter_results),
        cmocka_unit_test(test_web_search__asks_as_searxng_wants_it),
        cmocka_unit_test(test_web_search__is_bounded),
        cmocka_unit_test(test_web_search__failures_have_their_codes),
        cmocka_unit_test(test_web_search__a_server_that_is_not_there_is_unavailable),
        cmocka_unit_test(test_web_search__a_cancel_ends_the_wait),
        cmocka_unit_test(test_web_search__no_memory_is_told),
        cmocka_unit_test(test_web_fetch__pages_become_documents),
        cmocka_unit_test(test_web_fetch__max_content_tokens_cuts_at_a_character),
        cmocka_unit_test(test_web_fetch__a_long_page_is_cut_and_a_too_long_one_refused),
        cmocka_unit_test(test_web_fetch__failures_have_their_codes),
        cmocka_unit_test(test_web_fetch__redirects_obey_the_same_rules),
        cmocka_unit_test(test_web_fetch__a_private_server_sees_no_connection),
        cmocka_unit_test(test_web_fetch__a_cancel_ends_the_wait),
        cmocka_unit_test(test_web_fetch__no_memory_is_told),
        cmocka_unit_test(test_http_get__a_redirect_to_a_refused_address_is_not_followed),
        cmocka_unit_test(test_http_get__proxies_of_the_environment_are_not_used),
        cmocka_unit_test(test_http_get__bare_types),
    };
    return cmocka_run_group_tests_name("web_http", tests, NULL, NULL);
}
