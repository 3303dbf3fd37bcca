#include "servertools/web_fetch.h"

#include "base/clock.h"
#include "servertools/address.h"
#include "servertools/charset.h"
#include "servertools/html_text.h"
#include "servertools/http_get.h"
#include "wire/json_out.h"

enum {
    BYTES_PER_TOKEN = 4,
    DECODED_BYTES = 3 * LIMIT_WEB_PAGE_BYTES, /* a byte becomes three at most: U+FFFD */
};

#define CUT_NOTE "\n\n[The page goes on here; its text was cut at the tool's limit.]"

/* ---- What may be fetched ---- */

static bool ends_with(struct str s, struct str tail)
{
    return s.len >= tail.len && str_equal((struct str){s.ptr + s.len - tail.len, tail.len}, tail);
}

static bool is_html(struct str type)
{
    return str_is(type, "text/html") || str_is(type, "application/xhtml+xml");
}

static bool is_text(struct str type)
{
    return str_starts_with(type, STR("text/")) || str_is(type, "application/json") ||
           str_is(type, "application/xml") || ends_with(type, STR("+json")) ||
           ends_with(type, STR("+xml"));
}

static bool is_public(const unsigned char *bytes, size_t n)
{
    return !address_is_private(bytes, n) && !address_is_near(bytes, n);
}

static bool is_allowed_domain(const struct web_url *url, void *arg)
{
    return domain_rules_allow(arg, url);
}

/* Bytes of text that the client wants at most; 0 where what it says is no number of tokens. */
static size_t limit_of(const struct json *declared)
{
    const struct json *v = json_get(declared, "max_content_tokens");
    if (json_type(v) == JSON_NULL)
        return (size_t)LIMIT_WEB_TOKENS * BYTES_PER_TOKEN;
    if (!json_is_integer(v) || json_integer(v) < 1)
        return 0;
    if (json_integer(v) > LIMIT_WEB_PAGE_BYTES / BYTES_PER_TOKEN)
        return LIMIT_WEB_PAGE_BYTES;
    return (size_t)json_integer(v) * BYTES_PER_TOKEN;
}

/* ---- The page as text ---- */

struct page {
    struct strbuf decoded;
    struct html_text html;
    struct str text, title;
    bool is_cut;
};

static enum status read_page(const struct http_answer *answer, size_t limit_bytes, struct page *out)
{
    char bare[HTTP_TYPE_BYTES];
    strbuf_init(&out->decoded, DECODED_BYTES);
    enum status st = charset_decode(strbuf_str(&answer->body), answer->content_type, &out->decoded);
    if (st != STATUS_OK)
        return st;
    struct str all = strbuf_str(&out->decoded);
    if (!is_html(http_bare_type(answer->content_type, bare))) {
        out->text = html_text_cut(all, limit_bytes);
        out->is_cut = out->text.len < all.len;
        return STATUS_OK;
    }
    st = html_text_make(all, answer->url.text, limit_bytes, &out->html);
    out->text = strbuf_str(&out->html.text);
    out->title = strbuf_str(&out->html.title);
    out->is_cut = out->html.is_cut;
    return st;
}

static void free_page(struct page *page)
{
    strbuf_free(&page->decoded);
    html_text_free(&page->html);
}

/* ---- The result ---- */

static void write_source(struct json_out *w, const struct page *page)
{
    json_key(w, "source");
    json_object_begin(w);
    json_field_cstr(w, "type", "text");
    json_field_cstr(w, "media_type", "text/plain");
    struct strbuf text;
    strbuf_init(&text, page->text.len + sizeof CUT_NOTE);
    strbuf_append_str(&text, page->text);
    if (page->is_cut)
        strbuf_append_cstr(&text, CUT_NOTE);
    json_field_str(w, "data", strbuf_str(&text));
    strbuf_free(&text);
    json_object_end(w);
}

static void write_document(struct json_out *w, const struct page *page)
{
    json_key(w, "content");
    json_object_begin(w);
    json_field_cstr(w, "type", "document");
    write_source(w, page);
    json_key(w, "title");
    if (page->title.len > 0)
        json_str(w, page->title);
    else
        json_null(w);
    json_key(w, "citations");
    json_null(w);
    json_object_end(w);
}

static void write_result(struct strbuf *content_json, const struct page *page, const char *url)
{
    struct json_out w;
    char now[CLOCK_TEXT_BYTES];
    clock_wall_text(clock_wall_s(), now);
    json_out_begin(&w, content_json);
    json_object_begin(&w);
    json_field_cstr(&w, "type", "web_fetch_result");
    json_field_cstr(&w, "url", url);
    write_document(&w, page);
    json_field_cstr(&w, "retrieved_at", now);
    json_object_end(&w);
    json_out_end(&w);
}

/* ---- The whole ---- */

/* The error code, or NULL where the answer has a body to read. */
static const char *code_of(const struct http_answer *answer)
{
    switch (answer->outcome) {
    case HTTP_ANSWERED:
        return NULL;
    case HTTP_REFUSED:
        return "url_not_allowed";
    case HTTP_STATUS:
        return answer->http_status == 429 ? "too_many_requests" : "url_not_accessible";
    case HTTP_OTHER_TYPE:
        return "unsupported_content_type";
    case HTTP_TOO_LARGE:
        return "content_too_large";
    case HTTP_NOT_REACHED:
        return "url_not_accessible";
    }
    return "unavailable";
}

static enum status fetch(const struct web_options *o, struct web_call *call,
                         const atomic_bool *cancel, struct strbuf *content_json)
{
    struct web_url url;
    struct page page = {0};
    struct http_answer answer;
    struct http_get_options options = {
        .accept = "text/html, text/plain, application/json, application/xml;q=0.9, */*;q=0.1",
        .limit_bytes = LIMIT_WEB_PAGE_BYTES,
        .may_connect = o->allows_private ? NULL : is_public,
        .may_visit = is_allowed_domain,
        .arg = &call->domains,
        .is_wanted_type = is_text,
        .cancel = cancel,
    };
    if (!web_url_parse(call->subject, &url)) {
        call->code = "invalid_tool_input";
        return STATUS_OK;
    }
    enum status st = http_get(url.text, &options, &answer);
    if (st == STATUS_OK)
        call->code = code_of(&answer);
    if (st == STATUS_OK && call->code == NULL)
        st = read_page(&answer, limit_of(call->declared), &page);
    if (st == STATUS_OK && call->code == NULL)
        write_result(content_json, &page, answer.url.text);
    free_page(&page);
    http_answer_free(&answer);
    return st;
}

/* What speaks against the call before anything is sent; NULL: nothing. */
static const char *find_objection(const struct web_fetch_request *r, const struct web_call *call)
{
    if (call->subject.len > LIMIT_WEB_ASKED_URL_BYTES)
        return "url_too_long";
    if (limit_of(call->declared) == 0)
        return "invalid_tool_input";
    if (r->is_known_url != NULL && !r->is_known_url(r->arg, call->subject))
        return "url_not_in_prior_context";
    return NULL;
}

enum status web_fetch_run(const struct web_options *o, const struct web_fetch_request *r,
                          const atomic_bool *cancel, struct strbuf *content_json)
{
    static const struct web_tool tool = {"url", "url_too_long", "web_fetch_tool_result_error"};
    struct web_call call;
    enum status st = web_call_begin(o, &tool, r->declared_json, r->input_json, &call);
    if (st == STATUS_OK && call.code == NULL)
        call.code = find_objection(r, &call);
    if (st == STATUS_OK && call.code == NULL)
        st = fetch(o, &call, cancel, content_json);
    return web_call_end(&call, st, content_json);
}
