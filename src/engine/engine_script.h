/* engine_script -- an engine that plays a script: for tests of the whole server without a model.
 *
 * The script is chosen by the request: the last text of its user that is a name names a file
 * `NAME.script` in the script folder, `NAME-after.script` once tools ran for it,
 * `NAME-after2.script` once they ran again, and so on.  Lines of a script (see docs/TESTING.md):
 *   text "..."            a text delta (JSON string); opens a text block where none is open
 *   thinking "..."        likewise; `signature "..."` closes it
 *   tool ID NAME          opens a tool block;  input "..."  a piece of its JSON
 *   block_end             closes the open block
 *   wait NAME             until POST /test/release?NAME (only with --engine script), or cancel
 *   fail TYPE "message"   ends with EVENT_FAILED;  refuse STATUS "message"  fails in start()
 *   read N                so much of the prompt is read from here on; before, the turn waits
 *   expect "..."          the turn is refused unless the conversation holds this text
 *   otherwise STATUS "message"   ... and how, from here on
 *   prompt N / cached N   what is reported as prompt and cache tokens
 *   done REASON           ends (end_turn, max_tokens, tool_use, stop_sequence "...") */
#pragma once

#include "base/strbuf.h"
#include "engine/engine.h"

struct engine *engine_script_create(const char *script_dir);

/* {"started":n,"finished":n,"cancelled":n,"waiting":n}: turns since the start, and those that stand
 * at a `wait` now. */
void engine_script_print_stats(struct engine *e, struct strbuf *out);

/* Lets every turn that waits, or will wait, for `name` go on. */
void engine_script_release(struct engine *e, const char *name);
