/* anthropic_read_fields -- how the reader takes one member out of an object: type, presence, range,
 * and the error that names it.  Only for anthropic_read*.c. */
#pragma once

#include "api/message.h"
#include "base/arena.h"
#include "wire/json_in.h"

/* One reading under way. */
struct reader {
    struct arena *arena;
    struct error *err;
};

enum presence {
    OPTIONAL,
    REQUIRED,
};

/* STATUS_INVALID for the member `key` of what is at `at`. */
enum status fail_at(const struct reader *r, const struct json_path *at, const char *key,
                    const char *fmt, ...) PRINTF_LIKE(4, 5);

/* STATUS_INVALID unless `v` is an object. */
MUST_USE enum status expect_object(const struct reader *r, const struct json *v,
                                   const struct json_path *at);

/* A string member, "" where it is optional and absent or null. */
MUST_USE enum status read_string(const struct reader *r, const struct json *object,
                                 const struct json_path *at, const char *key,
                                 enum presence presence, struct str *out);

/* A number in [low, high]; *out is left alone where it is absent or null. */
MUST_USE enum status read_number(const struct reader *r, const struct json *object,
                                 const struct json_path *at, const char *key, double low,
                                 double high, float *out);

/* An integer of at least `low`, clamped to `high`; *out is left alone where it is absent or null.
 */
MUST_USE enum status read_integer(const struct reader *r, const struct json *object,
                                  const struct json_path *at, const char *key, int64_t low,
                                  int64_t high, enum presence presence, int64_t *out);

MUST_USE enum status read_bool(const struct reader *r, const struct json *object,
                               const struct json_path *at, const char *key, bool *out);

/* The object or the list called `key`, NULL where it is absent or null. */
MUST_USE enum status read_object(const struct reader *r, const struct json *object,
                                 const struct json_path *at, const char *key,
                                 enum presence presence, const struct json **out);
MUST_USE enum status read_list(const struct reader *r, const struct json *object,
                               const struct json_path *at, const char *key, enum presence presence,
                               size_t most, const struct json **out);

/* A minified copy of `value` in the arena. */
MUST_USE enum status read_json_text(const struct reader *r, const struct json *value,
                                    struct str *out);

enum status too_large(const struct reader *r);

/* Where content stands, which decides what blocks it may hold. */
enum place {
    PLACE_SYSTEM = 1, /* the system prompt, and messages of role system */
    PLACE_USER = 2,
    PLACE_ASSISTANT = 4,
    PLACE_RESULT = 8,    /* a tool_result */
    PLACE_DOCUMENT = 16, /* the content of a document or a search result */
};

/* Text, or a list of blocks: what system, messages and tool results hold.
 * (anthropic_read_blocks.c) */
MUST_USE enum status read_content(const struct reader *r, const struct json *value,
                                  const struct json_path *at, enum place place, struct block **out,
                                  size_t *out_n);

/* What the model is told where something stood that it cannot be shown: `what`, such as "An image",
 * its kind where that is a plain word, and why.  (anthropic_read_blocks.c) */
MUST_USE enum status read_as_note(const struct reader *r, struct block *b, const char *what,
                                  struct str kind, const char *why);

/* (anthropic_read_documents.c) */
MUST_USE enum status read_document(const struct reader *r, const struct json *v,
                                   const struct json_path *at, struct block *b);
MUST_USE enum status read_search_result(const struct reader *r, const struct json *v,
                                        const struct json_path *at, struct block *b);

/* The block of a tool that a server ran, whatever its type; and a `compaction`.
 * (anthropic_read_results.c) */
MUST_USE enum status read_server_result(const struct reader *r, const struct json *v,
                                        const struct json_path *at, struct block *b);
MUST_USE enum status read_compaction(const struct reader *r, const struct json *v,
                                     const struct json_path *at, struct block *b);

/* After all messages: see the head of anthropic_read_rounds.c. */
MUST_USE enum status read_rounds(const struct reader *r, struct message_request *req);

/* tools, and tool_choice, which names one of them.  (anthropic_read_tools.c) */
MUST_USE enum status read_tools(const struct reader *r, const struct json *body,
                                struct message_request *req);
MUST_USE enum status read_tool_choice(const struct reader *r, const struct json *body,
                                      struct message_request *req);

/* context_management and compaction.  (anthropic_read_edits.c) */
MUST_USE enum status read_context_edits(const struct reader *r, const struct json *body,
                                        struct message_request *req);
MUST_USE enum status read_compaction_config(const struct reader *r, const struct json *body,
                                            struct message_request *req);
