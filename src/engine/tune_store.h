/* tune_store -- what was measured about a model on this machine, in a small JSON file.
 *
 * The key says all that the measurement depends on (model, processor, versions, settings); a file
 * with another key, or that can't be read, counts as none, so nothing stale is ever used and the
 * file may be deleted at any time. */
#pragma once

#include "base/strbuf.h"
#include "model/tune.h"

struct tune_record {
    bool is_settled;
    unsigned n_attempts; /* measurements in a row that were too unsteady to be kept */
    struct tune_choice choice;
};

/* The file for `key` in `folder`; freed by the caller. */
char *tune_store_path(const char *folder, struct str key);

/* False where there is none for this key. */
bool tune_store_read(const char *path, struct str key, struct tune_record *out);

/* Makes the folder.  STATUS_IO. */
MUST_USE enum status tune_store_write(const char *path, struct str key,
                                      const struct tune_record *record, struct error *err);
