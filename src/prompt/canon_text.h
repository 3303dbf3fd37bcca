/* canon_text -- small text work of canon: joining blocks, white space, error marks, references.
 *
 * A `joined` collects the parts of one message.  One part is borrowed as it is; from the second on
 * they are copied, with a blank line between.  Blank parts do not count. */
#pragma once

#include "api/message.h"
#include "base/arena.h"
#include "base/strbuf.h"

struct joined {
    struct str only; /* the first part, borrowed, while it is the only one */
    size_t n_parts;
    bool is_borrowed; /* `only` outlives the request; else it is in `buf` */
    struct strbuf buf;
};

void joined_init(struct joined *j);
void joined_free(struct joined *j);
void joined_clear(struct joined *j);

void joined_add(struct joined *j, struct str part);      /* must outlive the result */
void joined_add_copy(struct joined *j, struct str part); /* need not */

/* What a tool_reference says: the schema of the tool `name`, or that there is none. */
void joined_add_reference(struct joined *j, const struct message_request *req, struct str name);

/* The text, in `arena` or borrowed; "" where nothing was added.  `j` is empty afterwards. */
MUST_USE enum status joined_take(struct joined *j, struct arena *arena, struct str *out);

bool canon_is_blank(struct str s); /* nothing but ASCII white space */
struct str canon_trim_end(struct str s);
bool canon_names_error(struct str s); /* the text itself says that it is an error */
