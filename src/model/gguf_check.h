/* gguf_check -- reads a GGUF file's header and refuses what does not hold together, before libllama
 * maps it: a tensor that claims to lie outside the file would be read as weights (the class of
 * CVE-2026-7482).
 *
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
#pragma once

#include <stdint.h>

#include "base/status.h"

struct gguf_facts {
    uint64_t file_bytes;
    uint64_t meta_bytes;        /* where the tensors begin */
    uint64_t weights_bytes;     /* sum of the tensors */
    uint64_t kv_bytes_per_cell; /* f16 keys and values of one position, all attention layers */
    uint32_t n_layer;
    uint32_t n_embd;
    uint32_t n_head; /* query heads of the layer that has most */
    uint32_t n_vocab;
    uint32_t n_context_trained;
    uint32_t n_feed_forward;
};

/* STATUS_NOT_FOUND, STATUS_CORRUPT with the remedy, STATUS_UNSUPPORTED (a model in parts),
 * STATUS_IO.
 */
MUST_USE enum status gguf_check(const char *path, struct gguf_facts *out, struct error *err);
