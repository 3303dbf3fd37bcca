/* commands -- the short verbs: pull, list, status, stop, version. */
#define _GNU_SOURCE
#include "app/commands.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "catalog/fetch.h"
#include "server/server.h"
#include "version.h"
#include "wire/json_in.h"
#include "wire/json_out.h"

enum {
    LOCAL_TIMEOUT_MS = 5000,
    BODY_BYTES = 256 * 1024,
};

int complain(int code, const char *text)
{
    fprintf(stderr, "pensieve: %s\n", text);
    return code;
}

int exit_code_for(const struct error *err)
{
    switch (err->status) {
    case STATUS_OK:
        return EXIT_CODE_OK;
    case STATUS_INVALID:
        return EXIT_CODE_SETTINGS;
    case STATUS_NOT_FOUND:
        return EXIT_CODE_MODEL_MISSING;
    case STATUS_CORRUPT:
        return EXIT_CODE_MODEL_DAMAGED;
    case STATUS_NO_MEMORY:
        return EXIT_CODE_NO_MEMORY;
    case STATUS_BUSY:
        return EXIT_CODE_PORT_TAKEN;
    case STATUS_IO:
    case STATUS_TOO_LARGE:
        return EXIT_CODE_IO;
    case STATUS_FORBIDDEN:
    case STATUS_UNAUTHENTICATED:
        return EXIT_CODE_FORBIDDEN;
    case STATUS_INTERNAL:
        return EXIT_CODE_INTERNAL;
    default:
        return EXIT_CODE_FAILED;
    }
}

/* ---- pull ---- */

static volatile int is_interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    is_interrupted = 1;
}

/* One line that is written over on a terminal; elsewhere a line every tenth of the way. */
static void print_progress(const struct fetch_progress *p, void *arg)
{
    int *last_tenth = arg;
    double done = p->total_bytes > 0 ? (double)p->done_bytes / (double)p->total_bytes : 0;
    char speed[64] = ""; /* nothing is said before one is known */
    if (p->bytes_per_s > 0)
        snprintf(speed, sizeof speed, "%.1f MB/s  %.0f s left  ", p->bytes_per_s / 1e6,
                 (double)(p->total_bytes - p->done_bytes) / p->bytes_per_s);
    bool is_terminal = isatty(STDERR_FILENO);
    if (!is_terminal && (int)(done * 10) == *last_tenth)
        return;
    *last_tenth = (int)(done * 10);
    fprintf(stderr, "%s%5.1f %%  %.1f of %.1f MB  %s(%s)%s", is_terminal ? "\r\033[K" : "",
            done * 100, (double)p->done_bytes / 1e6, (double)p->total_bytes / 1e6, speed, p->what,
            is_terminal ? "" : "\n");
}

static void print_note(const char *line, void *arg)
{
    (void)arg;
    fprintf(stderr, "%s%s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "", line);
}

static const struct catalog_model *model_to_pull(const struct options *o, struct error *err)
{
    if (o->n_rest == 0 && !option_is_set(o, OPTION_MODEL)) {
        char why[256];
        const struct catalog_model *m = default_model(o, why, sizeof why);
        fprintf(stderr, "%s\n", why);
        return m;
    }
    const char *name = o->n_rest > 0 ? o->rest[0] : option_text(o, OPTION_MODEL);
    const struct catalog_model *m = catalog_find(str_from(name));
    if (m != NULL)
        return m;
    const char *near = catalog_nearest(str_from(name));
    error_set(err, STATUS_NOT_FOUND, "no model %.100s in the catalogue%s%s%s", name,
              near ? "; did you mean " : "; see `pensieve list`", near ? near : "",
              near ? "?" : "");
    return NULL;
}

int cmd_pull(const struct options *o)
{
    struct error err;
    const struct catalog_model *m = model_to_pull(o, &err);
    if (m == NULL)
        return complain(EXIT_CODE_MODEL_MISSING, err.message);
    if (option_is_set(o, OPTION_MODELS))
        setenv("PENSIEVE_MODELS", option_text(o, OPTION_MODELS), 1);
    struct sigaction interrupt = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGTERM, &interrupt, NULL);

    int last_tenth = -1;
    struct fetch_options options = {
        .on_progress = print_progress,
        .on_note = print_note,
        .arg = &last_tenth,
        .stop = &is_interrupted,
        .url = getenv("PENSIEVE_PULL_URL"),
    };
    bool is_here = catalog_is_here(m);
    enum status st = is_here ? fetch_verify(m, &options, &err) : STATUS_OK;
    if (st == STATUS_CORRUPT) {
        fprintf(stderr, "\n%s; fetching it again\n", err.message);
        char *damaged = catalog_path(m);
        is_here = unlink(damaged) != 0;
        mem_free(damaged);
    }
    if (!is_here) {
        fprintf(stderr, "fetching %s (%.0f MB, %s)\n", m->name, (double)m->bytes / 1e6, m->licence);
        st = fetch_model(m, &options, &err);
    }
    if (isatty(STDERR_FILENO))
        fputc('\n', stderr);
    if (st != STATUS_OK)
        return complain(st == STATUS_CORRUPT ? EXIT_CODE_MODEL_DAMAGED : EXIT_CODE_IO, err.message);
    char *path = catalog_path(m);
    printf("%s\n", path);
    mem_free(path);
    return EXIT_CODE_OK;
}

/* ---- list ---- */

static void list_json(void)
{
    struct strbuf text;
    strbuf_init(&text, BODY_BYTES);
    struct json_out w;
    json_out_begin(&w, &text);
    json_array_begin(&w);
    for (size_t i = 0; i < catalog_count(); i++) {
        const struct catalog_model *m = catalog_at(i);
        json_object_begin(&w);
        json_field_cstr(&w, "name", m->name);
        json_field_int(&w, "bytes", (int64_t)m->bytes);
        json_field_int(&w, "context_tokens", m->context_tokens);
        json_field_cstr(&w, "licence", m->licence);
        json_field_bool(&w, "here", catalog_is_here(m));
        json_object_end(&w);
    }
    json_array_end(&w);
    json_out_end(&w);
    puts(strbuf_cstr(&text));
    strbuf_free(&text);
}

int cmd_list(const struct options *o)
{
    if (option_is_set(o, OPTION_MODELS))
        setenv("PENSIEVE_MODELS", option_text(o, OPTION_MODELS), 1);
    if (o->json) {
        list_json();
        return EXIT_CODE_OK;
    }
    printf("%-24s %9s %8s  %-12s %s\n", "NAME", "SIZE", "WINDOW", "LICENCE", "HERE");
    for (size_t i = 0; i < catalog_count(); i++) {
        const struct catalog_model *m = catalog_at(i);
        printf("%-24s %6.0f MB %8u  %-12s %s\n", m->name, (double)m->bytes / 1e6, m->context_tokens,
               m->licence, catalog_is_here(m) ? "yes" : "-");
    }
    return EXIT_CODE_OK;
}

/* ---- status, stop ---- */

static void make_url(const struct options *o, const char *path, struct strbuf *out)
{
    const char *host = option_text(o, OPTION_HOST);
    bool is_v6 = strchr(host, ':') != NULL;
    strbuf_init(out, 4096);
    strbuf_printf(out, "http://%s%s%s:%lld%s", is_v6 ? "[" : "", host, is_v6 ? "]" : "",
                  (long long)option_number(o, OPTION_PORT), path);
}

static int no_server(const struct options *o)
{
    char text[128];
    snprintf(text, sizeof text, "nothing answers on port %lld; start it with `pensieve serve`",
             (long long)option_number(o, OPTION_PORT));
    return complain(EXIT_CODE_NO_SERVER, text);
}

/* GET /health; false where no Pensieve answers. */
static bool ask_health(const struct options *o, struct strbuf *body)
{
    struct strbuf url;
    make_url(o, "/health", &url);
    strbuf_init(body, BODY_BYTES);
    long http = 0;
    struct error err;
    bool answers = fetch_local("GET", strbuf_cstr(&url), NULL, LOCAL_TIMEOUT_MS, body, &http,
                               &err) == STATUS_OK &&
                   http == 200 && str_find(strbuf_str(body), STR("\"memory\"")) != SIZE_MAX;
    strbuf_free(&url);
    return answers;
}

static void print_status(const struct json *h)
{
    struct str model = json_string(json_get(h, "model")), state = json_string(json_get(h, "state"));
    const struct json *memory = json_get(h, "memory"), *requests = json_get(h, "requests");
    const struct json *kv = json_get(h, "kv"), *speed = json_get(h, "speed");
    const struct json *store = json_get(h, "store");
    struct str free_gb = json_string(json_get(memory, "available_gb"));
    struct str level = json_string(json_get(memory, "status"));
    printf("model     %.*s (%.*s), window %lld tokens\n", (int)model.len, model.ptr, (int)state.len,
           state.ptr, (long long)json_integer(json_get(h, "context_window")));
    printf("requests  %lld running, %lld waiting\n",
           (long long)json_integer(json_get(requests, "running")),
           (long long)json_integer(json_get(requests, "waiting")));
    printf("pool      %lld of %lld cells\n", (long long)json_integer(json_get(kv, "cells_used")),
           (long long)json_integer(json_get(kv, "cells_total")));
    if (json_bool(json_get(store, "enabled")))
        printf("on disk   %.2f of %.2f GB of prompts%s\n",
               (double)json_integer(json_get(store, "bytes")) / (1u << 30),
               (double)json_integer(json_get(store, "budget_bytes")) / (1u << 30),
               json_bool(json_get(store, "paused")) ? " (no more is written now)" : "");
    printf("speed     reads %.1f, writes %.1f tokens/s\n",
           json_number(json_get(speed, "prefill_tokens_per_s")),
           json_number(json_get(speed, "decode_tokens_per_s")));
    struct str kernels = json_string(json_get(h, "kernels"));
    if (kernels.len > 0)
        printf("kernels   %.*s\n", (int)kernels.len, kernels.ptr);
    printf("memory    %.*s GB free (%.*s)\n", (int)free_gb.len, free_gb.ptr, (int)level.len,
           level.ptr);
}

int cmd_status(const struct options *o)
{
    struct strbuf body;
    int code = EXIT_CODE_OK;
    struct json_doc *doc = NULL;
    if (!ask_health(o, &body)) {
        code = no_server(o);
    } else if (o->json) {
        puts(strbuf_cstr(&body));
    } else if (json_parse_copy(strbuf_str(&body), JSON_STRICT, &doc, NULL) == STATUS_OK) {
        print_status(json_root(doc));
        json_doc_free(doc);
    }
    strbuf_free(&body);
    return code;
}

/* The key that clients send: from its file, or the default. */
static char *client_key(const struct options *o)
{
    const char *path = option_text(o, OPTION_API_KEY_FILE);
    if (path[0] == '\0')
        return mem_strdup(SERVER_DEFAULT_KEY);
    struct strbuf key;
    strbuf_init(&key, 4096);
    if (file_read(path, &key, NULL) != STATUS_OK)
        strbuf_clear(&key);
    while (key.len > 0 && strchr("\r\n \t", key.data[key.len - 1]) != NULL)
        key.data[--key.len] = '\0';
    return strbuf_detach(&key, NULL);
}

int cmd_stop(const struct options *o)
{
    struct strbuf health, url, header, body;
    if (!ask_health(o, &health)) {
        strbuf_free(&health);
        return no_server(o);
    }
    make_url(o, "/admin/stop", &url);
    char *key = client_key(o);
    strbuf_init(&header, 8192);
    strbuf_printf(&header, "x-api-key: %s", key);
    const char *headers[] = {strbuf_cstr(&header), NULL};
    strbuf_init(&body, BODY_BYTES);
    long http = 0;
    struct error err;
    enum status st =
        fetch_local("POST", strbuf_cstr(&url), headers, LOCAL_TIMEOUT_MS, &body, &http, &err);
    int code = EXIT_CODE_OK;
    if (st != STATUS_OK)
        code = complain(EXIT_CODE_FAILED, err.message);
    else if (http == 401)
        code =
            complain(EXIT_CODE_FORBIDDEN, "the server has another key; name it by --api-key-file");
    else if (http != 202)
        code = complain(EXIT_CODE_FAILED, "the server did not agree to stop");
    else
        fprintf(stderr, "stopping; running answers have %d s to end\n", LIMIT_DRAIN_MS / 1000);
    mem_free(key);
    strbuf_free(&body);
    strbuf_free(&header);
    strbuf_free(&url);
    strbuf_free(&health);
    return code;
}

/* ---- version, options ---- */

int cmd_version(const struct options *o)
{
    if (o->json)
        printf("{\"version\":\"%s\"}\n", PENSIEVE_VERSION);
    else
        printf("pensieve %s\n", PENSIEVE_VERSION);
    return EXIT_CODE_OK;
}

int cmd_options(const struct options *o)
{
    (void)o;
    struct strbuf text;
    strbuf_init(&text, 64 * 1024);
    options_print_markdown(&text);
    fputs(strbuf_cstr(&text), stdout);
    strbuf_free(&text);
    return EXIT_CODE_OK;
}
