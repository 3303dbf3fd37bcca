/* tool_arguments -- names and descriptions of a tool's arguments, one by one.
 *
 * Walks the JSON schema of a tool: the keys of every `properties`, and the `description` of every
 * schema, at any depth up to TOOL_ARGUMENTS_DEPTH open containers; also behind `items`, `anyOf`,
 * `$defs` and the like.  Values such as `default` and `enum` are data and are not looked into; a
 * `$ref` is not followed, as what it names is met where it stands.  Deeper parts are left out.
 *
 *     struct tool_arguments it;
 *     st = tool_arguments_init(&it, schema_json);
 *     while (st == STATUS_OK && tool_arguments_next(&it))
 *         ... it.text ...
 *     tool_arguments_free(&it);
 */
#pragma once

#include "base/status.h"
#include "base/str.h"
#include "wire/json_in.h"

enum { TOOL_ARGUMENTS_DEPTH = 32 };

struct tool_arguments {
    struct str text; /* a name or a description; valid until tool_arguments_free */

    /* Private. */
    struct json_doc *doc;
    struct arguments_level {
        struct json_iter it;
        enum arguments_role {
            LEVEL_SCHEMA, /* members are keywords */
            LEVEL_NAMES,  /* `properties`: keys are names, values are schemas */
            LEVEL_PARTS,  /* `$defs`, `anyOf`: values are schemas, keys mean nothing */
        } role;
    } levels[TOOL_ARGUMENTS_DEPTH];
    size_t n_levels;
};

/* STATUS_OK, also for what is no JSON (then there are no arguments), or STATUS_NO_MEMORY.  `it` may
 * be freed after either. */
MUST_USE enum status tool_arguments_init(struct tool_arguments *it, struct str schema_json);
MUST_USE bool tool_arguments_next(struct tool_arguments *it);
void tool_arguments_free(struct tool_arguments *it);
