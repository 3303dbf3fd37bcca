/* message -- a Messages API request as plain structs.
 *
 * Not the wire form (api/anthropic_read makes these from JSON) and not the prompt (prompt/canon
 * makes that from these).  Everything lives in the request's arena or in the request body, and is
 * read-only after reading.  Fields follow https://docs.claude.com/en/api/messages. */
#pragma once

#include <stdint.h>

#include "base/str.h"

enum role {
    ROLE_SYSTEM, /* also inside `messages`, as Claude Code sends it */
    ROLE_USER,
    ROLE_ASSISTANT,
};

enum block_type {
    BLOCK_TEXT,
    BLOCK_THINKING,
    BLOCK_REDACTED_THINKING,
    BLOCK_TOOL_USE,
    BLOCK_TOOL_RESULT,
    BLOCK_TOOL_REFERENCE, /* inside a tool result: a deferred tool that is loaded from here on */
    BLOCK_NOTE,           /* image, document or unknown block: `text` says what stood here */
    BLOCK_COMPACTION,     /* while a request is read: `text` sums up all that stood before */
};

/* Signature of the thinking blocks in which a stream tells how far it is (see anthropic_stream.h).
 * They are ours, not the model's: prompt/canon drops those that come back. */
#define PROGRESS_SIGNATURE "pensieve-progress"

/* Results of our own web searches carry their excerpts behind this mark in the member that clients
 * send back as it came; what stands in it without the mark is for another server's eyes. */
#define READABLE_CONTENT_MARK "pensieve:"

struct block {
    enum block_type type;
    struct str text;       /* TEXT, THINKING, NOTE */
    struct str signature;  /* THINKING */
    struct str id;         /* TOOL_USE: id; TOOL_RESULT: tool_use_id */
    struct str name;       /* TOOL_USE: tool; TOOL_REFERENCE: tool_name */
    struct str input_json; /* TOOL_USE: a minified JSON object, members in the order received */
    bool is_error;         /* TOOL_RESULT */
    struct block *content; /* TOOL_RESULT: TEXT, TOOL_REFERENCE and NOTE blocks */
    size_t n_content;
};

/* A thinking block of the server's own, which told how far it was: nothing that the model said. */
static inline bool block_is_progress(const struct block *b)
{
    return b->type == BLOCK_THINKING && str_is(b->signature, PROGRESS_SIGNATURE);
}

/* What a server tool answered inside a message of the assistant is read as a TOOL_RESULT in a
 * message of the user's, between what the assistant said before it and after it. */
struct message {
    enum role role;
    struct block *blocks; /* string content is one TEXT block */
    size_t n_blocks;
};

/* Who runs a tool, and which it is of those that the server runs between two rounds of a turn. */
enum tool_kind {
    TOOL_OF_CLIENT, /* by the schema that came with it, or by a published one */
    TOOL_SEARCH_REGEX,
    TOOL_SEARCH_BM25,
    TOOL_WEB_SEARCH,
    TOOL_WEB_FETCH,
    TOOL_CODE_EXECUTION,
    TOOL_FOREIGN, /* another service would have to: the model is told that it is not there */
};

struct tool {
    enum tool_kind kind;
    struct str name;
    struct str description;   /* "" where there is none */
    struct str schema_json;   /* input_schema, minified; "{}" for TOOL_FOREIGN */
    struct str type;          /* "custom", or such as "web_search_20250305" */
    struct str declared_json; /* the tool as it came, minified; "" for those of type "custom" */
    bool defer_loading;       /* not in the tool list until a tool_reference names it */
};

static inline bool tool_is_of_server(const struct tool *t)
{
    return t->kind != TOOL_OF_CLIENT && t->kind != TOOL_FOREIGN;
}

enum tool_choice_type {
    TOOL_CHOICE_AUTO,
    TOOL_CHOICE_NONE,
    TOOL_CHOICE_ANY,  /* some tool must be called */
    TOOL_CHOICE_TOOL, /* the named tool must be called */
};

struct tool_choice {
    enum tool_choice_type type;
    struct str name; /* TOOL_CHOICE_TOOL */
    bool disable_parallel;
};

enum thinking_mode {
    THINKING_UNSET, /* the client said nothing */
    THINKING_DISABLED,
    THINKING_ENABLED,  /* with budget_tokens */
    THINKING_ADAPTIVE, /* the model decides */
};

/* How much a client wants to be spent on the answer (output_config.effort). */
enum effort {
    EFFORT_UNSET, /* or a name that is not known */
    EFFORT_LOW,
    EFFORT_MEDIUM,
    EFFORT_HIGH, /* and above: no limit */
};

enum context_edit_type {
    EDIT_CLEAR_TOOL_USES, /* results of old tool uses become a line that says so */
    EDIT_CLEAR_THINKING,  /* thinking of old turns is left out */
};

/* What is to be taken out of a long conversation (context_management.edits). */
struct context_edit {
    enum context_edit_type type;
    uint32_t keep; /* the last tool uses, or turns with thinking; UINT32_MAX: all */

    /* EDIT_CLEAR_TOOL_USES */
    uint32_t trigger;         /* tokens of the prompt, above which it is done */
    bool trigger_counts_uses; /* ... or tool uses */
    uint32_t clear_at_least;  /* tokens; nothing is done where it would be fewer */
    bool clears_inputs;       /* of the calls, too */
    const struct str *without_input;
    size_t n_without_input; /* ... or of the calls of these tools only */
    const struct str *excluded;
    size_t n_excluded; /* names of tools */
};

/* When the server is to sum up a conversation by itself (the edit compact_20260112, and the member
 * `compaction`, which asks for it at once). */
struct compaction {
    bool is_wanted;
    uint32_t trigger;        /* tokens of the prompt, above which it is done; 0: now */
    bool pauses;             /* the turn ends with the summary */
    struct str instructions; /* how to sum up; "": as the server does it */
};

/* What the client asked for; a negative value means "not given". */
struct sampling {
    float temperature; /* [0, 1] in the API; up to 2 accepted */
    float top_p;       /* (0, 1] */
    int32_t top_k;     /* >= 0 */
};

struct message_request {
    struct str model;
    struct block *system; /* TEXT and NOTE blocks */
    size_t n_system;
    struct message *messages;
    size_t n_messages;
    struct tool *tools;
    size_t n_tools;
    struct tool_choice tool_choice;
    struct sampling sampling;
    uint32_t max_tokens; /* >= 1; 0 in a count_tokens request */
    struct str *stop_sequences;
    size_t n_stop_sequences;
    enum thinking_mode thinking;
    uint32_t thinking_budget_tokens; /* THINKING_ENABLED */
    bool omits_thinking;             /* thinking.display is "omitted" */
    enum effort effort;
    struct str output_schema_json; /* output_config.format of type json_schema; "" for none */
    bool stream;
    struct context_edit *edits; /* in the order in which they are done */
    size_t n_edits;
    bool reports_edits; /* the client gave a list of edits, perhaps of none that is known */
    struct compaction compaction;
};
