/* reply_form -- what the assistant said and called, without how it was written down.
 *
 * Clients send a reply back changed: members of a call's input in another order, defaults of the
 * schema put in, text blocks cut or trimmed at their ends (research/clients.md 5).  Two replies
 * that mean the same have the same digest; one that somebody really edited has another.
 *
 * Equal are: inputs that call_mend mends to the same, in any order of members, with or without
 * members whose value is the schema's `default`; text and reasoning but for white space at both
 * ends.  Not looked at: the ids of calls, and how text and calls alternate. */
#pragma once

#include "api/message.h"
#include "base/hash.h"
#include "model/chat.h"

struct reply_form {
    struct str text; /* its blocks joined as canon joins them */
    const struct chat_call *calls;
    size_t n_calls;
    const struct tool
        *tools; /* the request's, for their schemas; a call of another tool is taken as it is */
    size_t n_tools;
};

void reply_digest(const struct reply_form *form, unsigned char out[SHA256_BYTES]);
