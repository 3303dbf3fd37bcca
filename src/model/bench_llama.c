#define _GNU_SOURCE
#include "model/bench_llama.h"

#include <ggml-cpu.h>
#include <llama.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "kernels/hook.h"
#include "model/llama_guard.h"

enum {
    MOST_CELLS = 7680,
    LEAST_CELLS = 1536,
    IDLE_SHARE = 8, /* one in so many cells is an idle sequence's */
    CELLS_STEP = 256,
    BLOCK_ROWS = 16,    /* computed; all other cells are copies */
    TARGET_US = 250000, /* of one timed chunk */
    WARM_UP_US = 150000,
    N_SEQUENCES = 3, /* the one that is timed, the idle one, the scratch */
    SEQ_TIMED = 0,
    SEQ_IDLE = 1,
    SEQ_SCRATCH = 2,
};

static const double LEAST_SHARE = 0.7; /* of the processor */

struct bench {
    struct tune_bench base; /* first: pointers are cast */
    struct bench_llama_options options;
    const struct llama_vocab *vocab;
    uint32_t n_layers;
    uint32_t n_cells; /* of each context */
    uint32_t n_idle;
    struct llama_context *contexts[2]; /* by form */
    uint32_t n_nodes[2];               /* of a step's graph */
    uint32_t n_touched[2];             /* rows for which the step's buffer was used already */
    struct ggml_threadpool *threads;
    struct tune_setting attached; /* what `threads` was made for */
    struct llama_batch batch;
    double row_us; /* of a chunk at depth 0, to size the others */
    uint64_t limit_ms;

    /* One step; written by the thread that computes it. */
    uint32_t n_asked;
    uint32_t stop_after; /* nodes; 0: all */
    uint64_t first_us, last_us;
    bool was_stopped;                /* by the limit or the caller */
    uint64_t watch_us, watch_cpu_us; /* since then our share of the processor is looked at */
    bool is_warming_up;
};

static struct bench *bench_of(struct tune_bench *b)
{
    return (struct bench *)b;
}

static bool is_over(const struct bench *b)
{
    return clock_now_ms() >= b->limit_ms ||
           (b->options.should_stop != NULL && b->options.should_stop(b->options.arg));
}

/* What all threads of this process have computed so far.  While a graph is computed each of ggml's
 * threads computes or spins; only where others take the processor, one stands still. */
static uint64_t processor_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* The part that we got since the watch began, of what our threads wanted. */
static double share_since(const struct bench *b)
{
    double wanted_us = (double)(clock_now_us() - b->watch_us) * b->attached.n_threads;
    return wanted_us > 0 ? (double)(processor_us() - b->watch_cpu_us) / wanted_us : 1;
}

static void begin_watch(struct bench *b)
{
    b->watch_us = clock_now_us();
    b->watch_cpu_us = processor_us();
}

static bool is_starved(const struct bench *b)
{
    return b->is_warming_up && !b->options.insists && clock_now_us() - b->watch_us > WARM_UP_US &&
           share_since(b) < LEAST_SHARE;
}

/* ggml asks after every node. */
static bool count_node(void *arg)
{
    struct bench *b = arg;
    b->last_us = clock_now_us();
    if (b->n_asked++ == 0)
        b->first_us = b->last_us;
    b->was_stopped = b->was_stopped || is_over(b) || is_starved(b);
    return b->was_stopped || b->n_asked == b->stop_after;
}

/* ---- Steps ---- */

/* Rows of the timed sequence from `position` on.  False where it failed or was stopped. */
static bool compute(struct bench *b, bool flash, uint32_t position, uint32_t n_rows,
                    uint32_t stop_after)
{
    struct llama_batch *batch = &b->batch;
    batch->n_tokens = (int32_t)n_rows;
    uint32_t n_vocab = (uint32_t)llama_vocab_n_tokens(b->vocab);
    for (uint32_t i = 0; i < n_rows; i++) {
        batch->token[i] = (llama_token)((position + i + 1) * 7919u % n_vocab);
        batch->pos[i] = (llama_pos)(position + i);
        batch->n_seq_id[i] = 1;
        batch->seq_id[i][0] = SEQ_TIMED;
        batch->logits[i] = i + 1 == n_rows;
    }
    b->n_asked = 0;
    b->stop_after = stop_after;
    b->was_stopped = is_over(b);
    if (b->was_stopped)
        return false;
    if (!b->is_warming_up)
        begin_watch(b);
    int32_t result = llama_guard_decode(b->contexts[flash], batch);
    b->base.share = share_since(b);
    return !b->was_stopped && (result == 0 || (result == 2 && stop_after > 0));
}

/* Computes rows behind the filled part and forgets them again. */
static bool compute_at_depth(struct bench *b, bool flash, uint32_t n_rows, uint32_t stop_after)
{
    bool ok = compute(b, flash, BLOCK_ROWS, n_rows, stop_after);
    llama_memory_seq_rm(llama_get_memory(b->contexts[flash]), SEQ_TIMED, BLOCK_ROWS, -1);
    return ok;
}

/* ---- Preparing a form ---- */

static bool use_threads(struct bench *b, const struct tune_setting *setting)
{
    if (b->threads != NULL && b->attached.n_threads == setting->n_threads &&
        b->attached.poll == setting->poll)
        return true;
    for (size_t i = 0; i < 2; i++)
        if (b->contexts[i] != NULL)
            llama_detach_threadpool(b->contexts[i]);
    if (b->threads != NULL)
        ggml_threadpool_free(b->threads);
    struct ggml_threadpool_params params = ggml_threadpool_params_default((int)setting->n_threads);
    params.poll = setting->poll;
    b->threads = ggml_threadpool_new(&params);
    b->attached = *setting;
    return b->threads != NULL;
}

static void attach(struct bench *b, bool flash)
{
    int32_t n = (int32_t)b->attached.n_threads;
    llama_attach_threadpool(b->contexts[flash], b->threads, b->threads);
    llama_set_n_threads(b->contexts[flash], n, n);
}

static struct llama_context *make_context(struct bench *b, bool flash)
{
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = b->n_cells;
    params.n_batch = b->options.n_step_rows;
    params.n_ubatch = b->options.n_step_rows;
    params.n_seq_max = N_SEQUENCES;
    params.n_outputs_max = N_SEQUENCES;
    params.n_threads = params.n_threads_batch = (int32_t)b->attached.n_threads;
    params.flash_attn_type = flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.abort_callback = count_node;
    params.abort_callback_data = b;
    params.no_perf = true;
    params.kv_unified = true;
    return llama_init_from_model(b->options.weights, params);
}

/* Copies of the block's cells until the timed and the idle sequence have theirs. */
static bool fill(struct bench *b, struct llama_context *context)
{
    llama_memory_t memory = llama_get_memory(context);
    size_t size = llama_state_seq_get_size(context, SEQ_TIMED);
    uint8_t *state = mem_try_alloc(size);
    if (state == NULL)
        return false;
    bool ok = llama_state_seq_get_data(context, state, size, SEQ_TIMED) == size;
    uint32_t filled = BLOCK_ROWS;
    for (; ok && filled < b->base.depth + b->n_idle && !is_over(b); filled += BLOCK_ROWS) {
        ok = llama_state_seq_set_data(context, state, size, SEQ_SCRATCH) == size;
        llama_memory_seq_cp(memory, SEQ_SCRATCH, filled < b->base.depth ? SEQ_TIMED : SEQ_IDLE, -1,
                            -1);
        llama_memory_seq_rm(memory, SEQ_SCRATCH, -1, -1);
    }
    mem_free(state);
    return ok && !is_over(b);
}

static bool compute_block(struct bench *b, bool flash)
{
    uint64_t begin_us = clock_now_us();
    bool ok = compute(b, flash, 0, BLOCK_ROWS, 0);
    b->row_us = (double)(clock_now_us() - begin_us) / BLOCK_ROWS;
    return ok;
}

/* Brings the weights in from the disk with one row, and looks with more whether other programs let
 * us compute: under load all that follows would take long, for nothing. */
static bool warm_up(struct bench *b, bool flash)
{
    bool ok = compute(b, flash, 0, 1, 0);
    begin_watch(b);
    b->is_warming_up = true;
    while (ok && clock_now_us() - b->watch_us < WARM_UP_US) {
        llama_memory_clear(llama_get_memory(b->contexts[flash]), false);
        ok = compute(b, flash, 0, 1, 0);
    }
    b->is_warming_up = false;
    llama_memory_clear(llama_get_memory(b->contexts[flash]), false);
    return ok && (b->base.share >= LEAST_SHARE || b->options.insists);
}

static bool prepare(struct bench *b, bool flash)
{
    bool is_first = b->row_us <= 0;
    b->contexts[flash] = make_context(b, flash);
    if (b->contexts[flash] == NULL)
        return false;
    attach(b, flash);
    bool ok = (!is_first || warm_up(b, flash)) && compute_block(b, flash) &&
              fill(b, b->contexts[flash]) && compute_at_depth(b, flash, 1, 0);
    b->n_nodes[flash] = b->n_asked;
    return ok && b->n_asked > b->n_layers;
}

/* ---- The bench ---- */

/* The first step of a size makes the system give pages for the buffer, once: not to be multiplied
 * by the layers. */
static bool touch(struct bench *b, bool flash, uint32_t n_rows)
{
    if (n_rows <= b->n_touched[flash])
        return true;
    b->n_touched[flash] = n_rows;
    return compute_at_depth(b, flash, n_rows, b->n_nodes[flash] / b->n_layers);
}

/* The better of two, as a single row is short enough to fall into somebody else's moment. */
static double time_one_row(struct bench *b, bool flash)
{
    double best_us = 0;
    for (int i = 0; i < 2; i++) {
        uint64_t begin_us = clock_now_us();
        if (!compute_at_depth(b, flash, 1, 0))
            return 0;
        double us = (double)(clock_now_us() - begin_us);
        best_us = i == 0 || us < best_us ? us : best_us;
    }
    return best_us;
}

static double time_rows(struct tune_bench *base, const struct tune_setting *setting,
                        uint32_t n_rows)
{
    struct bench *b = bench_of(base);
    bool flash = setting->flash;
    INVARIANT(n_rows >= 1 && n_rows <= b->options.n_step_rows);
    if (!use_threads(b, setting) || (b->contexts[flash] == NULL && !prepare(b, flash)))
        return 0;
    kernels_use(setting->kernels);
    attach(b, flash);

    if (n_rows == 1)
        return time_one_row(b, flash);
    double wanted = TARGET_US / (b->row_us * n_rows) * b->n_layers;
    uint32_t n_layers = wanted < 1 ? 1 : wanted > b->n_layers ? b->n_layers : (uint32_t)wanted;
    uint32_t n_nodes = b->n_nodes[flash] * n_layers / b->n_layers;
    if (!touch(b, flash, n_rows))
        return 0;
    if (!compute_at_depth(b, flash, n_rows, n_nodes) || b->n_asked != n_nodes)
        return 0;
    /* From the first node's end on, so that what comes before the graph, once for all layers, is
     * not multiplied. */
    double us = (double)(b->last_us - b->first_us) / (n_nodes - 1) * b->n_nodes[flash];
    return us / n_rows;
}

struct tune_bench *bench_llama_create(const struct bench_llama_options *options)
{
    const struct llama_model *weights = options->weights;
    uint32_t n_cells = options->n_cells / 2 / CELLS_STEP * CELLS_STEP;
    if (n_cells < LEAST_CELLS || llama_model_n_swa(weights) > 0 ||
        llama_model_is_recurrent(weights) || llama_model_is_hybrid(weights))
        return NULL;
    struct bench *b = mem_zalloc(sizeof *b);
    b->base.time_rows = time_rows;
    b->options = *options;
    b->vocab = llama_model_get_vocab(weights);
    b->n_layers = (uint32_t)llama_model_n_layer(weights);
    b->n_cells = n_cells < MOST_CELLS ? n_cells : MOST_CELLS;
    uint32_t room = b->n_cells - options->n_step_rows;
    b->n_idle = room / IDLE_SHARE / BLOCK_ROWS * BLOCK_ROWS;
    b->base.depth = (room - b->n_idle) / BLOCK_ROWS * BLOCK_ROWS;
    b->base.share = 1;
    b->limit_ms = clock_now_ms() + options->limit_ms;
    b->batch = llama_batch_init((int32_t)options->n_step_rows, 0, 1);
    return &b->base;
}

void bench_llama_destroy(struct tune_bench *base)
{
    if (base == NULL)
        return;
    struct bench *b = bench_of(base);
    for (size_t i = 0; i < 2; i++)
        if (b->contexts[i] != NULL)
            llama_free(b->contexts[i]);
    if (b->threads != NULL)
        ggml_threadpool_free(b->threads);
    llama_batch_free(b->batch);
    mem_free(b);
}

void bench_llama_describe(struct strbuf *out)
{
    strbuf_printf(out, "llama.cpp %s, %s", llama_version(), llama_print_system_info());
}
