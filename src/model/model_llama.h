/* model_llama -- a GGUF file run by libllama.  The only contact with llama.h besides chat_llama. */
#pragma once

#include "model/model.h"

enum model_flash { MODEL_FLASH_AUTO, MODEL_FLASH_ON, MODEL_FLASH_OFF };

struct model_llama_options {
    const char *path;     /* the GGUF file */
    uint32_t n_cells;     /* KV pool; rounded up to 256 */
    uint32_t n_sequences; /* <= 64 */
    uint32_t n_threads;   /* >= 1 */
    enum model_flash flash;
    bool repack; /* let ggml keep a second, repacked copy of the weights: faster prefill on
                    some CPUs for up to twice the memory */
    uint32_t n_gpu_layers;                          /* where ggml was built with a GPU */
    void (*on_progress)(float fraction, void *arg); /* while loading; may be NULL */
    void *arg;
};

/* What loading would take, from the file's header only (nothing is loaded). */
struct model_llama_needs {
    uint64_t weights_bytes;
    uint64_t kv_bytes_per_cell;
    uint64_t compute_bytes; /* estimate of the buffers for a 512-row batch at n_cells */
    uint32_t n_context_trained;
};
MUST_USE enum status model_llama_measure(const char *path, uint32_t n_cells,
                                         struct model_llama_needs *out, struct error *err);

/* STATUS_NOT_FOUND, STATUS_CORRUPT (not a usable GGUF), STATUS_NO_MEMORY. */
MUST_USE enum status model_llama_load(const struct model_llama_options *options, struct model **out,
                                      struct error *err);
