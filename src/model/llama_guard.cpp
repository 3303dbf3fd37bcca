extern "C" {
#include "model/llama_guard.h"
}

#include <llama.h>

int32_t llama_guard_tokenize(const struct llama_vocab *vocab, const char *text, int32_t text_len,
                             int32_t *tokens, int32_t capacity, bool parse_special)
{
    try {
        return llama_tokenize(vocab, text, text_len, tokens, capacity, false, parse_special);
    } catch (...) {
        return INT32_MIN;
    }
}

int32_t llama_guard_decode(struct llama_context *context, const struct llama_batch *batch)
{
    try {
        return llama_decode(context, *batch);
    } catch (...) {
        return INT32_MIN;
    }
}
