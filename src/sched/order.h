/* order -- whose prompt is read first.  Pure: classes and times in, an order out.
 *
 * A job ranks as its class does, and one class higher for each ORDER_AGEING_MS in which nothing was
 * computed for it; equal ranks go by age.  So a more important job takes over at the next chunk,
 * and none starves: a background job that was passed over for a minute is given a chunk, and then
 * waits again.  (Were the time counted from its arrival instead, a sub-agent with a long prompt
 * would hold up the user for all of it once it was half a minute old.) */
#pragma once

#include "sched/sched.h"

enum {
    ORDER_AGEING_MS = 30 * 1000,
};

struct order_entry {
    enum job_class class;
    uint64_t served_ms; /* when something was last computed for it; at first, when it came */
};

/* Fills out[0..n) with the indices of `entries`, which are oldest first, best rank first. */
void order_sort(const struct order_entry *entries, size_t n, uint64_t now_ms, size_t *out);
