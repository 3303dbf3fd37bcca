/* sse -- server-sent events (WHATWG HTML, section 9.2), the writing side.
 *
 * One event is "event: NAME\ndata: JSON\n\n"; the data is one line of JSON, so no line breaks have
 * to be folded. */
#pragma once

#include "base/strbuf.h"

/* Appends one event; `json` holds no line break. */
void sse_write(struct strbuf *to, const char *name, struct str json);

/* Appends a comment, which clients leave out and people read; `text` holds no line break.  It
 * stands before an event. */
void sse_comment(struct strbuf *to, struct str text);
