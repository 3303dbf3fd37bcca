#include "prompt/control.h"

#include <stdlib.h>

#include "base/limits.h"

/* The texts are sorted by their bytes, so that those which begin alike stand side by side. */
struct control {
    struct str *texts; /* mem, n of capacity; each text is mem too */
    size_t n, capacity;
    bool begins[256]; /* first bytes of all texts */
};

static int compare_texts(const void *a, const void *b)
{
    const struct str *x = a;
    const struct str *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int order = memcmp(x->ptr, y->ptr, n);
    if (order != 0)
        return order;
    return x->len < y->len ? -1 : x->len > y->len;
}

static void add_text(struct control *c, struct str text)
{
    if (c->n == c->capacity) {
        c->capacity = c->capacity == 0 ? 64 : c->capacity * 2;
        c->texts = mem_realloc(c->texts, mem_array_bytes(c->capacity, sizeof *c->texts));
    }
    c->texts[c->n++] = (struct str){mem_strndup(text.ptr, text.len), text.len};
    c->begins[(unsigned char)text.ptr[0]] = true;
}

struct control *control_create(const struct model *m)
{
    struct control *c = mem_zalloc(sizeof *c);
    struct strbuf piece;
    strbuf_init(&piece, LIMIT_PROMPT_BYTES);
    for (uint32_t t = 0; t < m->info.n_vocab; t++) {
        if (!m->ops->is_control(m, (model_token)t))
            continue;
        strbuf_clear(&piece);
        m->ops->piece(m, (model_token)t, true, &piece);
        if (piece.len > 0)
            add_text(c, strbuf_str(&piece));
    }
    strbuf_free(&piece);
    if (c->n > 0)
        qsort(c->texts, c->n, sizeof *c->texts, compare_texts);
    return c;
}

void control_destroy(struct control *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->n; i++)
        mem_free((void *)c->texts[i].ptr);
    mem_free(c->texts);
    mem_free(c);
}

/* The first of texts[low..high), which agree up to byte `at`, whose byte there is `byte` or more.
 * None of them ends before `at`. */
static size_t lower_bound(const struct control *c, size_t low, size_t high, size_t at,
                          unsigned byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((unsigned char)c->texts[middle].ptr[at] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Whether `text` begins with a control token's text: the candidates are narrowed byte by byte until
 * one has ended or none is left. */
static bool begins_with_one(const struct control *c, struct str text)
{
    size_t low = 0;
    size_t high = c->n;
    for (size_t at = 0; at < text.len; at++) {
        unsigned byte = (unsigned char)text.ptr[at];
        low = lower_bound(c, low, high, at, byte);
        high = lower_bound(c, low, high, at, byte + 1);
        if (low == high)
            return false;
        if (c->texts[low].len == at + 1)
            return true;
    }
    return false;
}

bool control_stands_in(const struct control *c, struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (c->begins[(unsigned char)text.ptr[i]] &&
            begins_with_one(c, (struct str){text.ptr + i, text.len - i}))
            return true;
    return false;
}

void control_break(const struct control *c, struct str text, struct strbuf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.ptr[i];
        strbuf_append_char(out, text.ptr[i]);
        if (c->begins[byte] && byte < 0x80)
            strbuf_append_cstr(out, "\xE2\x80\x8B");
    }
}
