/* part_file -- FILE.part: a download under way, and its running SHA-256.
 *
 * Bytes are only ever appended, so that what lies there after a kill is a true beginning of the
 * file; the checksum of the whole decides in the end.  The file is locked: one process downloads,
 * another one waits for it.  It is never a link that somebody else put there. */
#pragma once

#include <stdint.h>

#include "base/hash.h"
#include "catalog/meter.h"

struct part_file {
    char *final_path;
    char *path;           /* final_path + ".part" */
    int fd;               /* holds the lock; -1: not open */
    struct sha256 *hash;  /* over the first `done_bytes` */
    uint64_t done_bytes;  /* written and hashed */
    uint64_t total_bytes; /* what the whole file must have */
};

/* Opens or makes `final_path`.part and locks it.  Where another process has the lock this waits, as
 * long as the file grows at least once in `patience_ms`; then STATUS_BUSY names that process.  The
 * other one may have finished the file meanwhile: look again before fetching.  What is in the file
 * is not hashed yet: done_bytes is 0 until part_file_rehash(). */
MUST_USE enum status part_file_open(struct part_file *p, const char *final_path,
                                    uint64_t total_bytes, unsigned patience_ms, struct meter *meter,
                                    struct error *err);
void part_file_close(struct part_file *p);  /* keeps what was written */
void part_file_remove(struct part_file *p); /* deletes it, and closes */

/* Reads what an earlier run left. */
MUST_USE enum status part_file_rehash(struct part_file *p, struct meter *meter, struct error *err);

/* Empties it. */
MUST_USE enum status part_file_restart(struct part_file *p, struct error *err);

/* STATUS_CORRUPT where the file would outgrow its size, STATUS_TOO_LARGE where the disk is full. */
MUST_USE enum status part_file_append(struct part_file *p, const void *bytes, size_t n,
                                      struct error *err);

/* The last step: size and SHA-256 must be right (else STATUS_CORRUPT), then it gets its final name.
 * Only part_file_restart(), _close() and _remove() may follow. */
MUST_USE enum status part_file_finish(struct part_file *p, const char *sha256_expected,
                                      struct error *err);

/* The SHA-256 of any file, in hex. */
MUST_USE enum status part_file_hash(const char *path, char out_hex[SHA256_HEX_BYTES],
                                    struct meter *meter, struct error *err);
