/* sched -- one thread that owns the model, the batch, the KV pool and the prefix tree, and lends
 * them to jobs.
 *
 * A job is a prompt in tokens and limits; what comes back is a stream of text bytes and one end.
 * A step is up to two decode calls: one row for every decoding job; then a chunk of one job's
 * prefill, never across a border of 512 of its positions.  Alone, a chunk is up to 512 rows; while
 * someone decodes, what fits in 250 ms at the measured speed for that depth, and in about the time
 * of 32 rows (8 .. 128, multiples of 8).  A job that decodes alone has guesses at its next tokens
 * verified along with the last (draft.h); its reply is the same.  Stop sequences are matched in the
 * step.  A job whose reader is slow parks: its row leaves the batch until the reader has caught up.
 *
 * Prompts are read in order of class and age (order.h), a chunk of the first at a time: a user's
 * prompt takes over from a background one at the next chunk.  A job is admitted when it is first,
 * so the second of two with the same beginning finds the cells of the other; where it outranks the
 * one that is being read, it lets that pass their common part before it shares and goes on alone.
 * If the first is cancelled, what it had computed is idle, and found.  A job that needs a place or
 * cells takes them from less important ones whose prompts are still read, and from background ones.
 * When the pool is full: evict idle prefixes, those of background jobs first, retry, then park the
 * youngest job of the least important class; never fail all.
 *
 * Not here: messages, text formats, sockets.  Threads: everything below is for any thread but the
 * scheduler's own. */
#pragma once

#include "cache/kvstore.h"
#include "cache/prefix.h"
#include "model/model.h"
#include "model/sampler.h"
#include "sched/thinking.h"

struct sched;
struct job;

/* Most important first. */
enum job_class {
    JOB_INTERACTIVE, /* somebody waits for it */
    JOB_SUBAGENT,    /* works for one that somebody waits for */
    JOB_BACKGROUND,  /* nobody would miss it for a while */
};

struct job_params {
    enum job_class class;
    const model_token *tokens; /* copied */
    size_t n_tokens;           /* >= 1 */
    uint64_t namespace_key;    /* prefixes are shared only inside one namespace */
    uint32_t max_tokens;       /* most tokens to sample; also ends at the window */
    uint32_t n_window;         /* prompt + reply of one job, in tokens */
    struct sampler_params sampler;
    struct grammar_spec grammar;    /* copied */
    struct thinking_limit thinking; /* copied */
    const struct str *stops;        /* copied; texts that end the reply */
    size_t n_stops;
    model_token turn_begin; /* the control token that begins any turn, so ends this one where it is
                               sampled; MODEL_NO_TOKEN: none */
    bool must_speak; /* a reply of nothing but blanks is of no use to the reader: the model's next
                        best is taken instead of its end */
    bool keep_control_pieces; /* spell control tokens out in the output, as tool-call marks of
                                 some templates are control tokens */
};

enum job_end {
    JOB_RUNNING,
    JOB_END_OF_TURN, /* the model ended it, or only repeated itself any more */
    JOB_STOP_TEXT,   /* one of `stops` came; stop_index says which */
    JOB_MAX_TOKENS,
    JOB_WINDOW,    /* prompt + reply fill the window */
    JOB_CALL_LOOP, /* the model only repeated itself any more inside a tool call */
    JOB_CANCELLED,
    JOB_FAILED, /* see error */
};

/* Where a prompt parts from what the pool knew when it was begun to be read: numbers only. */
struct job_parting {
    uint32_t n_prompt;
    uint32_t n_known;   /* tokens that it has in common with the nearest prompt in the pool */
    uint32_t n_nearest; /* length of that one, with its reply: where it is n_known, this prompt only
                           goes on from there */
    uint32_t turn;      /* in which it parts, from 1, told by turn_begin; 0: not known */
};

struct job_output {
    struct strbuf *bytes; /* the caller's; text released since the last call is appended; it has
                             failed where some was lost for want of memory */
    enum job_end end;     /* JOB_RUNNING while more may come */
    int stop_index;
    uint32_t n_sampled;   /* tokens sampled so far, without the one that ends the turn */
    uint32_t n_reused;    /* prompt tokens that were found in the pool or on disk */
    uint32_t n_prefilled; /* prompt tokens computed so far; at last n_reused + n_prefilled is all */
    struct error error;
};

struct sched_options {
    uint32_t max_running; /* jobs decoded together; >= 1 */
    uint32_t max_jobs;    /* admitted, running or waiting */
    bool drafts;          /* guess ahead where a job decodes alone */

    struct kvstore *store;    /* where prompts are kept on disk; borrowed; NULL: nowhere */
    unsigned persist_idle_ms; /* without work, before they are written */
    unsigned flush_ms;        /* most that sched_destroy spends on what is not written yet */

    const char *recount_file; /* read by sched_create, see recount.h; NULL: nothing is counted */
};

/* Takes the model over (destroyed by sched_destroy).  NULL, the model destroyed, where no thread
 * can be started. */
struct sched *sched_create(struct model *m, const struct sched_options *options);

/* Cancels every job, ends the thread, frees the model.  A job that its reader has not released yet
 * ends with JOB_CANCELLED and can still be read and released. */
void sched_destroy(struct sched *s);

/* STATUS_BUSY when max_jobs are admitted; STATUS_TOO_LONG when the prompt fills the window or
 * passes the pool; STATUS_INVALID for an empty prompt or stop sequence; STATUS_INTERNAL once the
 * model has failed. */
MUST_USE enum status sched_submit(struct sched *s, const struct job_params *params,
                                  struct job **out, struct error *err);

/* Waits up to `timeout_ms` for text, progress of the prefill, or the end.  STATUS_AGAIN when there
 * was nothing.  Takes all text that there is, at most that of LIMIT_JOB_TOKENS tokens and what a
 * stop sequence held back.  After the end it answers the end again. */
MUST_USE enum status job_next(struct job *j, unsigned timeout_ms, struct job_output *out);

/* Waits up to `timeout_ms` until the prompt is begun to be read.  STATUS_AGAIN when it was not;
 * STATUS_CANCELLED when the job ended before. */
MUST_USE enum status job_await_parting(struct job *j, unsigned timeout_ms, struct job_parting *out);

/* Any thread, any number of times, never waits.  The engine is free within 250 ms; what was
 * computed stays in the pool, to the model's last whole step. */
void job_cancel(struct job *j);

/* Once its end was seen: the tokens that were sampled, without the one that ended the turn; the
 * job's, until it is released. */
const model_token *job_sampled(const struct job *j, size_t *out_n);

/* The reader is done with the job (cancels it if it still runs). */
void job_release(struct job *j);

/* What turns end with, and new ones are refused with, once the model has failed. */
#define SCHED_MODEL_FAILED                                                                         \
    "the model failed while it computed; restart the server (its log says more)"

struct sched_stats {
    bool has_failed; /* the model: for good */
    uint32_t n_running;
    uint32_t n_waiting;
    uint32_t cells_used;
    uint32_t cells_total;
    double prefill_tokens_per_s; /* recent, 0 before the first */
    double decode_tokens_per_s;
    uint32_t prefill_done; /* of the prompt being read now; 0 of 0 when none */
    uint32_t prefill_total;
};
void sched_get_stats(const struct sched *s, struct sched_stats *out);
