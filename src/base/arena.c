#include "arena.h"

#include <stdalign.h>
#include <stdint.h>

enum {
    CHUNK_BYTES = 16 * 1024,
};

struct arena_chunk {
    struct arena_chunk *next;
    size_t used;
    size_t capacity;
    alignas(max_align_t) unsigned char data[];
};

void arena_init(struct arena *a, size_t limit_bytes)
{
    *a = (struct arena){.limit_bytes = limit_bytes};
}

void arena_free(struct arena *a)
{
    struct arena_chunk *chunk = a->chunks;
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        mem_free(chunk);
        chunk = next;
    }
    a->chunks = NULL;
    a->used_bytes = 0;
}

static struct arena_chunk *add_chunk(struct arena *a, size_t bytes)
{
    size_t capacity = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
    size_t total = sizeof(struct arena_chunk) + capacity;
    if (total > a->limit_bytes || a->used_bytes > a->limit_bytes - total)
        return NULL;
    struct arena_chunk *chunk = mem_try_alloc(total);
    if (chunk == NULL)
        return NULL;
    *chunk = (struct arena_chunk){.capacity = capacity};
    a->used_bytes += total;

    /* A large object gets a chunk of its own behind the current one, which stays in use. */
    if (a->chunks != NULL && bytes > CHUNK_BYTES) {
        chunk->next = a->chunks->next;
        a->chunks->next = chunk;
    } else {
        chunk->next = a->chunks;
        a->chunks = chunk;
    }
    return chunk;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX - alignof(max_align_t))
        return NULL;
    bytes = (bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);

    struct arena_chunk *chunk = a->chunks;
    if (chunk == NULL || chunk->capacity - chunk->used < bytes) {
        chunk = add_chunk(a, bytes);
        if (chunk == NULL)
            return NULL;
    }
    void *p = chunk->data + chunk->used;
    chunk->used += bytes;
    return memset(p, 0, bytes);
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    return arena_alloc(a, mem_array_bytes(n, size));
}

struct str arena_str(struct arena *a, struct str s)
{
    if (s.len == SIZE_MAX)
        return (struct str){0};
    char *copy = arena_alloc(a, s.len + 1);
    if (copy == NULL)
        return (struct str){0};
    if (s.len > 0)
        memcpy(copy, s.ptr, s.len);
    return (struct str){copy, s.len};
}
