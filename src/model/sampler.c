#include "model/sampler.h"

#include <math.h>
#include <stdlib.h>

/* The repetition penalty looks at no more tokens than this. */
enum { MAX_HISTORY = 4096 };

struct candidate {
    float logit;
    model_token token;
};

struct sampler {
    struct sampler_params params;
    uint32_t n_vocab;
    uint64_t random_state;
    model_token *history; /* ring of history_capacity */
    size_t history_capacity;
    size_t history_len;
    size_t history_next;
    float *row; /* [n_vocab] changed copy of the logits; made when first needed */
    struct candidate *candidates;
    size_t candidates_capacity;
};

struct sampler *sampler_create(const struct sampler_params *params, uint32_t n_vocab)
{
    INVARIANT(n_vocab > 0 && params->temperature >= 0);
    struct sampler *s = mem_zalloc(sizeof *s);
    s->params = *params;
    s->n_vocab = n_vocab;
    s->random_state = params->seed;
    if (params->repeat_penalty != 1 && params->repeat_penalty > 0 && params->repeat_last_n > 0) {
        s->history_capacity =
            params->repeat_last_n < MAX_HISTORY ? (size_t)params->repeat_last_n : MAX_HISTORY;
        s->history = mem_alloc(mem_array_bytes(s->history_capacity, sizeof *s->history));
    }
    return s;
}

void sampler_free(struct sampler *s)
{
    if (s == NULL)
        return;
    mem_free(s->candidates);
    mem_free(s->row);
    mem_free(s->history);
    mem_free(s);
}

/* SplitMix64 (Steele, Lea, Flood 2014): one 64-bit state, passes BigCrush, any seed is a good one.
 * The result is in [0, 1). */
static double random_unit(struct sampler *s)
{
    s->random_state += 0x9e3779b97f4a7c15u;
    uint64_t mixed = s->random_state;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    mixed ^= mixed >> 31;
    return (double)(mixed >> 11) * 0x1p-53;
}

/* The logits in a row of our own that may be changed. */
static float *own_row(struct sampler *s, const float *logits)
{
    if (s->row == NULL)
        s->row = mem_alloc(mem_array_bytes(s->n_vocab, sizeof *s->row));
    if (logits != s->row)
        memcpy(s->row, logits, s->n_vocab * sizeof *s->row);
    return s->row;
}

/* The penalty is computed from the original logit, so that a token that occurred twice is not
 * punished twice. */
static const float *apply_penalty(struct sampler *s, const float *logits)
{
    if (s->history_len == 0)
        return logits;
    float *row = own_row(s, logits);
    float penalty = s->params.repeat_penalty;
    for (size_t i = 0; i < s->history_len; i++) {
        model_token token = s->history[i];
        float logit = logits[token];
        row[token] = logit > 0 ? logit / penalty : logit * penalty;
    }
    return row;
}

/* The lowest id among the highest logits; not-a-number never wins.  MODEL_NO_TOKEN when all are
 * -INFINITY. */
static model_token find_highest(const float *logits, uint32_t n_vocab)
{
    float highest = -INFINITY;
    model_token best = MODEL_NO_TOKEN;
    for (uint32_t i = 0; i < n_vocab; i++) {
        if (logits[i] > highest) {
            highest = logits[i];
            best = (model_token)i;
        }
    }
    return best;
}

/* Order: higher logit first, then lower id, so that equal logits have one order everywhere. */
static int compare_candidates(const void *left, const void *right)
{
    const struct candidate *a = left;
    const struct candidate *b = right;
    if (a->logit != b->logit)
        return a->logit > b->logit ? -1 : 1;
    return a->token < b->token ? -1 : a->token > b->token;
}

static void reserve_candidates(struct sampler *s, size_t n)
{
    if (n <= s->candidates_capacity)
        return;
    size_t capacity = s->candidates_capacity > 0 ? s->candidates_capacity : 256;
    while (capacity < n)
        capacity *= 2;
    s->candidates = mem_realloc(s->candidates, mem_array_bytes(capacity, sizeof *s->candidates));
    s->candidates_capacity = capacity;
}

/* Puts the root of a heap whose root is the candidate that comes last in its place. */
static void sift_down(struct candidate *heap, size_t n, size_t at)
{
    for (;;) {
        size_t last = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < n; child++)
            if (compare_candidates(&heap[child], &heap[last]) > 0)
                last = child;
        if (last == at)
            return;
        struct candidate moved = heap[at];
        heap[at] = heap[last];
        heap[last] = moved;
        at = last;
    }
}

/* The `k` highest, by a heap of k: nearly all tokens cost one comparison with its root. */
static size_t select_top_k(struct sampler *s, const float *logits, size_t k)
{
    reserve_candidates(s, k);
    struct candidate *heap = s->candidates;
    size_t n = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        struct candidate c = {.logit = logits[i], .token = (model_token)i};
        if (!(c.logit > -INFINITY))
            continue;
        if (n < k) {
            heap[n++] = c;
            if (n == k)
                for (size_t at = k / 2; at-- > 0;)
                    sift_down(heap, k, at);
        } else if (c.logit > heap[0].logit) {
            heap[0] = c;
            sift_down(heap, k, 0);
        }
    }
    return n;
}

/* All tokens with logits of at least `least`, in the order of their ids. */
static size_t select_above(struct sampler *s, const float *logits, float least)
{
    size_t n = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        if (!(logits[i] >= least) || logits[i] == -INFINITY)
            continue;
        reserve_candidates(s, n + 1);
        s->candidates[n++] = (struct candidate){.logit = logits[i], .token = (model_token)i};
    }
    return n;
}

static double weight_of(const struct sampler *s, float logit, float highest)
{
    return (double)expf((logit - highest) / s->params.temperature);
}

static double sum_weights(const struct sampler *s, size_t n, float highest)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += weight_of(s, s->candidates[i].logit, highest);
    return sum;
}

/* Keeps the fewest sorted candidates whose weights reach `share`. */
static size_t cut_top_p(const struct sampler *s, size_t n, float highest, double share)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += weight_of(s, s->candidates[i].logit, highest);
        if (sum >= share)
            return i + 1;
    }
    return n;
}

/* Nucleus of the whole vocabulary.  Only its top is sorted: the tokens within some distance of the
 * highest, and a larger distance where those have too little weight. */
static size_t select_nucleus(struct sampler *s, const float *logits, float highest)
{
    double total = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++)
        if (logits[i] > -INFINITY)
            total += weight_of(s, logits[i], highest);
    double share = (double)s->params.top_p * total;

    size_t n = 0;
    for (float distance = 8; distance <= 128; distance *= 2) {
        n = select_above(s, logits, highest - distance * s->params.temperature);
        if (sum_weights(s, n, highest) >= share)
            break;
    }
    qsort(s->candidates, n, sizeof *s->candidates, compare_candidates);
    return cut_top_p(s, n, highest, share);
}

/* Fills s->candidates with what top_k, top_p and min_p leave. */
static size_t select_candidates(struct sampler *s, const float *logits, float highest)
{
    const struct sampler_params *p = &s->params;
    size_t n;
    if (p->top_k > 0 && (uint32_t)p->top_k < s->n_vocab) {
        n = select_top_k(s, logits, (size_t)p->top_k);
        qsort(s->candidates, n, sizeof *s->candidates, compare_candidates);
        if (p->top_p < 1)
            n = cut_top_p(s, n, highest, (double)p->top_p * sum_weights(s, n, highest));
    } else if (p->top_p < 1) {
        n = select_nucleus(s, logits, highest);
    } else {
        /* What is left out here weighs less than the rounding of a sum of floats. */
        n = select_above(s, logits, highest - 32 * p->temperature);
    }
    if (p->min_p <= 0)
        return n;

    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (weight_of(s, s->candidates[i].logit, highest) >= (double)p->min_p)
            s->candidates[kept++] = s->candidates[i];
    return kept;
}

/* One token of `logits`, or MODEL_NO_TOKEN when none is possible. */
static model_token draw_from(struct sampler *s, const float *logits)
{
    model_token best = find_highest(logits, s->n_vocab);
    if (s->params.temperature == 0 || best == MODEL_NO_TOKEN || s->params.top_k == 1)
        return best;
    float highest = logits[best];
    if (!isfinite(highest))
        return best;
    size_t n = select_candidates(s, logits, highest);
    double left = random_unit(s) * sum_weights(s, n, highest);
    for (size_t i = 0; i < n; i++) {
        left -= weight_of(s, s->candidates[i].logit, highest);
        if (left < 0)
            return s->candidates[i].token;
    }
    return n > 0 ? s->candidates[n - 1].token : best;
}

model_token sampler_draw(struct sampler *s, const struct model *m, const float *logits,
                         struct grammar *grammar)
{
    const float *row = apply_penalty(s, logits);
    bool is_greedy = grammar != NULL && m->ops->grammar_in_scaffold(grammar);
    model_token token = is_greedy ? find_highest(row, s->n_vocab) : draw_from(s, row);
    if (token == MODEL_NO_TOKEN)
        return 0; /* a row without a single number: any token is as good */
    if (grammar == NULL || m->ops->grammar_allows(grammar, token))
        return token;

    float *masked = own_row(s, row);
    m->ops->grammar_mask(grammar, masked, s->n_vocab);
    model_token allowed = is_greedy ? find_highest(masked, s->n_vocab) : draw_from(s, masked);
    /* A grammar that allows nothing is broken; the free token at least goes on. */
    return allowed != MODEL_NO_TOKEN ? allowed : token;
}

model_token sampler_draw_inside(struct sampler *s, const struct model *m, const float *logits,
                                struct grammar *grammar, model_token turn_begin)
{
    float *row = own_row(s, logits);
    for (uint32_t i = 0; i < s->n_vocab; i++)
        if ((model_token)i == turn_begin || m->ops->is_eog(m, (model_token)i))
            row[i] = -INFINITY;
    return sampler_draw(s, m, row, grammar);
}

void sampler_accept(struct sampler *s, const struct model *m, model_token token,
                    struct grammar *grammar)
{
    if (grammar != NULL)
        m->ops->grammar_accept(grammar, token);
    if (s->history_capacity == 0 || token < 0 || (uint32_t)token >= s->n_vocab)
        return;
    s->history[s->history_next] = token;
    s->history_next = (s->history_next + 1) % s->history_capacity;
    if (s->history_len < s->history_capacity)
        s->history_len++;
}
