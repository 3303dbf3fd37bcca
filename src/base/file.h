/* file -- files and folders of our own: private by default, replaced atomically.
 *
 * Every file made here has mode 0600 and every folder 0700, whatever the umask. */
#pragma once

#include <stdint.h>

#include "strbuf.h"

/* Reads all of `path` into `out` (its limit is the ceiling).  STATUS_NOT_FOUND, _TOO_LARGE,
 * _NO_MEMORY, _IO. */
MUST_USE enum status file_read(const char *path, struct strbuf *out, struct error *err);

/* Writes a temporary file beside `path` and renames it over; readers see the old or the new. */
MUST_USE enum status file_write_atomic(const char *path, struct str content, struct error *err);

/* Makes `path` and its parents. */
MUST_USE enum status file_make_dirs(const char *path, struct error *err);

bool file_exists(const char *path);
MUST_USE enum status file_size(const char *path, uint64_t *out_bytes);

/* Bytes free for us on the file system that holds `path` (or its nearest existing parent). */
MUST_USE enum status file_disk_free(const char *path, uint64_t *out_bytes);

/* Where the user's things live, by the XDG base directory rules: `kind` is one of "cache",
 * "config", "data", "state"; `name` may hold slashes.  E.g. ("data", "models/x.gguf") ->
 * ~/.local/share/pensieve/models/x.gguf.  The caller frees the path; NULL without a HOME. */
char *file_user_path(const char *kind, const char *name);
