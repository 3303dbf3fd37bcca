/* anthropic_read_fields -- how the reader takes one member out of an object: type, presence, range,
 * and the error that names it.  Only for anthropic_read*.c. */
#pragma once

#include "api/message.h"
#include "base/arena.h"
#include "wire/json_in.h"

/* One reading under way. */
struct reader {
    struct arena *arena;
    struct error *err;
};

enum presence {
    OPTIONAL,
    REQUIRED,
};

/* A string member, "" where it is optional and absent or null. */
MUST_USE enum status read_string(const struct reader *r, const struct json *object,
                                 const struct json_path *at, const char *key,
                                 enum presence presence, struct str *out);

/* A number in [low, high]; *out is left alone where it is absent or null. */
MUST_USE enum status read_number(const struct reader *r, const struct json *object,
                                 const struct json_path *at, const char *key, double low,
                                 double high, float *out);

/* An integer of at least `low`, clamped to `high`; *out is left alone where it is absent or null. */
MUST_USE enum status read_integer(const struct reader *r, const struct json *object,
                                  const struct json_path *at, const char *key, int64_t low,
                                  int64_t high, enum presence presence, int64_t *out);

MUST_USE enum status read_bool(const struct reader *r, const struct json *object,
                               const struct json_path *at, const char *key, bool *out);

/* A minified copy of `value` in the arena. */
MUST_USE enum status read_json_text(const struct reader *r, const struct json *value,
                                    struct str *out);

enum status too_large(const struct reader *r);

/* Text, or a list of blocks: what system, messages and tool results hold.  In `in_result` blocks of
 * calls have no place.  (anthropic_read_blocks.c) */
MUST_USE enum status read_content(const struct reader *r, const struct json *value,
                                  const struct json_path *at, bool in_result, struct block **out,
                                  size_t *out_n);
