#include "model/gguf_check.h"

#include <ggml.h>
#include <gguf.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"

#define REMEDY "remove the file and fetch it again with `pensieve pull`"

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

/* Sum over the layers of the number of KV heads, which some models give per layer. */
static uint64_t sum_kv_heads(const struct gguf_context *g, const char *arch, uint64_t n_layer)
{
    uint64_t n_head = arch_integer(g, arch, "attention.head_count", 1);
    int64_t key = find_key(g, arch, "attention.head_count_kv");
    if (key < 0 || gguf_get_kv_type(g, key) != GGUF_TYPE_ARRAY)
        return n_layer * integer_of(g, key, n_head);

    enum gguf_type type = gguf_get_arr_type(g, key);
    if (type != GGUF_TYPE_UINT32 && type != GGUF_TYPE_INT32)
        return n_layer * n_head;
    const uint32_t *heads = gguf_get_arr_data(g, key);
    size_t n = gguf_get_arr_n(g, key);
    uint64_t sum = 0;
    for (size_t i = 0; i < n && i < n_layer; i++)
        sum += heads[i] < 65536 ? heads[i] : 0;
    return sum;
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

static enum status check(const struct gguf_context *g, const char *path, struct gguf_facts *facts,
                         struct error *err)
{
    int64_t arch_key = gguf_find_key(g, "general.architecture");
    if (arch_key < 0 || gguf_get_kv_type(g, arch_key) != GGUF_TYPE_STRING)
        return error_set(err, STATUS_CORRUPT, "%s names no architecture: not a language model",
                         path);
    if (!tensors_fit(g, facts->file_bytes, &facts->weights_bytes))
        return error_set(
            err, STATUS_CORRUPT,
            "%s is cut off or damaged: its tensors do not lie inside the file; " REMEDY, path);

    const char *arch = gguf_get_val_str(g, arch_key);
    uint64_t n_layer = arch_integer(g, arch, "block_count", 0);
    uint64_t n_embd = arch_integer(g, arch, "embedding_length", 0);
    uint64_t n_head = arch_integer(g, arch, "attention.head_count", 1);
    if (n_layer == 0 || n_layer > 4096 || n_embd == 0 || n_embd > (1u << 20))
        return error_set(err, STATUS_CORRUPT, "%s: its sizes make no sense; " REMEDY, path);

    uint64_t head_bytes = arch_integer(g, arch, "attention.key_length", n_embd / n_head) +
                          arch_integer(g, arch, "attention.value_length", n_embd / n_head);
    if (head_bytes > 65536)
        return error_set(err, STATUS_CORRUPT, "%s: its sizes make no sense; " REMEDY, path);
    facts->meta_bytes = gguf_get_data_offset(g);
    facts->n_layer = (uint32_t)n_layer;
    facts->n_embd = (uint32_t)n_embd;
    facts->kv_bytes_per_cell = sum_kv_heads(g, arch, n_layer) * head_bytes * sizeof(uint16_t);
    facts->n_context_trained = (uint32_t)arch_integer(g, arch, "context_length", 2048);
    facts->n_feed_forward = (uint32_t)arch_integer(g, arch, "feed_forward_length", 4 * n_embd);
    int64_t tokens = gguf_find_key(g, "tokenizer.ggml.tokens");
    facts->n_vocab = tokens >= 0 && gguf_get_kv_type(g, tokens) == GGUF_TYPE_ARRAY
                         ? (uint32_t)gguf_get_arr_n(g, tokens)
                         : 0;
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
