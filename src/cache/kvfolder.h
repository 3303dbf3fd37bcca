/* kvfolder -- a store's folder looked at from outside: what is in it, whether it is sound, and
 * deleting all of it.  For the command line; works beside a server that uses the folder, which
 * takes what vanishes as a miss. */
#pragma once

#include "cache/kvfile.h"

struct kvfolder_block {
    struct kvfile_head head; /* where `state` is STATUS_OK */
    uint64_t bytes;          /* of the file */
    int64_t used_at;         /* wall clock, seconds */
    enum status state;       /* STATUS_OK, _CORRUPT, _IO, _NO_MEMORY */
};

/* Calls back for each block: with its head only, or with all of it read and checked; damaged ones
 * are deleted then.  STATUS_IO where the folder can't be listed; one that is not there is empty. */
MUST_USE enum status kvfolder_each(const char *folder, bool reads_all,
                                   void (*on_block)(void *arg, const struct kvfolder_block *block),
                                   void *arg, struct error *err);

/* Deletes the blocks, and whatever else the store has put there, such as the kept replies
 * (turnfile.h); the folder too where it is empty then.  Other files stay.  STATUS_IO where
 * something could not be deleted. */
MUST_USE enum status kvfolder_clear(const char *folder, uint64_t *out_blocks, uint64_t *out_bytes,
                                    struct error *err);

/* The bytes that a server noted as written today (UTC); 0 where there is no note. */
uint64_t kvfolder_written_today(const char *folder);
