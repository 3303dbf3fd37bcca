/* json_out -- writes JSON into a strbuf, piece by piece.
 *
 * Keeps track of commas only; the caller keeps the nesting right (INVARIANT in json_out_end).
 * Text that is not UTF-8 is mended with U+FFFD, so that what leaves is always valid JSON. */
#pragma once

#include <stdint.h>

#include "base/strbuf.h"

struct json_out {
    struct strbuf *to;
    unsigned depth;
    bool needs_comma;
};

void json_out_begin(struct json_out *w, struct strbuf *to);
void json_out_end(struct json_out *w); /* checks that everything is closed */

void json_object_begin(struct json_out *w);
void json_object_end(struct json_out *w);
void json_array_begin(struct json_out *w);
void json_array_end(struct json_out *w);
void json_key(struct json_out *w, const char *key); /* plain ASCII, written as it is */

void json_str(struct json_out *w, struct str s);
void json_cstr(struct json_out *w, const char *s);
void json_int(struct json_out *w, int64_t n);
void json_double(struct json_out *w, double x); /* null where not finite */
void json_boolean(struct json_out *w, bool b);
void json_null(struct json_out *w);
void json_raw(struct json_out *w, struct str valid_json);

/* key + value in one line. */
void json_field_str(struct json_out *w, const char *key, struct str s);
void json_field_cstr(struct json_out *w, const char *key, const char *s);
void json_field_int(struct json_out *w, const char *key, int64_t n);
void json_field_bool(struct json_out *w, const char *key, bool b);

/* Appends the inside of a JSON string: `s` escaped, without quotes. */
void json_escape(struct strbuf *to, struct str s);
