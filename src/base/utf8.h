/* utf8 -- validity and borders of UTF-8 text (RFC 3629: no surrogates, no overlong forms). */
#pragma once

#include "str.h"
#include "strbuf.h"

/* True if all of `s` is well-formed. */
bool utf8_valid(struct str s);

/* How many bytes at the end of `s` begin a character that is not complete yet (0..3).  A stream
 * holds these back until the rest arrives. */
size_t utf8_incomplete_tail(struct str s);

/* Appends `s`, each maximal malformed part replaced by U+FFFD, as Unicode recommends. */
void utf8_append_clean(struct strbuf *out, struct str s);
