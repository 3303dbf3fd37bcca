#include "engine/compact.h"

#include "api/anthropic_read.h"
#include "base/limits.h"
#include "base/strbuf.h"

enum {
    SUMMARY_TOKENS = 4096,
    LAST_WORDS_BYTES = 8 * 1024, /* of the user, kept to the letter; longer ones are left to the
                                    summary */
};

static const char default_instructions[] =
    "Sum up this conversation, so that the work can go on from your summary alone, without the "
    "messages above. Say what the user wants, with the user's own terms; what was done and found, "
    "with the names of files, commands, numbers and errors that still matter; what was decided, "
    "and why; what is not done yet, and what the next step is. Write the summary and nothing else.";

uint32_t compact_trigger(const struct message_request *req, uint32_t n_window)
{
    uint32_t latest = n_window - n_window / 4;
    return req->compaction.trigger < latest ? req->compaction.trigger : latest;
}

enum status compact_ask(const struct message_request *req, struct arena *arena,
                        struct message_request *out)
{
    *out = *req;
    size_t n = req->n_messages;
    struct message *messages = arena_array(arena, n + 1, sizeof *messages);
    struct block *ask = arena_alloc(arena, sizeof *ask);
    if (messages == NULL || ask == NULL)
        return STATUS_TOO_LARGE;
    struct str instructions = req->compaction.instructions;
    *ask = (struct block){.type = BLOCK_TEXT,
                          .text = instructions.len > 0 ? instructions : STR(default_instructions)};
    memcpy(messages, req->messages, n * sizeof *messages);
    messages[n] = (struct message){.role = ROLE_USER, .blocks = ask, .n_blocks = 1};
    out->messages = messages;
    out->n_messages = n + 1;
    out->tool_choice = (struct tool_choice){.type = TOOL_CHOICE_NONE};
    out->thinking = THINKING_DISABLED;
    out->output_schema_json = STR("");
    out->n_stop_sequences = 0;
    out->max_tokens = SUMMARY_TOKENS;
    return STATUS_OK;
}

/* What stands between the marks that some instructions ask for, or all of it. */
static struct str inside_marks(struct str said)
{
    static const char begin[] = "<summary>", end[] = "</summary>";
    size_t at = str_find(said, STR(begin));
    if (at == SIZE_MAX)
        return said;
    at += sizeof begin - 1;
    struct str rest = {said.ptr + at, said.len - at};
    size_t n = str_find(rest, STR(end));
    return (struct str){rest.ptr, n == SIZE_MAX ? rest.len : n};
}

/* The text of the last message of the user's that is not only results of tools. */
static const struct message *last_words(const struct message_request *req)
{
    for (size_t i = req->n_messages; i-- > 0;) {
        const struct message *m = &req->messages[i];
        for (size_t k = 0; m->role == ROLE_USER && k < m->n_blocks; k++)
            if (m->blocks[k].type == BLOCK_TEXT && str_trim(m->blocks[k].text).len > 0)
                return m;
    }
    return NULL;
}

static void append_last_words(struct strbuf *out, const struct message_request *req)
{
    const struct message *m = last_words(req);
    size_t n_bytes = 0;
    for (size_t i = 0; m != NULL && i < m->n_blocks; i++)
        n_bytes += m->blocks[i].type == BLOCK_TEXT ? m->blocks[i].text.len : 0;
    if (m == NULL || n_bytes > LAST_WORDS_BYTES)
        return;
    strbuf_append_cstr(out, "\n\nThe user's last message:");
    for (size_t i = 0; i < m->n_blocks; i++) {
        if (m->blocks[i].type != BLOCK_TEXT)
            continue;
        strbuf_append_cstr(out, "\n\n");
        strbuf_append_str(out, str_trim(m->blocks[i].text));
    }
}

enum status compact_take(struct message_request *req, struct str said, struct arena *arena,
                         struct str *out_summary)
{
    *out_summary = STR("");
    struct str summary = str_trim(inside_marks(said));
    if (summary.len == 0)
        return STATUS_OK;
    struct strbuf text;
    strbuf_init(&text, LIMIT_REPLY_BYTES);
    strbuf_append_str(&text, summary);
    append_last_words(&text, req);
    struct str kept = text.failed ? (struct str){0} : arena_str(arena, strbuf_str(&text));
    strbuf_free(&text);
    struct message *message = arena_alloc(arena, sizeof *message);
    if (kept.ptr == NULL || message == NULL)
        return STATUS_TOO_LARGE;
    enum status st = anthropic_summary_message(kept, arena, message);
    if (st != STATUS_OK)
        return st;
    req->messages = message;
    req->n_messages = 1;
    *out_summary = kept;
    return STATUS_OK;
}
