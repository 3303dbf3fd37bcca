#include "sched/batch.h"

/* Of a moving average: three chunks count for most of it. */
static const double newest_weight = 0.3;

/* How much longer than BATCH_SHARED_ROWS rows a chunk beside a stream may take. */
static const double tolerance = 1.2;

static size_t depth_class(size_t depth)
{
    size_t class = 0;
    for (size_t above = depth / BATCH_BORDER; above > 0 && class < BATCH_DEPTHS - 1; above /= 2)
        class++;
    return class;
}

static void cost_add(struct batch_cost *cost, double rows, double us)
{
    double weight = cost->rows > 0 ? newest_weight : 1;
    cost->rows += weight * (rows - cost->rows);
    cost->us += weight * (us - cost->us);
}

/* What a call costs at one depth: fixed_us + rows * row_us. */
struct line {
    double fixed_us, row_us;
};

/* `large` may be NULL or not measured: then nothing is known of a fixed part.  Where measurements
 * contradict each other, a row costs at least an eighth of what it does in a small chunk, and at
 * most as much. */
static struct line line_through(const struct batch_cost *small, const struct batch_cost *large)
{
    double all_us = small->us / small->rows;
    if (large == NULL || large->rows <= small->rows)
        return (struct line){.row_us = all_us};
    double row_us = (large->us - small->us) / (large->rows - small->rows);
    if (row_us > all_us)
        row_us = all_us;
    if (row_us < all_us / 8)
        row_us = all_us / 8;
    return (struct line){small->us - row_us * small->rows, row_us};
}

/* A chunk of a size in between tells by how much both were wrong. */
static void correct_both(struct batch_cost *small, struct batch_cost *large, double rows, double us)
{
    struct line line = line_through(small, large);
    double factor = us / (line.fixed_us + rows * line.row_us);
    small->us *= 1 + newest_weight * (factor - 1);
    large->us *= 1 + newest_weight * (factor - 1);
}

void batch_speed_add(struct batch_speed *speed, size_t depth, size_t n_rows, uint64_t us)
{
    INVARIANT(n_rows > 0);
    size_t class = depth_class(depth);
    struct batch_cost *small = &speed->small[class], *large = &speed->large[class];
    double spent_us = us > 0 ? (double)us : 1;
    if (n_rows <= BATCH_SHARED_ROWS || (n_rows < BATCH_LARGE_ROWS && small->rows <= 0))
        cost_add(small, (double)n_rows, spent_us);
    else if (n_rows >= BATCH_LARGE_ROWS)
        cost_add(large, (double)n_rows, spent_us);
    else
        correct_both(small, large, (double)n_rows, spent_us);
}

/* The nearest class of depth, from that of `depth` down, where something was measured; false where
 * there is none. */
static bool find_measured(const struct batch_speed *speed, size_t depth, size_t *out)
{
    for (size_t class = depth_class(depth) + 1; class-- > 0;) {
        if (speed->small[class].rows <= 0 && speed->large[class].rows <= 0)
            continue;
        *out = class;
        return true;
    }
    return false;
}

size_t batch_speed_shared_rows(const struct batch_speed *speed, size_t depth)
{
    size_t class;
    if (!find_measured(speed, depth, &class))
        return BATCH_SHARED_ROWS;
    const struct batch_cost *small = &speed->small[class], *large = &speed->large[class];
    struct line line = small->rows > 0 ? line_through(small, large) : line_through(large, NULL);

    double budget_us = tolerance * (line.fixed_us + BATCH_SHARED_ROWS * line.row_us);
    if (budget_us > BATCH_SHARED_US)
        budget_us = BATCH_SHARED_US;
    double fitting = (budget_us - line.fixed_us) / line.row_us;
    if (fitting < BATCH_SHARED_ROWS_MIN)
        return BATCH_SHARED_ROWS_MIN;
    if (fitting > BATCH_SHARED_ROWS_MOST)
        return BATCH_SHARED_ROWS_MOST;
    return (size_t)fitting / BATCH_SHARED_ROWS_MIN * BATCH_SHARED_ROWS_MIN;
}

/* The next token of the entry that is not in the pool; `ahead` of it are in this batch already. */
static void add_row(struct batch *batch, const struct batch_entry *entries, size_t index,
                    size_t ahead)
{
    const struct batch_entry *entry = &entries[index];
    size_t position = entry->n_done + ahead;
    INVARIANT(batch->n_rows < MODEL_BATCH_ROWS && position < entry->n_tokens + entry->n_draft);
    batch->entry_of[batch->n_rows] = index;
    batch->rows[batch->n_rows++] = (struct model_row){
        .token = entry->tokens[position],
        .position = (uint32_t)position,
        .sequence = entry->sequence,
        .wants_logits = position + 1 >= entry->n_tokens,
    };
}

void batch_decode(struct batch *batch, const struct batch_entry *entries, size_t n_entries)
{
    batch->n_rows = 0;
    for (size_t i = 0; i < n_entries; i++) {
        if (entries[i].role != BATCH_DECODES)
            continue;
        INVARIANT(entries[i].n_done + 1 == entries[i].n_tokens);
        for (size_t ahead = 0; ahead <= entries[i].n_draft; ahead++)
            add_row(batch, entries, i, ahead);
    }
}

/* Whether nobody decodes who should not wait for a long chunk of `reader`. */
static bool is_alone(const struct batch_entry *entries, size_t n_entries, size_t reader)
{
    for (size_t i = 0; i < n_entries; i++)
        if (entries[i].role == BATCH_DECODES &&
            (!entries[i].is_background || entries[reader].is_background))
            return false;
    return true;
}

static size_t chunk_rows(const struct batch_entry *entry, bool alone,
                         const struct batch_speed *speed)
{
    size_t rows = BATCH_BORDER - entry->n_done % BATCH_BORDER;
    size_t most = rows;
    if (!alone)
        most = batch_speed_shared_rows(speed, entry->n_done);
    else if (entry->is_background)
        most = BATCH_BACKGROUND_ROWS;
    if (rows > most)
        rows = most;
    size_t left = entry->n_tokens - entry->n_done;
    return rows < left ? rows : left;
}

void batch_prefill(struct batch *batch, const struct batch_entry *entries, size_t n_entries,
                   size_t reader, const struct batch_speed *speed)
{
    INVARIANT(reader < n_entries && entries[reader].role == BATCH_PREFILLS);
    batch->n_rows = 0;
    size_t n_rows = chunk_rows(&entries[reader], is_alone(entries, n_entries, reader), speed);
    for (size_t i = 0; i < n_rows; i++)
        add_row(batch, entries, reader, i);
}
