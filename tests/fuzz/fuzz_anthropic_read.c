/* Any bytes as the body of a Messages request: refused with words, or read into a request that
 * keeps what message.h promises. */
#include "fuzz/fuzz.h"

#include "api/anthropic_read.h"
#include "base/limits.h"
#include "base/utf8.h"

enum {
    ARENA_BYTES = 256 * 1024,
};

static void check_object(struct str json)
{
    struct json_doc *doc;
    INVARIANT(json_parse_copy(json, JSON_STRICT, &doc, NULL) == STATUS_OK);
    INVARIANT(json_type(json_root(doc)) == JSON_OBJECT);
    json_doc_free(doc);
}

static void check_blocks(const struct block *blocks, size_t n, bool in_result)
{
    for (size_t i = 0; i < n; i++) {
        const struct block *b = &blocks[i];
        INVARIANT(utf8_valid(b->text) && utf8_valid(b->name) && utf8_valid(b->id));
        INVARIANT(b->type != BLOCK_NOTE || b->text.len > 0);
        if (b->type == BLOCK_TOOL_USE)
            check_object(b->input_json);
        INVARIANT(!in_result || b->n_content == 0);
        if (!in_result)
            check_blocks(b->content, b->n_content, true); /* one level: results hold no results */
    }
}

static void check_request(const struct message_request *q, enum anthropic_endpoint endpoint)
{
    INVARIANT(q->model.len > 0 && q->model.len <= LIMIT_MODEL_NAME_BYTES);
    INVARIANT(q->n_messages > 0);
    INVARIANT((q->max_tokens > 0) == (endpoint == ANTHROPIC_MESSAGES));
    check_blocks(q->system, q->n_system, false);
    for (size_t i = 0; i < q->n_messages; i++)
        check_blocks(q->messages[i].blocks, q->messages[i].n_blocks, false);
    for (size_t i = 0; i < q->n_tools; i++) {
        INVARIANT(q->tools[i].name.len > 0 && q->tools[i].type.len > 0);
        check_object(q->tools[i].schema_json);
    }
    INVARIANT(q->tool_choice.type != TOOL_CHOICE_TOOL || q->tool_choice.name.len > 0);
    for (size_t i = 0; i < q->n_stop_sequences; i++)
        INVARIANT(q->stop_sequences[i].len > 0);
    INVARIANT(q->thinking != THINKING_ENABLED || q->thinking_budget_tokens >= 1024);
    if (q->output_schema_json.len > 0)
        check_object(q->output_schema_json);
}

static void read_as(const struct json *body, enum anthropic_endpoint endpoint)
{
    struct arena arena;
    struct message_request request;
    struct error err = {.message = ""};
    arena_init(&arena, ARENA_BYTES);
    enum status st = anthropic_read(body, endpoint, &arena, &request, &err);
    if (st == STATUS_OK)
        check_request(&request, endpoint);
    else
        INVARIANT(err.status == st && err.message[0] != '\0');
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct json_doc *doc;
    if (json_parse_copy((struct str){(const char *)bytes, n}, JSON_STRICT, &doc, NULL) != STATUS_OK)
        return 0;
    read_as(json_root(doc), ANTHROPIC_MESSAGES);
    read_as(json_root(doc), ANTHROPIC_COUNT_TOKENS);
    json_doc_free(doc);
    return 0;
}
