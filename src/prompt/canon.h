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
 *     a thinking block that the server itself wrote (PROGRESS_SIGNATURE) is dropped;
 *  4. neighbouring turns of one role become one; results of tools follow their calls;
 *  5. a round of calls and results that is the round before it again becomes a line that says so.
 *
 * Why a longer conversation begins with the shorter one: the messages are cut into runs, one of the
 * assistant and one of everybody else in turn, and a run is written from what is in it and before
 * it only.  A request ends with a run of "everybody else"; the next request goes on with a run of
 * the assistant, so that every run of the shorter one comes back whole.
 *
 * Text blocks of one turn are joined by a blank line; blocks of nothing but white space are left
 * out, as clients do not send them back either. */
#pragma once

#include "api/message.h"
#include "base/arena.h"
#include "base/hash.h"
#include "model/chat.h"

/* What a message of the assistant means (reply_form.h), to know it again. */
struct canon_reply {
    bool is_whole; /* the message is all of what was sampled at one time */
    unsigned char digest[SHA256_BYTES];
};

struct canon {
    struct chat_message *messages;
    struct canon_reply *replies; /* of messages[]; set for the assistant's */
    size_t n_messages;
    uint64_t namespace_key;  /* the caller's to set: whose replies may be known again */
    struct chat_tool *tools; /* what the prompt lists */
    size_t n_tools;
    struct chat_tool *callable; /* what may be called: the listed and the loaded ones, or the one
                                   that the client demands; for grammar and parser */
    size_t n_callable;
    enum chat_tool_choice tool_choice;
    bool parallel_calls;
    bool
        text_tools; /* the template knows no tools: they are described in the system text, and calls
                       and results are plain text (see text_tools.h); `tools` is empty then */
    bool enable_thinking;
    bool must_use_words; /* the last two turns made the same calls with the same results: a third
                            would bring nothing new (prompt/repetition.h) */
    bool continue_last;  /* the request ends with the assistant's own words */
    struct str json_schema;
};

/* Everything in *out is in `arena` or borrowed from `req`.  STATUS_INVALID where tool_choice names
 * no tool; STATUS_TOO_LARGE where the arena is full. */
MUST_USE enum status canon_make(const struct message_request *req, const struct chat_caps *caps,
                                struct arena *arena, struct canon *out, struct error *err);
