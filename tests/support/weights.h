/* weights -- real models for tests: where they are, and loading them. */
#pragma once

#include <stdlib.h>

#include "support/check.h"

#include "base/file.h"
#include "model/model_llama.h"

#define WEIGHTS_SMOLLM2 "SmolLM2-135M-Instruct.Q4_1.gguf"
#define WEIGHTS_QWEN    "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
#define WEIGHTS_GEMMA   "gemma-3-270m-q4_k_m.gguf"

enum { WEIGHTS_SKIPPED = 77 }; /* what ctest takes for "skipped" */

/* The path of a model's file (mem_free), or NULL, having said so, where it is not here. */
static inline char *weights_find(const char *file)
{
    const char *folder = getenv("PENSIEVE_MODELS");
    struct strbuf path;
    strbuf_init(&path, 4096);
    if (folder != NULL && folder[0] != '\0') {
        strbuf_printf(&path, "%s/%s", folder, file);
    } else {
        char *models = file_user_path("data", "models");
        strbuf_printf(&path, "%s/%s", models != NULL ? models : ".", file);
        mem_free(models);
    }
    bool is_here = file_exists(strbuf_cstr(&path));
    if (!is_here)
        print_message("skipped: %s is not here; pensieve pull fetches it\n", file);
    char *found = is_here ? mem_strdup(strbuf_cstr(&path)) : NULL;
    strbuf_free(&path);
    return found;
}

/* One thread computes: two that wait for each other take long on a busy machine. */
static inline struct model *weights_load_with(const char *path, uint32_t n_cells,
                                              uint32_t n_sequences, enum kernel_isa kernels)
{
    struct model_llama_options options = {.path = path,
                                          .n_cells = n_cells,
                                          .n_sequences = n_sequences,
                                          .how = tune_default(1, false, kernels)};
    struct model *m;
    struct error err = {0};
    if (model_llama_load(&options, &m, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return m;
}

static inline struct model *weights_load(const char *path, uint32_t n_cells, uint32_t n_sequences)
{
    return weights_load_with(path, n_cells, n_sequences, isa_best());
}

/* The likeliest token by the logits of a row of the last decode. */
static inline model_token weights_likeliest(const struct model *m, size_t row)
{
    const float *logits = m->ops->logits(m, row);
    model_token best = 0;
    for (uint32_t t = 1; t < m->info.n_vocab; t++)
        if (logits[t] > logits[best])
            best = (model_token)t;
    return best;
}
