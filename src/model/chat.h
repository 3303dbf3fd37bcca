/* chat -- the model's own chat format: messages -> one prompt string; reply text -> message.
 *
 * A C face over llama.cpp's Jinja templates, tool-call grammars and reply parsers (chat_llama.cpp
 * is the one file that sees them).  Plain strings and small structs in and out; knows no tokens, no
 * Messages API.  A template may be used by any thread; no function throws. */
#pragma once

#include "base/strbuf.h"
#include "model/model.h"

struct chat_template;

struct chat_caps {
    bool system_first;    /* takes a system message at the beginning */
    bool system_anywhere; /* and between other messages, rendered where it stands */
    bool tools;           /* describes tools itself */
    bool tool_calls;      /* renders past calls and results itself */
    bool parallel_calls;
    bool thinking; /* can reason, and enable_thinking matters or tags are known */
};

struct chat_call {
    struct str id;
    struct str name;
    struct str arguments_json;
};

struct chat_message {
    const char *role; /* "system", "user", "assistant", "tool" */
    struct str content;
    struct str reasoning;          /* assistant */
    const struct chat_call *calls; /* assistant */
    size_t n_calls;
    struct str call_id;   /* tool */
    struct str tool_name; /* tool */
};

struct chat_tool {
    struct str name;
    struct str description;
    struct str schema_json; /* what the prompt shows */
    struct str
        grammar_json; /* what the reply is held to, see prompt/tool_schema; "" for the same */
};

enum chat_tool_choice { CHAT_TOOLS_AUTO, CHAT_TOOLS_REQUIRED, CHAT_TOOLS_NONE };

struct chat_inputs {
    const struct chat_message *messages;
    size_t n_messages;
    const struct chat_tool *tools;
    size_t n_tools;
    enum chat_tool_choice tool_choice;
    bool parallel_calls;
    bool enable_thinking;
    struct str json_schema; /* the reply is held to it; "" for none */
    bool continue_last;     /* the last message is the assistant's and is to be continued */
};

/* A rendered conversation and how to read the reply to it.  Owned by the caller. */
struct chat_prompt {
    char *text; /* mem_free'd by chat_prompt_free, as everything below */
    size_t len;
    struct grammar_spec grammar; /* strings owned by this struct */
    char *generation_prompt;     /* the end of `text` that belongs to the reply, e.g. "<think>\n" */
    char *thinking_start;        /* "" where the model does not reason */
    char *thinking_end;
    char **stops; /* texts that end the reply besides end-of-generation tokens */
    size_t n_stops;
    struct chat_parser *parser; /* opaque */
};

/* Whether the prompt has begun what the model thinks, so that the reply goes on with it. */
static inline bool chat_begins_in_thinking(const struct chat_prompt *p)
{
    struct str written = str_from(p->generation_prompt), end = str_from(p->thinking_end);
    return end.len > 0 && str_find(written, str_from(p->thinking_start)) != SIZE_MAX &&
           str_find(written, end) == SIZE_MAX;
}

struct chat_reply {
    struct str content;
    struct str reasoning;
    struct chat_call *calls;
    size_t n_calls;
    void *storage; /* owns the strings */
};

/* `source` is Jinja; STATUS_UNSUPPORTED where it can't be parsed.  bos/eos are the pieces' text. */
MUST_USE enum status chat_template_create(struct str source, const char *bos, const char *eos,
                                          struct chat_template **out, struct error *err);
void chat_template_free(struct chat_template *t);
const struct chat_caps *chat_template_get_caps(const struct chat_template *t);

MUST_USE enum status chat_render(const struct chat_template *t, const struct chat_inputs *in,
                                 struct chat_prompt *out, struct error *err);
void chat_prompt_free(struct chat_prompt *p);

/* Appends the text alone, as chat_render() writes it, at a part of the cost. */
MUST_USE enum status chat_render_text(const struct chat_template *t, const struct chat_inputs *in,
                                      struct strbuf *out, struct error *err);

/* Reads the reply so far (`is_partial`) or all of it.  Cost grows with its length: callers parse
 * at growing distances.  STATUS_INVALID where the text does not fit the format. */
MUST_USE enum status chat_parse(const struct chat_prompt *p, struct str reply, bool is_partial,
                                struct chat_reply *out);
void chat_reply_free(struct chat_reply *r);
