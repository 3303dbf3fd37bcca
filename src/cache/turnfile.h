/* turnfile -- the log of replies as they were sampled, in the store's folder.
 *
 * A client sends a reply of the model back as text that was taken apart and put together again,
 * which need not give the tokens that the model sampled; then the KV behind it fits no more.  So
 * the sampled tokens are kept, each reply's under a key that its maker chooses: a hash of all that
 * the reply depends on.  This module keeps pairs of key and tokens over restarts, and nothing else:
 * it does not look keys up (who opens the log is told all of it once), nor know what they stand
 * for.
 *
 * The file holds what the model said, as numbers of its vocabulary, not encrypted: mode 0600, in a
 * folder of mode 0700.  Records follow each other, the newest last, and nothing else is in it:
 *
 *     0   "PNSVTRN1", the marker
 *     8   u64  XXH3 of the rest of the record
 *     16  u32  number of tokens, 1 to TURNFILE_MOST_TOKENS
 *     20  u32  zero
 *     24  u64  the model
 *     32  i64  when it was written: wall clock, seconds
 *     40  16 bytes: the key
 *     56  u32 for each token
 *
 * Integers are little-endian.
 *
 * Invariants.
 *  1. What is told is, key by key and token by token, what was appended.  Nothing is ever flushed
 *     to the medium: after a power cut the file may be torn.  Damage costs the records that it
 *     hits; the next marker begins the next record.
 *  2. A record holds no second marker: one that would is not written (no vocabulary gives one; a
 *     key or a hash does once in 2^64).  So one that is said to reach beyond the next marker is
 *     refused unread, and no byte is hashed twice: reading takes linear time, whatever the file
 *     holds.
 *  3. A record is written by one write(2) at the file's end, wherever that is then: several
 *     servers may share a folder.
 *  4. The file is rewritten into a temporary file that is renamed over it: readers see the old one
 *     or the new one.  One process does so at a time (flock).  What another one appends between
 *     the reading and the renaming is lost, which costs it computing time after its next start.
 *  5. Our own appends leave the file within its budget; where it would pass it, the newest records
 *     of up to half the budget stay.
 *
 * A cache: whatever happens to the file costs computing time and nothing else.  A disk that is full
 * or read-only stops the writing for a minute, with one line in the log.  Where the file, or the
 * folder, was deleted or replaced, the next append finds that out and goes to the one that is there
 * now, or makes it. */
#pragma once

#include "model/model.h"

#define TURNFILE_NAME "turns"

enum {
    TURN_KEY_BYTES = 16,
    TURNFILE_MOST_TOKENS = 64 * 1024,         /* of one reply; longer ones are not kept */
    TURNFILE_BUDGET_BYTES = 32 * 1024 * 1024, /* where nothing else is wanted */
};

struct turn_key {
    unsigned char bytes[TURN_KEY_BYTES];
};

struct turnfile;

struct turnfile_options {
    const char *folder;     /* the store's; made where it is not there */
    uint64_t model_id;      /* records of other models are kept but not told */
    uint64_t budget_bytes;  /* of the file */
    uint32_t ttl_days;      /* older records go: when the log is opened, and within a day of it
                               where replies are appended; 0: they stay */
    uint64_t reserve_bytes; /* what the disk keeps free */
};

/* Makes the folder and tells the records that are there, oldest first; `tokens` is valid during the
 * call.  Of a file larger than the budget the end is read.  One that can't be read, or is no file,
 * is told in the log and taken for an empty one.  STATUS_IO where there can be no folder. */
MUST_USE enum status turnfile_open(const struct turnfile_options *options,
                                   void (*on_turn)(void *arg, const struct turn_key *key,
                                                   const model_token *tokens, size_t n),
                                   void *arg, struct turnfile **out, struct error *err);

/* From any thread.  What can't be kept is left out.  Waits for the system to take the bytes (into
 * its page cache), and once in a while for a rewrite: some 30 ms for 32 MiB. */
void turnfile_append(struct turnfile *t, const struct turn_key *key, const model_token *tokens,
                     size_t n);

void turnfile_close(struct turnfile *t);

/* ---- Looking at it from outside: for the command line, beside a server or without ---- */

struct turnfile_sum {
    uint64_t replies; /* sound records, of all models and however old */
    uint64_t tokens;  /* of these */
    uint64_t bytes;   /* of the file */
    uint64_t damaged; /* records, or what may have been some */
};

/* All of it read and checked, nothing changed.  One that is not there is empty; what is no file
 * counts as damaged.  STATUS_IO, _NO_MEMORY. */
MUST_USE enum status turnfile_look(const char *folder, struct turnfile_sum *out, struct error *err);

/* The same, and what is damaged goes: by a rewrite, or, where it is no file, altogether.  *out is
 * what there was before. */
MUST_USE enum status turnfile_verify(const char *folder, struct turnfile_sum *out,
                                     struct error *err);

/* ---- The reader behind all of it; here for its tests ---- */

struct turnfile_record {
    struct str bytes; /* all of it */
    struct turn_key key;
    uint64_t model_id;
    int64_t at;
    size_t n_tokens;
};

/* Calls back for each sound record, in order; counts all but out->bytes. */
void turnfile_scan(struct str bytes, void (*on_record)(void *arg, const struct turnfile_record *r),
                   void *arg, struct turnfile_sum *out);

/* One of its tokens. */
model_token turnfile_token(const struct turnfile_record *r, size_t nth);
