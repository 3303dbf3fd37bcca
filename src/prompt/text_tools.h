/* text_tools -- tools for models whose chat template knows none: a fixed plain-text format.
 *
 * The system text lists the tools, one JSON object a line.  A call and its result look like
 *
 *     <tool_call>
 *     {"name": "Read", "arguments": {"file_path": "a.c"}}
 *     </tool_call>
 *
 *     <tool_response>
 *     ...
 *     </tool_response>
 *
 * This is the form that Hermes and Qwen models were trained on and that others copy best.  The
 * marks are text, never control tokens. */
#pragma once

#include "base/strbuf.h"
#include "model/call_scan.h"
#include "model/chat.h"

#define TEXT_TOOLS_CALL_BEGIN CALL_SCAN_COMMON_MARK
#define TEXT_TOOLS_CALL_END   CALL_SCAN_COMMON_END

/* Appends the section of the system text that describes `tools`. */
void text_tools_describe(struct strbuf *out, const struct chat_tool *tools, size_t n_tools);

/* Appends {"name": ..., "description": ..., "parameters": ...}: also what a tool_reference shows.
 */
void text_tools_schema(struct strbuf *out, const struct chat_tool *tool);

void text_tools_call(struct strbuf *out, struct str name, struct str arguments_json);
void text_tools_result(struct strbuf *out, struct str text);

/* Fills `out` (strings by mem_alloc) with a grammar that holds a call to a tool's name and schema:
 * from the call mark on (lazy), or from the beginning of the reply (`is_required`); one call, or
 * several (`is_parallel`). */
void text_tools_grammar(const struct chat_tool *tools, size_t n_tools, bool is_required,
                        bool is_parallel, struct grammar_spec *out);
