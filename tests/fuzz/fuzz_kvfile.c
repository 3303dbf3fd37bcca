/* Any bytes, taken for a block of the store: as they are, and with the head's hash made right,
 * which no change by chance would do. */
#include "fuzz/fuzz.h"

#include "base/hash.h"
#include "cache/kvfile.h"

enum {
    HASH_AT = 8,
    HASHED_FROM = 16,
};

static void check(struct str file)
{
    struct kvfile_head head;
    struct str data;
    if (kvfile_check(file, &head, NULL) == STATUS_OK) {
        struct kv_key key = kv_key_child(&head.parent, head.tokens, head.n_tokens);
        INVARIANT(kv_key_equal(&key, &head.key));
        INVARIANT(strlen(head.model) < sizeof head.model);
        INVARIANT(strlen(head.fingerprint) == SHA256_HEX_BYTES - 1);
    }
    if (kvfile_check(file, &head, &data) == STATUS_OK)
        INVARIANT(data.ptr > file.ptr && data.ptr + data.len == file.ptr + file.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    check((struct str){(const char *)bytes, n});
    size_t n_head = n > HASHED_FROM + 1 ? bytes[HASHED_FROM] + 256u * bytes[HASHED_FROM + 1] : 0;
    if (n_head <= HASHED_FROM || n_head > n)
        return 0;
    char *copy = mem_alloc(n);
    memcpy(copy, bytes, n);
    uint64_t hash = hash_xxh3(copy + HASHED_FROM, n_head - HASHED_FROM, 0);
    for (int i = 0; i < 8; i++)
        copy[HASH_AT + i] = (char)(hash >> (8 * i) & 0xff);
    check((struct str){copy, n});
    mem_free(copy);
    return 0;
}
