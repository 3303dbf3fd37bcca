/* html_text -- the text of an HTML page, for a model to read.
 *
 * Keeps headings ("# "), paragraphs, lists ("- ", "1. "), table rows ("a | b"), preformatted text
 * (in fences) and links ("text (address)", as far as a web tool could fetch the address).  Drops
 * scripts, styles, navigation, forms' controls and what the page itself hides, which is where a
 * page would put words for a model that no person is to see.
 *
 * Nothing is loaded: the parser is given bytes and has no network.  Elements nest to
 * LIMIT_HTML_DEPTH; what lies deeper, and all after it, is cut. */
#pragma once

#include "base/strbuf.h"

struct html_text {
    struct strbuf title; /* "" where there is none; at most LIMIT_WEB_TITLE_BYTES */
    struct strbuf text;  /* valid UTF-8 */
    bool is_cut;         /* there was more */
};

/* `html` is what charset_decode() made; `base_url` is where it came from; `text` ends at the last
 * whole character within `limit_bytes`.  STATUS_NO_MEMORY. */
MUST_USE enum status html_text_make(struct str html, const char *base_url, size_t limit_bytes,
                                    struct html_text *out);
void html_text_free(struct html_text *t);

/* The longest beginning of `s` that is at most `limit` bytes and ends with a whole character. */
struct str html_text_cut(struct str s, size_t limit);
