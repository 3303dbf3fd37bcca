#include "model/stopper.h"

/* fallback[i]: the length of the longest proper beginning of `stop` that also ends stop[0..i]. */
static uint32_t *make_fallback(struct str stop)
{
    uint32_t *fallback = mem_alloc(mem_array_bytes(stop.len, sizeof *fallback));
    fallback[0] = 0;
    uint32_t border = 0;
    for (size_t i = 1; i < stop.len; i++) {
        while (border > 0 && stop.ptr[border] != stop.ptr[i])
            border = fallback[border - 1];
        if (stop.ptr[border] == stop.ptr[i])
            border++;
        fallback[i] = border;
    }
    return fallback;
}

void stopper_init(struct stopper *s, const struct str *stops, size_t n_stops)
{
    *s = (struct stopper){.stops = stops, .n_stops = n_stops};
    size_t longest = 0;
    if (n_stops > 0) {
        s->matched = mem_zalloc(mem_array_bytes(n_stops, sizeof *s->matched));
        s->fallback = mem_zalloc(mem_array_bytes(n_stops, sizeof *s->fallback));
    }
    for (size_t i = 0; i < n_stops; i++) {
        INVARIANT(stops[i].len > 0 && stops[i].len < UINT32_MAX);
        s->fallback[i] = make_fallback(stops[i]);
        if (stops[i].len > longest)
            longest = stops[i].len;
    }
    strbuf_init(&s->held, longest);
}

void stopper_free(struct stopper *s)
{
    for (size_t i = 0; i < s->n_stops; i++)
        mem_free(s->fallback[i]);
    mem_free(s->fallback);
    mem_free(s->matched);
    strbuf_free(&s->held);
    *s = (struct stopper){0};
}

/* Moves the automaton of sequence `i` over `byte`; true when the whole sequence was seen. */
static bool advance(struct stopper *s, size_t i, char byte)
{
    struct str stop = s->stops[i];
    uint32_t n = s->matched[i];
    while (n > 0 && stop.ptr[n] != byte)
        n = s->fallback[i][n - 1];
    if (stop.ptr[n] == byte)
        n++;
    s->matched[i] = n;
    return n == stop.len;
}

/* The longest sequence that ends with `byte`, or STOPPER_NONE. */
static int advance_all(struct stopper *s, char byte)
{
    int found = STOPPER_NONE;
    for (size_t i = 0; i < s->n_stops; i++) {
        if (!advance(s, i, byte))
            continue;
        if (found == STOPPER_NONE || s->stops[i].len > s->stops[found].len)
            found = (int)i;
    }
    return found;
}

/* Appends to `out` the first `n` bytes of what was held followed by `bytes`. */
static void release(struct stopper *s, struct str bytes, size_t n, struct strbuf *out)
{
    size_t from_held = n < s->held.len ? n : s->held.len;
    strbuf_append(out, strbuf_cstr(&s->held), from_held);
    strbuf_consume(&s->held, from_held);
    strbuf_append(out, bytes.ptr, n - from_held);
}

int stopper_feed(struct stopper *s, struct str bytes, struct strbuf *out)
{
    for (size_t i = 0; i < bytes.len; i++) {
        int found = advance_all(s, bytes.ptr[i]);
        if (found == STOPPER_NONE)
            continue;
        release(s, bytes, s->held.len + i + 1 - s->stops[found].len, out);
        strbuf_clear(&s->held);
        return found;
    }

    size_t keep = 0;
    for (size_t i = 0; i < s->n_stops; i++)
        if (s->matched[i] > keep)
            keep = s->matched[i];
    size_t total = s->held.len + bytes.len;
    size_t held_before = s->held.len;
    release(s, bytes, total - keep, out);
    size_t taken = total - keep > held_before ? total - keep - held_before : 0;
    if (bytes.len > taken)
        strbuf_append(&s->held, bytes.ptr + taken, bytes.len - taken);
    out->failed |= s->held.failed;
    return STOPPER_NONE;
}

void stopper_finish(struct stopper *s, struct strbuf *out)
{
    strbuf_append_str(out, strbuf_str(&s->held));
    strbuf_clear(&s->held);
    for (size_t i = 0; i < s->n_stops; i++)
        s->matched[i] = 0;
}
