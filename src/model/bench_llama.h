/* bench_llama -- times steps of a loaded model at the depth of real conversations, cheaply.
 *
 * Only for model_llama.c and tune.c (as a struct tune_bench).  Two tricks make it cheap:
 *
 * - The pool is filled without computing it.  Sixteen rows are computed; their cells are copied
 *   (llama_state_seq_set_data into a scratch sequence, then llama_memory_seq_cp) until the sequence
 *   has as many cells as are wanted.  Positions repeat, which changes what attention would answer,
 *   but not what it does: the same cells, all visible to the next row, with values of the real
 * kind. A further part of the pool belongs to another, idle sequence, as in a server at work: there
 *   attention pays for masked cells too, in one form more than in the other.
 * - Of a chunk of many rows only the first layers are computed: the abort function, which ggml asks
 *   between the nodes of the graph, counts them and stops behind a share of the layers.  The layers
 *   of a model are alike, so the time is scaled to all of them.  A single row is timed whole.
 *
 * Not for models with a sliding window (their layers differ, and see only near positions) or with
 * recurrent layers (no cells), nor where layers are on a GPU (it does not ask between nodes). */
#pragma once

#include "base/strbuf.h"
#include "model/tune.h"

struct llama_model;

struct bench_llama_options {
    struct llama_model *weights;
    uint32_t n_cells;     /* of the pool that will be served; the two here take half of it each */
    uint32_t n_step_rows; /* the largest step that is timed */
    unsigned limit_ms;    /* a step is stopped in its midst after so long since create */
    bool insists;         /* time though other programs are busy */
    bool (*should_stop)(void *arg);
    void *arg;
};

/* NULL where the model is of a kind that can't be timed so, or the pool too small. */
struct tune_bench *bench_llama_create(const struct bench_llama_options *options);
void bench_llama_destroy(struct tune_bench *b);

/* What libllama is and what it found of this CPU, in one line. */
void bench_llama_describe(struct strbuf *out);
