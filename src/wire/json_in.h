/* json_in -- reads JSON text, with limits, and says where in it an error is.
 *
 * The only user of the JSON library besides json_out's tests: nobody else sees its types.  Parses
 * in place: strings point into the caller's buffer, which must stay as long as the document.
 * Limits: LIMIT_JSON_DEPTH, LIMIT_JSON_VALUES; strict RFC 8259 and UTF-8 unless JSON_COMMENTS is
 * asked for (settings files: comments and trailing commas).
 *
 * A document is read-only once parsed and may be read by any thread. */
#pragma once

#include <stdint.h>

#include "base/arena.h"
#include "base/strbuf.h"

struct json_doc;
struct json; /* one value, owned by its document */

enum json_type {
    JSON_NULL,
    JSON_BOOL,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

enum json_flags {
    JSON_STRICT = 0,
    JSON_COMMENTS = 1, /* allow comments and trailing commas */
};

enum {
    JSON_PADDING_BYTES = 4, /* the caller's buffer has this many writable bytes after `len` */
};

/* Parses text[0..len) in place.  STATUS_INVALID with line and column, STATUS_TOO_LARGE
 * for a limit, or STATUS_NO_MEMORY. */
MUST_USE enum status json_parse(char *text, size_t len, enum json_flags flags,
                                struct json_doc **out, struct error *err);

/* The same from a copy that the document owns. */
MUST_USE enum status json_parse_copy(struct str text, enum json_flags flags, struct json_doc **out,
                                     struct error *err);
void json_doc_free(struct json_doc *doc);
const struct json *json_root(const struct json_doc *doc);

/* Values.  All accept NULL and then answer JSON_NULL, false, 0 or "". */
enum json_type json_type(const struct json *v);
const char *json_type_name(const struct json *v); /* "object", "string", ... for messages */
struct str json_string(const struct json *v);
bool json_bool(const struct json *v);
double json_number(const struct json *v);
bool json_is_integer(const struct json *v); /* also 5.0, as many clients send it */
int64_t json_integer(const struct json *v); /* saturates */
size_t json_length(const struct json *v);   /* members of an object or array */

/* The member called `key`, or NULL.  The last one wins where a client repeats it. */
const struct json *json_get(const struct json *object, const char *key);

/* for (struct json_iter it = json_iter(v); json_next(&it);) uses it.key (objects), it.index,
 * it.value */
struct json_iter {
    const struct json *value;
    struct str key;
    size_t index;
    /* private to json_in.c */
    const struct json *container;
    size_t left;
    const struct json *next;
};
struct json_iter json_iter(const struct json *container);
bool json_next(struct json_iter *it);

/* Appends `v` minified, members in the order given, strings with the shortest escapes. */
void json_print(struct strbuf *out, const struct json *v);

/* Appends `v` minified with the members of every object sorted by key: equal values, equal text. */
void json_print_sorted(struct strbuf *out, const struct json *v);

/* Where we are in a document, on the reader's stack; printed as "messages.2.content.0.type". */
struct json_path {
    const struct json_path *parent; /* NULL at the root */
    const char *key;                /* NULL for an array element */
    size_t index;
};

/* Fills `err` with "path: text" and returns STATUS_INVALID. */
enum status json_fail(const struct json_path *at, struct error *err, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
