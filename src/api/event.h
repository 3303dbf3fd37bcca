/* event -- what an engine says while it answers: the one stream that every wire format is made of.
 *
 * Grammar of a turn's events:
 *   turn  = { block } ( DONE | FAILED )
 *   block = BLOCK_START { TEXT | THINKING | TOOL_INPUT | SUMMARY } BLOCK_STOP
 * A result of a tool that the server ran comes whole with its BLOCK_START.  Deltas match the kind
 * of the open block.  Deltas never split a UTF-8 character.  FAILED may come inside a block.
 * Strings in an event are valid until the next call that yields one. */
#pragma once

#include <stdint.h>

#include "api/message.h"
#include "base/limits.h"
#include "base/status.h"
#include "base/str.h"

enum event_type {
    EVENT_BLOCK_START,
    EVENT_TEXT,
    EVENT_THINKING,
    EVENT_TOOL_INPUT, /* a piece of the input's JSON text */
    EVENT_SUMMARY,    /* of the conversation, whole */
    EVENT_BLOCK_STOP,
    EVENT_DONE,
    EVENT_FAILED,
};

enum event_block {
    EVENT_BLOCK_TEXT,
    EVENT_BLOCK_THINKING,
    EVENT_BLOCK_TOOL_USE,
    EVENT_BLOCK_SERVER_TOOL_USE, /* as TOOL_USE, of a tool that the server runs */
    EVENT_BLOCK_SERVER_RESULT,   /* what it answered; without deltas */
    EVENT_BLOCK_COMPACTION,      /* a summary in the place of all that stood before */
};

enum stop_reason {
    STOP_END_TURN,
    STOP_MAX_TOKENS,
    STOP_SEQUENCE,
    STOP_TOOL_USE,
    STOP_CONTEXT_WINDOW, /* "model_context_window_exceeded" */
    STOP_PAUSE,      /* "pause_turn": the server ran tools often enough; sent back, it goes on */
    STOP_COMPACTION, /* the summary is all that was asked for */
};

/* The first three partition the prompt.  Of a turn of several rounds the sum. */
struct usage {
    uint32_t input_tokens;          /* neither read from nor written to the cache */
    uint32_t cache_creation_tokens; /* computed now and kept for later requests */
    uint32_t cache_read_tokens;     /* found in the pool */
    uint32_t output_tokens;
};

/* What the server did beside answering. */
struct server_work {
    uint32_t n_web_searches, n_web_fetches;
    bool has_compaction;
    struct usage compaction; /* what summing up took; not part of the turn's usage */
};

/* One that took something out (context_management.applied_edits). */
struct applied_edit {
    enum context_edit_type type;
    uint32_t n_cleared;      /* tool uses, or turns with thinking */
    uint32_t cleared_tokens; /* of the prompt */
};

struct context_report {
    bool is_wanted; /* the client gave a list of edits */
    struct applied_edit applied[LIMIT_CONTEXT_EDITS];
    size_t n_applied;
    uint32_t original_tokens; /* of the prompt as it came; 0 where it was not counted */
};

struct event {
    enum event_type type;
    enum event_block block;             /* BLOCK_START */
    struct str text;                    /* TEXT, THINKING, TOOL_INPUT, SUMMARY */
    struct str json;                    /* BLOCK_START of a SERVER_RESULT: the block, an object */
    struct str id;                      /* BLOCK_START of a tool use: toolu_..., srvtoolu_... */
    struct str name;                    /* BLOCK_START of a tool use */
    struct str signature;               /* BLOCK_STOP of a thinking block */
    enum stop_reason reason;            /* DONE */
    struct str stop_sequence;           /* DONE with STOP_SEQUENCE */
    struct usage usage;                 /* DONE, and FAILED as far as known */
    const struct server_work *work;     /* DONE; NULL: none was asked for */
    const struct context_report *edits; /* DONE; NULL: none were asked for */
    struct error error;                 /* FAILED */
};
