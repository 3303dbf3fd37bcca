/* engine_script -- see engine_script.h: plays a text file, one word of it after the other. */
#include "engine/engine_script.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/thread.h"
#include "base/utf8.h"
#include "wire/json_in.h"

enum {
    SCRIPT_BYTES = 1024 * 1024,
    NAME_BYTES = 64,
    MOST_RELEASED = 64,
};

/* `mutex` guards the released names and the counts; `changed` is signalled at each change. */
struct engine_script {
    struct engine base;
    char *dir;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    char released[MOST_RELEASED][NAME_BYTES];
    size_t n_released;
    unsigned n_started, n_finished, n_cancelled, n_waiting;
};

struct script_turn {
    struct turn base;
    struct engine_script *engine;
    struct strbuf script; /* the file */
    size_t at;            /* next line */
    bool is_open;
    enum event_block kind;
    bool is_cancelled; /* guarded by the engine's mutex */
    bool has_ended;
    struct usage usage;
    uint32_t n_read;          /* of the prompt, as the script says */
    struct strbuf text, name; /* what the last event points into */
    struct strbuf piece;      /* of a delta that is cut up */
    size_t split;             /* characters per delta; 0: whole */
    enum event_type piece_type;
    struct str line; /* the word that could not be played yet */
};

static struct engine_script *script_of(struct engine *e)
{
    return (struct engine_script *)e;
}

static struct script_turn *turn_of(struct turn *t)
{
    return (struct script_turn *)t;
}

/* ---- Lines ---- */

static struct str next_line(struct script_turn *t)
{
    struct str rest = {strbuf_cstr(&t->script) + t->at, t->script.len - t->at};
    size_t end = str_find(rest, STR("\n"));
    struct str line = {rest.ptr, end == SIZE_MAX ? rest.len : end};
    t->at += line.len + (end == SIZE_MAX ? 0 : 1);
    return line;
}

/* The first word of `line`; what follows it in *rest. */
static struct str take_word(struct str line, struct str *rest)
{
    size_t end = str_find(line, STR(" "));
    struct str word = {line.ptr, end == SIZE_MAX ? line.len : end};
    *rest = end == SIZE_MAX ? STR("") : (struct str){line.ptr + end + 1, line.len - end - 1};
    return word;
}

/* A JSON string, or the plain words.  What finds no memory makes `out` fail. */
static void unquote(struct str text, struct strbuf *out)
{
    strbuf_clear(out);
    struct json_doc *doc;
    enum status st = STATUS_INVALID;
    if (text.len > 0 && text.ptr[0] == '"')
        st = json_parse_copy(text, JSON_STRICT, &doc, NULL);
    if (st == STATUS_OK) {
        strbuf_append_str(out, json_string(json_root(doc)));
        json_doc_free(doc);
    } else if (st == STATUS_NO_MEMORY) {
        out->failed = true;
    } else {
        strbuf_append_str(out, text);
    }
}

static uint32_t number(struct str text)
{
    uint32_t n = 0;
    for (size_t i = 0; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++)
        n = n * 10 + (uint32_t)(text.ptr[i] - '0');
    return n;
}

/* ---- Finding the script ---- */

static bool is_name(struct str s)
{
    if (s.len == 0 || s.len >= NAME_BYTES)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (strchr("abcdefghijklmnopqrstuvwxyz0123456789_-", s.ptr[i]) == NULL)
            return false;
    return true;
}

/* The last text of the user that is a name, and the place of its message in *out_at. */
static struct str script_name(const struct message_request *req, size_t *out_at)
{
    for (size_t i = req->n_messages; i-- > 0;) {
        const struct message *m = &req->messages[i];
        *out_at = i;
        for (size_t k = m->n_blocks; m->role == ROLE_USER && k-- > 0;)
            if (m->blocks[k].type == BLOCK_TEXT && is_name(m->blocks[k].text))
                return m->blocks[k].text;
    }
    return STR("");
}

static bool has_results(const struct message *m)
{
    for (size_t i = 0; i < m->n_blocks; i++)
        if (m->blocks[i].type == BLOCK_TOOL_RESULT)
            return true;
    return false;
}

/* How often tools ran since the message that names the script. */
static unsigned count_rounds(const struct message_request *req, size_t named_at)
{
    unsigned n = 0;
    for (size_t i = named_at + 1; i < req->n_messages; i++)
        n += has_results(&req->messages[i]);
    return n;
}

static enum status no_memory(struct error *err)
{
    return error_set(err, STATUS_NO_MEMORY, "not enough memory for the script");
}

static enum status load_script(struct engine_script *e, const struct message_request *req,
                               struct strbuf *out, struct error *err)
{
    size_t named_at = 0;
    struct str name = script_name(req, &named_at);
    unsigned n_rounds = count_rounds(req, named_at);
    struct strbuf path;
    strbuf_init(&path, 4096);
    strbuf_printf(&path, "%s/%.*s", e->dir, (int)name.len, name.ptr);
    if (n_rounds > 0)
        strbuf_append_str(&path, STR("-after"));
    if (n_rounds > 1)
        strbuf_printf(&path, "%u", n_rounds);
    strbuf_append_str(&path, STR(".script"));
    enum status st = strbuf_status(&path);
    if (st == STATUS_OK)
        st = file_read(strbuf_cstr(&path), out, NULL);
    strbuf_free(&path);
    if (st == STATUS_TOO_LARGE || st == STATUS_NO_MEMORY)
        return no_memory(err);
    if (st != STATUS_OK)
        return error_set(err, STATUS_INVALID, "no script of this name");
    return STATUS_OK;
}

/* ---- Starting ---- */

static const struct {
    const char *name;
    enum status status;
} refusals[] = {
    {"invalid", STATUS_INVALID},
    {"too_long", STATUS_TOO_LONG},
    {"busy", STATUS_BUSY},
    {"no_memory", STATUS_NO_MEMORY},
    {"internal", STATUS_INTERNAL},
    {"too_large", STATUS_TOO_LARGE},
    {"overloaded", STATUS_NO_MEMORY},
    {"api_error", STATUS_INTERNAL},
};

static enum status status_named(struct str name)
{
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        if (str_is(name, refusals[i].name))
            return refusals[i].status;
    return STATUS_INTERNAL;
}

static enum status fail_as(struct str rest, struct error *err)
{
    struct str text;
    struct str name = take_word(rest, &text);
    struct strbuf message;
    strbuf_init(&message, 512);
    unquote(text, &message);
    enum status st = message.failed
                         ? no_memory(err)
                         : error_set(err, status_named(name), "%s", strbuf_cstr(&message));
    strbuf_free(&message);
    return st;
}

static bool any_holds(const struct block *blocks, size_t n, struct str wanted)
{
    for (size_t i = 0; i < n; i++) {
        const struct block *b = &blocks[i];
        if ((b->type == BLOCK_TEXT && str_find(b->text, wanted) != SIZE_MAX) ||
            (b->type == BLOCK_TOOL_REFERENCE && str_find(b->name, wanted) != SIZE_MAX))
            return true;
    }
    return false;
}

/* Whether user or assistant said `text` (a JSON string), or a tool returned it. */
static enum status expect_said(const struct message_request *req, struct str text,
                               struct error *err)
{
    struct strbuf wanted;
    strbuf_init(&wanted, SCRIPT_BYTES);
    unquote(text, &wanted);
    bool is_held = false;
    for (size_t i = 0; i < req->n_messages && !is_held; i++) {
        const struct message *m = &req->messages[i];
        if (m->role == ROLE_SYSTEM)
            continue;
        is_held = any_holds(m->blocks, m->n_blocks, strbuf_str(&wanted));
        for (size_t k = 0; k < m->n_blocks && !is_held; k++)
            is_held = any_holds(m->blocks[k].content, m->blocks[k].n_content, strbuf_str(&wanted));
    }
    enum status st = wanted.failed ? no_memory(err)
                     : is_held     ? STATUS_OK
                                   : error_set(err, STATUS_INVALID, "expected in the messages: %s",
                                               strbuf_cstr(&wanted));
    strbuf_free(&wanted);
    return st;
}

/* What the script says before it plays: prompt and cache sizes, what must have been said, a
 * refusal, the cut. */
static enum status read_preface(struct script_turn *t, const struct message_request *req,
                                struct error *err)
{
    uint32_t n_prompt = 1, n_cached = 0;
    struct str otherwise = STR("");
    for (;;) {
        size_t before = t->at;
        if (before >= t->script.len)
            break;
        struct str rest;
        struct str word = take_word(next_line(t), &rest);
        if (str_is(word, "prompt")) {
            n_prompt = number(rest);
        } else if (str_is(word, "cached")) {
            n_cached = number(rest);
        } else if (str_is(word, "split")) {
            t->split = number(rest);
        } else if (str_is(word, "expect")) {
            enum status st = expect_said(req, rest, err);
            if (st == STATUS_INVALID && otherwise.len > 0)
                return fail_as(otherwise, err);
            if (st != STATUS_OK)
                return st;
        } else if (str_is(word, "otherwise")) {
            otherwise = rest;
        } else if (str_is(word, "refuse")) {
            return fail_as(rest, err);
        } else {
            t->at = before;
            break;
        }
    }
    t->usage.cache_read_tokens = n_cached;
    t->usage.input_tokens = n_prompt - n_cached;
    return STATUS_OK;
}

static void script_finish(struct turn *turn)
{
    struct script_turn *t = turn_of(turn);
    pthread_mutex_lock(&t->engine->mutex);
    t->engine->n_finished++;
    if (t->is_cancelled)
        t->engine->n_cancelled++;
    pthread_cond_broadcast(&t->engine->changed);
    pthread_mutex_unlock(&t->engine->mutex);
    strbuf_free(&t->script);
    strbuf_free(&t->text);
    strbuf_free(&t->name);
    strbuf_free(&t->piece);
    mem_free(t);
}

static enum status script_start(struct engine *engine, const struct message_request *req,
                                const struct engine_caller *caller, struct turn **out,
                                uint32_t *out_prompt_tokens, struct error *err)
{
    (void)caller;
    struct engine_script *e = script_of(engine);
    struct script_turn *t = mem_zalloc(sizeof *t);
    t->base.engine = engine;
    t->engine = e;
    strbuf_init(&t->script, SCRIPT_BYTES);
    strbuf_init(&t->text, SCRIPT_BYTES);
    strbuf_init(&t->name, SCRIPT_BYTES);
    strbuf_init(&t->piece, SCRIPT_BYTES);
    pthread_mutex_lock(&e->mutex);
    e->n_started++;
    pthread_mutex_unlock(&e->mutex);
    enum status st = load_script(e, req, &t->script, err);
    if (st == STATUS_OK)
        st = read_preface(t, req, err);
    if (st != STATUS_OK) {
        script_finish(&t->base);
        return st;
    }
    *out_prompt_tokens = t->usage.input_tokens + t->usage.cache_read_tokens;
    *out = &t->base;
    return STATUS_OK;
}

/* ---- Playing ---- */

static bool is_released(const struct engine_script *e, struct str name)
{
    for (size_t i = 0; i < e->n_released; i++)
        if (str_is(name, e->released[i]))
            return true;
    return false;
}

/* STATUS_OK once `name` is released, STATUS_CANCELLED, or STATUS_AGAIN after the time. */
static enum status wait_release(struct script_turn *t, struct str name, unsigned timeout_ms)
{
    struct engine_script *e = t->engine;
    uint64_t until_ms = clock_now_ms() + timeout_ms;
    pthread_mutex_lock(&e->mutex);
    e->n_waiting++;
    pthread_cond_broadcast(&e->changed);
    while (!t->is_cancelled && !is_released(e, name)) {
        uint64_t now_ms = clock_now_ms();
        if (now_ms >= until_ms)
            break;
        thread_cond_wait_ms(&e->changed, &e->mutex, (unsigned)(until_ms - now_ms));
    }
    e->n_waiting--;
    enum status st = t->is_cancelled        ? STATUS_CANCELLED
                     : is_released(e, name) ? STATUS_OK
                                            : STATUS_AGAIN;
    pthread_mutex_unlock(&e->mutex);
    return st;
}

static bool is_cancelled(struct script_turn *t)
{
    pthread_mutex_lock(&t->engine->mutex);
    bool cancelled = t->is_cancelled;
    pthread_mutex_unlock(&t->engine->mutex);
    return cancelled;
}

/* The next `split` characters of a cut delta, or all of it. */
static bool take_piece(struct script_turn *t, struct event *out)
{
    if (t->piece.len == 0)
        return false;
    size_t n = t->piece.len;
    if (t->split > 0) {
        n = 0;
        for (size_t k = 0; k < t->split && n < t->piece.len; k++)
            for (n++; n < t->piece.len && ((unsigned char)t->piece.data[n] & 0xC0) == 0x80;)
                n++;
    }
    strbuf_clear(&t->text);
    strbuf_append(&t->text, t->piece.data, n);
    strbuf_consume(&t->piece, n);
    t->usage.output_tokens++;
    *out = (struct event){.type = t->piece_type, .text = strbuf_str(&t->text)};
    return true;
}

static void open_event(struct script_turn *t, enum event_block kind, struct event *out)
{
    t->is_open = true;
    t->kind = kind;
    *out = (struct event){.type = EVENT_BLOCK_START, .block = kind};
}

static void close_event(struct script_turn *t, struct str signature, struct event *out)
{
    t->is_open = false;
    *out = (struct event){.type = EVENT_BLOCK_STOP, .signature = signature};
}

static void done_event(struct script_turn *t, struct str rest, struct event *out)
{
    static const struct {
        const char *name;
        enum stop_reason reason;
    } reasons[] = {
        {"end_turn", STOP_END_TURN},
        {"max_tokens", STOP_MAX_TOKENS},
        {"tool_use", STOP_TOOL_USE},
        {"stop_sequence", STOP_SEQUENCE},
        {"context_window", STOP_CONTEXT_WINDOW},
    };
    struct str text;
    struct str name = take_word(rest, &text);
    *out = (struct event){.type = EVENT_DONE, .usage = t->usage};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (str_is(name, reasons[i].name))
            out->reason = reasons[i].reason;
    unquote(text, &t->text);
    out->stop_sequence = strbuf_str(&t->text);
    t->has_ended = true;
}

/* Begins a delta: opens its block first where another, or none, is open.  False: play the line
 * again, an event is in *out. */
static bool begin_delta(struct script_turn *t, enum event_block kind, enum event_type type,
                        struct str text, struct event *out)
{
    if (t->is_open && t->kind != kind) {
        close_event(t, STR(""), out);
        return false;
    }
    if (!t->is_open && kind != EVENT_BLOCK_TOOL_USE) {
        open_event(t, kind, out);
        return false;
    }
    unquote(text, &t->piece);
    t->piece_type = type;
    return true;
}

/* Plays one line.  STATUS_OK: *out is set, and the line is done unless *out_again.  STATUS_AGAIN:
 * time passed, or nothing came of it. */
static enum status play(struct script_turn *t, struct str line, unsigned timeout_ms,
                        struct event *out, bool *out_again)
{
    struct str rest;
    struct str word = take_word(line, &rest);
    *out_again = false;
    if (str_is(word, "text") || str_is(word, "thinking") || str_is(word, "input")) {
        enum event_block kind = word.ptr[1] == 'e'   ? EVENT_BLOCK_TEXT
                                : word.ptr[1] == 'h' ? EVENT_BLOCK_THINKING
                                                     : EVENT_BLOCK_TOOL_USE;
        enum event_type type = kind == EVENT_BLOCK_TEXT       ? EVENT_TEXT
                               : kind == EVENT_BLOCK_THINKING ? EVENT_THINKING
                                                              : EVENT_TOOL_INPUT;
        *out_again = !begin_delta(t, kind, type, rest, out);
        return *out_again || take_piece(t, out) ? STATUS_OK : STATUS_AGAIN;
    }
    if (str_is(word, "tool")) {
        if (t->is_open) {
            close_event(t, STR(""), out);
            *out_again = true;
            return STATUS_OK;
        }
        struct str name;
        struct str id = take_word(rest, &name);
        open_event(t, EVENT_BLOCK_TOOL_USE, out);
        out->id = id;
        out->name = name;
        return STATUS_OK;
    }
    if (str_is(word, "signature") || str_is(word, "block_end")) {
        unquote(rest, &t->text);
        close_event(t, strbuf_str(&t->text), out);
        return STATUS_OK;
    }
    if (str_is(word, "done") || str_is(word, "fail")) {
        if (t->is_open && str_is(word, "done")) {
            close_event(t, STR(""), out);
            *out_again = true;
            return STATUS_OK;
        }
        if (str_is(word, "done")) {
            done_event(t, rest, out);
            return STATUS_OK;
        }
        *out = (struct event){.type = EVENT_FAILED, .usage = t->usage};
        fail_as(rest, &out->error);
        t->has_ended = true;
        return STATUS_OK;
    }
    if (str_is(word, "read"))
        t->n_read = number(rest);
    if (str_is(word, "wait")) {
        enum status st = wait_release(t, rest, timeout_ms);
        *out_again = st == STATUS_AGAIN;
        return STATUS_AGAIN;
    }
    return STATUS_AGAIN; /* no event: `read`, an empty line, a comment */
}

/* Why the turn cannot go on, whatever the script says. */
static enum status check_turn(struct script_turn *t, struct error *err)
{
    if (is_cancelled(t))
        return error_set(err, STATUS_CANCELLED, "the turn was cancelled");
    if (t->piece.failed || t->text.failed)
        return no_memory(err);
    return STATUS_OK;
}

/* The next event that the script tells; STATUS_AGAIN where it waits for longer. */
static enum status next_event(struct script_turn *t, unsigned timeout_ms, struct event *out)
{
    for (;;) {
        struct error err;
        if (check_turn(t, &err) != STATUS_OK) {
            t->has_ended = true;
            *out = (struct event){.type = EVENT_FAILED, .usage = t->usage, .error = err};
            return STATUS_OK;
        }
        if (take_piece(t, out))
            return STATUS_OK;
        struct str line = t->line.len > 0         ? t->line
                          : t->at < t->script.len ? next_line(t)
                                                  : STR("done end_turn");
        t->line = (struct str){0};
        bool again;
        enum status st = play(t, line, timeout_ms, out, &again);
        if (again)
            t->line = line;
        if (st == STATUS_OK)
            return STATUS_OK;
        if (again)
            return STATUS_AGAIN; /* still waiting */
    }
}

static enum status script_next(struct turn *turn, unsigned timeout_ms, struct event *out)
{
    struct script_turn *t = turn_of(turn);
    INVARIANT(!t->has_ended);
    enum status st = next_event(t, timeout_ms, out);
    struct error err;
    if (st == STATUS_OK && out->type != EVENT_FAILED && check_turn(t, &err) == STATUS_NO_MEMORY) {
        t->has_ended = true;
        *out = (struct event){.type = EVENT_FAILED, .usage = t->usage, .error = err};
    }
    return st;
}

static void script_get_progress(struct turn *turn, struct turn_progress *out)
{
    const struct script_turn *t = turn_of(turn);
    *out = (struct turn_progress){
        .n_prompt = t->usage.input_tokens + t->usage.cache_read_tokens,
        .n_read = t->n_read,
        .n_sampled = t->usage.output_tokens,
    };
}

static enum status script_await_parting(struct turn *turn, unsigned timeout_ms,
                                        struct turn_parting *out)
{
    (void)turn;
    (void)timeout_ms;
    (void)out;
    return STATUS_UNSUPPORTED;
}

static void script_cancel(struct turn *turn)
{
    struct script_turn *t = turn_of(turn);
    pthread_mutex_lock(&t->engine->mutex);
    t->is_cancelled = true;
    pthread_cond_broadcast(&t->engine->changed);
    pthread_mutex_unlock(&t->engine->mutex);
}

/* ---- The engine ---- */

static enum status script_count(struct engine *engine, const struct message_request *req,
                                const struct engine_caller *caller, uint32_t *out_tokens,
                                struct context_report *edits, struct error *err)
{
    struct turn *t;
    if (edits != NULL)
        *edits = (struct context_report){.is_wanted = req->reports_edits}; /* none is done */
    enum status st = script_start(engine, req, caller, &t, out_tokens, err);
    if (st == STATUS_OK)
        script_finish(t);
    return st;
}

static void script_status(struct engine *engine, struct engine_status *out)
{
    struct engine_script *e = script_of(engine);
    *out = (struct engine_status){
        .state = ENGINE_READY, .n_window = 32768, .can_think = true, .load_percent = 100};
    snprintf(out->model, sizeof out->model, "script");
    pthread_mutex_lock(&e->mutex);
    out->n_running = e->n_started - e->n_finished;
    pthread_mutex_unlock(&e->mutex);
}

static void script_destroy(struct engine *engine)
{
    struct engine_script *e = script_of(engine);
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->mutex);
    mem_free(e->dir);
    mem_free(e);
}

static const struct engine_ops ops = {
    .start = script_start,
    .next = script_next,
    .get_progress = script_get_progress,
    .await_parting = script_await_parting,
    .cancel = script_cancel,
    .finish = script_finish,
    .count_tokens = script_count,
    .get_status = script_status,
    .destroy = script_destroy,
};

struct engine *engine_script_create(const char *script_dir)
{
    struct engine_script *e = mem_zalloc(sizeof *e);
    e->base.ops = &ops;
    e->dir = mem_strdup(script_dir);
    pthread_mutex_init(&e->mutex, NULL);
    thread_cond_init(&e->changed);
    return &e->base;
}

void engine_script_print_stats(struct engine *engine, struct strbuf *out)
{
    struct engine_script *e = script_of(engine);
    pthread_mutex_lock(&e->mutex);
    strbuf_printf(out, "{\"started\":%u,\"finished\":%u,\"cancelled\":%u,\"waiting\":%u}",
                  e->n_started, e->n_finished, e->n_cancelled, e->n_waiting);
    pthread_mutex_unlock(&e->mutex);
}

void engine_script_release(struct engine *engine, const char *name)
{
    struct engine_script *e = script_of(engine);
    pthread_mutex_lock(&e->mutex);
    if (e->n_released < MOST_RELEASED)
        snprintf(e->released[e->n_released++], NAME_BYTES, "%s", name);
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->mutex);
}
