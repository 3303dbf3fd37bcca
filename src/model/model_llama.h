/* model_llama -- a GGUF file run by libllama.  The only contact with llama.h besides chat_llama. */
#pragma once

#include "base/hash.h"
#include "model/model.h"
#include "model/tune.h"

struct model_llama_options {
    const char *path;       /* the GGUF file */
    uint32_t n_cells;       /* KV pool; rounded up to 256 */
    uint32_t n_sequences;   /* <= 64 */
    struct tune_choice how; /* as it is run, unless `tune` is there */
    bool repack; /* let ggml keep a second, repacked copy of the weights: faster prefill on
                    some CPUs for up to twice the memory */
    uint32_t n_gpu_layers; /* where ggml was built with a GPU */

    /* Measures, once the weights are loaded, how it should be run.  NULL: nothing is measured.
     * `tuned` gets what was found; TUNE_NONE, and `how` is used, where it can't be (see
     * bench_llama.h). */
    const struct tune_request *tune;
    struct tune_result *tuned;

    /* While loading and measuring, from the caller's thread; may be NULL.  False gives up:
     * STATUS_CANCELLED. */
    bool (*on_progress)(float fraction, void *arg);
    void *arg;
};

/* What loading would take, from the file's header only (nothing is loaded). */
struct model_llama_needs {
    uint64_t weights_bytes;
    uint64_t kv_bytes_per_cell;
    /* Of a step's buffers: estimates for `how`. */
    uint64_t step_bytes;
    uint64_t step_bytes_per_cell;
    uint32_t n_context_trained;
};
MUST_USE enum status model_llama_measure(const char *path, const struct tune_choice *how,
                                         struct model_llama_needs *out, struct error *err);

/* SHA-256 of the file's header: shapes and types, which is what speed depends on. */
MUST_USE enum status model_llama_identify(const char *path, char out[SHA256_HEX_BYTES],
                                          struct error *err);

/* STATUS_NOT_FOUND, STATUS_CORRUPT (not a usable GGUF), STATUS_NO_MEMORY, STATUS_CANCELLED. */
MUST_USE enum status model_llama_load(const struct model_llama_options *options, struct model **out,
                                      struct error *err);
