/* draft -- see draft.h.
 *
 * The table is direct-mapped: a later occurrence of a key takes the place of an earlier one, and a
 * collision loses a guess, never makes a wrong one, as the tokens themselves are compared. */
#include "sched/draft.h"

#include "base/hash.h"

enum { MOST_SLOTS = 1 << 17 };

/* Guesses pay where more of their tokens hold than each costs of a step.  A first failure is
 * forgiven where they are cheap; one after a pause never is. */
static const double newest_weight = 0.3, first_yield = 0.6, headroom = 0.1, margin = 0.05;

/* Of costs: steps shorter than this are too short to be measured, and are taken for cheap.  A share
 * near one would let only perfect guesses go on, and one near zero any. */
static const double least_step_us = 2000, newest_cost = 0.1, usual_share = 0.3, least_share = 0.1,
                    most_share = 0.9;

void draft_cost_add(struct draft_cost *cost, size_t n_guessed, uint64_t us)
{
    if (n_guessed == 0) {
        cost->step_us +=
            cost->step_us > 0 ? newest_cost * ((double)us - cost->step_us) : (double)us;
        return;
    }
    if (cost->step_us < least_step_us)
        return;
    double share = ((double)us / cost->step_us - 1) / (double)n_guessed;
    cost->share += cost->share > 0 ? newest_cost * (share - cost->share) : share;
}

/* The least yield that pays. */
static double least_yield(const struct draft_cost *cost)
{
    double share = cost->share > 0 ? cost->share : usual_share;
    share = share < least_share ? least_share : share > most_share ? most_share : share;
    return share + margin;
}

void draft_init(struct draft *d, size_t n_most)
{
    size_t n_slots = 256;
    while (n_slots < 2 * n_most && n_slots < MOST_SLOTS)
        n_slots *= 2;
    *d = (struct draft){.length = DRAFT_LEAST, .mask = n_slots - 1};
    d->ends = mem_try_alloc(mem_array_bytes(n_slots, sizeof *d->ends));
    if (d->ends != NULL)
        memset(d->ends, 0, n_slots * sizeof *d->ends);
}

void draft_free(struct draft *d)
{
    mem_free(d->ends);
    *d = (struct draft){0};
}

/* Of the key that ends before tokens[end]. */
static uint32_t *slot_of(const struct draft *d, const model_token *tokens, size_t end)
{
    uint64_t hash =
        hash_xxh3(tokens + end - DRAFT_KEY_TOKENS, DRAFT_KEY_TOKENS * sizeof *tokens, 0);
    return &d->ends[hash & d->mask];
}

/* The key that ends with the last token is left out: nothing is known to follow it. */
static void index_tokens(struct draft *d, const model_token *tokens, size_t n)
{
    if (d->n_indexed < DRAFT_KEY_TOKENS)
        d->n_indexed = DRAFT_KEY_TOKENS;
    for (; d->n_indexed < n; d->n_indexed++)
        *slot_of(d, tokens, d->n_indexed) = (uint32_t)d->n_indexed;
}

/* How many tokens before `end` are those before n, up to DRAFT_MOST. */
static size_t match_length(const model_token *tokens, size_t end, size_t n)
{
    size_t length = 0;
    while (length < end && length < DRAFT_MOST &&
           tokens[end - 1 - length] == tokens[n - 1 - length])
        length++;
    return length;
}

/* The end of the earlier place that agrees best with the end of `tokens`.  The reply mostly goes on
 * with the text that it has followed so far, even where a later one begins alike. */
static size_t find_source(const struct draft *d, const model_token *tokens, size_t n,
                          size_t *out_match)
{
    size_t latest = *slot_of(d, tokens, n);
    size_t n_latest = match_length(tokens, latest, n);
    size_t same = d->source_n > 0 ? d->source + (n - d->source_n) : 0;
    size_t n_same = match_length(tokens, same, n);
    *out_match = n_same >= n_latest ? n_same : n_latest;
    return n_same >= n_latest ? same : latest;
}

size_t draft_propose(struct draft *d, const model_token *tokens, size_t n, size_t n_most,
                     model_token *out)
{
    if (d->ends == NULL || n <= DRAFT_KEY_TOKENS || n < d->resume_at)
        return 0;
    index_tokens(d, tokens, n);
    size_t n_match;
    size_t end = find_source(d, tokens, n, &n_match);
    if (n_match < DRAFT_KEY_TOKENS)
        return 0;
    d->source = end;
    d->source_n = n;
    size_t length = d->length < n_match ? d->length : n_match;
    if (length > n - end)
        length = n - end;
    if (length > n_most)
        length = n_most;
    memcpy(out, tokens + end, length * sizeof *out);
    return length;
}

void draft_note(struct draft *d, const struct draft_cost *cost, size_t n_tokens, size_t n_guessed,
                size_t n_held)
{
    INVARIANT(n_guessed > 0 && n_held <= n_guessed);
    d->length = n_held == n_guessed ? d->length * 2 : DRAFT_LEAST;
    if (d->length > DRAFT_MOST)
        d->length = DRAFT_MOST;

    double least = least_yield(cost);
    if (d->yield <= 0)
        d->yield = first_yield > least + headroom ? first_yield : least + headroom;
    d->yield += newest_weight * ((double)n_held / (double)n_guessed - d->yield);
    if (d->yield >= least)
        return;
    d->resume_at = n_tokens + DRAFT_PAUSE_TOKENS;
    d->yield = least + headroom;
}
