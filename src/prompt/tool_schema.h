/* tool_schema -- a tool's input_schema, as clients write it -> the form that a grammar can hold.
 *
 * The grammars of libllama know a part of JSON Schema, overlook keywords that stand beside others
 * (`properties` beside `anyOf`), and refuse a whole schema for a reference or a type that they do
 * not know.  Here a schema is brought into the part that they hold exactly:
 *
 *  - `allOf`, and whatever stands beside `$ref`, `anyOf` or `oneOf`, is merged into one schema;
 * each alternative gets what stands beside it; lists of types become alternatives;
 *  - references into the document (also "#", and with escapes) point into one list of definitions;
 *  - what is required is among the properties; limits that contradict each other are dropped;
 *  - keywords that no grammar holds (`not`, `if`, `patternProperties`, `uniqueItems`, `multipleOf`,
 *    limits of `number`, patterns that are not anchored, references to other documents, ...) are
 *    left out, for that part of the schema alone.
 *
 * What comes out allows no value of the kept keywords that the schema forbids.  The model is shown
 * the schema as the client wrote it, and calls are mended to that one; this form is the grammar's.
 *
 * Source: https://json-schema.org/draft/2020-12 (core and validation). */
#pragma once

#include "base/arena.h"
#include "base/str.h"

/* The form for a grammar, in `arena`; {"type":"object"} where `schema_json` is no object.  In
 * *n_relaxed the number of places at which something was left out.  An empty string where the arena
 * is full. */
struct str tool_schema_for_grammar(struct str schema_json, struct arena *arena, size_t *n_relaxed);
