#include "prompt/edits.h"

#include <string.h>

#define NOTE "[This result was removed to save room; call the tool again if it is needed.]"
static const struct str cleared_note = {NOTE, sizeof NOTE - 1};

/* One edit under way. */
struct work {
    const struct context_edit *edit;
    struct message_request *req; /* a copy; its messages are shared until they are changed */
    struct arena *arena;
    uint32_t n_cleared;
};

/* ---- Copies ---- */

static struct message_request *copy_request(const struct message_request *req, struct arena *arena)
{
    struct message_request *copy = arena_alloc(arena, sizeof *copy);
    struct message *messages = arena_array(arena, req->n_messages, sizeof *messages);
    if (copy == NULL || messages == NULL)
        return NULL;
    *copy = *req;
    if (req->n_messages > 0)
        memcpy(messages, req->messages, req->n_messages * sizeof *messages);
    copy->messages = messages;
    return copy;
}

/* The blocks of a message, as its own copy. */
static struct block *own_blocks(struct work *w, struct message *m)
{
    struct block *blocks = arena_array(w->arena, m->n_blocks, sizeof *blocks);
    if (blocks == NULL)
        return NULL;
    memcpy(blocks, m->blocks, m->n_blocks * sizeof *blocks);
    m->blocks = blocks;
    return blocks;
}

/* ---- Tool uses ---- */

static uint32_t count_blocks(const struct message_request *req, enum block_type type)
{
    uint32_t n = 0;
    for (size_t i = 0; i < req->n_messages; i++)
        for (size_t j = 0; j < req->messages[i].n_blocks; j++)
            n += req->messages[i].blocks[j].type == type;
    return n;
}

/* Where the call is that a result belongs to; NULL where it is nowhere. */
static struct block *find_call(struct work *w, size_t before, struct str id,
                               struct message **out_message)
{
    for (size_t i = before; i-- > 0;) {
        struct message *m = &w->req->messages[i];
        for (size_t j = 0; j < m->n_blocks; j++)
            if (m->blocks[j].type == BLOCK_TOOL_USE && str_equal(m->blocks[j].id, id)) {
                *out_message = m;
                return &m->blocks[j];
            }
    }
    return NULL;
}

static bool is_excluded(const struct context_edit *edit, struct str name)
{
    for (size_t i = 0; i < edit->n_excluded; i++)
        if (str_equal(edit->excluded[i], name))
            return true;
    return false;
}

static bool is_cleared(const struct block *result)
{
    return result->n_content == 1 && result->content[0].text.ptr == cleared_note.ptr;
}

static enum status clear_input(struct work *w, struct message *m, const struct block *call)
{
    size_t at = (size_t)(call - m->blocks);
    struct block *blocks = own_blocks(w, m);
    if (blocks == NULL)
        return STATUS_TOO_LARGE;
    blocks[at].input_json = STR("{}");
    return STATUS_OK;
}

/* Result `block` of message `at`. */
static enum status clear_result(struct work *w, size_t at, size_t block)
{
    struct message *m = &w->req->messages[at], *of_call = NULL;
    struct block *call = find_call(w, at, m->blocks[block].id, &of_call);
    if (is_cleared(&m->blocks[block]) || (call != NULL && is_excluded(w->edit, call->name)))
        return STATUS_OK;
    struct block *blocks = own_blocks(w, m);
    struct block *content = arena_array(w->arena, 1, sizeof *content);
    if (blocks == NULL || content == NULL)
        return STATUS_TOO_LARGE;
    *content = (struct block){.type = BLOCK_TEXT, .text = cleared_note};
    blocks[block].content = content;
    blocks[block].n_content = 1;
    w->n_cleared++;
    return w->edit->clears_inputs && call != NULL ? clear_input(w, of_call, call) : STATUS_OK;
}

static enum status clear_tool_uses(struct work *w)
{
    uint32_t n = count_blocks(w->req, BLOCK_TOOL_RESULT), seen = 0;
    uint32_t n_old = n > w->edit->keep ? n - w->edit->keep : 0;
    for (size_t i = 0; i < w->req->n_messages && seen < n_old; i++)
        for (size_t j = 0; j < w->req->messages[i].n_blocks && seen < n_old; j++) {
            if (w->req->messages[i].blocks[j].type != BLOCK_TOOL_RESULT)
                continue;
            seen++;
            enum status st = clear_result(w, i, j);
            if (st != STATUS_OK)
                return st;
        }
    return STATUS_OK;
}

/* ---- Thinking ---- */

static bool is_thinking(const struct block *b)
{
    return b->type == BLOCK_THINKING || b->type == BLOCK_REDACTED_THINKING;
}

static bool has_thinking(const struct message *m)
{
    for (size_t i = 0; i < m->n_blocks; i++)
        if (is_thinking(&m->blocks[i]))
            return true;
    return false;
}

static enum status drop_thinking(struct work *w, struct message *m)
{
    struct block *blocks = own_blocks(w, m);
    if (blocks == NULL)
        return STATUS_TOO_LARGE;
    size_t n = 0;
    for (size_t i = 0; i < m->n_blocks; i++)
        if (!is_thinking(&blocks[i]))
            blocks[n++] = blocks[i];
    m->n_blocks = n;
    w->n_cleared++;
    return STATUS_OK;
}

static enum status clear_thinking(struct work *w)
{
    uint32_t seen = 0;
    for (size_t i = w->req->n_messages; i-- > 0;) {
        struct message *m = &w->req->messages[i];
        if (!has_thinking(m) || seen++ < w->edit->keep)
            continue;
        enum status st = drop_thinking(w, m);
        if (st != STATUS_OK)
            return st;
    }
    return STATUS_OK;
}

/* ---- All edits ---- */

/* The conversation so far, and what it counts. */
struct state {
    const struct message_request *req;
    size_t n_tokens;
    bool is_counted;
    edits_count_fn *count;
    void *arg;
};

static enum status count_now(struct state *s, struct error *err)
{
    if (s->is_counted)
        return STATUS_OK;
    s->is_counted = true;
    return s->count(s->arg, s->req, &s->n_tokens, err);
}

static enum status is_due(struct state *s, const struct context_edit *edit, bool *out,
                          struct error *err)
{
    *out = edit->keep != UINT32_MAX;
    if (edit->type != EDIT_CLEAR_TOOL_USES)
        return STATUS_OK;
    uint32_t n_uses = count_blocks(s->req, BLOCK_TOOL_RESULT);
    if (n_uses <= edit->keep || edit->trigger_counts_uses) {
        *out = n_uses > edit->keep && n_uses > edit->trigger;
        return STATUS_OK;
    }
    enum status st = count_now(s, err);
    *out = s->n_tokens > edit->trigger;
    return st;
}

static enum status apply_one(struct state *s, const struct context_edit *edit, struct arena *arena,
                             struct context_report *report, struct error *err)
{
    struct work w = {.edit = edit, .req = copy_request(s->req, arena), .arena = arena};
    enum status st = w.req == NULL                        ? STATUS_TOO_LARGE
                     : edit->type == EDIT_CLEAR_TOOL_USES ? clear_tool_uses(&w)
                                                          : clear_thinking(&w);
    if (st != STATUS_OK)
        return error_set(err, st, "context_management: the conversation is too large");
    if (w.n_cleared == 0)
        return STATUS_OK;
    st = count_now(s, err);
    if (report->original_tokens == 0)
        report->original_tokens = (uint32_t)s->n_tokens;
    struct state after = {.req = w.req, .count = s->count, .arg = s->arg};
    if (st == STATUS_OK)
        st = count_now(&after, err);
    size_t n_cleared = after.n_tokens < s->n_tokens ? s->n_tokens - after.n_tokens : 0;
    if (st != STATUS_OK || n_cleared < edit->clear_at_least)
        return st;
    *s = after;
    report->applied[report->n_applied++] =
        (struct applied_edit){edit->type, w.n_cleared, (uint32_t)n_cleared};
    return STATUS_OK;
}

enum status edits_apply(const struct message_request *req, struct arena *arena,
                        edits_count_fn *count, void *arg, const struct message_request **out,
                        struct context_report *report, struct error *err)
{
    struct state s = {.req = req, .count = count, .arg = arg};
    INVARIANT(req->n_edits <= LIMIT_CONTEXT_EDITS);
    *report = (struct context_report){.is_wanted = req->reports_edits};
    enum status st = STATUS_OK;
    for (size_t i = 0; st == STATUS_OK && i < req->n_edits; i++) {
        bool due = false;
        st = is_due(&s, &req->edits[i], &due, err);
        if (st == STATUS_OK && due)
            st = apply_one(&s, &req->edits[i], arena, report, err);
    }
    *out = s.req;
    return st;
}
