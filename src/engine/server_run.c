#include "engine/server_run.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/thread.h"
#include "servertools/tool_search.h"
#include "servertools/web_fetch.h"
#include "wire/json_out.h"

struct server_run {
    pthread_t thread;
    struct server_view view;
    struct server_call *calls;
    size_t n_calls;
    atomic_bool is_cancelled;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_done;       /* by `mutex` */
    enum status status; /* written by the thread before it is done */
};

/* ---- What a page may be fetched by ---- */

static bool block_names(const struct block *b, struct str url)
{
    if (str_find(b->text, url) != SIZE_MAX)
        return true;
    for (size_t i = 0; i < b->n_content; i++)
        if (str_find(b->content[i].text, url) != SIZE_MAX)
            return true;
    return false;
}

/* Whether the user, or something that a tool answered, named this address: a model that was talked
 * into it must not carry what it has read to an address of its own making. */
static bool is_known_url(void *arg, struct str url)
{
    const struct message_request *req = arg;
    for (size_t i = 0; i < req->n_system; i++)
        if (block_names(&req->system[i], url))
            return true;
    for (size_t i = 0; i < req->n_messages; i++) {
        const struct message *m = &req->messages[i];
        for (size_t k = 0; m->role != ROLE_ASSISTANT && k < m->n_blocks; k++)
            if (block_names(&m->blocks[k], url))
                return true;
    }
    return false;
}

/* ---- Running ---- */

/* The block's type, and that of a failure inside it. */
static const char *result_type(enum tool_kind kind)
{
    switch (kind) {
    case TOOL_SEARCH_REGEX:
    case TOOL_SEARCH_BM25:
        return "tool_search_tool_result";
    case TOOL_WEB_SEARCH:
        return "web_search_tool_result";
    case TOOL_WEB_FETCH:
        return "web_fetch_tool_result";
    case TOOL_CODE_EXECUTION:
    case TOOL_OF_CLIENT:
    case TOOL_FOREIGN:
        break;
    }
    return "code_execution_tool_result";
}

static void print_failure(const struct server_call *call, const char *code, struct strbuf *content)
{
    strbuf_printf(content, "{\"type\":\"%s_error\",\"error_code\":\"%s\"}",
                  result_type(call->tool->kind), code);
}

static enum status run_tool(struct server_run *run, const struct server_call *call,
                            struct strbuf *content)
{
    const struct server_view *view = &run->view;
    const struct message_request *req = view->req;
    if (call->is_over_limit) {
        print_failure(call, "max_uses_exceeded", content);
        return STATUS_OK;
    }
    struct web_fetch_request fetch = {
        .declared_json = call->tool->declared_json,
        .input_json = call->input_json,
        .is_known_url = is_known_url,
        .arg = (void *)(uintptr_t)req,
    };
    switch (call->tool->kind) {
    case TOOL_SEARCH_REGEX:
        return tool_search_run(TOOL_SEARCH_BY_REGEX, req->tools, req->n_tools, call->input_json,
                               content);
    case TOOL_SEARCH_BM25:
        return tool_search_run(TOOL_SEARCH_BY_BM25, req->tools, req->n_tools, call->input_json,
                               content);
    case TOOL_WEB_SEARCH:
        return web_search_run(view->web, call->tool->declared_json, call->input_json,
                              &run->is_cancelled, content);
    case TOOL_WEB_FETCH:
        return web_fetch_run(view->web, &fetch, &run->is_cancelled, content);
    case TOOL_CODE_EXECUTION:
    case TOOL_OF_CLIENT:
    case TOOL_FOREIGN:
        break;
    }
    print_failure(call, "unavailable", content);
    return STATUS_OK;
}

static enum status make_result(struct server_run *run, struct server_call *call)
{
    struct strbuf content;
    strbuf_init(&content, LIMIT_REPLY_BYTES);
    enum status st = run_tool(run, call, &content);
    struct json_out w;
    json_out_begin(&w, &call->result);
    json_object_begin(&w);
    json_field_cstr(&w, "type", result_type(call->tool->kind));
    json_field_str(&w, "tool_use_id", call->id);
    json_key(&w, "content");
    json_raw(&w, strbuf_str(&content));
    json_object_end(&w);
    json_out_end(&w);
    if (st == STATUS_OK && (content.failed || call->result.failed))
        st = STATUS_NO_MEMORY;
    strbuf_free(&content);
    return st;
}

static void *run_main(void *arg)
{
    struct server_run *run = arg;
    enum status st = STATUS_OK;
    for (size_t i = 0; i < run->n_calls && st == STATUS_OK; i++)
        st = make_result(run, &run->calls[i]);
    pthread_mutex_lock(&run->mutex);
    run->status = st;
    run->is_done = true;
    pthread_cond_broadcast(&run->changed);
    pthread_mutex_unlock(&run->mutex);
    return NULL;
}

struct server_run *server_run_start(const struct server_view *view, struct server_call *calls,
                                    size_t n_calls)
{
    struct server_run *run = mem_zalloc(sizeof *run);
    run->view = *view;
    run->calls = calls;
    run->n_calls = n_calls;
    atomic_init(&run->is_cancelled, false);
    pthread_mutex_init(&run->mutex, NULL);
    thread_cond_init(&run->changed);
    for (size_t i = 0; i < n_calls; i++)
        strbuf_init(&calls[i].result, 2u * LIMIT_REPLY_BYTES);
    if (thread_start(&run->thread, "server-tools", run_main, run) == STATUS_OK)
        return run;
    pthread_cond_destroy(&run->changed);
    pthread_mutex_destroy(&run->mutex);
    mem_free(run);
    return NULL;
}

bool server_run_wait(struct server_run *run, unsigned timeout_ms)
{
    uint64_t until_ms = clock_now_ms() + timeout_ms;
    pthread_mutex_lock(&run->mutex);
    while (!run->is_done) {
        uint64_t now_ms = clock_now_ms();
        if (now_ms >= until_ms)
            break;
        thread_cond_wait_ms(&run->changed, &run->mutex, (unsigned)(until_ms - now_ms));
    }
    bool is_done = run->is_done;
    pthread_mutex_unlock(&run->mutex);
    return is_done;
}

void server_run_cancel(struct server_run *run)
{
    atomic_store(&run->is_cancelled, true);
}

enum status server_run_end(struct server_run *run)
{
    server_run_cancel(run);
    pthread_join(run->thread, NULL);
    enum status st = run->status;
    pthread_cond_destroy(&run->changed);
    pthread_mutex_destroy(&run->mutex);
    mem_free(run);
    return st;
}
