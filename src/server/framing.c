#include "server/framing.h"

#include "base/limits.h"

static const struct {
    const char *name;
    size_t len;
} field_names[HTTP_FIELD_COUNT] = {
#define X(id, name) {name, sizeof(name) - 1},
    HTTP_FIELD_MAP(X)
#undef X
};

static struct framing *owner(llhttp_t *parser)
{
    return parser->data;
}

/* Ends the parsing with an answer; for use as `return fail(...)` in a callback. */
static int fail(struct framing *f, int http_status, const char *reason)
{
    f->state = FRAMING_FAILED;
    f->error_status = http_status;
    f->error_reason = reason;
    return HPE_USER;
}

static int count_head(struct framing *f, size_t n)
{
    f->head_bytes += n;
    if (f->head_bytes > LIMIT_HEADER_BYTES)
        return fail(f, 431, "the headers are too large");
    return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t n)
{
    struct framing *f = owner(parser);
    if (f->bytes.len + n > LIMIT_URI_BYTES)
        return fail(f, 414, "the request target is too long");
    strbuf_append(&f->bytes, at, n);
    f->target.end = f->bytes.len;
    return 0;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t n)
{
    struct framing *f = owner(parser);
    for (size_t i = 0; i < n; i++, f->name_len++)
        if (f->name_len < FRAMING_NAME_BYTES)
            f->name[f->name_len] = at[i];
    return count_head(f, n);
}

static int find_field(struct str name)
{
    for (int i = 0; i < HTTP_FIELD_COUNT; i++)
        if (str_equal_nocase(name, (struct str){field_names[i].name, field_names[i].len}))
            return i;
    return -1;
}

static int on_header_field_complete(llhttp_t *parser)
{
    struct framing *f = owner(parser);
    if (++f->n_headers > LIMIT_HEADER_COUNT)
        return fail(f, 431, "there are too many headers");
    f->field = -1;
    /* Trailers are counted like headers and otherwise dropped. */
    if (f->state == FRAMING_HEAD && f->name_len <= FRAMING_NAME_BYTES)
        f->field = find_field((struct str){f->name, f->name_len});
    f->name_len = 0;
    if (f->field < 0)
        return 0;
    if (f->head.has_field[f->field])
        return fail(f, 400, "a header that may come once came twice");
    f->head.has_field[f->field] = true;
    f->spans[f->field] = (struct framing_span){f->bytes.len, f->bytes.len};
    return 0;
}

static int on_header_value(llhttp_t *parser, const char *at, size_t n)
{
    struct framing *f = owner(parser);
    if (f->state == FRAMING_HEAD && f->field >= 0) {
        strbuf_append(&f->bytes, at, n);
        f->spans[f->field].end = f->bytes.len;
    }
    return count_head(f, n);
}

static int on_extension(llhttp_t *parser, const char *at, size_t n)
{
    (void)at;
    struct framing *f = owner(parser);
    f->extension_bytes += n;
    if (f->extension_bytes > LIMIT_CHUNK_EXTENSION_BYTES)
        return fail(f, 400, "the chunk extensions are too long");
    return 0;
}

static struct str slice(const struct framing *f, struct framing_span span)
{
    const char *p = strbuf_cstr(&f->bytes);
    while (span.begin < span.end && (p[span.begin] == ' ' || p[span.begin] == '\t'))
        span.begin++;
    while (span.end > span.begin && (p[span.end - 1] == ' ' || p[span.end - 1] == '\t'))
        span.end--;
    return (struct str){p + span.begin, span.end - span.begin};
}

static enum http_method method_of(llhttp_method_t method)
{
    switch ((int)method) {
    case HTTP_GET:
        return HTTP_METHOD_GET;
    case HTTP_HEAD:
        return HTTP_METHOD_HEAD;
    case HTTP_POST:
        return HTTP_METHOD_POST;
    default:
        return HTTP_METHOD_OTHER;
    }
}

/* Splits the target and copies what llhttp knows into f->head. */
static void fill_head(struct framing *f)
{
    struct http_head *head = &f->head;
    llhttp_method_t method = (llhttp_method_t)llhttp_get_method(&f->parser);
    head->method = method_of(method);
    head->method_name = llhttp_method_name(method);
    head->minor = llhttp_get_http_minor(&f->parser);
    head->is_chunked = (f->parser.flags & F_CHUNKED) != 0;
    head->content_length = head->is_chunked ? 0 : f->parser.content_length;
    head->has_body = head->is_chunked || head->content_length > 0;
    head->keep_alive = head->minor == 1 && llhttp_should_keep_alive(&f->parser) != 0;

    struct str target = slice(f, f->target);
    size_t mark = str_find(target, STR("?"));
    head->path = target;
    if (mark != SIZE_MAX) {
        head->path.len = mark;
        head->query = (struct str){target.ptr + mark + 1, target.len - mark - 1};
    }
    for (int i = 0; i < HTTP_FIELD_COUNT; i++)
        if (head->has_field[i])
            head->fields[i] = slice(f, f->spans[i]);
}

static int check_head(struct framing *f)
{
    const struct http_head *head = &f->head;
    if (strbuf_status(&f->bytes) != STATUS_OK) /* far below its ceiling: see the two limits */
        return fail(f, 503, "not enough memory for the headers");
    if (llhttp_get_http_major(&f->parser) != 1 || head->minor > 1)
        return fail(f, 505, "only HTTP/1.1 and HTTP/1.0 are understood");
    if (!head->has_field[HTTP_FIELD_HOST] || head->fields[HTTP_FIELD_HOST].len == 0)
        return fail(f, 400, "the Host header is missing");
    if (head->method_name != NULL && strcmp(head->method_name, "CONNECT") == 0)
        return fail(f, 405, "CONNECT is not supported");
    if (head->path.len == 0 || head->path.ptr[0] != '/')
        return fail(f, 400, "the request target must be a path");
    if (head->has_field[HTTP_FIELD_TRANSFER_ENCODING]) {
        if (!str_equal_nocase(head->fields[HTTP_FIELD_TRANSFER_ENCODING], STR("chunked")) ||
            head->minor != 1)
            return fail(f, 400, "the only transfer coding is chunked, in HTTP/1.1");
        if ((f->parser.flags & F_CONTENT_LENGTH) != 0)
            return fail(f, 400, "Transfer-Encoding and Content-Length exclude each other");
    }
    return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
    struct framing *f = owner(parser);
    fill_head(f);
    int rc = check_head(f);
    if (rc != 0)
        return -1;
    /* "Upgrade: h2c" and the like are offers; a server that ignores them answers as usual. */
    parser->upgrade = 0;
    f->state = FRAMING_BODY;
    if (!f->sink->on_head(f->arg, f)) {
        f->state = FRAMING_REFUSED;
        return -1;
    }
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
    struct framing *f = owner(parser);
    if (!f->sink->on_body(f->arg, at, n)) {
        f->state = FRAMING_REFUSED;
        return HPE_USER;
    }
    return 0;
}

static int on_message_complete(llhttp_t *parser)
{
    owner(parser)->state = FRAMING_DONE;
    return HPE_PAUSED;
}

/* llhttp is strict unless told otherwise, and nothing here tells it. */
static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_field_complete = on_header_field_complete,
    .on_header_value = on_header_value,
    .on_chunk_extension_name = on_extension,
    .on_chunk_extension_value = on_extension,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void framing_init(struct framing *f, const struct framing_sink *sink, void *arg)
{
    *f = (struct framing){.sink = sink, .arg = arg};
    strbuf_init(&f->bytes, LIMIT_URI_BYTES + LIMIT_HEADER_BYTES);
    framing_reset(f);
}

void framing_free(struct framing *f)
{
    strbuf_free(&f->bytes);
}

void framing_reset(struct framing *f)
{
    llhttp_init(&f->parser, HTTP_REQUEST, &settings);
    f->parser.data = f;
    f->state = FRAMING_HEAD;
    f->head = (struct http_head){0};
    strbuf_clear(&f->bytes);
    f->target = (struct framing_span){0, 0};
    f->name_len = 0;
    f->field = -1;
    f->head_bytes = f->fed_bytes = f->extension_bytes = 0;
    f->n_headers = 0;
    f->error_status = 0;
    f->error_reason = NULL;
}

enum framing_state framing_feed(struct framing *f, const char *bytes, size_t n,
                                size_t *out_consumed)
{
    INVARIANT(f->state == FRAMING_HEAD || f->state == FRAMING_BODY);
    llhttp_errno_t rc = llhttp_execute(&f->parser, bytes, n);
    *out_consumed = n;
    if (f->state == FRAMING_DONE) {
        const char *end = llhttp_get_error_pos(&f->parser);
        if (rc == HPE_PAUSED && end != NULL)
            *out_consumed = (size_t)(end - bytes);
    } else if (f->state == FRAMING_HEAD || f->state == FRAMING_BODY) {
        f->fed_bytes += n;
        if (rc != HPE_OK)
            fail(f, 400, llhttp_get_error_reason(&f->parser));
        else if (f->state == FRAMING_HEAD && f->fed_bytes > LIMIT_HEADER_BYTES + LIMIT_URI_BYTES)
            /* Also what the callbacks do not see, such as empty lines before the request. */
            fail(f, 431, "the headers are too large");
    }
    return f->state;
}

char *framing_detach_head(struct framing *f)
{
    return strbuf_detach(&f->bytes, NULL);
}
