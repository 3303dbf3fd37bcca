/* spy -- the scheduler step by step: every decode call is recorded, and a test can hold the
 * scheduler before the n-th one, so that what happens during a call happens at that call and no
 * other.
 *
 * The toy's replies without a script are hashes of all tokens before them: a mistake in shared,
 * removed or recomputed cells changes the reply. */
#pragma once

#include "support/check.h"

#include "sched/sched.h"

#include <pthread.h>

#include "base/thread.h"
#include "model/model_toy.h"

enum {
    WAIT_MS = 20 * 1000,
    MAX_CALLS = 20000,
    N_SEQUENCES = 16,
    N_WINDOW = 16384,
};

struct call {
    size_t n_rows;
    uint32_t n_sequences; /* that have rows in it */
    uint32_t begin;       /* position of the first row */
    uint32_t first, last; /* sequence of the first and of the last row */
    uint32_t cells;       /* used by the model afterwards */
    enum model_result result;
};

/* One at a time.  `calls` is written by the scheduler and read when it is held, or gone. */
static struct {
    const struct model_ops *inner;
    struct model_ops ops;
    struct call calls[MAX_CALLS];
    size_t n_calls;
    size_t hold_at; /* the call, from 1, before which the scheduler is held; 0: none */
    bool is_held;
    bool may_go;
    bool abort_ends_hold;
    bool (*should_abort)(void *arg); /* the scheduler's */
    void *abort_arg;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
} spy = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static inline void spy_hold(void)
{
    pthread_mutex_lock(&spy.mutex);
    spy.n_calls++;
    if (spy.n_calls == spy.hold_at) {
        spy.is_held = true;
        pthread_cond_broadcast(&spy.changed);
        while (!spy.may_go && !(spy.abort_ends_hold && spy.should_abort(spy.abort_arg)))
            (void)thread_cond_wait_ms(&spy.changed, &spy.mutex, 1);
        spy.is_held = false;
    }
    pthread_mutex_unlock(&spy.mutex);
}

static inline enum model_result spy_decode(struct model *m, const struct model_row *rows,
                                           size_t n_rows)
{
    spy_hold();
    struct call call = {.n_rows = n_rows,
                        .begin = rows[0].position,
                        .first = rows[0].sequence,
                        .last = rows[n_rows - 1].sequence};
    uint64_t seen = 0;
    for (size_t i = 0; i < n_rows; i++)
        seen |= UINT64_C(1) << rows[i].sequence;
    for (; seen != 0; seen &= seen - 1)
        call.n_sequences++;
    call.result = spy.inner->decode(m, rows, n_rows);
    call.cells = model_toy_cells_used(m);
    INVARIANT(spy.n_calls <= MAX_CALLS);
    spy.calls[spy.n_calls - 1] = call;
    return call.result;
}

static inline void spy_set_abort(struct model *m, bool (*should_abort)(void *arg), void *arg)
{
    spy.should_abort = should_abort;
    spy.abort_arg = arg;
    spy.inner->set_abort(m, should_abort, arg);
}

static inline void spy_await(void)
{
    pthread_mutex_lock(&spy.mutex);
    while (!spy.is_held) {
        if (!thread_cond_wait_ms(&spy.changed, &spy.mutex, WAIT_MS))
            fail_msg("the scheduler did not come to call %zu", spy.hold_at);
    }
    pthread_mutex_unlock(&spy.mutex);
}

static inline void spy_go(void)
{
    pthread_mutex_lock(&spy.mutex);
    spy.may_go = true;
    pthread_cond_broadcast(&spy.changed);
    pthread_mutex_unlock(&spy.mutex);
}

struct fixture {
    struct model *model;
    struct sched *sched;
};

struct setup {
    uint32_t n_cells;     /* 4096 */
    uint32_t max_running; /* 4 */
    uint32_t max_jobs;    /* 16 */
    uint32_t fail_at;
    size_t hold_at;
    bool abort_ends_hold;
    bool drafts;
};

static inline struct fixture make(const struct setup *setup)
{
    struct model_toy_options toy = {.n_cells = setup->n_cells ? setup->n_cells : 4096,
                                    .n_sequences = N_SEQUENCES,
                                    .fail_decode_at = setup->fail_at};
    struct fixture f = {.model = model_toy_create(&toy)};
    spy.inner = f.model->ops;
    spy.ops = *f.model->ops;
    spy.ops.decode = spy_decode;
    spy.ops.set_abort = spy_set_abort;
    f.model->ops = &spy.ops;
    spy.n_calls = 0;
    spy.hold_at = setup->hold_at;
    spy.abort_ends_hold = setup->abort_ends_hold;
    spy.is_held = false;
    spy.may_go = false;
    struct sched_options options = {.max_running = setup->max_running ? setup->max_running : 4,
                                    .max_jobs = setup->max_jobs ? setup->max_jobs : 16,
                                    .drafts = setup->drafts};
    f.sched = sched_create(f.model, &options);
    assert_non_null(f.sched);
    return f;
}

static inline enum status try_submit_class(struct fixture *f, enum job_class class,
                                           const char *prompt, uint32_t max_tokens,
                                           struct job **out)
{
    model_token *tokens;
    size_t n;
    assert_int_equal(model_tokenize(f->model, str_from(prompt), true, &tokens, &n), STATUS_OK);
    struct job_params params = {.class = class,
                                .tokens = tokens,
                                .n_tokens = n,
                                .namespace_key = 1,
                                .max_tokens = max_tokens,
                                .turn_begin = MODEL_NO_TOKEN,
                                .n_window = N_WINDOW,
                                .sampler = {.top_p = 1, .repeat_penalty = 1}};
    struct error err;
    enum status st = sched_submit(f->sched, &params, out, &err);
    mem_free(tokens);
    return st;
}

static inline enum status try_submit(struct fixture *f, const char *prompt, uint32_t max_tokens,
                                     struct job **out)
{
    return try_submit_class(f, JOB_INTERACTIVE, prompt, max_tokens, out);
}

static inline struct job *submit_class(struct fixture *f, enum job_class class, const char *prompt,
                                       uint32_t max_tokens)
{
    struct job *j = NULL;
    assert_int_equal(try_submit_class(f, class, prompt, max_tokens, &j), STATUS_OK);
    return j;
}

static inline struct job *submit(struct fixture *f, const char *prompt, uint32_t max_tokens)
{
    struct job *j = NULL;
    assert_int_equal(try_submit(f, prompt, max_tokens, &j), STATUS_OK);
    return j;
}

/* Reads to the end and releases; the text in *bytes. */
static inline struct job_output finish(struct job *j, struct strbuf *bytes)
{
    strbuf_clear(bytes);
    struct job_output out = {.bytes = bytes};
    while (out.end == JOB_RUNNING)
        assert_int_equal(job_next(j, WAIT_MS, &out), STATUS_OK);
    job_release(j);
    return out;
}

/* What the toy says after `prompt` when nothing else ever ran. */
static inline void say_alone(const char *prompt, uint32_t max_tokens, struct strbuf *bytes)
{
    struct fixture f = make(&(struct setup){0});
    finish(submit(&f, prompt, max_tokens), bytes);
    sched_destroy(f.sched);
}

static inline char *long_prompt(char first, size_t n)
{
    char *prompt = mem_alloc(n + 1);
    for (size_t i = 0; i < n; i++)
        prompt[i] = (char)('a' + (i * i / 7 + i) % 26);
    prompt[0] = first;
    prompt[n] = '\0';
    return prompt;
}
