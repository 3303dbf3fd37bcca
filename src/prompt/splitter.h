/* splitter -- sampled text -> text, thinking and tool events, while it is being sampled.
 *
 * A streaming scanner over the reply: plain text and thinking pass through at once, but for bytes
 * that may begin a mark (a thinking tag, a tool-call mark, an incomplete UTF-8 character).  From a
 * tool-call mark on, the section is read by the template's own parser at growing distances (each
 * time it is an eighth longer), so that the cost stays linear, and what is new is passed on.
 * Replies that no mark divides are read so from the first byte, and those that must be a call from
 * the end of thinking on.  What may be a call in a fence, or bare, is held back until the reply's
 * end decides (model/call_scan.h).
 *
 * What comes out does not depend on the pieces in which a reply is fed.  Without a call no word of
 * it is lost or said twice, but for white space at its borders; with one no word is said twice.
 *
 * Arguments are mended to the tool's schema (call_mend.h).  A call that the reply's end cut is
 * passed on so that its arguments are no JSON: nobody can run half of it.
 *
 * Owner: the turn's worker.  Not here: tokens, sockets. */
#pragma once

#include "api/event.h"
#include "model/chat.h"

struct splitter;

struct splitter_options {
    const struct chat_prompt *prompt; /* borrowed */
    const struct grammar_call *tools; /* borrowed; those that may be called */
    size_t n_tools;                   /* 0: do not look for calls at all */
    bool text_tools; /* calls are in the format of text_tools.h, which the parser does not know */
    bool names_any;  /* a fence that is the whole reply may call a tool that was not offered, as the
                        client answers that with a tool error */
    bool single_call;   /* disable_parallel_tool_use: calls after the first are dropped */
    bool keep_thinking; /* false: thinking is not passed on */
    bool omit_thinking; /* its blocks are passed on without their text */
};

struct splitter *splitter_create(const struct splitter_options *options);
void splitter_free(struct splitter *s);

/* Gives the next bytes of the reply; then splitter_next() until false. */
void splitter_feed(struct splitter *s, struct str bytes);

/* The reply is over; then splitter_next() until false.  `was_cut`: by a limit, not by the model. */
void splitter_finish(struct splitter *s, bool was_cut);

/* BLOCK_START, deltas and BLOCK_STOP only.  Strings are valid until the next call of any function.
 */
bool splitter_next(struct splitter *s, struct event *out);

/* Whether a tool call was passed on (the stop reason is then tool_use). */
bool splitter_called_tool(const struct splitter *s);

/* Whether the last call was cut before its end; after splitter_finish(). */
bool splitter_is_broken(const struct splitter *s);

/* Whether thinking or a call of the reply was not passed on, as the options say. */
bool splitter_leaves_out(const struct splitter *s);
