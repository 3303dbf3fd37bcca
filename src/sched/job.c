#include "sched/job.h"

#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/thread.h"

enum {
    /* Texts of a grammar, its triggers and the stops, with the arena's own overhead. */
    TEXTS_BYTES = 4 * LIMIT_GRAMMAR_BYTES + LIMIT_STOP_SEQUENCES * LIMIT_STOP_SEQUENCE_BYTES +
        64 * 1024,
    /* A reply whose last LOOP_TOKENS repeat one passage of at most LOOP_PASSAGE goes on like that
     * to max_tokens; it is looked at each LOOP_STRIDE.  Inside a call it may be a file's text, such
     * as a table of zeros, and is given longer. */
    LOOP_TOKENS = 384,
    LOOP_CALL_TOKENS = 2048,
    LOOP_PASSAGE = 64,
    LOOP_STRIDE = 32,
    BLANK_TOKENS = 8,   /* a model that has nothing but blanks to say may end after so many */
    PIECE_BYTES = 4096, /* more than the longest token of any vocabulary */
};

/* --- Life ------------------------------------------------------------------------------------ */

static bool copy_stops(struct job *j, const struct job_params *params)
{
    struct str *stops = arena_array(&j->arena, params->n_stops, sizeof *stops);
    if (stops == NULL)
        return false;
    for (size_t i = 0; i < params->n_stops; i++) {
        stops[i] = arena_str(&j->arena, params->stops[i]);
        if (stops[i].ptr == NULL)
            return false;
    }
    j->stops = stops;
    j->n_stops = params->n_stops;
    return true;
}

static bool copy_grammar(struct job *j, const struct grammar_spec *spec)
{
    struct grammar_trigger *triggers = arena_array(&j->arena, spec->n_triggers, sizeof *triggers);
    if (triggers == NULL)
        return false;
    for (size_t i = 0; i < spec->n_triggers; i++) {
        triggers[i].type = spec->triggers[i].type;
        triggers[i].text = arena_str(&j->arena, spec->triggers[i].text);
        if (triggers[i].text.ptr == NULL)
            return false;
    }
    struct grammar_call *calls = arena_array(&j->arena, spec->n_calls, sizeof *calls);
    if (calls == NULL)
        return false;
    for (size_t i = 0; i < spec->n_calls; i++) {
        calls[i].name = arena_str(&j->arena, spec->calls[i].name);
        calls[i].schema_json = arena_str(&j->arena, spec->calls[i].schema_json);
        calls[i].grammar_json = arena_str(&j->arena, spec->calls[i].grammar_json);
        if (calls[i].name.ptr == NULL || calls[i].schema_json.ptr == NULL ||
            calls[i].grammar_json.ptr == NULL)
            return false;
    }
    j->grammar_spec = (struct grammar_spec){
        .text = arena_str(&j->arena, spec->text),
        .lazy = spec->lazy,
        .triggers = triggers,
        .n_triggers = spec->n_triggers,
        .prefix = arena_str(&j->arena, spec->prefix),
        .calls = calls,
        .n_calls = spec->n_calls,
        .thinking_start = arena_str(&j->arena, spec->thinking_start),
        .thinking_end = arena_str(&j->arena, spec->thinking_end),
        .begins_in_thinking = spec->begins_in_thinking,
    };
    return j->grammar_spec.text.ptr != NULL && j->grammar_spec.prefix.ptr != NULL &&
           j->grammar_spec.thinking_start.ptr != NULL && j->grammar_spec.thinking_end.ptr != NULL;
}

static bool copy_thinking(struct job *j, const struct thinking_limit *limit)
{
    model_token *closing = arena_array(&j->arena, limit->n_closing, sizeof *closing);
    struct thinking_limit copy = *limit;
    copy.start = arena_str(&j->arena, limit->start);
    copy.end = arena_str(&j->arena, limit->end);
    copy.closing = closing;
    if (closing == NULL || copy.start.ptr == NULL || copy.end.ptr == NULL)
        return false;
    if (limit->n_closing > 0)
        memcpy(closing, limit->closing, limit->n_closing * sizeof *closing);
    thinking_init(&j->thinking, &copy);
    return true;
}

/* The prompt, with room for the longest reply: it ends at the window and, but for a call that has
 * begun, at max_tokens. */
static bool copy_tokens(struct job *j, const struct job_params *params)
{
    size_t room = params->n_window - params->n_tokens;
    if (room > params->max_tokens && params->grammar.n_calls == 0)
        room = params->max_tokens;
    j->tokens = mem_try_alloc(mem_array_bytes(params->n_tokens + room, sizeof *j->tokens));
    if (j->tokens == NULL)
        return false;
    memcpy(j->tokens, params->tokens, params->n_tokens * sizeof *j->tokens);
    j->n_tokens = params->n_tokens;
    j->n_most = params->n_tokens + room;
    j->n_prompt = params->n_tokens;
    return true;
}

static void job_destroy(struct job *j)
{
    INVARIANT(j->leaf == NULL && j->grammar == NULL);
    if (j->has_started)
        stopper_free(&j->stopper);
    sampler_free(j->sampler);
    strbuf_free(&j->piece);
    strbuf_free(&j->released);
    strbuf_free(&j->outbox.bytes);
    pthread_mutex_destroy(&j->outbox.mutex);
    pthread_cond_destroy(&j->outbox.changed);
    draft_free(&j->draft);
    mem_free(j->tokens);
    arena_free(&j->arena);
    mem_free(j);
}

enum status job_create(const struct job_params *params, struct job_waker waker, struct job **out,
                       struct error *err)
{
    INVARIANT(params->n_tokens > 0);
    struct job *j = mem_zalloc(sizeof *j);
    j->class = params->class;
    j->served_ms = clock_now_ms();
    j->namespace_key = params->namespace_key;
    j->n_window = params->n_window;
    j->max_tokens = params->max_tokens;
    j->keep_control_pieces = params->keep_control_pieces;
    j->must_speak = params->must_speak;
    j->turn_begin = params->turn_begin;
    j->sampler_params = params->sampler;
    j->waker = waker;
    j->stop_index = STOPPER_NONE;
    j->outbox.stop_index = STOPPER_NONE;
    atomic_init(&j->references, 2);
    arena_init(&j->arena, TEXTS_BYTES);
    strbuf_init(&j->piece, PIECE_BYTES);
    strbuf_init(&j->released, LIMIT_REPLY_BYTES);
    strbuf_init(&j->outbox.bytes, LIMIT_REPLY_BYTES);
    pthread_mutex_init(&j->outbox.mutex, NULL);
    thread_cond_init(&j->outbox.changed);

    if (!copy_tokens(j, params)) {
        job_destroy(j);
        return error_set(err, STATUS_NO_MEMORY, "not enough memory for the prompt's tokens");
    }
    if (!copy_stops(j, params) || !copy_grammar(j, &params->grammar) ||
        !copy_thinking(j, &params->thinking)) {
        job_destroy(j);
        return error_set(err, STATUS_TOO_LARGE, "grammar or stop sequences are too large");
    }
    *out = j;
    return STATUS_OK;
}

void job_unref(struct job *j)
{
    if (atomic_fetch_sub(&j->references, 1) == 1)
        job_destroy(j);
}

/* --- The scheduler's side -------------------------------------------------------------------- */

static uint32_t count_turns(const struct job *j, size_t n_tokens)
{
    uint32_t n = 0;
    for (size_t i = 0; i < n_tokens; i++)
        n += j->turn_begin != MODEL_NO_TOKEN && j->tokens[i] == j->turn_begin;
    return n;
}

void job_note_parting(struct job *j, size_t n_known, size_t n_nearest)
{
    struct job_parting parting = {
        .n_prompt = (uint32_t)j->n_tokens,
        .n_known = (uint32_t)n_known,
        .n_nearest = (uint32_t)n_nearest,
        .turn = count_turns(j, n_known),
    };
    const char *how = n_known == 0          ? "nothing like it is in the pool"
                      : n_known < n_nearest ? "there it differs from the nearest one"
                                            : "it goes on from there";
    log_debug("sched: prompt of %u tokens; %u known, to block %u, turn %u; nearest has %u: %s",
              parting.n_prompt, parting.n_known, parting.n_known / KVFILE_BLOCK_TOKENS,
              parting.turn, parting.n_nearest, how);
    pthread_mutex_lock(&j->outbox.mutex);
    j->outbox.parting = parting;
    j->outbox.has_begun = true;
    pthread_cond_broadcast(&j->outbox.changed);
    pthread_mutex_unlock(&j->outbox.mutex);
}

void job_start(struct job *j, struct model *m, struct prefix_leaf *leaf, size_t n_reused)
{
    INVARIANT(j->state == JOB_STATE_WAITING && n_reused < j->n_tokens);
    j->state = JOB_STATE_PREFILL;
    j->leaf = leaf;
    prefix_leaf_claim(leaf, j->class);
    if (j->has_started)
        return; /* comes back after it gave way: the reply goes on as it was */

    j->has_started = true;
    j->n_reused = (uint32_t)n_reused;
    stopper_init(&j->stopper, j->stops, j->n_stops);
    j->sampler = sampler_create(&j->sampler_params, m->info.n_vocab);
    if (j->grammar_spec.text.len > 0 || j->grammar_spec.n_calls > 0)
        j->grammar = m->ops->grammar_create(m, &j->grammar_spec);
}

void job_rows_done(struct job *j, size_t n)
{
    size_t n_done = prefix_leaf_length(j->leaf);
    prefix_extend(j->leaf, j->tokens + n_done, n);
    n_done += n;
    j->served_ms = clock_now_ms();

    /* A prompt that is computed again, after the job gave way, is no progress until it passes the
     * old mark. */
    size_t n_read = n_done < j->n_prompt ? n_done : j->n_prompt;
    if (n_read > (size_t)j->n_reused + j->n_prefilled)
        j->n_prefilled = (uint32_t)n_read - j->n_reused;
}

void job_rows_restored(struct job *j, size_t n)
{
    size_t n_done = prefix_leaf_length(j->leaf), n_known = (size_t)j->n_reused + j->n_prefilled;
    INVARIANT(n_done < j->n_tokens && n <= n_done);
    size_t n_read = n_done < j->n_prompt ? n_done : j->n_prompt;
    j->served_ms = clock_now_ms();
    if (n_read <= n_known) /* it was read before the job gave way */
        return;
    j->n_reused += (uint32_t)(n_read - n_known);
    metric_add(METRIC_REUSED_TOKENS, (int64_t)(n_read - n_known));
}

/* The last token's row is left out: its logits are gone. */
static void keep_computed(struct job *j, struct model *m)
{
    size_t n_done = prefix_leaf_length(j->leaf);
    size_t n = m->ops->seq_length(m, prefix_leaf_sequence(j->leaf));
    if (n > j->n_tokens - 1)
        n = j->n_tokens - 1;
    if (n <= n_done)
        return;
    job_rows_done(j, n - n_done);
    metric_add(METRIC_PREFILLED_TOKENS, (int64_t)(n - n_done));
}

void job_rows_lost(struct job *j, struct model *m)
{
    if (m->info.can_share_prefix)
        keep_computed(j, m);
    prefix_truncate(j->leaf, prefix_leaf_length(j->leaf));
    j->n_drafted = 0;
    if (prefix_leaf_length(j->leaf) + 1 < j->n_tokens)
        j->state = JOB_STATE_PREFILL;
}

/* The last token that may be sampled needs no row. */
void job_draft(struct job *j, size_t n_most)
{
    INVARIANT(j->state == JOB_STATE_DECODE);
    size_t n_left = j->n_most - j->n_tokens;
    if (n_most >= n_left)
        n_most = n_left > 0 ? n_left - 1 : 0;
    if (j->draft.mask == 0)
        draft_init(&j->draft, j->n_most);
    j->n_drafted = draft_propose(&j->draft, j->tokens, j->n_tokens, n_most, j->drafted);
    memcpy(j->tokens + j->n_tokens, j->drafted, j->n_drafted * sizeof *j->tokens);
}

bool job_draft_holds(const struct job *j, size_t n)
{
    return n < j->n_drafted && j->tokens[j->n_tokens - 1] == j->drafted[n];
}

void job_draft_done(struct job *j, const struct draft_cost *cost, size_t n_held)
{
    prefix_truncate(j->leaf, prefix_leaf_length(j->leaf));
    draft_note(&j->draft, cost, j->n_tokens, j->n_drafted, n_held);
    metric_add(METRIC_DRAFTED_TOKENS, (int64_t)j->n_drafted);
    metric_add(METRIC_ACCEPTED_TOKENS, (int64_t)n_held);
    j->n_drafted = 0;
}

static bool ends_turn(const struct job *j, const struct model *m, model_token token)
{
    return token == j->turn_begin || m->ops->is_eog(m, token);
}

static model_token draw_token(struct job *j, struct model *m, const float *logits)
{
    model_token token = thinking_forced(&j->thinking);
    if (token != MODEL_NO_TOKEN)
        return token;
    token = sampler_draw(j->sampler, m, logits, j->grammar);
    bool says_nothing = j->must_speak && !j->has_spoken && j->n_sampled < BLANK_TOKENS;
    if (says_nothing && ends_turn(j, m, token))
        token = sampler_draw_inside(j->sampler, m, logits, j->grammar, j->turn_begin);
    return token;
}

static bool is_in_call(const struct job *j, struct model *m)
{
    return j->grammar != NULL && m->ops->grammar_in_call(j->grammar);
}

/* A call that max_tokens would cut goes on to the end of the window: half a call must never run,
 * and most calls are short. */
static bool has_said_enough(const struct job *j, struct model *m)
{
    return j->n_sampled >= j->max_tokens && !is_in_call(j, m);
}

/* Whether the last n tokens are one passage over and over. */
static bool repeats_itself(const struct job *j, size_t n)
{
    const model_token *begin = j->tokens + j->n_tokens - n;
    for (size_t passage = 1; passage <= LOOP_PASSAGE; passage++)
        if (memcmp(begin + passage, begin, (n - passage) * sizeof *begin) == 0)
            return true;
    return false;
}

/* How a reply ends that goes round in circles; JOB_RUNNING where it does not. */
static enum job_end look_for_loop(const struct job *j, struct model *m)
{
    if (j->n_sampled < LOOP_TOKENS || j->n_sampled % LOOP_STRIDE != 0)
        return JOB_RUNNING;
    if (!is_in_call(j, m))
        return repeats_itself(j, LOOP_TOKENS) ? JOB_END_OF_TURN : JOB_RUNNING;
    bool is_loop = j->n_sampled >= LOOP_CALL_TOKENS && repeats_itself(j, LOOP_CALL_TOKENS);
    return is_loop ? JOB_CALL_LOOP : JOB_RUNNING;
}

enum job_end job_take_token(struct job *j, struct model *m, const float *logits)
{
    INVARIANT(prefix_leaf_length(j->leaf) == j->n_tokens);
    if (j->max_tokens == 0)
        return JOB_MAX_TOKENS; /* a job that only reads its prompt */

    model_token token = draw_token(j, m, logits);
    if (ends_turn(j, m, token))
        return JOB_END_OF_TURN;
    sampler_accept(j->sampler, m, token, j->grammar);
    j->tokens[j->n_tokens++] = token;
    j->n_sampled++;
    j->state = JOB_STATE_DECODE;

    strbuf_clear(&j->piece);
    m->ops->piece(m, token, j->keep_control_pieces, &j->piece);
    for (size_t i = 0; i < j->piece.len; i++)
        j->has_spoken |= strchr(" \t\r\n", j->piece.data[i]) == NULL;
    thinking_feed(&j->thinking, strbuf_str(&j->piece));
    j->stop_index = stopper_feed(&j->stopper, strbuf_str(&j->piece), &j->released);
    if (j->stop_index != STOPPER_NONE)
        return JOB_STOP_TEXT;
    if (has_said_enough(j, m))
        return JOB_MAX_TOKENS;
    if (j->n_tokens == j->n_window)
        return JOB_WINDOW;
    return look_for_loop(j, m);
}

/* Moves what is new into the outbox, whose mutex is held. */
static void fill_outbox(struct job *j)
{
    struct job_outbox *box = &j->outbox;
    strbuf_append_str(&box->bytes, strbuf_str(&j->released));
    box->bytes.failed |= j->released.failed || j->piece.failed;
    strbuf_clear(&j->released);
    box->n_unfetched += j->n_sampled - box->n_sampled;
    box->has_progress |= box->n_prefilled != j->n_prefilled || box->n_reused != j->n_reused;
    box->n_sampled = j->n_sampled;
    box->n_reused = j->n_reused;
    box->n_prefilled = j->n_prefilled;
}

void job_publish(struct job *j)
{
    struct job_outbox *box = &j->outbox;
    pthread_mutex_lock(&box->mutex);
    fill_outbox(j);
    if (j->state == JOB_STATE_DECODE && box->n_unfetched >= LIMIT_JOB_TOKENS) {
        box->is_full = true;
        j->state = JOB_STATE_PARKED;
    }
    pthread_cond_broadcast(&box->changed);
    pthread_mutex_unlock(&box->mutex);
}

void job_try_unpark(struct job *j)
{
    if (j->state != JOB_STATE_PARKED)
        return;
    pthread_mutex_lock(&j->outbox.mutex);
    if (!j->outbox.is_full)
        j->state = JOB_STATE_DECODE;
    pthread_mutex_unlock(&j->outbox.mutex);
}

void job_drop_leaf(struct job *j)
{
    if (j->leaf != NULL)
        prefix_release(j->leaf);
    j->leaf = NULL;
}

void job_give_way(struct job *j)
{
    INVARIANT(j->leaf != NULL);
    job_drop_leaf(j);
    j->state = JOB_STATE_WAITING;
}

void job_finish(struct job *j, enum job_end end, const struct error *error, struct model *m)
{
    INVARIANT(j->leaf == NULL && end != JOB_RUNNING);
    j->state = JOB_STATE_DONE;
    if (j->has_started && end != JOB_STOP_TEXT)
        stopper_finish(&j->stopper, &j->released);
    if (j->grammar != NULL)
        m->ops->grammar_free(j->grammar);
    j->grammar = NULL;

    struct job_outbox *box = &j->outbox;
    pthread_mutex_lock(&box->mutex);
    fill_outbox(j);
    box->end = end;
    box->stop_index = j->stop_index;
    if (error != NULL)
        box->error = *error;
    pthread_cond_broadcast(&box->changed);
    pthread_mutex_unlock(&box->mutex);
}

/* --- The reader's side ----------------------------------------------------------------------- */

/* A full box is news even without bytes: what was sampled may be held back by the stopper, or be
 * control tokens that are not spelled out. */
static bool outbox_has_news(const struct job_outbox *box)
{
    return box->bytes.len > 0 || box->bytes.failed || box->has_progress || box->is_full ||
           box->end != JOB_RUNNING;
}

static void outbox_take(struct job_outbox *box, struct job_output *out)
{
    strbuf_append_str(out->bytes, strbuf_str(&box->bytes));
    out->bytes->failed |= box->bytes.failed;
    strbuf_clear(&box->bytes);
    box->n_unfetched = 0;
    box->has_progress = false;
    out->end = box->end;
    out->stop_index = box->stop_index;
    out->n_sampled = box->n_sampled;
    out->n_reused = box->n_reused;
    out->n_prefilled = box->n_prefilled;
    out->error = box->error;
}

/* Only while the job runs is there surely a scheduler to wake: it can't end, and be destroyed after
 * its jobs, before this mutex is free. */
static void wake_scheduler(struct job *j)
{
    if (j->outbox.end == JOB_RUNNING)
        j->waker.wake(j->waker.arg);
}

enum status job_next(struct job *j, unsigned timeout_ms, struct job_output *out)
{
    struct job_outbox *box = &j->outbox;
    enum status st = STATUS_AGAIN;
    pthread_mutex_lock(&box->mutex);
    uint64_t deadline_ms = clock_now_ms() + timeout_ms;
    bool has_expired = timeout_ms == 0;
    while (!outbox_has_news(box) && !has_expired) {
        uint64_t now_ms = clock_now_ms();
        has_expired =
            now_ms >= deadline_ms ||
            !thread_cond_wait_ms(&box->changed, &box->mutex, (unsigned)(deadline_ms - now_ms));
    }
    if (!outbox_has_news(box))
        goto out;

    st = STATUS_OK;
    outbox_take(box, out);
    if (box->is_full) {
        box->is_full = false;
        wake_scheduler(j);
    }

out:
    pthread_mutex_unlock(&box->mutex);
    return st;
}

enum status job_await_parting(struct job *j, unsigned timeout_ms, struct job_parting *out)
{
    struct job_outbox *box = &j->outbox;
    pthread_mutex_lock(&box->mutex);
    uint64_t deadline_ms = clock_now_ms() + timeout_ms;
    uint64_t now_ms = deadline_ms - timeout_ms;
    while (!box->has_begun && box->end == JOB_RUNNING && now_ms < deadline_ms) {
        (void)thread_cond_wait_ms(&box->changed, &box->mutex, (unsigned)(deadline_ms - now_ms));
        now_ms = clock_now_ms();
    }
    enum status st = box->has_begun            ? STATUS_OK
                     : box->end == JOB_RUNNING ? STATUS_AGAIN
                                               : STATUS_CANCELLED;
    if (st == STATUS_OK)
        *out = box->parting;
    pthread_mutex_unlock(&box->mutex);
    return st;
}

const model_token *job_sampled(const struct job *j, size_t *out_n)
{
    *out_n = j->n_tokens - j->n_prompt;
    return j->tokens + j->n_prompt;
}

void job_cancel(struct job *j)
{
    atomic_store(&j->is_cancelled, true);
    pthread_mutex_lock(&j->outbox.mutex);
    wake_scheduler(j);
    pthread_mutex_unlock(&j->outbox.mutex);
}

void job_release(struct job *j)
{
    if (j == NULL)
        return;
    job_cancel(j);
    job_unref(j);
}
