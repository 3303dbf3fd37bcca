/* folder -- a folder of a test's own, below the one it runs in, and files in it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/strbuf.h"

enum { FOLDER_PATH_BYTES = 256 };

struct folder {
    char path[FOLDER_PATH_BYTES]; /* relative */
};

void folder_make(struct folder *f);
void folder_remove(const struct folder *f); /* with all that is in it */

/* The path of `name` in it, valid until the fourth next call. */
const char *folder_path(const struct folder *f, const char *name);

void folder_write(const struct folder *f, const char *name, const char *text);
void folder_write_program(const struct folder *f, const char *name, const char *text);

/* All of a file, in `out` (initialised here); empty where there is none. */
void folder_read(const struct folder *f, const char *name, struct strbuf *out);

/* How many entries it has. */
size_t folder_count(const struct folder *f);
