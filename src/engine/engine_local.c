/* engine_local -- see engine_local.h.
 *
 * start() runs on a short worker: canonical form, tokens, the checks that may refuse.  next() runs
 * on the turn's worker: text from the scheduler through the splitter.  The loader thread makes the
 * model once; until then requests are told to come back. */
#include "engine/engine_local.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/thread.h"
#include "cache/turnfile.h"
#include "engine/choices.h"
#include "engine/classify.h"
#include "engine/turn_record.h"
#include "prompt/canon.h"
#include "prompt/edits.h"
#include "prompt/render.h"
#include "prompt/splitter.h"
#include "sched/sched.h"

enum {
    KEEP_IDLE_MS = 2000,  /* without work, before prompts are written: a client that runs tools
                             comes back sooner or is gone for longer */
    KEEP_FLUSH_MS = 5000, /* at the end, for what is not written yet ... */
    KEEP_CLOSE_MS = 5000, /* ... and for the disk to take it */
    TURNMEM_BYTES = 16 * 1024 * 1024,
};

struct engine_local {
    struct engine base; /* first: pointers are cast */
    struct engine_local_options options;
    char *store_folder;
    char *recount_file;
    char model_name[128];
    pthread_t loader;
    atomic_int state; /* enum engine_state; set last, so that what it announces is there */
    atomic_uint load_percent;
    atomic_bool is_stopping;
    /* Written by the loader before `state` leaves ENGINE_LOADING, then only read. */
    struct error error;
    uint32_t load_ms;
    const struct model *model; /* owned by `sched` */
    struct turnmem *turnmem;
    struct render *render;
    struct sched *sched;
    struct kvstore *store;     /* NULL where nothing is kept */
    struct turnfile *turnfile; /* likewise */
};

struct local_turn {
    struct turn base;
    struct engine_local *engine;
    struct arena arena;
    uint64_t namespace_key;
    struct rendered prompt;
    struct splitter *splitter;
    struct turn_record record;
    struct job *job;
    struct strbuf bytes;        /* text on its way to the splitter */
    struct grammar_call *tools; /* arena: what may be called */
    size_t n_tools;
    const struct tool *asked_tools; /* the request's */
    size_t n_asked_tools;
    struct str *stops; /* arena: the template's, then the request's */
    size_t n_template_stops;
    bool must_use_words;      /* no call, as another would be the same again */
    bool runs_nothing_broken; /* the client answers input that is no JSON with a tool error */
    bool is_continuation;     /* of words that the request ends with */
    bool was_clamped;         /* the window left less than max_tokens asked for */
    bool has_ended;           /* the job's end was seen */
    bool has_said_end;
    struct job_output last;
    struct context_report edits;
};

static struct engine_local *local_of(struct engine *e)
{
    return (struct engine_local *)e;
}

static struct local_turn *turn_of(struct turn *t)
{
    return (struct local_turn *)t;
}

/* ---- Loading ---- */

static bool note_progress(float fraction, void *arg)
{
    struct engine_local *e = arg;
    atomic_store(&e->load_percent, (unsigned)(fraction * 100));
    return !atomic_load(&e->is_stopping);
}

/* Without a store the engine only computes more. */
static void open_store(struct engine_local *e)
{
    struct error err;
    if (e->store_folder == NULL)
        return;
    e->options.store.folder = e->store_folder;
    if (kvstore_open(&e->options.store, &e->store, &err) != STATUS_OK)
        log_warn("engine: prompts are not kept on disk: %s", err.message);
}

static void recall_turn(void *arg, const struct turn_key *key, const model_token *tokens, size_t n)
{
    struct token_key to;
    _Static_assert(sizeof to == sizeof *key, "one key in memory and on disk");
    memcpy(&to, key, sizeof to);
    turnmem_put_back(arg, &to, tokens, n);
}

static void keep_turn(void *arg, const struct token_key *key, const model_token *tokens, size_t n)
{
    struct turn_key to;
    memcpy(&to, key, sizeof to);
    turnfile_append(arg, &to, tokens, n);
}

/* Replies as they were sampled: those of former runs are known again, and new ones are kept. */
static void open_turnfile(struct engine_local *e)
{
    struct error err;
    if (e->store_folder == NULL)
        return;
    const char *fingerprint = e->model->info.fingerprint;
    struct turnfile_options options = {
        .folder = e->store_folder,
        .model_id = hash_xxh3(fingerprint, strlen(fingerprint), 0),
        .budget_bytes = TURNFILE_BUDGET_BYTES,
        .ttl_days = e->options.store.ttl_days,
        .reserve_bytes = e->options.store.reserve_bytes,
    };
    if (turnfile_open(&options, recall_turn, e->turnmem, &e->turnfile, &err) == STATUS_OK)
        turnmem_set_keeper(e->turnmem, keep_turn, e->turnfile);
    else
        log_warn("engine: replies are not kept on disk: %s", err.message);
}

static enum status load_parts(struct engine_local *e)
{
    struct model *m;
    enum status st = e->options.load(e->options.arg, note_progress, e, &m, &e->error);
    if (st != STATUS_OK)
        return st;
    st = render_create(m, &e->render, &e->error);
    if (st != STATUS_OK) {
        model_destroy(m);
        return st;
    }
    e->model = m;
    e->turnmem = turnmem_create(TURNMEM_BYTES);
    render_use_turnmem(e->render, e->turnmem);
    open_store(e);
    open_turnfile(e);
    struct sched_options options = {
        .max_running = e->options.parallel,
        .max_jobs = LIMIT_TURNS,
        .drafts = e->options.drafts,
        .store = e->store,
        .persist_idle_ms = KEEP_IDLE_MS,
        .flush_ms = KEEP_FLUSH_MS,
        .recount_file = e->recount_file,
    };
    e->sched = sched_create(m, &options);
    if (e->sched == NULL)
        return error_set(&e->error, STATUS_INTERNAL, "cannot start the scheduler's thread");
    return STATUS_OK;
}

static void *loader_main(void *arg)
{
    struct engine_local *e = arg;
    uint64_t begin_ms = clock_now_ms();
    enum status st = load_parts(e);
    e->load_ms = (uint32_t)(clock_now_ms() - begin_ms);
    if (st == STATUS_CANCELLED)
        log_info("engine: loading %s was given up", e->model_name);
    else if (st != STATUS_OK)
        log_error("engine: %s could not be loaded: %s", e->model_name, e->error.message);
    else
        log_info("engine: %s loaded in %u ms", e->model_name, e->load_ms);
    atomic_store(&e->state, st == STATUS_OK ? ENGINE_READY : ENGINE_FAILED);
    return NULL;
}

static enum status check_ready(struct engine_local *e, struct error *err)
{
    struct sched_stats stats;
    switch ((enum engine_state)atomic_load(&e->state)) {
    case ENGINE_READY:
        sched_get_stats(e->sched, &stats);
        if (stats.has_failed)
            return error_set(err, STATUS_INTERNAL, SCHED_MODEL_FAILED);
        return STATUS_OK;
    case ENGINE_LOADING:
        return error_set(err, STATUS_BUSY, "the model is still loading (%u %%); try again shortly",
                         atomic_load(&e->load_percent));
    case ENGINE_FAILED:
        break;
    }
    return error_set(err, STATUS_INTERNAL, "the model could not be loaded: %.400s",
                     e->error.message);
}

/* ---- Starting a turn ---- */

static enum status make_prompt(struct local_turn *t, const struct message_request *req,
                               struct canon *canon, struct error *err)
{
    struct render *r = t->engine->render;
    enum status st = canon_make(req, render_caps(r), &t->arena, canon, err);
    canon->namespace_key = t->namespace_key;
    if (st == STATUS_OK)
        st = render_prompt(r, canon, &t->prompt, err);
    return st;
}

static enum status collect_stops(struct local_turn *t, const struct message_request *req)
{
    const struct chat_prompt *chat = &t->prompt.chat;
    t->n_template_stops = chat->n_stops;
    t->stops = arena_array(&t->arena, chat->n_stops + req->n_stop_sequences, sizeof *t->stops);
    if (t->stops == NULL)
        return STATUS_TOO_LARGE;
    for (size_t i = 0; i < chat->n_stops; i++)
        t->stops[i] = str_from(chat->stops[i]);
    for (size_t i = 0; i < req->n_stop_sequences; i++)
        t->stops[chat->n_stops + i] = req->stop_sequences[i];
    return STATUS_OK;
}

/* What may be called, for grammar and splitter. */
static enum status collect_tools(struct local_turn *t, const struct canon *canon)
{
    if (canon->tool_choice == CHAT_TOOLS_NONE || t->must_use_words)
        return STATUS_OK;
    t->tools = arena_array(&t->arena, canon->n_callable, sizeof *t->tools);
    if (t->tools == NULL)
        return STATUS_TOO_LARGE;
    for (size_t i = 0; i < canon->n_callable; i++)
        t->tools[i] = (struct grammar_call){canon->callable[i].name, canon->callable[i].schema_json,
                                            canon->callable[i].grammar_json};
    t->n_tools = canon->n_callable;
    return STATUS_OK;
}

/* Marks of tool calls and of thinking are control tokens in some models: then their text must come
 * with the reply. */
static bool needs_control_pieces(const struct local_turn *t)
{
    return t->n_tools > 0 || t->prompt.chat.thinking_end[0] != '\0';
}

static enum status submit(struct local_turn *t, const struct message_request *req,
                          const struct engine_caller *caller, struct error *err)
{
    struct engine_local *e = t->engine;
    size_t n_prompt = t->prompt.n_tokens;
    if (n_prompt + 1 >= e->options.n_window)
        return error_set(err, STATUS_TOO_LONG, "prompt is too long: %zu tokens > %u maximum",
                         n_prompt, e->options.n_window - 2);
    struct thinking_limit thinking;
    enum status st =
        choose_thinking_limit(e->model, &t->prompt.chat, req, t->n_tools > 0, &thinking);
    if (st != STATUS_OK)
        return error_set(err, st, "thinking: its end could not be written in tokens");
    uint32_t room = e->options.n_window - (uint32_t)n_prompt;
    t->was_clamped = req->max_tokens > room;
    struct job_params params = {
        .class = classify_request(req, caller),
        .tokens = t->prompt.tokens,
        .n_tokens = n_prompt,
        .namespace_key = caller->namespace_key,
        .max_tokens = t->was_clamped ? room : req->max_tokens,
        .n_window = e->options.n_window,
        .sampler = choose_sampling(&e->options.sampling, req),
        .grammar = choose_grammar(&t->prompt.chat, t->tools, t->n_tools, t->must_use_words),
        .thinking = thinking,
        .turn_begin = choose_turn_begin(e->model, &t->prompt.chat),
        .must_speak = !t->is_continuation,
        .stops = t->stops,
        .n_stops = t->n_template_stops + req->n_stop_sequences,
        .keep_control_pieces = needs_control_pieces(t),
    };
    st = sched_submit(e->sched, &params, &t->job, err);
    mem_free((void *)(uintptr_t)thinking.closing);
    return st;
}

static void local_finish(struct turn *turn)
{
    struct local_turn *t = turn_of(turn);
    job_release(t->job);
    splitter_free(t->splitter);
    turn_record_free(&t->record);
    rendered_free(&t->prompt);
    strbuf_free(&t->bytes);
    arena_free(&t->arena);
    mem_free(t);
}

/* For whom tokens are counted: what was sampled for one API key is not known to another. */
struct counter {
    struct engine_local *engine;
    uint64_t namespace_key;
};

/* For edits_apply: `arg` is a counter. */
static enum status count_request(void *arg, const struct message_request *req, size_t *out,
                                 struct error *err)
{
    const struct counter *counter = arg;
    struct engine_local *e = counter->engine;
    struct arena arena;
    struct canon canon;
    arena_init(&arena, LIMIT_REQUEST_ARENA_BYTES);
    enum status st = canon_make(req, render_caps(e->render), &arena, &canon, err);
    canon.namespace_key = counter->namespace_key;
    if (st == STATUS_OK)
        st = render_count(e->render, &canon, out, err);
    arena_free(&arena);
    return st;
}

/* From the request, edited as its client wants it, to a job that is queued. */
static enum status prepare(struct local_turn *t, const struct message_request *req,
                           const struct engine_caller *caller, struct error *err)
{
    struct canon canon;
    struct counter counter = {t->engine, caller->namespace_key};
    enum status st = check_ready(t->engine, err);
    if (st == STATUS_OK)
        st = edits_apply(req, &t->arena, count_request, &counter, &req, &t->edits, err);
    if (st == STATUS_OK)
        st = make_prompt(t, req, &canon, err);
    if (st != STATUS_OK)
        return st;
    st = collect_stops(t, req);
    if (st != STATUS_OK)
        return error_set(err, st, "stop_sequences: too large");
    /* Where the model reasons, what begins its reply is not for us to say. */
    t->must_use_words = canon.must_use_words && t->prompt.chat.thinking_end[0] == '\0';
    st = collect_tools(t, &canon);
    if (st != STATUS_OK)
        return error_set(err, st, "tools: too large");
    t->asked_tools = req->tools;
    t->n_asked_tools = req->n_tools;
    t->is_continuation = canon.continue_last;
    t->runs_nothing_broken = caller->reports_broken_input;
    struct splitter_options options = {
        .prompt = &t->prompt.chat,
        .tools = t->tools,
        .n_tools = t->n_tools,
        .text_tools = canon.text_tools,
        .names_any = caller->reports_broken_input,
        .single_call = req->tool_choice.disable_parallel,
        .keep_thinking = canon.enable_thinking,
        .omit_thinking = req->omits_thinking,
    };
    t->splitter = splitter_create(&options);
    return submit(t, req, caller, err);
}

static enum status local_start(struct engine *engine, const struct message_request *req,
                               const struct engine_caller *caller, struct turn **out,
                               uint32_t *out_prompt_tokens, struct error *err)
{
    struct local_turn *t = mem_zalloc(sizeof *t);
    t->base.engine = engine;
    t->engine = local_of(engine);
    t->namespace_key = caller->namespace_key;
    turn_record_init(&t->record);
    arena_init(&t->arena, LIMIT_REQUEST_ARENA_BYTES);
    strbuf_init(&t->bytes, LIMIT_REPLY_BYTES);

    unsigned long n_failures = mem_failures();
    enum status st = mem_check(n_failures, prepare(t, req, caller, err), err);
    if (st != STATUS_OK) {
        local_finish(&t->base);
        return st;
    }
    *out = &t->base;
    *out_prompt_tokens = (uint32_t)t->prompt.n_tokens;
    return STATUS_OK;
}

static enum status local_count(struct engine *engine, const struct message_request *req,
                               const struct engine_caller *caller, uint32_t *out_tokens,
                               struct context_report *edits, struct error *err)
{
    struct arena arena;
    arena_init(&arena, LIMIT_REQUEST_ARENA_BYTES);
    struct context_report report = {0};
    struct engine_local *e = local_of(engine);
    struct counter counter = {e, caller->namespace_key};
    size_t n_tokens = 0;
    unsigned long n_failures = mem_failures();
    enum status st = check_ready(e, err);
    if (st == STATUS_OK)
        st = edits_apply(req, &arena, count_request, &counter, &req, &report, err);
    if (st == STATUS_OK)
        st = count_request(&counter, req, &n_tokens, err);
    if (edits != NULL)
        *edits = report;
    st = mem_check(n_failures, st, err);
    if (st == STATUS_OK)
        *out_tokens = (uint32_t)n_tokens;
    arena_free(&arena);
    return st;
}

/* ---- The running turn ---- */

/* The prompt in three parts: what was found in the pool, what was computed and stays there for the
 * next request, and the last token, which is always computed for its logits. */
static struct usage usage_of(const struct local_turn *t)
{
    uint32_t n_prompt = (uint32_t)t->prompt.n_tokens;
    uint32_t n_reused = t->last.n_reused < n_prompt ? t->last.n_reused : n_prompt;
    uint32_t n_fresh = n_prompt - n_reused;
    return (struct usage){
        .cache_read_tokens = n_reused,
        .cache_creation_tokens = n_fresh > 0 ? n_fresh - 1 : 0,
        .input_tokens = n_fresh > 0 ? 1 : 0,
        .output_tokens = t->last.n_sampled,
    };
}

static enum stop_reason reason_of(const struct local_turn *t)
{
    if (splitter_is_broken(t->splitter))
        return STOP_MAX_TOKENS;
    if (splitter_called_tool(t->splitter))
        return STOP_TOOL_USE;
    switch (t->last.end) {
    case JOB_STOP_TEXT:
        return (size_t)t->last.stop_index < t->n_template_stops ? STOP_END_TURN : STOP_SEQUENCE;
    case JOB_MAX_TOKENS:
        return t->was_clamped ? STOP_CONTEXT_WINDOW : STOP_MAX_TOKENS;
    case JOB_WINDOW:
        return STOP_CONTEXT_WINDOW;
    default:
        return STOP_END_TURN;
    }
}

static void say_call_is_broken(const struct local_turn *t, struct event *out)
{
    out->type = EVENT_FAILED;
    if (t->last.end == JOB_CALL_LOOP)
        error_set(&out->error, STATUS_INTERNAL,
                  "the model repeated itself without end inside the input of a tool call, and was "
                  "stopped; nothing of that call may be run: ask again, or in other words");
    else
        error_set(&out->error, STATUS_TOO_LONG,
                  "the reply was cut inside the input of a tool call, at the end of the context "
                  "window of %u tokens; nothing of that call may be run: shorten the conversation",
                  t->engine->options.n_window);
}

/* For when the reply comes back.  One that was cut, or of which the client did not get all, is not
 * what was sampled, and one that continues words of the request does not stand where it began. */
static void remember_reply(struct local_turn *t)
{
    struct reply_form form;
    struct str reasoning;
    unsigned char digest[SHA256_BYTES];
    bool is_whole = t->last.end == JOB_END_OF_TURN && !splitter_is_broken(t->splitter) &&
                    !splitter_leaves_out(t->splitter) && !t->is_continuation;
    if (!is_whole || !turn_record_take(&t->record, &form, &reasoning))
        return;
    form.tools = t->asked_tools;
    form.n_tools = t->n_asked_tools;
    reply_digest(&form, digest);
    struct turn_place place;
    turn_place_begin(&place, t->namespace_key);
    struct token_key key =
        turn_place_key(&place, t->prompt.tokens, t->prompt.n_tokens, digest, reasoning);
    size_t n;
    const model_token *sampled = job_sampled(t->job, &n);
    turnmem_put(t->engine->turnmem, &key, sampled, n);
}

static void say_end(struct local_turn *t, struct event *out)
{
    t->has_said_end = true;
    remember_reply(t);
    *out = (struct event){.usage = usage_of(t)};
    if (t->last.end == JOB_FAILED || t->last.end == JOB_CANCELLED) {
        out->type = EVENT_FAILED;
        out->error = t->last.error;
        if (t->last.end == JOB_CANCELLED)
            error_set(&out->error, STATUS_CANCELLED, "the turn was cancelled");
        return;
    }
    if (splitter_is_broken(t->splitter) && !t->runs_nothing_broken) {
        say_call_is_broken(t, out);
        return;
    }
    out->type = EVENT_DONE;
    out->reason = reason_of(t);
    out->edits = &t->edits;
    if (out->reason == STOP_SEQUENCE)
        out->stop_sequence = t->stops[t->last.stop_index];
}

/* Gives the splitter what the job has said, and its end.  False where some of it was lost for want
 * of memory: then the turn has failed, since nobody could tell its reply from a whole one. */
static bool feed_splitter(struct local_turn *t)
{
    unsigned long n_failures = mem_failures();
    splitter_feed(t->splitter, strbuf_str(&t->bytes));
    if (t->last.end != JOB_RUNNING) {
        bool was_cut = t->last.end != JOB_END_OF_TURN && t->last.end != JOB_STOP_TEXT;
        splitter_finish(t->splitter, was_cut);
        t->has_ended = true;
    }
    if (!t->bytes.failed && mem_failures() == n_failures)
        return true;
    job_cancel(t->job);
    t->has_ended = true;
    t->last.end = JOB_FAILED;
    error_set(&t->last.error, STATUS_NO_MEMORY, "not enough memory for the reply");
    return false;
}

static bool next_event(struct local_turn *t, struct event *out)
{
    if (!splitter_next(t->splitter, out))
        return false;
    turn_record_note(&t->record, out);
    return true;
}

static enum status local_next(struct turn *turn, unsigned timeout_ms, struct event *out)
{
    struct local_turn *t = turn_of(turn);
    if (next_event(t, out))
        return STATUS_OK;
    if (t->has_ended) {
        INVARIANT(!t->has_said_end);
        say_end(t, out);
        return STATUS_OK;
    }
    strbuf_clear(&t->bytes);
    t->last.bytes = &t->bytes;
    if (job_next(t->job, timeout_ms, &t->last) != STATUS_OK)
        return STATUS_AGAIN;
    if (feed_splitter(t) && next_event(t, out))
        return STATUS_OK;
    if (!t->has_ended)
        return STATUS_AGAIN; /* progress of the prefill, or text that is held back */
    say_end(t, out);
    return STATUS_OK;
}

static void local_get_progress(struct turn *turn, struct turn_progress *out)
{
    const struct local_turn *t = turn_of(turn);
    *out = (struct turn_progress){
        .n_prompt = (uint32_t)t->prompt.n_tokens,
        .n_read = t->last.n_reused + t->last.n_prefilled,
        .n_sampled = t->last.n_sampled,
    };
}

static enum status local_await_parting(struct turn *turn, unsigned timeout_ms,
                                       struct turn_parting *out)
{
    struct job_parting p;
    enum status st = job_await_parting(turn_of(turn)->job, timeout_ms, &p);
    if (st == STATUS_OK)
        *out = (struct turn_parting){p.n_prompt, p.n_known, p.n_nearest, p.turn};
    return st;
}

static void local_cancel(struct turn *turn)
{
    job_cancel(turn_of(turn)->job);
}

/* ---- The engine ---- */

/* Before the first request, what was measured when the model was first loaded. */
static double or_measured(double recent, double measured)
{
    return recent > 0 ? recent : measured;
}

static void describe_store(struct engine_local *e, struct engine_status *out)
{
    if (e->store == NULL)
        return;
    struct kvstore_stats stats;
    kvstore_get_stats(e->store, &stats);
    out->keeps_prompts = true;
    out->keeping_is_paused = stats.is_paused;
    out->kept_blocks = stats.blocks;
    out->kept_bytes = stats.bytes;
    out->kept_budget_bytes = stats.budget_bytes;
    out->kept_today_bytes = stats.written_today_bytes;
    out->kept_waiting_bytes = stats.waiting_bytes;
}

static void local_get_status(struct engine *engine, struct engine_status *out)
{
    struct engine_local *e = local_of(engine);
    *out = (struct engine_status){
        .state = (enum engine_state)atomic_load(&e->state),
        .load_percent = atomic_load(&e->load_percent),
        .n_window = e->options.n_window,
    };
    snprintf(out->model, sizeof out->model, "%s", e->model_name);
    if (out->state == ENGINE_FAILED)
        out->error = e->error;
    if (out->state != ENGINE_READY)
        return;
    struct sched_stats stats;
    sched_get_stats(e->sched, &stats);
    const struct model_info *info = &e->model->info;
    if (stats.has_failed) {
        out->state = ENGINE_FAILED;
        error_set(&out->error, STATUS_INTERNAL, SCHED_MODEL_FAILED);
    }
    out->can_think = render_caps(e->render)->thinking;
    out->load_ms = e->load_ms;
    out->load_percent = 100;
    out->n_running = stats.n_running;
    out->n_waiting = stats.n_waiting;
    out->cells_used = stats.cells_used;
    out->cells_total = stats.cells_total;
    out->prefill_done = stats.prefill_done;
    out->prefill_total = stats.prefill_total;
    out->prefill_tokens_per_s = or_measured(stats.prefill_tokens_per_s, info->prefill_tokens_per_s);
    out->decode_tokens_per_s = or_measured(stats.decode_tokens_per_s, info->decode_tokens_per_s);
    out->kernels = info->kernels;
    out->weights_bytes = info->weights_bytes;
    out->kv_bytes = info->kv_bytes_per_cell * info->n_cells;
    describe_store(e, out);
}

static void local_destroy(struct engine *engine)
{
    struct engine_local *e = local_of(engine);
    atomic_store(&e->is_stopping, true);
    pthread_join(e->loader, NULL);
    render_destroy(e->render);
    sched_destroy(e->sched);
    kvstore_close(e->store, KEEP_CLOSE_MS);
    turnmem_destroy(e->turnmem);
    turnfile_close(e->turnfile);
    mem_free(e->store_folder);
    mem_free(e->recount_file);
    mem_free(e);
}

static const struct engine_ops ops = {
    .start = local_start,
    .next = local_next,
    .get_progress = local_get_progress,
    .await_parting = local_await_parting,
    .cancel = local_cancel,
    .finish = local_finish,
    .count_tokens = local_count,
    .get_status = local_get_status,
    .destroy = local_destroy,
};

struct engine *engine_local_create(const struct engine_local_options *options)
{
    struct engine_local *e = mem_zalloc(sizeof *e);
    e->base.ops = &ops;
    e->options = *options;
    if (options->store.folder != NULL)
        e->store_folder = mem_strdup(options->store.folder);
    if (options->recount_file != NULL)
        e->recount_file = mem_strdup(options->recount_file);
    snprintf(e->model_name, sizeof e->model_name, "%s", options->model_name);
    atomic_init(&e->state, ENGINE_LOADING);
    atomic_init(&e->is_stopping, false);
    if (thread_start(&e->loader, "loader", loader_main, e) != STATUS_OK) {
        mem_free(e->store_folder);
        mem_free(e->recount_file);
        mem_free(e);
        return NULL;
    }
    return &e->base;
}
