#include "prompt/edits.h"

#include <string.h>

#define NOTE "[This result was removed to save room; call the tool again if it is needed.]"
static const struct str cleared_note = {NOTE, sizeof NOTE - 1};

/* One edit under way. */
struct work {
    const struct context_edit *edit;
    const struct message_request *before;
    struct message_request *req; /* a copy; its blocks are shared until they are changed */
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

/* The blocks of message `at`, as the copy's own. */
static struct block *own_blocks(struct work *w, size_t at)
{
    struct message *m = &w->req->messages[at];
    if (m->blocks != w->before->messages[at].blocks)
        return m->blocks;
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

struct place_of_call {
    bool is_found;
    size_t message, block;
};

/* The call that a result belongs to, in a message before it. */
static struct place_of_call find_call(const struct message_request *req, size_t before,
                                      struct str id)
{
    for (size_t i = before; i-- > 0;)
        for (size_t j = 0; j < req->messages[i].n_blocks; j++) {
            const struct block *b = &req->messages[i].blocks[j];
            if (b->type == BLOCK_TOOL_USE && str_equal(b->id, id))
                return (struct place_of_call){true, i, j};
        }
    return (struct place_of_call){0};
}

static bool is_among(const struct str *names, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_equal(names[i], name))
            return true;
    return false;
}

bool edits_is_cleared(const struct block *result)
{
    return result->n_content > 0 && result->content[0].text.ptr == cleared_note.ptr;
}

/* Tools that a result loaded stay loaded: its references are kept behind the note. */
static enum status clear_content(struct work *w, struct block *result)
{
    struct block *content = arena_array(w->arena, 1 + result->n_content, sizeof *content);
    if (content == NULL)
        return STATUS_TOO_LARGE;
    size_t n = 0;
    content[n++] = (struct block){.type = BLOCK_TEXT, .text = cleared_note};
    for (size_t i = 0; i < result->n_content; i++)
        if (result->content[i].type == BLOCK_TOOL_REFERENCE)
            content[n++] = result->content[i];
    result->content = content;
    result->n_content = n;
    w->n_cleared++;
    return STATUS_OK;
}

static enum status clear_input(struct work *w, struct place_of_call at)
{
    struct block *blocks = own_blocks(w, at.message);
    if (blocks == NULL)
        return STATUS_TOO_LARGE;
    blocks[at.block].input_json = STR("{}");
    return STATUS_OK;
}

static bool clears_input_of(const struct context_edit *edit, struct str name)
{
    return edit->clears_inputs || is_among(edit->without_input, edit->n_without_input, name);
}

/* Result `block` of message `at`. */
static enum status clear_result(struct work *w, size_t at, size_t block)
{
    const struct block *result = &w->req->messages[at].blocks[block];
    struct place_of_call call = find_call(w->req, at, result->id);
    struct str name =
        call.is_found ? w->req->messages[call.message].blocks[call.block].name : (struct str){0};
    if (edits_is_cleared(result) ||
        (call.is_found && is_among(w->edit->excluded, w->edit->n_excluded, name)))
        return STATUS_OK;
    struct block *blocks = own_blocks(w, at);
    enum status st = blocks != NULL ? clear_content(w, &blocks[block]) : STATUS_TOO_LARGE;
    bool clears_input = call.is_found && clears_input_of(w->edit, name);
    return st == STATUS_OK && clears_input ? clear_input(w, call) : st;
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

/* Whether the model thought in this turn: told progress, and a block without text, are no thought.
 */
static bool has_thinking(const struct message *m)
{
    for (size_t i = 0; i < m->n_blocks; i++) {
        const struct block *b = &m->blocks[i];
        bool is_thought = b->type == BLOCK_THINKING && b->text.len > 0 && !block_is_progress(b);
        if (is_thought || b->type == BLOCK_REDACTED_THINKING)
            return true;
    }
    return false;
}

static enum status drop_thinking(struct work *w, size_t at)
{
    struct message *m = &w->req->messages[at];
    struct block *blocks = own_blocks(w, at);
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
        if (!has_thinking(&w->req->messages[i]) || seen++ < w->edit->keep)
            continue;
        enum status st = drop_thinking(w, i);
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
    struct work w = {
        .edit = edit, .before = s->req, .req = copy_request(s->req, arena), .arena = arena};
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
