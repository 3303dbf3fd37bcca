#include "engine/turn_record.h"

enum { FIRST_CALLS = 8 };

void turn_record_init(struct turn_record *r)
{
    *r = (struct turn_record){0};
    arena_init(&r->arena, (size_t)4 * LIMIT_REPLY_BYTES);
    joined_init(&r->text);
    joined_init(&r->reasoning);
    strbuf_init(&r->block, LIMIT_REPLY_BYTES);
}

void turn_record_free(struct turn_record *r)
{
    strbuf_free(&r->block);
    joined_free(&r->text);
    joined_free(&r->reasoning);
    arena_free(&r->arena);
}

static struct chat_call *last_call(struct turn_record *r)
{
    return &r->calls[r->n_calls - 1];
}

static void begin_call(struct turn_record *r, struct str name)
{
    if (r->n_calls == r->capacity) {
        size_t capacity = r->capacity == 0 ? FIRST_CALLS : r->capacity * 2;
        struct chat_call *grown = arena_array(&r->arena, capacity, sizeof *grown);
        r->is_lost |= grown == NULL;
        if (grown == NULL)
            return;
        if (r->n_calls > 0)
            memcpy(grown, r->calls, r->n_calls * sizeof *grown);
        r->calls = grown;
        r->capacity = capacity;
    }
    r->calls[r->n_calls++] = (struct chat_call){.name = arena_str(&r->arena, name)};
    r->is_lost |= last_call(r)->name.ptr == NULL;
}

static void end_block(struct turn_record *r)
{
    struct str whole = strbuf_str(&r->block);
    r->is_lost |= r->block.failed;
    if (r->is_lost)
        return;
    if (r->kind == EVENT_BLOCK_TOOL_USE) {
        last_call(r)->arguments_json = arena_str(&r->arena, whole);
        r->is_lost |= last_call(r)->arguments_json.ptr == NULL;
    } else {
        joined_add_copy(r->kind == EVENT_BLOCK_THINKING ? &r->reasoning : &r->text, whole);
    }
}

void turn_record_note(struct turn_record *r, const struct event *e)
{
    switch (e->type) {
    case EVENT_BLOCK_START:
        r->kind = e->block;
        strbuf_clear(&r->block);
        if (e->block == EVENT_BLOCK_TOOL_USE)
            begin_call(r, e->name);
        return;
    case EVENT_TEXT:
    case EVENT_THINKING:
    case EVENT_TOOL_INPUT:
        strbuf_append_str(&r->block, e->text);
        return;
    case EVENT_BLOCK_STOP:
        end_block(r);
        return;
    default:
        return;
    }
}

bool turn_record_take(struct turn_record *r, struct reply_form *out, struct str *out_reasoning)
{
    *out = (struct reply_form){.calls = r->calls, .n_calls = r->n_calls};
    bool is_taken = joined_take(&r->text, &r->arena, &out->text) == STATUS_OK &&
                    joined_take(&r->reasoning, &r->arena, out_reasoning) == STATUS_OK;
    return is_taken && !r->is_lost;
}
