#include "sched/order.h"

static uint64_t rank_of(const struct order_entry *entry, uint64_t now_ms)
{
    uint64_t waited_ms = now_ms > entry->served_ms ? now_ms - entry->served_ms : 0;
    uint64_t n_steps = waited_ms / ORDER_AGEING_MS;
    uint64_t rank = (uint64_t)entry->class;
    return rank > n_steps ? rank - n_steps : 0;
}

/* Insertion keeps the order of age among equals; there are at most LIMIT_TURNS. */
void order_sort(const struct order_entry *entries, size_t n, uint64_t now_ms, size_t *out)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t rank = rank_of(&entries[i], now_ms);
        size_t at = i;
        for (; at > 0 && rank_of(&entries[out[at - 1]], now_ms) > rank; at--)
            out[at] = out[at - 1];
        out[at] = i;
    }
}
