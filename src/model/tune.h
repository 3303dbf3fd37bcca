/* tune -- finds out by measuring how this machine computes fastest: the protocol, the decisions.
 *
 * Times come through struct tune_bench: bench_llama.c on real weights, numbers in the tests.
 *
 * What is compared, each with what was chosen before it: Pensieve's kernels or ggml's own,
 * attention in its flash form or not (the kernels know the flash form only, so with them there is
 * no choice), the number of threads (for reading and for writing), whether waiting threads spin,
 * and how many rows are computed at once.  The measure is the work of an agent's turn
 * (TUNE_READ_TOKENS read, TUNE_WRITTEN_TOKENS written) at the depth of its conversations.
 *
 * Noise.  Two alternatives are timed in turn (A B, B A, A B), and only the ratios inside the pairs
 * are judged.  Another than the default is taken where every pair agrees and the median is better
 * by more than a margin.  Where pairs disagree by more than a little, or the times of one
 * alternative lie far apart, that default stays; where it is so for the form of attention, which
 * the contents of a prefix memory depend on, or twice, nothing is settled, and all is the default.
 * While other programs take the processor it isn't even tried.  What the time did not suffice for
 * keeps its default. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/isa.h"

enum {
    TUNE_MOST_CANDIDATES = 3,
    TUNE_READ_TOKENS = 1024, /* a tool's result and what surrounds it */
    TUNE_WRITTEN_TOKENS = 128,
    TUNE_LARGEST_STEP = 512,
    TUNE_SMALLEST_STEP = 128,
};

enum model_flash { MODEL_FLASH_AUTO, MODEL_FLASH_ON, MODEL_FLASH_OFF };

/* How a model is run. */
struct tune_choice {
    enum kernel_isa kernels;  /* NONE: ggml's own */
    enum model_flash flash;   /* AUTO: as libllama thinks best (layers on a GPU) */
    uint32_t n_threads;       /* while one row at a time is computed: writing */
    uint32_t n_threads_batch; /* while many are: reading */
    uint32_t poll;            /* 0..100: how long waiting threads spin before they sleep */
    uint32_t n_step_rows;     /* rows computed at once; the buffer of a step grows with it */
    double prefill_tokens_per_s, decode_tokens_per_s; /* at tune_bench.depth; 0: not measured */
};

/* Today's values, where nothing was measured: with kernels the flash form, which is theirs. */
struct tune_choice tune_default(uint32_t n_threads, bool has_gpu, enum kernel_isa kernels);

struct tune_setting {
    enum kernel_isa kernels;
    bool flash;
    uint32_t n_threads;
    uint32_t poll;
};

struct tune_bench {
    /* Microseconds that one row takes when `n_rows` are computed together, in a pool that is filled
     * to `depth`.  0 where it failed or was stopped. */
    double (*time_rows)(struct tune_bench *b, const struct tune_setting *setting, uint32_t n_rows);
    uint32_t depth;
    /* Of the processor's time that the last call's threads wanted, the part that they got. */
    double share;
};

struct tune_request {
    struct tune_choice start; /* the default; flash AUTO: on with kernels, else compare, and off if
                                 in doubt */
    bool compares_kernels;    /* start.kernels with none */
    /* Numbers of threads to try besides start.n_threads. */
    uint32_t threads[TUNE_MOST_CANDIDATES];
    size_t n_threads;
    unsigned budget_ms; /* nothing new is begun after it */
    unsigned limit_ms;  /* what is under way then is stopped (by the bench) */
    bool insists;       /* measure though other programs are busy */
};

enum tune_state {
    TUNE_NONE,      /* nothing was measured: other programs were busy, or it is impossible */
    TUNE_UNSETTLED, /* noise, or the time was too short: to be measured again */
    TUNE_SETTLED,
};

struct tune_result {
    enum tune_state state;
    struct tune_choice choice; /* complete in every state */
    unsigned elapsed_ms;
};

void tune_run(struct tune_bench *b, const struct tune_request *request, struct tune_result *out);

/* The numbers of threads worth trying besides all `n_usable` cores: the physical ones, where two
 * threads share one, and half of them, as writing is bound by the memory and not by the cores.
 * Returns how many. */
size_t tune_thread_candidates(uint32_t n_usable, uint32_t n_physical,
                              uint32_t out[TUNE_MOST_CANDIDATES]);

enum tune_verdict {
    TUNE_KEEP,
    TUNE_TAKE, /* the second is better by more than the margin, in every pair */
    TUNE_NOISE,
};

/* What two alternatives took, timed one after the other. */
struct tune_pair {
    double us[2];
};

/* margin: 0.03 asks for 3 % less time; -0.04 takes the second unless it is slower by more than 4 %.
 */
enum tune_verdict tune_judge(const struct tune_pair *pairs, size_t n_pairs, double margin);
