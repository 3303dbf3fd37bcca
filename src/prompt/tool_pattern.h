/* tool_pattern -- a `pattern` of JSON Schema -> the part of regular expressions that grammars hold.
 *
 * The converter of libllama takes patterns that are anchored at both ends, knows no \d, \w or \s,
 * and lets "." and negated classes write the quote that ends a JSON string.  Here those are spelt
 * out as classes, patterns without anchors get room at their ends, and every other character that
 * is not a letter or digit is written by its number, so that nothing of it is read as a mark.
 *
 * A pattern is what ECMA-262 calls one; JSON Schema recommends the same part of it that is taken
 * here (https://json-schema.org/draft/2020-12/json-schema-core, 6.4). */
#pragma once

#include "base/strbuf.h"

/* Appends the pattern; false, with nothing appended, where it holds something that is not taken:
 * look-around, back references, \b, lazy quantifiers, properties of characters, counts above 200,
 * quotes and backslashes (which JSON writes as two characters). */
bool tool_pattern_for_grammar(struct str pattern, struct strbuf *out);
