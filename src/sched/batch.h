/* batch -- which rows the next decode call takes.  Pure: what it is given decides, nothing is kept.
 *
 * A step is up to two calls.  batch_decode: the one row that each decoding job waits for, and those
 * of its draft.  Then batch_prefill: a chunk of the one job whose prompt is being read.  A chunk
 * never crosses a border of BATCH_BORDER of the job's positions, so that prompts with a common
 * beginning are computed in the same pieces.  Alone it reaches to the border, but for a background
 * job, so that whoever comes meanwhile does not wait long.  While someone decodes it is what
 * BATCH_SHARED_US allow at the cost measured at that depth, and no more than cost about what
 * BATCH_SHARED_ROWS rows do there: more of them only where much of a call's cost is not the rows'.
 */
#pragma once

#include "model/model.h"

enum {
    BATCH_BORDER = MODEL_BATCH_ROWS,
    BATCH_SHARED_US = 250 * 1000, /* how long a chunk may hold up those who decode */
    BATCH_SHARED_ROWS = 32,       /* whose cost is the longest wait of those who decode ... */
    BATCH_SHARED_ROWS_MIN = 8, /* ... the fewest rows of a chunk, always a multiple of this ... */
    BATCH_SHARED_ROWS_MOST = 128, /* ... and the most */
    BATCH_LARGE_ROWS = 256,       /* from so many on, a chunk is a large one */
    BATCH_BACKGROUND_ROWS = 128,  /* most rows of a background job's chunk */
    BATCH_DEPTHS = 12,            /* below 512 positions, 1024, 2048, ... */
};

/* A chunk as it mostly was; rows 0: not measured. */
struct batch_cost {
    double rows, us;
};

/* What a chunk costs at which depth: attention grows with it.  Two sizes make a line: what a call
 * costs, and each row. */
struct batch_speed {
    struct batch_cost small[BATCH_DEPTHS]; /* up to BATCH_SHARED_ROWS */
    struct batch_cost large[BATCH_DEPTHS]; /* from BATCH_LARGE_ROWS on */
};

/* Takes note of a chunk of n_rows from position `depth` on. */
void batch_speed_add(struct batch_speed *speed, size_t depth, size_t n_rows, uint64_t us);

/* Rows of a chunk at `depth` while someone decodes. */
size_t batch_speed_shared_rows(const struct batch_speed *speed, size_t depth);

enum batch_role {
    BATCH_SITS_OUT,
    BATCH_DECODES,  /* exactly one token is not in the pool yet */
    BATCH_PREFILLS, /* at least one is not */
};

/* A job as this module sees it. */
struct batch_entry {
    enum batch_role role;
    bool is_background; /* its chunks are small; the chunks of others don't mind that it decodes */
    const model_token *tokens;
    size_t n_tokens;
    size_t n_done;  /* tokens in the pool, < n_tokens unless it sits out */
    size_t n_draft; /* BATCH_DECODES: guessed tokens, in `tokens` from n_tokens on */
    uint32_t sequence;
};

struct batch {
    struct model_row rows[MODEL_BATCH_ROWS];
    size_t entry_of[MODEL_BATCH_ROWS]; /* whose row it is */
    size_t n_rows;
};

/* n_rows is 0 where there is nothing to do.  `reader`: the index of the entry that is read, whose
 * role is BATCH_PREFILLS. */
void batch_decode(struct batch *batch, const struct batch_entry *entries, size_t n_entries);
void batch_prefill(struct batch *batch, const struct batch_entry *entries, size_t n_entries,
                   size_t reader, const struct batch_speed *speed);
