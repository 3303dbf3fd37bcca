/* job -- one turn inside the scheduler: its states, its tokens, and the hand-over to its reader.
 *
 *      state      rows in the batch    holds a leaf    output
 *      WAITING    none                 no
 *      PREFILL    a chunk              yes             none but progress
 *      DECODE     one                  yes             a token's text per step
 *      PARKED     none                 yes             the reader has LIMIT_JOB_TOKENS to fetch
 *      DONE       none                 no              the end is set
 *
 *      WAITING -> PREFILL   [job_start]      a leaf is pinned
 *      PREFILL -> DECODE    [job_take_token] all tokens are in the pool, the next is sampled
 *      DECODE  -> PARKED    [job_publish]    the buffer is full
 *      PARKED  -> DECODE    [job_try_unpark] the reader has fetched
 *      PREFILL, DECODE, PARKED -> WAITING [job_give_way] the pool is full; the sampled tokens now
 *                                            count as prompt, and are computed again later
 *      DECODE  -> PREFILL   [job_rows_lost]  an aborted call cost more than the last token
 *      any     -> DONE      [job_finish]     reason set; the leaf went idle before
 *
 * In DECODE exactly one token (the last sampled) is not in the pool.
 *
 * Threads: the scheduler's, but for job_next, job_cancel and job_release, which are the reader's.
 * Two references keep a job: the reader's and the scheduler's. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "model/stopper.h"
#include "sched/draft.h"
#include "sched/sched.h"

enum job_state {
    JOB_STATE_WAITING,
    JOB_STATE_PREFILL,
    JOB_STATE_DECODE,
    JOB_STATE_PARKED,
    JOB_STATE_DONE,
};

/* How a job calls the scheduler's thread. */
struct job_waker {
    void (*wake)(void *arg);
    void *arg;
};

/* What the reader sees.  Guarded by `mutex`; the scheduler's own mutex is taken after this one,
 * never before. */
struct job_outbox {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct strbuf bytes;
    uint32_t n_unfetched; /* tokens behind `bytes` */
    bool has_progress;    /* since the reader last looked */
    bool is_full;         /* the scheduler waits for the reader */
    enum job_end end;
    int stop_index;
    uint32_t n_sampled;
    uint32_t n_reused;
    uint32_t n_prefilled;
    bool has_begun; /* `parting` is set */
    struct job_parting parting;
    struct error error;
};

struct job {
    /* Set at birth, then only read. */
    struct arena arena; /* texts of grammar and stops */
    struct grammar_spec grammar_spec;
    struct sampler_params sampler_params;
    const struct str *stops;
    size_t n_stops;
    enum job_class class;
    uint64_t namespace_key;
    size_t n_prompt;
    size_t n_window;
    uint32_t max_tokens;
    bool keep_control_pieces;
    bool must_speak;
    model_token turn_begin;
    struct job_waker waker;

    /* The scheduler thread's. */
    enum job_state state;
    uint64_t served_ms;  /* when something was last computed for it; at first, when it came */
    model_token *tokens; /* prompt and sampled tokens; room for all that may come */
    size_t n_tokens;
    size_t n_most;      /* the room */
    struct draft draft; /* made when first used */
    size_t n_drafted;   /* of the decode call under way; they stand in `tokens` too, behind
                           the last */
    model_token drafted[DRAFT_MOST];
    struct prefix_leaf *leaf; /* NULL in WAITING and DONE */
    struct sampler *sampler;  /* made at the first start, like the grammar and the stopper */
    struct grammar *grammar;
    struct thinking thinking;
    struct stopper stopper;
    struct strbuf piece;    /* bytes of one token */
    struct strbuf released; /* bytes that the next job_publish hands over */
    bool has_started;
    bool has_spoken; /* something but blanks was sampled */
    uint32_t n_sampled;
    uint32_t n_reused;
    uint32_t n_prefilled;
    int stop_index;

    atomic_bool is_cancelled;
    atomic_uint references;
    struct job_outbox outbox;
};

/* Copies what params borrow. */
MUST_USE enum status job_create(const struct job_params *params, struct job_waker waker,
                                struct job **out, struct error *err);
void job_unref(struct job *j);

/* Tells the reader, and the log, how the prompt compares with the nearest one of n_nearest tokens,
 * whose first n_known it has too.  Once, before its start. */
void job_note_parting(struct job *j, size_t n_known, size_t n_nearest);

void job_start(struct job *j, struct model *m, struct prefix_leaf *leaf, size_t n_reused);

/* The next n tokens are in the pool. */
void job_rows_done(struct job *j, size_t n);

/* The leaf has gained n tokens that lay on disk: as those found in the pool at the start. */
void job_rows_restored(struct job *j, size_t n);

/* An aborted call: what it computed of this job's prompt counts as done, the rest is removed. */
void job_rows_lost(struct job *j, struct model *m);

/* Guesses at most `n_most` tokens that may follow; what was guessed before is forgotten. */
void job_draft(struct job *j, size_t n_most);

/* Whether the token sampled last is the n-th guessed one, so that the next row is of use. */
bool job_draft_holds(const struct job *j, size_t n);

/* Of the rows of the draft that were computed, the first n_held are of use; the rest is removed. */
void job_draft_done(struct job *j, const struct draft_cost *cost, size_t n_held);

/* Samples the next token from logits and appends it.  Returns why the job ends with it, else
 * JOB_RUNNING; either way the text waits for job_publish or job_finish. */
enum job_end job_take_token(struct job *j, struct model *m, const float *logits);

/* Hands text and progress to the reader. */
void job_publish(struct job *j);

void job_try_unpark(struct job *j);

/* Lets the leaf go idle. */
void job_drop_leaf(struct job *j);
void job_give_way(struct job *j);

/* The last word to the reader; `error` only for JOB_FAILED. */
void job_finish(struct job *j, enum job_end end, const struct error *error, struct model *m);
