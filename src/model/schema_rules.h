/* schema_rules -- a JSON schema -> rules of a grammar in libllama's notation (GBNF).
 *
 * A thin cover over the library's converter, so that rules of several schemas can stand in one
 * grammar: each rule gets the caller's name before its own.  Which schemas the converter holds
 * exactly is the business of prompt/tool_schema. */
#pragma once

#include "base/strbuf.h"

/* Appends lines `NAME ::= ...` and `NAME-... ::= ...`, where NAME is any value that the schema
 * allows.  `name` is of letters, digits and hyphens.  False, with nothing appended, where the
 * converter refuses the schema. */
bool schema_rules_append(struct str schema_json, const char *name, struct strbuf *out);
