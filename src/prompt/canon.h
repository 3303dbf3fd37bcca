/* canon -- message_request -> the canonical conversation that the model is shown.
 *
 * Equal conversations give equal results, and a longer conversation begins with the shorter one.
 * Rules (DESIGN 3; facts in research/clients.md 3-6):
 *  1. system blocks that begin with "x-anthropic-billing-header:" are dropped; cache marks, ids and
 *     the form of content (string or array) never matter;
 *  2. a role:"system" message stands where it stood: as a system turn where the template takes one
 *     there, else as <system-reminder> text in the neighbouring user text or tool result; it never
 *     comes between a tool call and its results;
 *  3. deferred tools are not in the tool list; a tool_reference prints the tool's schema in place;
 *  4. neighbouring turns of one role become one; results of tools follow their calls. */
#pragma once

#include "api/message.h"
#include "base/arena.h"
#include "model/chat.h"

struct canon {
    struct chat_message *messages;
    size_t n_messages;
    struct chat_tool *tools;
    size_t n_tools;
    enum chat_tool_choice tool_choice;
    bool parallel_calls;
    bool enable_thinking;
    bool continue_last; /* the request ends with the assistant's own words */
    struct str json_schema;
};

/* Everything in *out is in `arena` or borrowed from `req`. */
MUST_USE enum status canon_make(const struct message_request *req, const struct chat_caps *caps,
                                struct arena *arena, struct canon *out, struct error *err);
