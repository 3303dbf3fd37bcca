/* canon -- see canon.h for the rules.
 *
 * The walk: system text first, then run by run.  A run of the assistant becomes one message and
 * leaves its calls "pending"; the run after it first answers them, in the order of the calls, then
 * says what else was said. */
#include "prompt/canon.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/log.h"
#include "prompt/canon_text.h"
#include "prompt/repetition.h"
#include "prompt/reply_form.h"
#include "prompt/text_tools.h"
#include "prompt/tool_schema.h"

/* A call of the last assistant run that waits for its result. */
struct pending {
    struct str id; /* the client's */
    struct str canonical_id;
    struct str name;
};

struct builder {
    const struct message_request *req;
    const struct chat_caps *caps;
    struct arena *arena;
    struct canon *out;
    struct joined text;      /* reused */
    struct pending *pending; /* arena */
    size_t n_pending;
    size_t pending_owner;   /* index of the message that holds the calls */
    size_t n_calls;         /* so far, for canonical ids */
    struct str system_left; /* system text that the first user message has to carry */
    size_t n_relaxed;       /* places of the tools' schemas that the grammar does not hold */
    bool plain_calls;       /* the template renders no calls: they are told as text */
};

/* Whether `m` leaves anything in the prompt. */
static bool says_something(const struct message *m)
{
    if (m->role != ROLE_ASSISTANT)
        return true;
    for (size_t i = 0; i < m->n_blocks; i++) {
        const struct block *b = &m->blocks[i];
        if (b->type == BLOCK_TOOL_USE)
            return true;
        if (block_is_progress(b))
            continue;
        if ((b->type == BLOCK_TEXT || b->type == BLOCK_NOTE || b->type == BLOCK_THINKING) &&
            !canon_is_blank(b->text))
            return true;
    }
    return false;
}

static struct chat_message *add_message(struct builder *b, const char *role)
{
    struct chat_message *m = &b->out->messages[b->out->n_messages++];
    *m = (struct chat_message){.role = role};
    return m;
}

/* No more than so many messages come out: room for all of them is made once. */
static size_t most_messages(const struct message_request *req)
{
    size_t n = 4;
    for (size_t i = 0; i < req->n_messages; i++)
        n += 2 + 2 * req->messages[i].n_blocks;
    return n;
}

/* Tools. */

static bool is_usable(const struct tool *t)
{
    return t->kind != TOOL_FOREIGN;
}

/* What a tool's grammar can't hold is left out of it; the prompt shows the schema as it is. */
static struct chat_tool to_chat_tool(struct builder *b, const struct tool *t)
{
    size_t n_relaxed = 0;
    struct str grammar_json = tool_schema_for_grammar(t->schema_json, b->arena, &n_relaxed);
    b->n_relaxed += n_relaxed;
    return (struct chat_tool){t->name, t->description, t->schema_json, grammar_json};
}

static int compare_names(const void *a, const void *b)
{
    struct str x = *(const struct str *)a;
    struct str y = *(const struct str *)b;
    size_t n = x.len < y.len ? x.len : y.len;
    int order = n > 0 ? memcmp(x.ptr, y.ptr, n) : 0;
    if (order != 0)
        return order;
    return x.len < y.len ? -1 : x.len > y.len;
}

/* The names in tool_references of all messages, sorted. */
static enum status collect_references(struct builder *b, struct str **out, size_t *out_n)
{
    const struct message_request *req = b->req;
    size_t n = 0;
    for (int pass = 0; pass < 2; pass++) {
        size_t i_name = 0;
        for (size_t i = 0; i < req->n_messages; i++) {
            for (size_t j = 0; j < req->messages[i].n_blocks; j++) {
                const struct block *result = &req->messages[i].blocks[j];
                for (size_t k = 0; k < result->n_content; k++) {
                    if (result->content[k].type != BLOCK_TOOL_REFERENCE)
                        continue;
                    if (pass == 1)
                        (*out)[i_name] = result->content[k].name;
                    i_name++;
                }
            }
        }
        n = i_name;
        if (pass == 0) {
            *out = arena_array(b->arena, n + 1, sizeof **out);
            if (*out == NULL)
                return STATUS_TOO_LARGE;
        }
    }
    qsort(*out, n, sizeof **out, compare_names);
    *out_n = n;
    return STATUS_OK;
}

static enum status list_tools(struct builder *b)
{
    const struct message_request *req = b->req;
    struct canon *out = b->out;
    struct str *loaded = NULL;
    size_t n_loaded = 0;
    enum status st = collect_references(b, &loaded, &n_loaded);
    if (st != STATUS_OK)
        return st;
    out->tools = arena_array(b->arena, req->n_tools + 1, sizeof *out->tools);
    out->callable = arena_array(b->arena, req->n_tools + 1, sizeof *out->callable);
    if (out->tools == NULL || out->callable == NULL)
        return STATUS_TOO_LARGE;

    for (size_t i = 0; i < req->n_tools; i++) {
        const struct tool *t = &req->tools[i];
        if (!is_usable(t))
            continue;
        bool is_loaded = bsearch(&t->name, loaded, n_loaded, sizeof *loaded, compare_names) != NULL;
        if (t->defer_loading && !is_loaded)
            continue;
        struct chat_tool tool = to_chat_tool(b, t);
        out->callable[out->n_callable++] = tool;
        if (!t->defer_loading)
            out->tools[out->n_tools++] = tool;
    }
    if (b->n_relaxed > 0)
        log_debug("tools: %zu places of their schemas are not held by the grammar", b->n_relaxed);
    return STATUS_OK;
}

static enum status choose_tool(struct builder *b, struct error *err)
{
    const struct tool_choice *choice = &b->req->tool_choice;
    struct canon *out = b->out;
    out->parallel_calls = !choice->disable_parallel && b->caps->parallel_calls;
    switch (choice->type) {
    case TOOL_CHOICE_AUTO:
        out->tool_choice = CHAT_TOOLS_AUTO;
        return STATUS_OK;
    case TOOL_CHOICE_NONE:
        out->tool_choice = CHAT_TOOLS_NONE;
        return STATUS_OK;
    case TOOL_CHOICE_ANY:
        out->tool_choice = CHAT_TOOLS_REQUIRED;
        return STATUS_OK;
    case TOOL_CHOICE_TOOL:
        break;
    }
    for (size_t i = 0; i < b->req->n_tools; i++) {
        const struct tool *t = &b->req->tools[i];
        if (is_usable(t) && str_equal(t->name, choice->name)) {
            out->tool_choice = CHAT_TOOLS_REQUIRED;
            out->callable[0] = to_chat_tool(b, t);
            out->n_callable = 1;
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_INVALID,
                     "tool_choice.name: no tool of this name can be called here");
}

/* System text. */

/* Tools that run on the hosted service: the model is told, so that it does not invent results. */
static void note_missing_tools(struct builder *b)
{
    struct strbuf note;
    strbuf_init(&note, LIMIT_PROMPT_BYTES);
    for (size_t i = 0; i < b->req->n_tools; i++) {
        if (is_usable(&b->req->tools[i]))
            continue;
        strbuf_append_cstr(&note,
                           note.len == 0 ? "These tools are not available on this server: " : ", ");
        strbuf_append_str(&note, b->req->tools[i].name);
    }
    if (note.len > 0) {
        strbuf_append_cstr(&note, ". If they are needed, say so; never invent their results.");
        joined_add_copy(&b->text, strbuf_str(&note));
    }
    strbuf_free(&note);
}

/* Whether the listed tools, which the template writes behind the first system message, should come
 * before the rest of the system text: an agent's first block says who it is, the next ones name
 * folders and days, and the tools are most of the prompt (docs/decisions/tools-before-the-rest.md).
 */
static bool takes_tools_early(const struct builder *b)
{
    return b->out->n_tools > 0 && b->caps->system_first && b->caps->system_anywhere;
}

/* What b->text has collected becomes a system message, or waits for the user's first. */
static enum status end_system_message(struct builder *b)
{
    struct str text;
    enum status st = joined_take(&b->text, b->arena, &text);
    if (st != STATUS_OK || text.len == 0)
        return st;
    if (b->caps->system_first)
        add_message(b, "system")->content = text;
    else
        b->system_left = text;
    return STATUS_OK;
}

static enum status write_system(struct builder *b)
{
    struct canon *out = b->out;
    joined_clear(&b->text);
    if (out->text_tools) {
        /* First, as tools change less often than what clients write below them. */
        struct strbuf described;
        strbuf_init(&described, LIMIT_PROMPT_BYTES);
        text_tools_describe(&described, out->tools, out->n_tools);
        joined_add_copy(&b->text, strbuf_str(&described));
        bool fits = strbuf_status(&described) == STATUS_OK;
        strbuf_free(&described);
        if (!fits)
            return STATUS_TOO_LARGE;
        out->n_tools = 0;
    }
    size_t n_parts = 0;
    enum status st = STATUS_OK;
    for (size_t i = 0; i < b->req->n_system && st == STATUS_OK; i++) {
        struct str text = b->req->system[i].text;
        if (canon_is_blank(text) || str_starts_with(text, STR("x-anthropic-billing-header:")))
            continue;
        if (n_parts++ == 1 && takes_tools_early(b))
            st = end_system_message(b);
        joined_add(&b->text, text);
    }
    note_missing_tools(b);
    return st == STATUS_OK ? end_system_message(b) : st;
}

/* A run of the assistant: messages [begin, end). */

static enum status add_call(struct builder *b, const struct block *block, struct chat_call *call)
{
    char id[32];
    /* Nine characters of [a-z0-9], since some templates insist on exactly that. */
    snprintf(id, sizeof id, "c%08zu", ++b->n_calls % 100000000);
    struct str canonical = arena_str(b->arena, str_from(id));
    if (canonical.ptr == NULL)
        return STATUS_TOO_LARGE;
    *call = (struct chat_call){
        .id = canonical,
        .name = block->name,
        .arguments_json = block->input_json.len > 0 ? block->input_json : STR("{}"),
    };
    b->pending[b->n_pending++] = (struct pending){block->id, canonical, block->name};
    return STATUS_OK;
}

static enum status collect_calls(struct builder *b, size_t begin, size_t end,
                                 struct chat_message *to)
{
    size_t n = 0;
    for (size_t i = begin; i < end; i++)
        for (size_t j = 0; j < b->req->messages[i].n_blocks; j++)
            n += b->req->messages[i].blocks[j].type == BLOCK_TOOL_USE;
    if (n == 0)
        return STATUS_OK;

    struct chat_call *calls = arena_array(b->arena, n, sizeof *calls);
    b->pending = arena_array(b->arena, n, sizeof *b->pending);
    if (calls == NULL || b->pending == NULL)
        return STATUS_TOO_LARGE;
    b->pending_owner = (size_t)(to - b->out->messages);
    for (size_t i = begin; i < end; i++) {
        for (size_t j = 0; j < b->req->messages[i].n_blocks; j++) {
            const struct block *block = &b->req->messages[i].blocks[j];
            if (block->type != BLOCK_TOOL_USE)
                continue;
            enum status st = add_call(b, block, &calls[b->n_pending]);
            if (st != STATUS_OK)
                return st;
        }
    }
    to->calls = calls;
    to->n_calls = n;
    return STATUS_OK;
}

/* For templates without calls: they become text behind the assistant's words. */
static void calls_to_text(struct builder *b, struct chat_message *m)
{
    struct strbuf call;
    strbuf_init(&call, LIMIT_PROMPT_BYTES);
    for (size_t i = 0; i < m->n_calls; i++) {
        strbuf_clear(&call);
        text_tools_call(&call, m->calls[i].name, m->calls[i].arguments_json);
        joined_add_copy(&b->text, strbuf_str(&call));
    }
    strbuf_free(&call);
    m->calls = NULL;
    m->n_calls = 0;
}

static enum status join_blocks(struct builder *b, size_t begin, size_t end, enum block_type type,
                               struct str *out)
{
    joined_clear(&b->text);
    for (size_t i = begin; i < end; i++) {
        for (size_t j = 0; j < b->req->messages[i].n_blocks; j++) {
            const struct block *block = &b->req->messages[i].blocks[j];
            if (block_is_progress(block))
                continue;
            if (block->type == type || (type == BLOCK_TEXT && block->type == BLOCK_NOTE))
                joined_add(&b->text, block->text);
        }
    }
    return joined_take(&b->text, b->arena, out);
}

/* A run that is told in several messages, or is to be continued, is none that was sampled. */
static void note_reply(struct builder *b, const struct chat_message *m)
{
    struct canon_reply *reply = &b->out->replies[m - b->out->messages];
    struct reply_form form = {m->content, m->calls, m->n_calls, b->req->tools, b->req->n_tools};
    reply->is_whole =
        !b->out->continue_last && (m->n_calls <= 1 || b->caps->parallel_calls || b->plain_calls);
    if (reply->is_whole)
        reply_digest(&form, reply->digest);
}

static enum status write_assistant(struct builder *b, size_t begin, size_t end)
{
    struct chat_message *m = add_message(b, "assistant");
    b->n_pending = 0;
    enum status st = collect_calls(b, begin, end, m);
    if (st == STATUS_OK && b->caps->thinking)
        st = join_blocks(b, begin, end, BLOCK_THINKING, &m->reasoning);
    if (st == STATUS_OK)
        st = join_blocks(b, begin, end, BLOCK_TEXT, &m->content);
    if (st != STATUS_OK)
        return st;

    bool is_last = end == b->req->n_messages;
    if (is_last && m->n_calls == 0) {
        /* To be continued: templates and tokenisers dislike white space at the very end. */
        m->content = canon_trim_end(m->content);
        b->out->continue_last = m->content.len > 0;
    }
    note_reply(b, m);
    if (m->n_calls > 0 && b->plain_calls) {
        joined_clear(&b->text);
        joined_add(&b->text, m->content);
        calls_to_text(b, m);
        st = joined_take(&b->text, b->arena, &m->content);
    }
    return st;
}

/* A run of everybody else: messages [begin, end). */

/* A tool result of the run, to be found by the id of its call. */
struct result {
    struct str id;
    size_t position;
    const struct block *block;
    bool is_used;
};

static int compare_results(const void *a, const void *b)
{
    const struct result *x = a;
    const struct result *y = b;
    int order = compare_names(&x->id, &y->id);
    if (order != 0)
        return order;
    return x->position < y->position ? -1 : x->position > y->position;
}

static struct result *find_result(struct result *results, size_t n, struct str id)
{
    size_t low = 0;
    size_t high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_names(&results[middle].id, &id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    while (low < n && str_equal(results[low].id, id) && results[low].is_used)
        low++;
    return low < n && str_equal(results[low].id, id) ? &results[low] : NULL;
}

static enum status collect_results(struct builder *b, size_t begin, size_t end, struct result **out,
                                   size_t *out_n)
{
    size_t n = 0;
    for (size_t i = begin; i < end; i++)
        n += b->req->messages[i].n_blocks;
    struct result *results = arena_array(b->arena, n + 1, sizeof *results);
    if (results == NULL)
        return STATUS_TOO_LARGE;
    n = 0;
    for (size_t i = begin; i < end; i++) {
        for (size_t j = 0; j < b->req->messages[i].n_blocks; j++) {
            const struct block *block = &b->req->messages[i].blocks[j];
            if (block->type == BLOCK_TOOL_RESULT) {
                results[n] = (struct result){block->id, n, block, false};
                n++;
            }
        }
    }
    qsort(results, n, sizeof *results, compare_results);
    *out = results;
    *out_n = n;
    return STATUS_OK;
}

static enum status result_text(struct builder *b, const struct block *result, struct str *out)
{
    struct joined text;
    joined_init(&text);
    for (size_t i = 0; i < result->n_content; i++) {
        const struct block *part = &result->content[i];
        if (part->type == BLOCK_TOOL_REFERENCE)
            joined_add_reference(&text, b->req, part->name);
        else
            joined_add(&text, part->text);
    }
    enum status st = joined_take(&text, b->arena, out);
    if (st == STATUS_OK && result->is_error && !canon_names_error(*out)) {
        joined_clear(&text);
        struct strbuf marked;
        strbuf_init(&marked, LIMIT_PROMPT_BYTES);
        strbuf_append_cstr(&marked, "Error: ");
        strbuf_append_str(&marked, *out);
        joined_add_copy(&text, strbuf_str(&marked));
        st = joined_take(&text, b->arena, out);
        strbuf_free(&marked);
    }
    joined_free(&text);
    return st;
}

/* One result.  A template that takes one call a message gets its calls told one by one. */
static void add_result(struct builder *b, size_t i_call, struct str text)
{
    struct chat_message *owner = &b->out->messages[b->pending_owner];
    if (i_call > 0 && !b->caps->parallel_calls) {
        struct chat_message *next = add_message(b, "assistant");
        next->calls = &owner->calls[i_call];
        next->n_calls = 1;
    }
    struct chat_message *m = add_message(b, "tool");
    m->content = text;
    m->call_id = b->pending[i_call].canonical_id;
    m->tool_name = b->pending[i_call].name;
}

static enum status answer_calls(struct builder *b, struct result *results, size_t n_results)
{
    struct strbuf wrapped;
    strbuf_init(&wrapped, LIMIT_PROMPT_BYTES);
    enum status st = STATUS_OK;
    for (size_t i = 0; i < b->n_pending && st == STATUS_OK; i++) {
        struct str text = STR("(no result)");
        struct result *result = find_result(results, n_results, b->pending[i].id);
        if (result != NULL) {
            result->is_used = true;
            st = result_text(b, result->block, &text);
        }
        if (!b->plain_calls) {
            add_result(b, i, text);
            continue;
        }
        strbuf_clear(&wrapped);
        text_tools_result(&wrapped, text);
        joined_add_copy(&b->text, strbuf_str(&wrapped));
    }
    if (b->n_pending > 1 && !b->plain_calls && !b->caps->parallel_calls)
        b->out->messages[b->pending_owner].n_calls = 1;
    strbuf_free(&wrapped);
    b->n_pending = 0;
    return st;
}

/* Ends the user message that b->text has collected so far. */
static enum status flush_user(struct builder *b)
{
    struct str text;
    enum status st = joined_take(&b->text, b->arena, &text);
    if (st == STATUS_OK && text.len > 0)
        add_message(b, "user")->content = text;
    return st;
}

static enum status add_reminder(struct builder *b, struct str text)
{
    if (canon_is_blank(text))
        return STATUS_OK;
    struct strbuf reminder;
    strbuf_init(&reminder, LIMIT_PROMPT_BYTES);
    strbuf_append_cstr(&reminder, "<system-reminder>\n");
    strbuf_append_str(&reminder, text);
    strbuf_append_cstr(&reminder, "\n</system-reminder>");
    joined_add_copy(&b->text, strbuf_str(&reminder));
    enum status st = strbuf_status(&reminder);
    strbuf_free(&reminder);
    return st;
}

/* What was said besides results: user text and system messages, in the order given. */
static enum status write_words(struct builder *b, const struct message *m, bool *has_user_text)
{
    enum status st = STATUS_OK;
    bool is_system = m->role == ROLE_SYSTEM;
    if (is_system && b->caps->system_anywhere) {
        st = flush_user(b);
        struct joined text;
        joined_init(&text);
        for (size_t i = 0; i < m->n_blocks; i++)
            joined_add(&text, m->blocks[i].text);
        struct str content = {0};
        if (st == STATUS_OK)
            st = joined_take(&text, b->arena, &content);
        joined_free(&text);
        if (st == STATUS_OK && content.len > 0)
            add_message(b, "system")->content = content;
        return st;
    }
    for (size_t i = 0; i < m->n_blocks && st == STATUS_OK; i++) {
        const struct block *block = &m->blocks[i];
        if (block->type != BLOCK_TEXT && block->type != BLOCK_NOTE)
            continue;
        if (is_system) {
            st = add_reminder(b, block->text);
        } else {
            *has_user_text |= !canon_is_blank(block->text);
            joined_add(&b->text, block->text);
        }
    }
    return st;
}

/* Results that answer no call of the turn before: shown as words, so that nothing is lost. */
static enum status write_orphans(struct builder *b, struct result *results, size_t n_results)
{
    for (size_t i = 0; i < n_results; i++) {
        if (results[i].is_used)
            continue;
        struct str text;
        enum status st = result_text(b, results[i].block, &text);
        if (st != STATUS_OK)
            return st;
        joined_add_copy(&b->text, text);
    }
    return STATUS_OK;
}

/* A run whose only words are reminders has no user text to carry them: the last result does. */
static enum status fold_into_result(struct builder *b)
{
    struct str words;
    enum status st = joined_take(&b->text, b->arena, &words);
    if (st != STATUS_OK || words.len == 0)
        return st;
    struct chat_message *last = &b->out->messages[b->out->n_messages - 1];
    joined_add(&b->text, last->content);
    joined_add(&b->text, words);
    return joined_take(&b->text, b->arena, &last->content);
}

static enum status write_others(struct builder *b, size_t begin, size_t end)
{
    struct result *results = NULL;
    size_t n_results = 0;
    size_t n_before = b->out->n_messages;
    bool has_user_text = false;
    joined_clear(&b->text);
    joined_add(&b->text, b->system_left);
    b->system_left = (struct str){0};

    enum status st = collect_results(b, begin, end, &results, &n_results);
    if (st == STATUS_OK)
        st = answer_calls(b, results, n_results);
    bool has_results = b->out->n_messages > n_before;
    if (st == STATUS_OK)
        st = write_orphans(b, results, n_results);
    for (size_t i = begin; i < end && st == STATUS_OK; i++)
        st = write_words(b, &b->req->messages[i], &has_user_text);
    if (st != STATUS_OK)
        return st;
    bool can_fold = has_results && !has_user_text && !b->caps->system_anywhere;
    return can_fold ? fold_into_result(b) : flush_user(b);
}

static enum status write_messages(struct builder *b)
{
    const struct message_request *req = b->req;
    for (size_t begin = 0; begin < req->n_messages;) {
        bool is_assistant =
            req->messages[begin].role == ROLE_ASSISTANT && says_something(&req->messages[begin]);
        size_t end = begin + 1;
        while (end < req->n_messages &&
               (!says_something(&req->messages[end]) ||
                (req->messages[end].role == ROLE_ASSISTANT) == is_assistant))
            end++;
        enum status st = STATUS_OK;
        if (is_assistant && b->system_left.len > 0) {
            /* The conversation begins with the assistant: the system text still comes first. */
            add_message(b, "user")->content = b->system_left;
            b->system_left = (struct str){0};
        }
        st = is_assistant ? write_assistant(b, begin, end) : write_others(b, begin, end);
        if (st != STATUS_OK)
            return st;
        begin = end;
    }
    return STATUS_OK;
}

enum status canon_make(const struct message_request *req, const struct chat_caps *caps,
                       struct arena *arena, struct canon *out, struct error *err)
{
    *out = (struct canon){0};
    out->enable_thinking =
        caps->thinking && (req->thinking == THINKING_ENABLED || req->thinking == THINKING_ADAPTIVE);
    const struct message_request *shown = repetition_left_out(req, arena);
    if (shown == NULL)
        return error_set(err, STATUS_TOO_LARGE, "the conversation is too large");
    struct builder b = {.req = shown, .caps = caps, .arena = arena, .out = out};
    joined_init(&b.text);
    if (req->output_schema_json.len > 0)
        out->json_schema = tool_schema_for_grammar(req->output_schema_json, arena, &b.n_relaxed);

    enum status st = STATUS_TOO_LARGE;
    out->messages = arena_array(arena, most_messages(req), sizeof *out->messages);
    out->replies = arena_array(arena, most_messages(req), sizeof *out->replies);
    if (out->messages != NULL && out->replies != NULL)
        st = list_tools(&b);
    if (st == STATUS_OK)
        st = choose_tool(&b, err);
    b.plain_calls = !(caps->tools && caps->tool_calls);
    out->text_tools = b.plain_calls && out->n_callable > 0;
    if (st == STATUS_OK)
        st = write_system(&b);
    if (st == STATUS_OK)
        st = write_messages(&b);
    joined_free(&b.text);
    if (st == STATUS_OK)
        out->must_use_words = out->tool_choice == CHAT_TOOLS_AUTO && repetition_found(req);
    if (st == STATUS_TOO_LARGE)
        return error_set(err, st, "the conversation is larger than this server accepts");
    return st;
}
