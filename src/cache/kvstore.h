/* kvstore -- a folder of blocks: what is there, what goes, and the thread that writes.
 *
 * A cache: whatever happens to the folder costs computing time and nothing else.  A file that fails
 * its check is deleted and counts as a miss.  A disk that is full or read-only stops the writing
 * for a while, with one line in the log; reading goes on.  Several processes may use one folder:
 * each finds out when it opens a file that another has deleted.
 *
 * Bounds: the budget of the folder, bytes written per day (UTC), days without use, free bytes that
 * stay free on the disk, bytes that wait to be written.  Which blocks go first: kvindex.h.
 *
 * Threads.  kvstore_has, _accepts, _put, _wait, _find and _load are for one thread, the
 * scheduler's; they read the disk but never write it, and wait only where a timeout is given.  The
 * store's own thread writes and deletes.  kvstore_get_stats is for any thread.
 *
 * Files have mode 0600, the folder 0700; nothing is ever flushed (kvfile.h). */
#pragma once

#include "cache/kvfile.h"

enum {
    KVSTORE_QUEUE_BLOCKS = 256,
    KVSTORE_MOST_BLOCKS = 64 * 1024,
};

struct kvstore;

struct kvstore_options {
    const char *folder;     /* made where it is not there */
    uint64_t budget_bytes;  /* of all blocks */
    uint64_t daily_bytes;   /* most that is written in a day; 0: no limit */
    uint32_t ttl_days;      /* blocks that nobody used for so long go; 0: they stay */
    uint64_t reserve_bytes; /* what the disk keeps free */
    uint64_t queue_bytes;   /* most that waits to be written */
};

/* A block that continues a prompt. */
struct kvstore_hit {
    struct kv_key key;
    uint64_t parent_short;
    uint32_t n_tokens; /* of the block */
    uint32_t n_common; /* of these, how many are the prompt's next ones; >= 1 */
};

struct kvstore_stats {
    uint64_t blocks, bytes, budget_bytes;
    uint64_t written_today_bytes, daily_bytes;
    uint64_t waiting_bytes;
    bool is_paused; /* the disk took no more, or today's bytes are used up */
};

/* Makes the folder, takes stock of it (names and sizes only), starts the thread, which has the
 * system read ahead what was used last.  STATUS_IO. */
MUST_USE enum status kvstore_open(const struct kvstore_options *options, struct kvstore **out,
                                  struct error *err);

/* Writes what still waits, for at most `timeout_ms`, and ends. */
void kvstore_close(struct kvstore *s, unsigned timeout_ms);

/* Whether the block is there, or on its way.  It counts as used. */
bool kvstore_has(struct kvstore *s, const struct kv_key *key);

/* Whether a block of so many bytes would be taken now. */
bool kvstore_accepts(struct kvstore *s, uint64_t n_bytes);

/* Waits until nothing waits to be written; false when the time has passed. */
bool kvstore_wait(struct kvstore *s, unsigned timeout_ms);

/* Hands a block over for writing.  Owns `data` (mem_free) afterwards only where it returns
 * STATUS_OK; STATUS_BUSY: not now. */
MUST_USE enum status kvstore_put(struct kvstore *s, const struct kvfile_head *head, char *data,
                                 size_t n_bytes);

/* The block behind `parent` that has most of its tokens in common with the n next ones of a prompt,
 * n >= 1.  False where none has any. */
bool kvstore_find(struct kvstore *s, const struct kv_key *parent, const model_token *tokens,
                  size_t n, struct kvstore_hit *out);

/* The same, only of blocks whose tokens are all the prompt's next ones. */
bool kvstore_find_whole(struct kvstore *s, const struct kv_key *parent, const model_token *tokens,
                        size_t n, struct kvstore_hit *out);

/* The model's data of a block, checked; *out is valid until the next call.  STATUS_NOT_FOUND: it is
 * gone, or was damaged and is gone now; STATUS_NO_MEMORY. */
MUST_USE enum status kvstore_load(struct kvstore *s, const struct kvstore_hit *hit,
                                  struct kvfile_head *out_head, struct str *out_data);

/* The model did not take a block's data: it goes. */
void kvstore_discard(struct kvstore *s, const struct kvstore_hit *hit);

void kvstore_get_stats(struct kvstore *s, struct kvstore_stats *out);
