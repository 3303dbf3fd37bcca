#include "engine/engine_rounds.h"

#include <pthread.h>
#include <stdio.h>

#include "api/anthropic_read.h"
#include "base/arena.h"
#include "base/limits.h"
#include "engine/compact.h"
#include "engine/server_run.h"

enum { ID_BYTES = 64 };

struct engine_rounds {
    struct engine base; /* first: pointers are cast */
    struct engine *inner;
    struct web_options web;
    char *searxng_url; /* owned; web.searxng_url */
};

enum phase {
    SUMMING,
    TELLING_SUMMARY,
    ROUND,
    TOOLS,
    TELLING_RESULTS,
};

/* What was said in one round, for the next one's prompt. */
struct said {
    struct block *blocks;
    size_t n, capacity;
    struct strbuf text; /* of the open block */
    struct server_call *calls;
    size_t n_calls, calls_capacity;
    bool calls_client; /* also a tool that the client runs */
};

/* A result's JSON, which its block borrows from. */
struct kept_doc {
    struct json_doc *doc;
    struct kept_doc *next;
};

struct rounds_turn {
    struct turn base;
    struct engine_rounds *engine;
    struct engine_caller caller;
    struct message_request req; /* of the round under way */
    struct arena arena;
    struct kept_doc *docs;
    enum phase phase;
    size_t n_told; /* events of TELLING_SUMMARY and TELLING_RESULTS */
    struct said said;
    uint32_t n_rounds;
    uint32_t *n_uses; /* of each tool of the request */
    struct str summary;
    char id[ID_BYTES]; /* of the call that is told */

    struct usage usage; /* of the rounds that ended */
    struct server_work work;
    struct context_report edits;
    struct turn_progress progress; /* of the last round */

    /* cancel() comes on any thread. */
    pthread_mutex_t mutex;
    bool is_cancelled;
    struct turn *inner;
    struct server_run *run;
};

static struct engine_rounds *rounds_of(struct engine *e)
{
    return (struct engine_rounds *)e;
}

static struct rounds_turn *turn_of(struct turn *t)
{
    return (struct rounds_turn *)t;
}

/* ---- What is under way ---- */

static void set_inner(struct rounds_turn *t, struct turn *inner)
{
    pthread_mutex_lock(&t->mutex);
    t->inner = inner;
    if (inner != NULL && t->is_cancelled)
        turn_cancel(inner);
    pthread_mutex_unlock(&t->mutex);
}

static void set_run(struct rounds_turn *t, struct server_run *run)
{
    pthread_mutex_lock(&t->mutex);
    t->run = run;
    if (run != NULL && t->is_cancelled)
        server_run_cancel(run);
    pthread_mutex_unlock(&t->mutex);
}

static void end_inner(struct rounds_turn *t)
{
    struct turn *inner = t->inner;
    if (inner == NULL)
        return;
    turn_get_progress(inner, &t->progress);
    set_inner(t, NULL);
    turn_finish(inner);
}

static enum status end_run(struct rounds_turn *t)
{
    struct server_run *run = t->run;
    if (run == NULL)
        return STATUS_OK;
    set_run(t, NULL);
    return server_run_end(run);
}

static enum status start_inner(struct rounds_turn *t, const struct message_request *req,
                               uint32_t *out_prompt_tokens, struct error *err)
{
    struct turn *inner;
    enum status st =
        engine_start(t->engine->inner, req, &t->caller, &inner, out_prompt_tokens, err);
    if (st == STATUS_OK)
        set_inner(t, inner);
    return st;
}

static void add_usage(struct usage *to, const struct usage *u)
{
    to->input_tokens += u->input_tokens;
    to->cache_creation_tokens += u->cache_creation_tokens;
    to->cache_read_tokens += u->cache_read_tokens;
    to->output_tokens += u->output_tokens;
}

/* ---- Ends ---- */

static enum status say_done(struct rounds_turn *t, enum stop_reason reason, struct event *out)
{
    *out = (struct event){
        .type = EVENT_DONE,
        .reason = reason,
        .usage = t->usage,
        .work = &t->work,
        .edits = &t->edits,
    };
    return STATUS_OK;
}

static enum status say_failed(struct rounds_turn *t, const struct error *err, struct event *out)
{
    *out = (struct event){.type = EVENT_FAILED, .usage = t->usage, .error = *err};
    return STATUS_OK;
}

static enum status say_no_memory(struct rounds_turn *t, struct event *out)
{
    struct error err;
    error_set(&err, STATUS_NO_MEMORY, "not enough memory for the reply");
    return say_failed(t, &err, out);
}

/* ---- Summing up ---- */

static enum status begin_summing(struct rounds_turn *t, uint32_t *out_prompt_tokens,
                                 struct error *err)
{
    struct message_request ask;
    enum status st = compact_ask(&t->req, &t->arena, &ask);
    if (st != STATUS_OK)
        return error_set(err, st, "compaction: the request is too large to be summed up");
    t->phase = SUMMING;
    return start_inner(t, &ask, out_prompt_tokens, err);
}

/* From here on the conversation is its summary; where there is none, it stays as it was. */
static enum status take_summary(struct rounds_turn *t)
{
    enum status st = compact_take(&t->req, strbuf_str(&t->said.text), &t->arena, &t->summary);
    bool is_whole = !t->said.text.failed;
    strbuf_clear(&t->said.text);
    return is_whole ? st : STATUS_NO_MEMORY;
}

static enum status sum_up(struct rounds_turn *t, unsigned timeout_ms, struct event *out)
{
    enum status st = turn_next(t->inner, timeout_ms, out);
    if (st != STATUS_OK)
        return st;
    if (out->type == EVENT_TEXT)
        strbuf_append_str(&t->said.text, out->text);
    if (out->type == EVENT_FAILED)
        return STATUS_OK;
    if (out->type != EVENT_DONE)
        return STATUS_AGAIN;
    t->work.has_compaction = true;
    t->work.compaction = out->usage;
    end_inner(t);
    if (take_summary(t) != STATUS_OK)
        return say_no_memory(t, out);
    t->phase = TELLING_SUMMARY;
    t->n_told = 0;
    return STATUS_AGAIN;
}

static enum status begin_round(struct rounds_turn *t, struct event *out);

static enum status tell_summary(struct rounds_turn *t, struct event *out)
{
    *out = (struct event){.block = EVENT_BLOCK_COMPACTION};
    switch (t->n_told++) {
    case 0:
        out->type = EVENT_BLOCK_START;
        return STATUS_OK;
    case 1:
        out->type = EVENT_SUMMARY;
        out->text = t->summary;
        return t->summary.len > 0 ? STATUS_OK : STATUS_AGAIN;
    case 2:
        out->type = EVENT_BLOCK_STOP;
        return STATUS_OK;
    default:
        break;
    }
    if (t->req.compaction.pauses)
        return say_done(t, STOP_COMPACTION, out);
    return begin_round(t, out);
}

/* ---- A round ---- */

static const struct tool *tool_of_server(const struct message_request *req, struct str name)
{
    for (size_t i = 0; i < req->n_tools; i++)
        if (tool_is_of_server(&req->tools[i]) && str_equal(req->tools[i].name, name))
            return &req->tools[i];
    return NULL;
}

/* Room for one more of `*n` things of `size` bytes. */
static void *grow(void *list, size_t n, size_t *capacity, size_t size)
{
    if (n < *capacity)
        return list;
    *capacity = *capacity > 0 ? 2 * *capacity : 8;
    return mem_realloc(list, mem_array_bytes(*capacity, size));
}

static struct str srv_id(struct rounds_turn *t, struct str id)
{
    snprintf(t->id, sizeof t->id, "srv%.*s", (int)id.len, id.ptr);
    return str_from(t->id);
}

/* A call of a tool of ours is told as such. */
static enum status open_block(struct rounds_turn *t, struct event *ev)
{
    struct said *s = &t->said;
    s->blocks = grow(s->blocks, s->n, &s->capacity, sizeof *s->blocks);
    struct block *b = &s->blocks[s->n++];
    *b = (struct block){.type = BLOCK_TEXT};
    strbuf_clear(&s->text);
    if (ev->block == EVENT_BLOCK_THINKING)
        b->type = BLOCK_THINKING;
    if (ev->block != EVENT_BLOCK_TOOL_USE)
        return STATUS_OK;
    const struct tool *tool = tool_of_server(&t->req, ev->name);
    if (tool != NULL) {
        ev->block = EVENT_BLOCK_SERVER_TOOL_USE;
        ev->id = srv_id(t, ev->id);
    }
    s->calls_client |= tool == NULL;
    b->type = BLOCK_TOOL_USE;
    b->id = arena_str(&t->arena, ev->id);
    b->name = arena_str(&t->arena, ev->name);
    return b->id.ptr != NULL && b->name.ptr != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

static uint32_t most_uses(const struct tool *tool)
{
    struct json_doc *doc;
    uint32_t most = UINT32_MAX;
    if (json_parse_copy(tool->declared_json, JSON_STRICT, &doc, NULL) != STATUS_OK)
        return most;
    const struct json *max_uses = json_get(json_root(doc), "max_uses");
    if (json_type(max_uses) == JSON_NUMBER && json_integer(max_uses) < most)
        most = json_integer(max_uses) > 0 ? (uint32_t)json_integer(max_uses) : 0;
    json_doc_free(doc);
    return most;
}

static void note_call(struct rounds_turn *t, const struct block *b)
{
    struct said *s = &t->said;
    const struct tool *tool = tool_of_server(&t->req, b->name);
    if (tool == NULL)
        return;
    s->calls = grow(s->calls, s->n_calls, &s->calls_capacity, sizeof *s->calls);
    bool is_over_limit = ++t->n_uses[tool - t->req.tools] > most_uses(tool);
    if (!is_over_limit && tool->kind == TOOL_WEB_SEARCH)
        t->work.n_web_searches++;
    if (!is_over_limit && tool->kind == TOOL_WEB_FETCH)
        t->work.n_web_fetches++;
    s->calls[s->n_calls++] = (struct server_call){
        .id = b->id, .input_json = b->input_json, .tool = tool, .is_over_limit = is_over_limit};
}

static enum status close_block(struct rounds_turn *t, const struct event *ev)
{
    struct said *s = &t->said;
    INVARIANT(s->n > 0);
    struct block *b = &s->blocks[s->n - 1];
    struct str text = arena_str(&t->arena, strbuf_str(&s->text));
    b->signature = arena_str(&t->arena, ev->signature);
    if (s->text.failed || text.ptr == NULL || b->signature.ptr == NULL)
        return STATUS_NO_MEMORY;
    if (b->type == BLOCK_TOOL_USE) {
        b->input_json = text.len > 0 ? text : STR("{}");
        note_call(t, b);
    } else {
        b->text = text;
    }
    return STATUS_OK;
}

/* The inner turn has said all of this round.  Where nothing of it is left for the server to do, its
 * end is the turn's. */
static enum status end_round(struct rounds_turn *t, struct event *out)
{
    add_usage(&t->usage, &out->usage);
    if (out->edits != NULL)
        t->edits = *out->edits;
    if (out->reason != STOP_TOOL_USE || t->said.n_calls == 0) {
        out->usage = t->usage;
        out->work = &t->work;
        return STATUS_OK;
    }
    uint32_t n_sampled = out->usage.output_tokens;
    t->req.max_tokens -= n_sampled < t->req.max_tokens ? n_sampled : t->req.max_tokens;
    end_inner(t);
    struct server_view view = {.req = &t->req, .web = &t->engine->web};
    struct server_run *run = server_run_start(&view, t->said.calls, t->said.n_calls);
    if (run == NULL)
        return say_no_memory(t, out);
    set_run(t, run);
    t->phase = TOOLS;
    return STATUS_AGAIN;
}

static enum status pass_on(struct rounds_turn *t, unsigned timeout_ms, struct event *out)
{
    enum status st = turn_next(t->inner, timeout_ms, out);
    if (st != STATUS_OK)
        return st;
    switch (out->type) {
    case EVENT_BLOCK_START:
        st = open_block(t, out);
        break;
    case EVENT_TEXT:
    case EVENT_THINKING:
    case EVENT_TOOL_INPUT:
        strbuf_append_str(&t->said.text, out->text);
        break;
    case EVENT_BLOCK_STOP:
        st = close_block(t, out);
        break;
    case EVENT_DONE:
        return end_round(t, out);
    case EVENT_FAILED:
        add_usage(&out->usage, &t->usage);
        return STATUS_OK;
    case EVENT_SUMMARY:
        break;
    }
    return st == STATUS_OK ? STATUS_OK : say_no_memory(t, out);
}

/* ---- Tools ---- */

static enum status await_tools(struct rounds_turn *t, unsigned timeout_ms, struct event *out)
{
    if (!server_run_wait(t->run, timeout_ms))
        return STATUS_AGAIN;
    enum status st = end_run(t);
    if (st == STATUS_CANCELLED) {
        struct error err;
        error_set(&err, STATUS_CANCELLED, "the turn was cancelled");
        return say_failed(t, &err, out);
    }
    if (st != STATUS_OK)
        return say_no_memory(t, out);
    t->phase = TELLING_RESULTS;
    t->n_told = 0;
    return STATUS_AGAIN;
}

/* What a later request would bring: the result as it was told, read by the same reader. */
static enum status read_result(struct rounds_turn *t, const struct server_call *call,
                               struct block *out)
{
    struct error err;
    struct kept_doc *kept = arena_alloc(&t->arena, sizeof *kept);
    if (kept == NULL)
        return STATUS_NO_MEMORY;
    enum status st = json_parse_copy(strbuf_str(&call->result), JSON_STRICT, &kept->doc, &err);
    if (st != STATUS_OK)
        return st;
    kept->next = t->docs;
    t->docs = kept;
    return anthropic_read_server_result(json_root(kept->doc), &t->arena, out, &err);
}

/* The conversation with this round: what was said, and what was answered. */
static enum status add_round(struct rounds_turn *t)
{
    struct said *s = &t->said;
    size_t n = t->req.n_messages;
    struct message *messages = arena_array(&t->arena, n + 2, sizeof *messages);
    struct block *said = arena_array(&t->arena, s->n, sizeof *said);
    struct block *answered = arena_array(&t->arena, s->n_calls, sizeof *answered);
    if (messages == NULL || said == NULL || answered == NULL)
        return STATUS_NO_MEMORY;
    memcpy(messages, t->req.messages, n * sizeof *messages);
    memcpy(said, s->blocks, s->n * sizeof *said);
    for (size_t i = 0; i < s->n_calls; i++) {
        enum status st = read_result(t, &s->calls[i], &answered[i]);
        if (st != STATUS_OK)
            return st;
    }
    messages[n] = (struct message){ROLE_ASSISTANT, said, s->n};
    messages[n + 1] = (struct message){ROLE_USER, answered, s->n_calls};
    t->req.messages = messages;
    t->req.n_messages = n + 2;
    return STATUS_OK;
}

static void clear_said(struct said *s)
{
    for (size_t i = 0; i < s->n_calls; i++)
        strbuf_free(&s->calls[i].result);
    s->n = s->n_calls = 0;
    s->calls_client = false;
    strbuf_clear(&s->text);
}

static enum status begin_round(struct rounds_turn *t, struct event *out)
{
    struct error err;
    uint32_t n_prompt;
    clear_said(&t->said);
    t->phase = ROUND;
    enum status st = start_inner(t, &t->req, &n_prompt, &err);
    if (st == STATUS_TOO_LONG)
        return say_done(t, STOP_CONTEXT_WINDOW, out);
    return st == STATUS_OK ? STATUS_AGAIN : say_failed(t, &err, out);
}

/* All results are told: on with the model, or with the client, where it has something to do or the
 * server has done enough. */
static enum status go_on(struct rounds_turn *t, struct event *out)
{
    if (t->said.calls_client)
        return say_done(t, STOP_TOOL_USE, out);
    if (++t->n_rounds >= LIMIT_ROUNDS)
        return say_done(t, STOP_PAUSE, out);
    if (t->req.max_tokens == 0)
        return say_done(t, STOP_MAX_TOKENS, out);
    if (add_round(t) != STATUS_OK)
        return say_no_memory(t, out);
    t->req.tool_choice = (struct tool_choice){
        .type = TOOL_CHOICE_AUTO, .disable_parallel = t->req.tool_choice.disable_parallel};
    return begin_round(t, out);
}

static enum status tell_results(struct rounds_turn *t, struct event *out)
{
    size_t i = t->n_told / 2;
    if (i >= t->said.n_calls)
        return go_on(t, out);
    bool is_start = t->n_told % 2 == 0;
    *out = (struct event){
        .type = is_start ? EVENT_BLOCK_START : EVENT_BLOCK_STOP,
        .block = EVENT_BLOCK_SERVER_RESULT,
        .json = is_start ? strbuf_str(&t->said.calls[i].result) : STR(""),
    };
    t->n_told++;
    return STATUS_OK;
}

/* ---- The turn ---- */

static enum status rounds_next(struct turn *turn, unsigned timeout_ms, struct event *out)
{
    struct rounds_turn *t = turn_of(turn);
    switch (t->phase) {
    case SUMMING:
        return sum_up(t, timeout_ms, out);
    case TELLING_SUMMARY:
        return tell_summary(t, out);
    case ROUND:
        return pass_on(t, timeout_ms, out);
    case TOOLS:
        return await_tools(t, timeout_ms, out);
    case TELLING_RESULTS:
        return tell_results(t, out);
    }
    return STATUS_AGAIN;
}

static void rounds_get_progress(struct turn *turn, struct turn_progress *out)
{
    struct rounds_turn *t = turn_of(turn);
    if (t->inner != NULL)
        turn_get_progress(t->inner, out);
    else
        *out = t->progress;
}

static enum status rounds_await_parting(struct turn *turn, unsigned timeout_ms,
                                        struct turn_parting *out)
{
    struct rounds_turn *t = turn_of(turn);
    return t->inner != NULL ? turn_await_parting(t->inner, timeout_ms, out) : STATUS_UNSUPPORTED;
}

static void rounds_cancel(struct turn *turn)
{
    struct rounds_turn *t = turn_of(turn);
    pthread_mutex_lock(&t->mutex);
    t->is_cancelled = true;
    if (t->inner != NULL)
        turn_cancel(t->inner);
    if (t->run != NULL)
        server_run_cancel(t->run);
    pthread_mutex_unlock(&t->mutex);
}

static void rounds_finish(struct turn *turn)
{
    struct rounds_turn *t = turn_of(turn);
    end_inner(t);
    enum status ignored = end_run(t);
    (void)ignored;
    clear_said(&t->said);
    strbuf_free(&t->said.text);
    mem_free(t->said.blocks);
    mem_free(t->said.calls);
    for (struct kept_doc *kept = t->docs; kept != NULL; kept = kept->next)
        json_doc_free(kept->doc);
    arena_free(&t->arena);
    pthread_mutex_destroy(&t->mutex);
    mem_free(t);
}

static bool has_rounds(const struct message_request *req)
{
    for (size_t i = 0; i < req->n_tools; i++)
        if (tool_is_of_server(&req->tools[i]))
            return true;
    return req->compaction.is_wanted;
}

/* Whether the conversation has grown over its client's limit. */
static enum status must_sum_up(struct engine_rounds *e, const struct message_request *req,
                               const struct engine_caller *caller, bool *out, struct error *err)
{
    *out = req->compaction.is_wanted && req->compaction.trigger == 0;
    if (!req->compaction.is_wanted || *out)
        return STATUS_OK;
    struct engine_status state;
    uint32_t n_tokens;
    engine_get_status(e->inner, &state);
    enum status st = engine_count_tokens(e->inner, req, caller, &n_tokens, NULL, err);
    *out = st == STATUS_OK && n_tokens > compact_trigger(req, state.n_window);
    return st;
}

static enum status rounds_start(struct engine *engine, const struct message_request *req,
                                const struct engine_caller *caller, struct turn **out,
                                uint32_t *out_prompt_tokens, struct error *err)
{
    struct engine_rounds *e = rounds_of(engine);
    if (!has_rounds(req))
        return engine_start(e->inner, req, caller, out, out_prompt_tokens, err);

    struct rounds_turn *t = mem_zalloc(sizeof *t);
    t->base.engine = engine;
    t->engine = e;
    t->caller = *caller;
    t->req = *req;
    t->phase = ROUND;
    pthread_mutex_init(&t->mutex, NULL);
    arena_init(&t->arena, LIMIT_REQUEST_ARENA_BYTES);
    strbuf_init(&t->said.text, LIMIT_REPLY_BYTES);
    t->n_uses = arena_array(&t->arena, req->n_tools + 1, sizeof *t->n_uses);
    bool sums_up = false;
    enum status st = t->n_uses != NULL
                         ? must_sum_up(e, req, caller, &sums_up, err)
                         : error_set(err, STATUS_NO_MEMORY, "not enough memory for the turn");
    if (st == STATUS_OK)
        st = sums_up ? begin_summing(t, out_prompt_tokens, err)
                     : start_inner(t, &t->req, out_prompt_tokens, err);
    if (st != STATUS_OK) {
        rounds_finish(&t->base);
        return st;
    }
    *out = &t->base;
    return STATUS_OK;
}

/* ---- The engine ---- */

static enum status rounds_count(struct engine *engine, const struct message_request *req,
                                const struct engine_caller *caller, uint32_t *out_tokens,
                                struct context_report *edits, struct error *err)
{
    return engine_count_tokens(rounds_of(engine)->inner, req, caller, out_tokens, edits, err);
}

static void rounds_get_status(struct engine *engine, struct engine_status *out)
{
    engine_get_status(rounds_of(engine)->inner, out);
}

static void rounds_destroy(struct engine *engine)
{
    struct engine_rounds *e = rounds_of(engine);
    engine_destroy(e->inner);
    mem_free(e->searxng_url);
    mem_free(e);
}

static const struct engine_ops ops = {
    .start = rounds_start,
    .next = rounds_next,
    .get_progress = rounds_get_progress,
    .await_parting = rounds_await_parting,
    .cancel = rounds_cancel,
    .finish = rounds_finish,
    .count_tokens = rounds_count,
    .get_status = rounds_get_status,
    .destroy = rounds_destroy,
};

struct engine *engine_rounds_create(struct engine *inner, const struct web_options *web)
{
    struct engine_rounds *e = mem_zalloc(sizeof *e);
    e->base.ops = &ops;
    e->inner = inner;
    e->web = *web;
    if (web->searxng_url != NULL)
        e->searxng_url = mem_strdup(web->searxng_url);
    e->web.searxng_url = e->searxng_url;
    return &e->base;
}
