/* anthropic_read -- the JSON body of POST /v1/messages and /count_tokens -> message_request.
 *
 * Lenient where the hosted API's clients run ahead of us (unknown fields, betas, block types and
 * content shapes are accepted), strict where a mistake would go unnoticed: a missing required
 * field, a wrong type or a value out of range is STATUS_INVALID and names the field by its path.
 * The `thread` field is refused with STATUS_UNSUPPORTED: ignoring it would answer nonsense. */
#pragma once

#include "api/message.h"
#include "base/arena.h"
#include "wire/json_in.h"

enum anthropic_endpoint {
    ANTHROPIC_MESSAGES,
    ANTHROPIC_COUNT_TOKENS, /* max_tokens is not required */
};

/* `body` and `arena` must outlive *out. */
MUST_USE enum status anthropic_read(const struct json *body, enum anthropic_endpoint endpoint,
                                    struct arena *arena, struct message_request *out,
                                    struct error *err);

/* What a server's tool answered, as it comes back in a later request: `block` is the whole block,
 * such as {"type":"web_search_tool_result",...}; *out becomes a TOOL_RESULT.  `block` and `arena`
 * must outlive it. */
MUST_USE enum status anthropic_read_server_result(const struct json *block, struct arena *arena,
                                                  struct block *out, struct error *err);

/* What the model reads in the place of a conversation of which only `summary` is left (borrowed).
 * STATUS_TOO_LARGE where the arena is full. */
MUST_USE enum status anthropic_summary_message(struct str summary, struct arena *arena,
                                               struct message *out);
