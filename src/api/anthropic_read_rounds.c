/* anthropic_read_rounds -- messages as they came -> messages in which everybody says what is
 * theirs.
 *
 * A turn in which the server ran tools is one message of the assistant for the client, with calls
 * and results in it.  For the model it was several rounds, and it is cut into these: what the
 * assistant said, what was answered, what the assistant said then.  And of a conversation that was
 * summed up, only the summary is left and what stands behind it.  Source of both forms:
 * https://docs.claude.com/en/docs/agents-and-tools/tool-use/server-tools and
 * https://docs.claude.com/en/docs/build-with-claude/compaction. */
#include "api/anthropic_read.h"
#include "api/anthropic_read_fields.h"

static const char summary_heading[] =
    "The conversation up to here was summed up, and only the summary is left:";

static bool is_result(const struct block *b)
{
    return b->type == BLOCK_TOOL_RESULT;
}

/* How many messages `m` becomes: one, and one more at each border of said and answered. */
static size_t count_rounds(const struct message *m)
{
    size_t n = 1;
    for (size_t i = 1; m->role == ROLE_ASSISTANT && i < m->n_blocks; i++)
        n += is_result(&m->blocks[i]) != is_result(&m->blocks[i - 1]);
    return n;
}

static bool has_answers(const struct message *m)
{
    for (size_t i = 0; m->role == ROLE_ASSISTANT && i < m->n_blocks; i++)
        if (is_result(&m->blocks[i]))
            return true;
    return false;
}

static size_t cut_rounds(const struct message *m, struct message *out)
{
    size_t n = 0;
    for (size_t begin = 0, end; begin < m->n_blocks; begin = end) {
        bool is_answer = is_result(&m->blocks[begin]);
        for (end = begin + 1; end < m->n_blocks && is_result(&m->blocks[end]) == is_answer;)
            end++;
        out[n++] = (struct message){
            .role = is_answer ? ROLE_USER : ROLE_ASSISTANT,
            .blocks = m->blocks + begin,
            .n_blocks = end - begin,
        };
    }
    return n;
}

static enum status separate_answers(const struct reader *r, struct message_request *req)
{
    size_t n = 0;
    bool any_answers = false;
    for (size_t i = 0; i < req->n_messages; i++) {
        n += count_rounds(&req->messages[i]);
        any_answers |= has_answers(&req->messages[i]);
    }
    if (!any_answers)
        return STATUS_OK;
    struct message *messages = arena_array(r->arena, n, sizeof *messages);
    if (messages == NULL)
        return too_large(r);
    n = 0;
    for (size_t i = 0; i < req->n_messages; i++) {
        if (has_answers(&req->messages[i]))
            n += cut_rounds(&req->messages[i], &messages[n]);
        else
            messages[n++] = req->messages[i];
    }
    req->messages = messages;
    req->n_messages = n;
    return STATUS_OK;
}

/* ---- Summaries ---- */

/* The place of the last summary; false where there is none. */
static bool find_summary(const struct message_request *req, size_t *out_message, size_t *out_block)
{
    for (size_t i = req->n_messages; i-- > 0;) {
        for (size_t k = req->messages[i].n_blocks; k-- > 0;) {
            if (req->messages[i].blocks[k].type == BLOCK_COMPACTION) {
                *out_message = i;
                *out_block = k;
                return true;
            }
        }
    }
    return false;
}

enum status anthropic_summary_message(struct str summary, struct arena *arena, struct message *out)
{
    struct block *blocks = arena_array(arena, 2, sizeof *blocks);
    if (blocks == NULL)
        return STATUS_TOO_LARGE;
    blocks[0] = (struct block){.type = BLOCK_TEXT, .text = STR(summary_heading)};
    blocks[1] = (struct block){.type = BLOCK_TEXT, .text = summary};
    *out = (struct message){.role = ROLE_USER, .blocks = blocks, .n_blocks = 2};
    return STATUS_OK;
}

/* The message that holds the summary makes room for two: the summary, which the user says, and what
 * the assistant said after it. */
static enum status begin_at_summary(const struct reader *r, struct message_request *req)
{
    size_t at, k;
    if (!find_summary(req, &at, &k))
        return STATUS_OK;
    struct message *said = &req->messages[at];
    size_t n_after = said->n_blocks - k - 1;
    size_t n = req->n_messages - at + (n_after > 0 ? 1 : 0);
    struct message *messages = arena_array(r->arena, n, sizeof *messages);
    if (messages == NULL ||
        anthropic_summary_message(said->blocks[k].text, r->arena, &messages[0]) != STATUS_OK)
        return too_large(r);
    size_t n_kept = 1;
    if (n_after > 0)
        messages[n_kept++] = (struct message){said->role, said->blocks + k + 1, n_after};
    for (size_t i = at + 1; i < req->n_messages; i++)
        messages[n_kept++] = req->messages[i];
    req->messages = messages;
    req->n_messages = n_kept;
    return STATUS_OK;
}

enum status read_rounds(const struct reader *r, struct message_request *req)
{
    enum status st = begin_at_summary(r, req);
    return st == STATUS_OK ? separate_answers(r, req) : st;
}
