#include "sched/batch.h"

/* Of a moving average: three chunks count for most of it. */
static const double newest_weight = 0.3;

static size_t depth_class(size_t depth)
{
    size_t class = 0;
    for (size_t above = depth / BATCH_BORDER; above > 0 && class < BATCH_DEPTHS - 1; above /= 2)
        class++;
    return class;
}

void batch_speed_add(struct batch_speed *speed, size_t depth, size_t n_rows, uint64_t us)
{
    INVARIANT(n_rows > 0);
    double *table = n_rows <= BATCH_SHARED_ROWS ? speed->small_us : speed->large_us;
    double *slot = &table[depth_class(depth)];
    double us_per_row = (double)(us > 0 ? us : 1) / (double)n_rows;
    *slot = *slot > 0 ? *slot + newest_weight * (us_per_row - *slot) : us_per_row;
}

/* The measured cost at `depth`, else at the nearest smaller depth; 0 where there is none. */
static double cost_at(const double *table, size_t depth)
{
    size_t class = depth_class(depth);
    while (class > 0 && table[class] <= 0)
        class--;
    return table[class];
}

size_t batch_speed_shared_rows(const struct batch_speed *speed, size_t depth)
{
    double us_per_row = cost_at(speed->small_us, depth);
    if (us_per_row <= 0)
        us_per_row = cost_at(speed->large_us, depth);
    if (us_per_row <= 0)
        return BATCH_SHARED_ROWS;

    double fitting = BATCH_SHARED_US / us_per_row;
    if (fitting >= BATCH_SHARED_ROWS)
        return BATCH_SHARED_ROWS;
    size_t rows = (size_t)fitting / BATCH_SHARED_ROWS_MIN * BATCH_SHARED_ROWS_MIN;
    return rows > 0 ? rows : BATCH_SHARED_ROWS_MIN;
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
