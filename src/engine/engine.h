/* engine -- one conversation turn: messages in, events out, pulled by the caller's thread.
 *
 * Life of a turn: start, then next() until EVENT_DONE or EVENT_FAILED (exactly one ends it), then
 * finish().  `req` and its arena must outlive the turn.  cancel() may be called by any thread, any
 * number of times, until finish() is called; the last event still arrives (FAILED, CANCELLED).
 *
 * Implementations: engine_local (prompt + scheduler + model), engine_script (plays a script, for
 * whole-server tests); an upstream over HTTP follows. */
#pragma once

#include "api/event.h"
#include "api/message.h"

struct engine;
struct turn;

enum engine_state {
    ENGINE_LOADING, /* requests get 529 with retry-after */
    ENGINE_READY,
    ENGINE_FAILED, /* could not load, or the model broke: requests get 500 */
};

struct engine_status {
    enum engine_state state;
    char model[128];       /* name as in the catalogue, e.g. "qwen2.5-coder:1.5b" */
    struct error error;    /* ENGINE_FAILED */
    uint32_t load_percent; /* ENGINE_LOADING */
    uint32_t load_ms;      /* ENGINE_READY: how long loading took */
    uint32_t n_window;     /* tokens of one conversation, prompt and reply */
    bool can_think;        /* ENGINE_READY: the model reasons where it is asked to */
    uint32_t n_running, n_waiting;
    uint32_t cells_used, cells_total;
    uint32_t prefill_done, prefill_total;             /* tokens of the prompt being read now */
    double prefill_tokens_per_s, decode_tokens_per_s; /* recent, else measured; 0: not known */
    const char *kernels; /* which compute; NULL where there are none, or not loaded yet */
    uint64_t weights_bytes, kv_bytes;

    /* Prompts on disk. */
    bool keeps_prompts;
    bool keeping_is_paused; /* the disk, or the day, takes no more */
    uint64_t kept_blocks, kept_bytes, kept_budget_bytes;
    uint64_t kept_today_bytes, kept_waiting_bytes; /* written today; not written yet */
};

/* What the server knows about the caller. */
struct engine_caller {
    uint64_t namespace_key; /* from the API key: nothing is shared between keys */
    bool is_agent_client;   /* a client that works by itself for its user (Claude Code) */
    bool is_subagent;       /* x-claude-code-agent-id was sent */
    /* The client (Claude Code) answers a tool input that is no JSON with a tool error and goes on.
     * Others get EVENT_FAILED where the window ends inside a call, since they may mend and run it.
     */
    bool reports_broken_input;
};

/* How far a turn is. */
struct turn_progress {
    uint32_t n_prompt;
    uint32_t n_read;    /* of the prompt: found in the pool or computed; 0 while the turn waits */
    uint32_t n_sampled; /* of the reply, some of it perhaps held back */
};

/* Where a turn's prompt parts from what was known when it was begun to be read. */
struct turn_parting {
    uint32_t n_prompt;
    uint32_t n_known;   /* tokens in common with the nearest known prompt */
    uint32_t n_nearest; /* that one's length; where it is n_known, this prompt goes on from there */
    uint32_t turn;      /* of the conversation, the system prompt being 1; 0: not known */
};

struct engine_ops {
    /* Decides everything that can be refused before a header is sent: STATUS_TOO_LONG ("prompt is
     * too long: N tokens > M maximum"), _INVALID, _BUSY (full or loading), _NO_MEMORY.  Then the
     * turn waits for its place by itself.  *out_prompt_tokens is what count_tokens would say. */
    enum status (*start)(struct engine *e, const struct message_request *req,
                         const struct engine_caller *caller, struct turn **out,
                         uint32_t *out_prompt_tokens, struct error *err);

    /* STATUS_OK with an event, or STATUS_AGAIN after `timeout_ms`. */
    enum status (*next)(struct turn *t, unsigned timeout_ms, struct event *out);
    /* By the thread that calls next(): as of its last call. */
    void (*get_progress)(struct turn *t, struct turn_progress *out);
    /* By the same thread.  STATUS_AGAIN where the turn still waits after `timeout_ms`;
     * STATUS_CANCELLED where it ended before it began, STATUS_UNSUPPORTED where nothing is known.
     */
    enum status (*await_parting)(struct turn *t, unsigned timeout_ms, struct turn_parting *out);
    void (*cancel)(struct turn *t);
    void (*finish)(struct turn *t); /* cancels first if still running; never waits long */

    /* Of the prompt that would be made of `req`; what was taken out before goes to *edits, where it
     * is not NULL. */
    enum status (*count_tokens)(struct engine *e, const struct message_request *req,
                                const struct engine_caller *caller, uint32_t *out_tokens,
                                struct context_report *edits, struct error *err);
    void (*get_status)(struct engine *e, struct engine_status *out); /* never waits */
    void (*destroy)(struct engine *e); /* no turn may be in use any more */
};

/* Heads of the implementations. */
struct engine {
    const struct engine_ops *ops;
};
struct turn {
    struct engine *engine;
};

static inline enum status engine_start(struct engine *e, const struct message_request *req,
                                       const struct engine_caller *caller, struct turn **out,
                                       uint32_t *out_prompt_tokens, struct error *err)
{
    return e->ops->start(e, req, caller, out, out_prompt_tokens, err);
}
static inline enum status turn_next(struct turn *t, unsigned timeout_ms, struct event *out)
{
    return t->engine->ops->next(t, timeout_ms, out);
}
static inline void turn_get_progress(struct turn *t, struct turn_progress *out)
{
    t->engine->ops->get_progress(t, out);
}
static inline enum status turn_await_parting(struct turn *t, unsigned timeout_ms,
                                             struct turn_parting *out)
{
    return t->engine->ops->await_parting(t, timeout_ms, out);
}
static inline void turn_cancel(struct turn *t)
{
    t->engine->ops->cancel(t);
}
static inline void turn_finish(struct turn *t)
{
    t->engine->ops->finish(t);
}
static inline enum status engine_count_tokens(struct engine *e, const struct message_request *req,
                                              const struct engine_caller *caller,
                                              uint32_t *out_tokens, struct context_report *edits,
                                              struct error *err)
{
    return e->ops->count_tokens(e, req, caller, out_tokens, edits, err);
}
static inline void engine_get_status(struct engine *e, struct engine_status *out)
{
    e->ops->get_status(e, out);
}
static inline void engine_destroy(struct engine *e)
{
    if (e != NULL)
        e->ops->destroy(e);
}
