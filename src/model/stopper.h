/* stopper -- finds stop sequences in a stream of bytes, exactly, over token borders.
 *
 * Feeds on the bytes of sampled tokens; releases what can't be part of a stop sequence any more and
 * holds back the rest.  The match that ends first wins; of two that end together the longer.
 *
 * Each sequence has an automaton (Knuth-Morris-Pratt), so that the cost per byte is the number of
 * sequences, whatever their text; how the stream is cut makes no difference. */
#pragma once

#include <stdint.h>

#include "base/strbuf.h"

enum { STOPPER_NONE = -1 };

struct stopper {
    const struct str *stops; /* borrowed; none is empty */
    size_t n_stops;
    struct strbuf held;  /* bytes not released yet */
    uint32_t *matched;   /* [n_stops] how much of each the stream ends with */
    uint32_t **fallback; /* [n_stops][length] the longest border of each beginning */
};

void stopper_init(struct stopper *s, const struct str *stops, size_t n_stops);
void stopper_free(struct stopper *s);

/* Appends the released bytes to `out`.  Returns the index of the sequence that was found (nothing
 * from its first byte on is released; feed no more), or STOPPER_NONE. */
int stopper_feed(struct stopper *s, struct str bytes, struct strbuf *out);

/* The reply ended by itself: releases what was held back. */
void stopper_finish(struct stopper *s, struct strbuf *out);
