/* recount -- a set of 64-bit hashes with open addressing: see recount.h.
 *
 * The hash of a row is chained: that of the row before it, mixed with the token.  It is taken from
 * the first token on at each call, which costs a few microseconds and needs no state per job. */
#include "sched/recount.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/metrics.h"

enum {
    FIRST_SLOTS = 1 << 16,       /* a power of two */
    MOST_ROWS = 8 * 1000 * 1000, /* beyond, nothing is added: 128 MiB of slots */
};

/* 0 marks a free slot. */
struct recount {
    char *file;
    uint64_t *slots;
    size_t n_slots; /* a power of two, at most half of it used */
    size_t n_rows;
};

static uint64_t chain(uint64_t before, model_token token)
{
    uint64_t pair[2] = {before, (uint64_t)(uint32_t)token};
    uint64_t hash = hash_xxh3(pair, sizeof pair, 0);
    return hash != 0 ? hash : 1;
}

/* Where `hash` is, or belongs. */
static uint64_t *find_slot(uint64_t *slots, size_t n_slots, uint64_t hash)
{
    size_t i = (size_t)hash & (n_slots - 1);
    while (slots[i] != 0 && slots[i] != hash)
        i = (i + 1) & (n_slots - 1);
    return slots + i;
}

static void grow(struct recount *r)
{
    size_t n_slots = 2 * r->n_slots;
    uint64_t *slots = mem_zalloc(mem_array_bytes(n_slots, sizeof *slots));
    for (size_t i = 0; i < r->n_slots; i++)
        if (r->slots[i] != 0)
            *find_slot(slots, n_slots, r->slots[i]) = r->slots[i];
    mem_free(r->slots);
    r->slots = slots;
    r->n_slots = n_slots;
}

/* Whether `hash` was there already; it is now. */
static bool put(struct recount *r, uint64_t hash)
{
    uint64_t *slot = find_slot(r->slots, r->n_slots, hash);
    if (*slot == hash)
        return true;
    if (r->n_rows == MOST_ROWS)
        return false;
    *slot = hash;
    if (++r->n_rows * 2 > r->n_slots)
        grow(r);
    return false;
}

static void read_rows(struct recount *r)
{
    struct strbuf bytes;
    struct error err;
    strbuf_init(&bytes, MOST_ROWS * sizeof(uint64_t));
    enum status st = file_read(r->file, &bytes, &err);
    if (st != STATUS_OK && st != STATUS_NOT_FOUND)
        log_warn("recount: nothing of earlier processes is known: %s", err.message);
    for (size_t at = 0; st == STATUS_OK && at + sizeof(uint64_t) <= bytes.len;
         at += sizeof(uint64_t)) {
        uint64_t hash;
        memcpy(&hash, bytes.data + at, sizeof hash);
        if (hash != 0)
            (void)put(r, hash);
    }
    strbuf_free(&bytes);
}

static void write_rows(const struct recount *r)
{
    struct strbuf bytes;
    struct error err;
    strbuf_init(&bytes, r->n_rows * sizeof(uint64_t));
    for (size_t i = 0; i < r->n_slots; i++)
        if (r->slots[i] != 0)
            strbuf_append(&bytes, &r->slots[i], sizeof r->slots[i]);
    if (file_write_atomic(r->file, strbuf_str(&bytes), &err) != STATUS_OK)
        log_warn("recount: the rows of this process are forgotten: %s", err.message);
    strbuf_free(&bytes);
}

struct recount *recount_create(const char *file)
{
    if (file == NULL)
        return NULL;
    struct recount *r = mem_zalloc(sizeof *r);
    r->file = mem_strdup(file);
    r->n_slots = FIRST_SLOTS;
    r->slots = mem_zalloc(mem_array_bytes(r->n_slots, sizeof *r->slots));
    read_rows(r);
    return r;
}

void recount_destroy(struct recount *r)
{
    if (r == NULL)
        return;
    write_rows(r);
    mem_free(r->slots);
    mem_free(r->file);
    mem_free(r);
}

void recount_add(struct recount *r, const model_token *tokens, size_t begin, size_t end,
                 uint64_t us)
{
    if (r == NULL || begin >= end)
        return;
    uint64_t hash = 0;
    size_t n_again = 0;
    for (size_t i = 0; i < end; i++) {
        hash = chain(hash, tokens[i]);
        if (i >= begin)
            n_again += put(r, hash);
    }
    metric_add(METRIC_ROWS_AGAIN, (int64_t)n_again);
    metric_add(METRIC_ROWS_AGAIN_US, (int64_t)(us * n_again / (end - begin)));
}
