#include "sched/thinking.h"

#include <string.h>

void thinking_init(struct thinking *t, const struct thinking_limit *limit)
{
    *t = (struct thinking){.limit = *limit, .is_inside = limit->begins_inside};
    if (limit->start.len > THINKING_MARK_BYTES || limit->end.len > THINKING_MARK_BYTES)
        t->limit.end.len = 0;
}

static bool is_counted(const struct thinking *t)
{
    return t->limit.end.len > 0 && t->limit.n_closing > 0 && t->limit.budget != UINT32_MAX;
}

model_token thinking_forced(struct thinking *t)
{
    if (!is_counted(t))
        return MODEL_NO_TOKEN;
    if (!t->is_closing && t->is_inside && t->n_tokens >= t->limit.budget) {
        t->is_closing = true;
        t->n_closed = 0;
    }
    if (!t->is_closing)
        return MODEL_NO_TOKEN;
    model_token token = t->limit.closing[t->n_closed++];
    t->is_closing = t->n_closed < t->limit.n_closing;
    return token;
}

static bool has_words(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strchr(" \t\r\n", text[i]) == NULL)
            return true;
    return false;
}

/* Goes through the marks in the tail, and keeps what may begin the next one.  Behind the first
 * words of the answer a mark is text, perhaps of a file that is being written. */
static void follow_marks(struct thinking *t)
{
    for (;;) {
        struct str mark = t->is_inside ? t->limit.end : t->limit.start;
        struct str tail = {t->tail, t->n_tail};
        size_t at = mark.len > 0 ? str_find(tail, mark) : SIZE_MAX;
        bool is_found = at != SIZE_MAX;
        size_t before = is_found ? at : tail.len - str_partial_suffix(tail, mark);
        if (!t->is_inside && has_words(t->tail, before)) {
            t->limit.end.len = 0; /* nothing is counted any more */
            return;
        }
        size_t gone = is_found ? at + mark.len : before;
        memmove(t->tail, t->tail + gone, t->n_tail - gone);
        t->n_tail -= gone;
        if (!is_found)
            return;
        t->is_inside = !t->is_inside;
    }
}

void thinking_feed(struct thinking *t, struct str piece)
{
    if (!is_counted(t))
        return;
    t->n_tokens += t->is_inside;
    while (piece.len > 0) {
        size_t n = sizeof t->tail - t->n_tail;
        n = piece.len < n ? piece.len : n;
        memcpy(t->tail + t->n_tail, piece.ptr, n);
        t->n_tail += n;
        piece.ptr += n;
        piece.len -= n;
        follow_marks(t);
    }
}
