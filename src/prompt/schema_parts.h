/* schema_parts -- reads a JSON schema as a list of schemas that must all hold.
 *
 * Itself, what it refers to, and what its allOf holds; lists of alternatives (anyOf, oneOf) beside
 * it. Not here: what becomes of them (prompt/tool_schema).
 *
 * Source: https://json-schema.org/draft/2020-12 (core and validation); references are JSON
 * pointers, RFC 6901. */
#pragma once

#include "wire/json_in.h"

enum {
    SCHEMA_MOST_PARTS = 32,
    SCHEMA_MOST_CHOICES = 6,
};

/* A set of these. */
enum {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_NUMBER = 8, /* goes with TYPE_INTEGER */
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64,
    TYPE_ANY = 127,
};

struct schema_reader {
    const struct json *root; /* of the document, for references */
    size_t n_relaxed;        /* places at which something was left out */
};

struct schema_parts {
    const struct json *parts[SCHEMA_MOST_PARTS];
    size_t n_parts;
    const struct json *choices[SCHEMA_MOST_CHOICES]; /* lists; one of each must hold */
    size_t n_choices;
    bool is_impossible;
    const struct json *first; /* the first that was asked for, and how many were */
    size_t n_asked;
};

/* Adds a schema, and all that must hold with it.  What is no schema (or NULL) adds nothing. */
void schema_add(struct schema_reader *r, struct schema_parts *all, const struct json *schema);

/* The same for a schema that is asked for by itself, not by one that holds it. */
void schema_ask(struct schema_reader *r, struct schema_parts *all, const struct json *schema);

/* What "#" or "#/a/b" points at; NULL for all other references. */
const struct json *schema_resolve(const struct schema_reader *r, struct str ref);

/* The member of an object by a name of any bytes; NULL. */
const struct json *schema_member(const struct json *object, struct str key);

bool schema_has_key(const struct schema_parts *all, const char *key);

/* The types that all parts allow; those that a schema without types is about; the one of a value.
 */
unsigned schema_types(const struct schema_parts *all);
unsigned schema_types_meant(const struct schema_parts *all);
unsigned schema_type_of(const struct json *value);

/* False where parts contradict each other, as far as types tell. */
bool schema_is_possible(const struct schema_parts *all);
