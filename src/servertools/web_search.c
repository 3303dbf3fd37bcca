#include "servertools/web_search.h"

#include "api/message.h"
#include "base/log.h"
#include "base/utf8.h"
#include "servertools/html_text.h"
#include "servertools/http_get.h"
#include "wire/json_out.h"

enum {
    SITES = 5, /* allowed domains that the search server is told of, too */
    PAGE_AGE_BYTES = 64,
    ADDRESS_BYTES = 2048, /* of the search server, from the user */
};

/* ---- The request ---- */

static void append_escaped(struct strbuf *out, struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        bool is_plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
                        (c >= 'a' && c <= 'z') || strchr("-._~", c) != NULL;
        if (is_plain && c != '\0')
            strbuf_append_char(out, (char)c);
        else
            strbuf_printf(out, "%%%02X", c);
    }
}

/* Results are filtered in any case; but where few domains are allowed the search server must look
 * there, or nothing is left of its first page. */
static void append_sites(struct strbuf *query, const struct domain_rules *domains)
{
    if (!domains->are_allowed || domains->n_rules > SITES)
        return;
    for (size_t i = 0; i < domains->n_rules; i++) {
        if (domains->rules[i].has_wildcard)
            return;
    }
    for (size_t i = 0; i < domains->n_rules; i++) {
        strbuf_append_cstr(query, i == 0 ? " site:" : " OR site:");
        strbuf_append_str(query, domains->rules[i].text);
    }
}

static enum status make_url(const char *searxng_url, const struct web_call *call,
                            struct strbuf *out)
{
    struct strbuf query;
    struct str base = str_from(searxng_url);
    unsigned long failures = mem_failures();
    while (base.len > 0 && base.ptr[base.len - 1] == '/')
        base.len--;
    strbuf_init(&query, LIMIT_WEB_QUERY_BYTES + SITES * 300);
    strbuf_append_str(&query, call->subject);
    append_sites(&query, &call->domains);
    strbuf_append_str(out, base);
    strbuf_append_cstr(out, "/search?q=");
    append_escaped(out, strbuf_str(&query));
    strbuf_append_cstr(out, "&format=json");
    strbuf_free(&query);
    return mem_check(failures, strbuf_status(out), NULL);
}

/* ---- The results ---- */

static void write_bounded(struct json_out *w, const char *key, const struct json *v, size_t limit)
{
    json_field_str(w, key, html_text_cut(json_string(v), limit));
}

static void write_content(struct json_out *w, const struct json *snippet)
{
    struct strbuf text;
    strbuf_init(&text, sizeof READABLE_CONTENT_MARK + LIMIT_WEB_SNIPPET_BYTES);
    strbuf_append_cstr(&text, READABLE_CONTENT_MARK);
    strbuf_append_str(&text, html_text_cut(json_string(snippet), LIMIT_WEB_SNIPPET_BYTES));
    json_field_str(w, "encrypted_content", strbuf_str(&text));
    strbuf_free(&text);
}

static void write_page_age(struct json_out *w, const struct json *date)
{
    struct str age = json_string(date);
    json_key(w, "page_age");
    if (age.len > 0 && age.len <= PAGE_AGE_BYTES)
        json_str(w, age);
    else
        json_null(w);
}

static void write_result(struct json_out *w, const struct json *result, const char *url)
{
    json_object_begin(w);
    json_field_cstr(w, "type", "web_search_result");
    json_field_cstr(w, "url", url);
    write_bounded(w, "title", json_get(result, "title"), LIMIT_WEB_TITLE_BYTES);
    write_content(w, json_get(result, "content"));
    write_page_age(w, json_get(result, "publishedDate"));
    json_object_end(w);
}

static void write_results(const struct json *results, const struct domain_rules *domains,
                          struct strbuf *content_json)
{
    struct json_out w;
    struct web_url url;
    size_t n = 0;
    json_out_begin(&w, content_json);
    json_array_begin(&w);
    for (struct json_iter it = json_iter(results); n < LIMIT_WEB_RESULTS && json_next(&it);) {
        if (!web_url_parse(json_string(json_get(it.value, "url")), &url) ||
            !domain_rules_allow(domains, &url))
            continue;
        write_result(&w, it.value, url.text);
        n++;
    }
    json_array_end(&w);
    json_out_end(&w);
}

/* ---- The whole ---- */

/* The error code, or NULL where the answer has a body to read. */
static const char *code_of(const struct http_answer *answer)
{
    if (answer->outcome == HTTP_ANSWERED)
        return NULL;
    if (answer->outcome == HTTP_STATUS && answer->http_status == 429)
        return "too_many_requests";
    if (answer->outcome == HTTP_STATUS)
        log_warn("web search: the search server answered with HTTP status %ld%s",
                 answer->http_status,
                 answer->http_status == 403 ? "; is json one of the formats in its settings?" : "");
    else
        log_warn("web search: the search server did not answer: %s",
                 answer->outcome == HTTP_NOT_REACHED ? answer->why : "too much came");
    return "unavailable";
}

static enum status read_answer(struct http_answer *answer, struct web_call *call,
                               struct strbuf *content_json)
{
    struct json_doc *doc = NULL;
    enum status st = json_parse_copy(strbuf_str(&answer->body), JSON_STRICT, &doc, NULL);
    if (st == STATUS_NO_MEMORY)
        return st;
    const struct json *results = st == STATUS_OK ? json_get(json_root(doc), "results") : NULL;
    if (json_type(results) == JSON_ARRAY) {
        write_results(results, &call->domains, content_json);
    } else {
        log_warn("web search: what the search server answered is no SearXNG JSON");
        call->code = "unavailable";
    }
    if (st == STATUS_OK)
        json_doc_free(doc);
    return STATUS_OK;
}

static enum status ask(const char *url, struct web_call *call, const atomic_bool *cancel,
                       struct strbuf *content_json)
{
    struct http_answer answer;
    struct http_get_options options = {
        .accept = "application/json", .limit_bytes = LIMIT_WEB_SEARCH_BYTES, .cancel = cancel};
    enum status st = http_get(url, &options, &answer);
    if (st == STATUS_OK) {
        call->code = code_of(&answer);
        if (call->code == NULL)
            st = read_answer(&answer, call, content_json);
    }
    http_answer_free(&answer);
    return st;
}

static enum status search(const struct web_options *o, struct web_call *call,
                          const atomic_bool *cancel, struct strbuf *content_json)
{
    if (call->subject.len > LIMIT_WEB_QUERY_BYTES) {
        call->code = "query_too_long";
        return STATUS_OK;
    }
    struct strbuf url;
    strbuf_init(&url, ADDRESS_BYTES + 3 * (LIMIT_WEB_QUERY_BYTES + SITES * 300));
    enum status st = make_url(o->searxng_url, call, &url);
    if (st == STATUS_TOO_LARGE) { /* the user's address is endless */
        call->code = "unavailable";
        st = STATUS_OK;
    } else if (st == STATUS_OK) {
        st = ask(strbuf_cstr(&url), call, cancel, content_json);
    }
    strbuf_free(&url);
    return st;
}

enum status web_search_run(const struct web_options *o, struct str declared_json,
                           struct str input_json, const atomic_bool *cancel,
                           struct strbuf *content_json)
{
    static const struct web_tool tool = {"query", "request_too_large",
                                         "web_search_tool_result_error"};
    struct web_call call;
    enum status st = web_call_begin(o, &tool, declared_json, input_json, &call);
    if (st == STATUS_OK && call.code == NULL)
        st = search(o, &call, cancel, content_json);
    return web_call_end(&call, st, content_json);
}
