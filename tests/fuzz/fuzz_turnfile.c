/* Any bytes, taken for the log of replies: as they are, and with the hash made right behind each
 * marker, which no change by chance would do. */
#include "fuzz/fuzz.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "cache/turnfile.h"

enum {
    HASH_AT = 8,
    HASHED_FROM = 16,
    HEAD_BYTES = 56,
};

struct seen {
    struct str log;
    size_t end; /* of the record before */
    uint64_t n_records, n_tokens;
};

static void look(void *arg, const struct turnfile_record *r)
{
    struct seen *seen = arg;
    INVARIANT(r->bytes.ptr >= seen->log.ptr + seen->end);
    INVARIANT(r->bytes.len == HEAD_BYTES + 4 * r->n_tokens);
    seen->end = (size_t)(r->bytes.ptr - seen->log.ptr) + r->bytes.len;
    INVARIANT(seen->end <= seen->log.len);
    INVARIANT(r->n_tokens > 0 && r->n_tokens <= TURNFILE_MOST_TOKENS);
    INVARIANT(hash_xxh3(r->bytes.ptr + HASHED_FROM, r->bytes.len - HASHED_FROM, 0) ==
              bytes_get_u64(r->bytes.ptr + HASH_AT));
    for (size_t i = 0; i < r->n_tokens; i++)
        INVARIANT(turnfile_token(r, i) ==
                  (model_token)bytes_get_u32(r->bytes.ptr + HEAD_BYTES + 4 * i));
    seen->n_records++;
    seen->n_tokens += r->n_tokens;
}

static void check(struct str log)
{
    struct seen seen = {.log = log};
    struct turnfile_sum sum;
    turnfile_scan(log, look, &seen, &sum);
    INVARIANT(sum.replies == seen.n_records && sum.tokens == seen.n_tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    char *copy = mem_alloc(n);
    if (n > 0)
        memcpy(copy, bytes, n);
    check((struct str){copy, n});
    for (size_t at = 0; at + HEAD_BYTES <= n; at++) {
        if (memcmp(copy + at, "PNSVTRN1", 8) != 0)
            continue;
        size_t n_tokens = bytes_get_u32(copy + at + 16);
        if (n_tokens > (n - at - HEAD_BYTES) / 4)
            continue;
        size_t n_hashed = HEAD_BYTES - HASHED_FROM + 4 * n_tokens;
        bytes_put_u64(copy + at + HASH_AT, hash_xxh3(copy + at + HASHED_FROM, n_hashed, 0));
    }
    check((struct str){copy, n});
    mem_free(copy);
    return 0;
}
