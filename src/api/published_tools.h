/* published_tools -- the tools that clients name by a type instead of sending a schema: what input
 * each takes, and who runs it.
 *
 * Inputs as https://docs.claude.com/en/docs/agents-and-tools/tool-use/overview and the pages of the
 * single tools describe them.  Versions of one tool differ in the date that ends their type. */
#pragma once

#include "api/message.h"

struct published_tool {
    const char *type; /* up to the date, or the whole of it */
    enum tool_kind kind;
    const char *description;
    const char *schema_json;
};

/* NULL where no such type is known. */
const struct published_tool *published_tool_find(struct str type);
