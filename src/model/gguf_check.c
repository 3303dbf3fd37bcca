#include "model/gguf_check.h"

#include <ggml.h>
#include <gguf.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"

#define REMEDY "remove the file and fetch it again with `pensieve pull`"

/* No model comes near these; beyond them a header is damaged, and products below would overflow. */
enum {
    MAX_LAYERS = 4096,
    MAX_EMBEDDING = 1 << 20,
    MAX_PER_LAYER = 1 << 24, /* heads, or width of the feed-forward */
    MAX_HEAD_BYTES = 1 << 16,
};

/* The value of an integer key, whatever its width; `fallback` where it is missing or no integer. */
static uint64_t integer_of(const struct gguf_context *g, int64_t key, uint64_t fallback)
{
    if (key < 0)
        return fallback;
    switch (gguf_get_kv_type(g, key)) {
    case GGUF_TYPE_UINT8:
        return gguf_get_val_u8(g, key);
    case GGUF_TYPE_UINT16:
        return gguf_get_val_u16(g, key);
    case GGUF_TYPE_UINT32:
        return gguf_get_val_u32(g, key);
    case GGUF_TYPE_UINT64:
        return gguf_get_val_u64(g, key);
    case GGUF_TYPE_INT32: {
        int32_t v = gguf_get_val_i32(g, key);
        return v > 0 ? (uint64_t)v : fallback;
    }
    default:
        return fallback;
    }
}

/* The key "<architecture>.<name>". */
static int64_t find_key(const struct gguf_context *g, const char *arch, const char *name)
{
    char key[160];
    snprintf(key, sizeof key, "%s.%s", arch, name);
    return gguf_find_key(g, key);
}

static uint64_t arch_integer(const struct gguf_context *g, const char *arch, const char *name,
                             uint64_t fallback)
{
    return integer_of(g, find_key(g, arch, name), fallback);
}

/* A count that a model gives once, or for each layer. */
struct layer_counts {
    uint64_t sum;
    uint64_t highest;
};

/* False where a count makes no sense. */
static bool count_layers(const struct gguf_context *g, int64_t key, uint64_t n_layer,
                         uint64_t fallback, struct layer_counts *out)
{
    if (key < 0 || gguf_get_kv_type(g, key) != GGUF_TYPE_ARRAY) {
        uint64_t each = integer_of(g, key, fallback);
        *out = (struct layer_counts){.sum = n_layer * each, .highest = each};
        return each <= MAX_PER_LAYER;
    }
    enum gguf_type type = gguf_get_arr_type(g, key);
    if (type != GGUF_TYPE_UINT32 && type != GGUF_TYPE_INT32)
        return false;
    const uint32_t *counts = gguf_get_arr_data(g, key);
    size_t n = gguf_get_arr_n(g, key);
    *out = (struct layer_counts){0};
    for (size_t i = 0; i < n && i < n_layer; i++) {
        if (counts[i] > MAX_PER_LAYER)
            return false;
        out->sum += counts[i];
        if (counts[i] > out->highest)
            out->highest = counts[i];
    }
    return true;
}

/* Every tensor lies inside the file. */
static bool tensors_fit(const struct gguf_context *g, uint64_t file_bytes, uint64_t *out_weights)
{
    uint64_t begin = gguf_get_data_offset(g);
    uint64_t weights = 0;
    for (int64_t i = 0; i < gguf_get_n_tensors(g); i++) {
        uint64_t offset = gguf_get_tensor_offset(g, i);
        uint64_t bytes = gguf_get_tensor_size(g, i);
        if (begin > file_bytes || offset > file_bytes - begin ||
            bytes > file_bytes - begin - offset)
            return false;
        weights += bytes;
    }
    *out_weights = weights;
    return weights > 0;
}

static uint64_t count_tokens(const struct gguf_context *g)
{
    int64_t tokens = gguf_find_key(g, "tokenizer.ggml.tokens");
    return tokens >= 0 && gguf_get_kv_type(g, tokens) == GGUF_TYPE_ARRAY ? gguf_get_arr_n(g, tokens)
                                                                         : 0;
}

/* The sizes that memory is predicted from; false where they make no sense. */
static bool read_sizes(const struct gguf_context *g, const char *arch, struct gguf_facts *facts)
{
    uint64_t n_layer = arch_integer(g, arch, "block_count", 0);
    uint64_t n_embd = arch_integer(g, arch, "embedding_length", 0);
    uint64_t n_context = arch_integer(g, arch, "context_length", 2048);
    if (n_layer == 0 || n_layer > MAX_LAYERS || n_embd == 0 || n_embd > MAX_EMBEDDING ||
        n_context == 0 || n_context > UINT32_MAX)
        return false;

    struct layer_counts heads;
    struct layer_counts kv_heads;
    if (!count_layers(g, find_key(g, arch, "attention.head_count"), n_layer, 1, &heads))
        return false;
    uint64_t n_head = heads.highest > 0 ? heads.highest : 1;
    if (!count_layers(g, find_key(g, arch, "attention.head_count_kv"), n_layer, n_head, &kv_heads))
        return false;
    uint64_t key_bytes = arch_integer(g, arch, "attention.key_length", n_embd / n_head);
    uint64_t value_bytes = arch_integer(g, arch, "attention.value_length", n_embd / n_head);
    if (key_bytes > MAX_HEAD_BYTES || value_bytes > MAX_HEAD_BYTES)
        return false;

    struct layer_counts feed_forward;
    int64_t feed_forward_key = find_key(g, arch, "feed_forward_length");
    if (!count_layers(g, feed_forward_key, n_layer, 4 * n_embd, &feed_forward))
        return false;

    facts->n_layer = (uint32_t)n_layer;
    facts->n_embd = (uint32_t)n_embd;
    facts->n_head = (uint32_t)n_head;
    facts->n_context_trained = (uint32_t)n_context;
    facts->n_feed_forward = (uint32_t)feed_forward.highest;
    facts->kv_bytes_per_cell = kv_heads.sum * (key_bytes + value_bytes) * sizeof(uint16_t);
    return true;
}

static enum status check(const struct gguf_context *g, const char *path, struct gguf_facts *facts,
                         struct error *err)
{
    int64_t arch_key = gguf_find_key(g, "general.architecture");
    if (arch_key < 0 || gguf_get_kv_type(g, arch_key) != GGUF_TYPE_STRING)
        return error_set(err, STATUS_CORRUPT, "%s names no architecture: not a language model",
                         path);
    if (integer_of(g, gguf_find_key(g, "split.count"), 1) > 1)
        return error_set(err, STATUS_UNSUPPORTED,
                         "%s is one part of a model; join the parts first with "
                         "`llama-gguf-split --merge`",
                         path);
    if (!tensors_fit(g, facts->file_bytes, &facts->weights_bytes))
        return error_set(
            err, STATUS_CORRUPT,
            "%s is cut off or damaged: its tensors do not lie inside the file; " REMEDY, path);
    uint64_t n_vocab = count_tokens(g);
    if (n_vocab == 0 || n_vocab > INT32_MAX)
        return error_set(err, STATUS_CORRUPT, "%s has no vocabulary: not a language model", path);
    if (!read_sizes(g, gguf_get_val_str(g, arch_key), facts))
        return error_set(err, STATUS_CORRUPT, "%s: its sizes make no sense; " REMEDY, path);
    facts->meta_bytes = gguf_get_data_offset(g);
    facts->n_vocab = (uint32_t)n_vocab;
    return STATUS_OK;
}

enum status gguf_check(const char *path, struct gguf_facts *out, struct error *err)
{
    struct gguf_facts facts = {0};
    enum status st = file_size(path, &facts.file_bytes);
    if (st != STATUS_OK)
        return error_set(err, st, "cannot read the model file %s", path);

    struct gguf_init_params params = {.no_alloc = true, .ctx = NULL};
    struct gguf_context *g = gguf_init_from_file(path, params);
    if (g == NULL)
        return error_set(err, STATUS_CORRUPT, "%s is not a whole GGUF file; " REMEDY, path);
    st = check(g, path, &facts, err);
    gguf_free(g);
    if (st == STATUS_OK)
        *out = facts;
    return st;
}
