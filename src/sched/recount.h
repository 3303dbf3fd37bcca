/* recount -- counts rows that a model computed although it had computed the same before: for
 * measuring (bench/day.py), off otherwise.
 *
 * Two rows are the same where their token and all tokens before it are.  A row is kept as a hash of
 * these, 64 bits, and no text can be had from it; at a million rows a false match has odds of one
 * in thirty million.  Where a file is named, the rows of earlier processes count too: it is read at
 * the start and written at the end, so a process that is killed adds nothing to it.
 *
 * What it is not: it decides nothing, and knows nothing of sequences or of who asked.
 * Owner: the scheduler thread; the counts go to base/metrics. */
#pragma once

#include "model/model.h"

struct recount;

/* NULL where `file` is NULL: then nothing is counted.  A file that is missing is an empty one; one
 * that can't be read is told in the log and treated likewise. */
struct recount *recount_create(const char *file);

/* Writes the file, with a log line where that fails. */
void recount_destroy(struct recount *r);

/* Rows [begin, end) of the sequence that holds `tokens` were computed in `us` microseconds. */
void recount_add(struct recount *r, const model_token *tokens, size_t begin, size_t end,
                 uint64_t us);
