#include "servertools/http_get.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/clock.h"

enum {
    DROPPED_BYTES = 64 * 1024, /* of the body of a redirect or an error, which nobody reads */
};

/* One GET with its redirects; all fields belong to the thread that called http_get(). */
struct transfer {
    const struct http_get_options *options;
    struct http_answer *answer;
    CURL *curl;
    uint64_t deadline_ms;
    size_t header_bytes, dropped_bytes; /* of this hop */
    bool has_body_begun;                /* of this hop */
    bool is_refused;                    /* an address was */
};

/* ---- What libcurl calls ---- */

static bool is_cancelled(const struct transfer *t)
{
    return t->options->cancel != NULL && atomic_load(t->options->cancel);
}

static bool may_connect(const struct transfer *t, const struct curl_sockaddr *a)
{
    const unsigned char *address = (const unsigned char *)a + offsetof(struct curl_sockaddr, addr);
    if (t->options->may_connect == NULL)
        return true;
    if (a->family == AF_INET)
        return t->options->may_connect(address + offsetof(struct sockaddr_in, sin_addr), 4);
    if (a->family == AF_INET6)
        return t->options->may_connect(address + offsetof(struct sockaddr_in6, sin6_addr), 16);
    return false;
}

/* Called with the very address that is connected to next. */
static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct transfer *t = arg;
    (void)purpose;
    if (!may_connect(t, a)) {
        t->is_refused = true;
        return CURL_SOCKET_BAD;
    }
    int fd = socket(a->family, a->socktype, a->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

static int on_tick(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return is_cancelled(arg) ? 1 : 0;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    (void)line;
    struct transfer *t = arg;
    t->header_bytes += size * n;
    return t->header_bytes <= LIMIT_WEB_HEADER_BYTES ? size * n : 0;
}

static void on_first_bytes(struct transfer *t)
{
    char bare[HTTP_TYPE_BYTES];
    const char *type = NULL;
    t->has_body_begun = true;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->answer->http_status);
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_TYPE, &type);
    size_t len = type != NULL ? strnlen(type, HTTP_TYPE_BYTES - 1) : 0;
    memcpy(t->answer->content_type, type != NULL ? type : "", len);
    t->answer->content_type[len] = '\0';
    bool is_good = t->answer->http_status >= 200 && t->answer->http_status < 300;
    t->answer->outcome = is_good ? HTTP_ANSWERED : HTTP_STATUS;
    if (is_good && t->options->is_wanted_type != NULL &&
        !t->options->is_wanted_type(http_bare_type(t->answer->content_type, bare)))
        t->answer->outcome = HTTP_OTHER_TYPE;
}

/* Fewer bytes than came end the transfer. */
static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    struct http_answer *answer = t->answer;
    size_t len = size * n;
    if (!t->has_body_begun)
        on_first_bytes(t);
    if (answer->outcome == HTTP_STATUS) {
        t->dropped_bytes += len;
        return t->dropped_bytes <= DROPPED_BYTES ? len : 0;
    }
    if (answer->outcome != HTTP_ANSWERED)
        return 0;
    if (len > answer->body.limit - answer->body.len) {
        answer->outcome = HTTP_TOO_LARGE;
        return 0;
    }
    strbuf_append(&answer->body, bytes, len);
    return answer->body.failed ? 0 : len;
}

/* ---- One request ---- */

static void set_bounds(struct transfer *t)
{
    CURL *curl = t->curl;
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* none, whatever the environment says */
    curl_easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)LIMIT_WEB_CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, on_socket);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, t);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_tick);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, t);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
}

static struct curl_slist *set_headers(struct transfer *t)
{
    char line[256];
    snprintf(line, sizeof line, "Accept: %s", t->options->accept);
    struct curl_slist *list = curl_slist_append(NULL, line);
    curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(t->curl, CURLOPT_USERAGENT, "Mozilla/5.0 (compatible; pensieve)");
    curl_easy_setopt(t->curl, CURLOPT_ACCEPT_ENCODING, ""); /* all that libcurl can undo */
    return list;
}

static enum status not_reached(struct transfer *t, const char *why)
{
    t->answer->outcome = HTTP_NOT_REACHED;
    t->answer->why = why;
    return STATUS_OK;
}

/* The outcome of this hop, which for a redirect is HTTP_STATUS. */
static enum status conclude(struct transfer *t, CURLcode rc)
{
    struct http_answer *answer = t->answer;
    if (is_cancelled(t))
        return STATUS_CANCELLED;
    if (rc == CURLE_OUT_OF_MEMORY || answer->body.failed)
        return STATUS_NO_MEMORY;
    if (rc == CURLE_OK && !t->has_body_begun)
        on_first_bytes(t); /* it had no body */
    if (rc == CURLE_OK)
        return STATUS_OK;
    if (t->has_body_begun && rc == CURLE_WRITE_ERROR && answer->outcome != HTTP_ANSWERED)
        return STATUS_OK; /* ended by on_body, which has said why */
    if (t->is_refused && rc == CURLE_COULDNT_CONNECT) {
        answer->outcome = HTTP_REFUSED;
        return STATUS_OK;
    }
    return not_reached(t, curl_easy_strerror(rc));
}

static enum status request_once(struct transfer *t, const char *url)
{
    uint64_t now_ms = clock_now_ms();
    if (now_ms >= t->deadline_ms)
        return not_reached(t, curl_easy_strerror(CURLE_OPERATION_TIMEDOUT));
    t->header_bytes = t->dropped_bytes = 0;
    t->has_body_begun = t->is_refused = false;
    curl_easy_setopt(t->curl, CURLOPT_TIMEOUT_MS, (long)(t->deadline_ms - now_ms));
    if (curl_easy_setopt(t->curl, CURLOPT_URL, url) != CURLE_OK)
        return STATUS_NO_MEMORY;
    return conclude(t, curl_easy_perform(t->curl));
}

/* ---- Redirects ---- */

static bool may_visit(struct transfer *t, const char *url)
{
    struct http_answer *answer = t->answer;
    if (web_url_parse(str_from(url), &answer->url) &&
        t->options->may_visit(&answer->url, t->options->arg))
        return true;
    answer->outcome = HTTP_REFUSED;
    return false;
}

/* Where the answer sends us, absolute; NULL where it does not. */
static const char *redirect(const struct transfer *t)
{
    char *url = NULL;
    if (t->answer->outcome == HTTP_STATUS)
        curl_easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &url);
    return url;
}

static enum status request_hops(struct transfer *t, const char *url)
{
    for (unsigned n = 0; n <= LIMIT_WEB_REDIRECTS; n++) {
        if (!may_visit(t, url))
            return STATUS_OK;
        enum status st = request_once(t, t->answer->url.text);
        url = st == STATUS_OK ? redirect(t) : NULL;
        if (url == NULL)
            return st;
    }
    return not_reached(t, curl_easy_strerror(CURLE_TOO_MANY_REDIRECTS));
}

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

enum status http_get(const char *url, const struct http_get_options *options,
                     struct http_answer *answer)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    *answer = (struct http_answer){.outcome = HTTP_NOT_REACHED, .why = ""};
    strbuf_init(&answer->body, options->limit_bytes);
    pthread_once(&once, init_curl);
    struct transfer t = {.options = options,
                         .answer = answer,
                         .curl = curl_easy_init(),
                         .deadline_ms = clock_now_ms() + LIMIT_WEB_TOTAL_MS};
    if (t.curl == NULL)
        return STATUS_NO_MEMORY;
    set_bounds(&t);
    struct curl_slist *headers = set_headers(&t);
    enum status st = options->may_visit != NULL ? request_hops(&t, url) : request_once(&t, url);
    curl_easy_cleanup(t.curl);
    curl_slist_free_all(headers);
    return st;
}

void http_answer_free(struct http_answer *answer)
{
    if (answer != NULL)
        strbuf_free(&answer->body);
}

struct str http_bare_type(const char *content_type, char out[HTTP_TYPE_BYTES])
{
    size_t len = 0;
    while (len + 1 < HTTP_TYPE_BYTES && content_type[len] > ' ' && content_type[len] < 0x7f &&
           content_type[len] != ';') {
        char c = content_type[len];
        out[len++] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    out[len] = '\0';
    return (struct str){out, len};
}
