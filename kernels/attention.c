#include "kernels/attention.h"

#include <math.h>
#include <string.h>

#include "kernels/attention_block.h"
#include "kernels/work.h"

/* How the work is cut, as far as the shape says it: where blocks end is the mask's to say. */
struct plan {
    int64_t group;        /* query heads of a KV head */
    int64_t block_tokens; /* most of a block */
    bool is_split;        /* some segments of a block's keys are a task */
    int64_t n_segments;   /* most of a block */
    int64_t at_once;      /* segments of such a task */
};

enum {
    TASKS_PER_THREAD = 4, /* so that the threads end together */
    SPLIT_TOKENS = 16,    /* so few have too few blocks for the threads */
};

static const float LOG2_E = 1.4426950408889634f;

static struct plan make_plan(const struct attention_shape *shape, int n_threads)
{
    struct plan plan = {
        .group = shape->n_heads / shape->n_kv_heads,
        .is_split = shape->n_tokens <= SPLIT_TOKENS,
        .n_segments = divide_up(shape->n_keys, ATTENTION_SEGMENT),
    };
    int64_t most = larger(1, ATTENTION_BLOCK_ROWS / plan.group);
    int64_t enough = shape->n_tokens;
    if (!plan.is_split)
        enough = shape->n_tokens * shape->n_kv_heads / (TASKS_PER_THREAD * n_threads);
    plan.block_tokens = larger(1, smaller(most, enough));
    /* Several segments in a row, as the first tile of a task has not been prefetched. */
    int64_t least_tasks = shape->n_kv_heads * plan.n_segments;
    plan.at_once = larger(1, least_tasks / (2 * TASKS_PER_THREAD * n_threads));
    return plan;
}

/* ---- The work buffer ---- */

/* One thread's scratch. */
static struct attention_scratch carve_scratch(const struct attention_shape *shape,
                                              const struct plan *plan, struct carver *from)
{
    int64_t rows = plan->block_tokens * plan->group;
    return (struct attention_scratch){
        .q = carve_floats(from, rows * (shape->d_k + ATTENTION_PAD)),
        .q_columns = carve_floats(from, shape->d_k * ATTENTION_FEW_ROWS),
        .y = carve_floats(from, rows * shape->d_v),
        .sums = carve_floats(from, rows * ATTENTION_MOST_LANES),
        .maxima = carve_floats(from, rows),
        .slopes = carve_floats(from, rows),
        .tokens = carve_ints(from, rows),
        .k = carve_floats(from, (shape->d_k + ATTENTION_PAD) * ATTENTION_TILE_KEYS),
        .v = carve_floats(from, shape->d_v * ATTENTION_TILE_KEYS),
        .scores = carve_floats(from, ATTENTION_FEW_ROWS * (ATTENTION_TILE_KEYS + ATTENTION_PAD)),
        .mask = carve_floats(from, plan->block_tokens * ATTENTION_TILE_KEYS),
        .sight = carve(from, plan->block_tokens),
    };
}

/* What has been summed up of a row: its maximum, its sum, then y. */
static int64_t total_floats(const struct attention_shape *shape)
{
    return shape->d_v + 2;
}

/* One thread's. */
struct thread_work {
    struct attention_scratch scratch;
    float *totals;   /* [rows of a block][total_floats]: of the segments so far */
    int32_t *starts; /* [n_tokens + 1]: where blocks begin, and the last one ends */
    int32_t *cells;  /* the keys that `cells_of` sees, and a tile more */
    int64_t n_cells;
    int64_t cells_of; /* a block; -1: none yet */
};

static struct thread_work carve_thread(const struct attention_shape *shape, const struct plan *plan,
                                       struct carver *from)
{
    return (struct thread_work){
        .scratch = carve_scratch(shape, plan, from),
        .totals = carve_floats(from, plan->block_tokens * plan->group * total_floats(shape)),
        .starts = carve_ints(from, shape->n_tokens + 1),
        .cells = carve_ints(from, shape->n_keys + 2 * ATTENTION_TILE_KEYS),
        .cells_of = -1,
    };
}

static size_t thread_bytes(const struct attention_shape *shape, const struct plan *plan)
{
    struct carver measure = {0};
    carve_thread(shape, plan, &measure);
    return measure.used;
}

/* Where blocks are split: the totals of each segment, [segments][tokens][heads]. */
static size_t parts_bytes(const struct attention_shape *shape, const struct plan *plan)
{
    if (!plan->is_split)
        return 0;
    return (size_t)(plan->n_segments * shape->n_tokens * shape->n_heads * total_floats(shape)) *
           sizeof(float);
}

size_t attention_work_bytes(enum kernel_isa isa, const struct attention_shape *shape, int n_threads)
{
    (void)isa;
    struct plan plan = make_plan(shape, n_threads);
    return thread_bytes(shape, &plan) * (size_t)n_threads + parts_bytes(shape, &plan);
}

/* ---- Who sees what ---- */

enum {
    F16_MINUS_INFINITY = 0xfc00,
};

static const uint16_t *mask_of(const struct attention_args *args, int64_t token)
{
    return (const uint16_t *)((const char *)args->mask + (size_t)token * args->mask_stride);
}

/* Whether a token sees all that the one before it sees: so it is in one sequence without a window.
 */
static bool sees_as_much(const struct attention_args *args, int64_t token)
{
    if (args->mask == NULL)
        return true;
    const uint16_t *before = mask_of(args, token - 1), *mask = mask_of(args, token);
    enum { STRIDE = 256 }; /* a loop that compilers make vectors of, and an early end */
    for (int64_t at = 0; at < args->shape.n_keys; at += STRIDE) {
        int64_t end = smaller(at + STRIDE, args->shape.n_keys);
        uint16_t lost = 0;
        for (int64_t i = at; i < end; i++)
            lost = (uint16_t)(lost |
                              (before[i] != F16_MINUS_INFINITY && mask[i] == F16_MINUS_INFINITY));
        if (lost != 0)
            return false;
    }
    return true;
}

/* Returns how many blocks there are. */
static int64_t find_blocks(const struct attention_args *args, const struct plan *plan,
                           int32_t *starts)
{
    int64_t n = 0;
    for (int64_t token = 0; token < args->shape.n_tokens; token++) {
        bool begins =
            token == 0 || token - starts[n - 1] == plan->block_tokens || !sees_as_much(args, token);
        if (begins)
            starts[n++] = (int32_t)token;
    }
    starts[n] = (int32_t)args->shape.n_tokens;
    return n;
}

/* The keys that a block's last token sees, so all that any of it sees. */
static void find_cells(const struct attention_args *args, struct thread_work *work, int64_t block)
{
    if (work->cells_of == block)
        return;
    work->cells_of = block;
    const uint16_t *mask = args->mask == NULL ? NULL : mask_of(args, work->starts[block + 1] - 1);
    int64_t n = 0;
    for (int64_t key = 0; key < args->shape.n_keys; key++) {
        work->cells[n] = (int32_t)key; /* stays only if it is seen: no branch to guess */
        n += mask == NULL || mask[key] != F16_MINUS_INFINITY;
    }
    work->n_cells = n;
    for (int i = 0; i < 2 * ATTENTION_TILE_KEYS; i++) /* to be prefetched only */
        work->cells[n + i] = n == 0 ? 0 : work->cells[n - 1];
}

/* ---- Before and after the tiles ---- */

/* ALiBi's slope of a head, 1 without it (Press et al., arXiv:2108.12409; as ggml has it for head
 * counts that are no power of two). */
static float slope_of(const struct attention_args *args, int64_t head)
{
    if (args->max_bias <= 0)
        return 1;
    int64_t n_even = 1;
    while (n_even * 2 <= args->shape.n_heads)
        n_even *= 2;
    double base = head < n_even ? args->max_bias : args->max_bias / 2;
    double exponent = (double)(head < n_even ? head + 1 : 2 * (head - n_even) + 1);
    return (float)pow(2.0, -base / (double)n_even * exponent);
}

/* What stays the same for all segments of a block. */
static void begin_block(const struct attention_task *task, const struct attention_scratch *scratch)
{
    const struct attention_args *args = task->args;
    int64_t d_k = args->shape.d_k, n_rows = task->n_tokens * task->group;
    /* Scores are kept in units of log2, so that p is a power of two; a softcap is applied to the
     * natural ones first. */
    float scale = args->softcap != 0 ? args->scale / args->softcap : args->scale * LOG2_E;
    if (n_rows <= ATTENTION_FEW_ROWS)
        memset(scratch->q_columns, 0, (size_t)(d_k * ATTENTION_FEW_ROWS) * sizeof(float));
    for (int64_t row = 0; row < n_rows; row++) {
        int64_t token = task->first_token + row / task->group;
        int64_t head = task->kv_head * task->group + row % task->group;
        const float *q =
            (const float *)((const char *)args->q.data + (size_t)token * args->q.token_stride +
                            (size_t)head * args->q.head_stride);
        for (int64_t d = 0; d < d_k; d++) {
            scratch->q[row * (d_k + ATTENTION_PAD) + d] = q[d] * scale;
            if (n_rows <= ATTENTION_FEW_ROWS)
                scratch->q_columns[d * ATTENTION_FEW_ROWS + row] = q[d] * scale;
        }
        scratch->slopes[row] = slope_of(args, head);
        scratch->tokens[row] = (int32_t)(token - task->first_token);
    }
}

static void begin_segment(const struct attention_task *task,
                          const struct attention_scratch *scratch)
{
    int64_t rows = task->n_tokens * task->group;
    for (int64_t row = 0; row < rows; row++)
        scratch->maxima[row] = -INFINITY;
    memset(scratch->y, 0, (size_t)(rows * task->args->shape.d_v) * sizeof(float));
    memset(scratch->sums, 0, (size_t)(rows * ATTENTION_MOST_LANES) * sizeof(float));
}

static float sum_of_lanes(const float *lanes)
{
    float sum = 0;
    for (int i = 0; i < ATTENTION_MOST_LANES; i++)
        sum += lanes[i];
    return sum;
}

/* Divides a row's total by its sum, the head's sink included, and puts it where it belongs. */
static void finish_row(const struct attention_args *args, int64_t token, int64_t head,
                       const float *total)
{
    int64_t d_v = args->shape.d_v;
    float maximum = total[0], sum = total[1], factor = 1;
    if (args->sinks != NULL) {
        float sink = args->sinks[head] * LOG2_E;
        float new_maximum = sink > maximum ? sink : maximum;
        factor = maximum == -INFINITY ? 0 : exp2f(maximum - new_maximum);
        sum = sum * factor + exp2f(sink - new_maximum);
    }
    factor = sum == 0 ? 0 : factor / sum;
    float *out = args->y + (token * args->shape.n_heads + head) * d_v;
    for (int64_t d = 0; d < d_v; d++)
        out[d] = total[2 + d] * factor;
}

/* ---- Segments ---- */

/* The empty total. */
static void clear_total(float *total, int64_t d_v)
{
    memset(total, 0, (size_t)(d_v + 2) * sizeof *total);
    total[0] = -INFINITY;
}

/* Joins a later segment's maximum, sum and y to a total.  One that a row saw nothing of changes
 * nothing. */
static void join_segment(float *total, float maximum, float sum, const float *y, int64_t d_v)
{
    if (maximum == -INFINITY)
        return;
    float highest = total[0] > maximum ? total[0] : maximum;
    float before = exp2f(total[0] - highest), now = exp2f(maximum - highest);
    total[0] = highest;
    total[1] = total[1] * before + sum * now;
    for (int64_t d = 0; d < d_v; d++)
        total[2 + d] = total[2 + d] * before + y[d] * now;
}

static int64_t head_of(const struct attention_task *task, int64_t row)
{
    return task->kv_head * task->group + row % task->group;
}

static int64_t token_of(const struct attention_task *task, int64_t row)
{
    return task->first_token + row / task->group;
}

static struct attention_task task_of(const struct attention_args *args, const struct plan *plan,
                                     const struct thread_work *work, int64_t block, int64_t kv_head)
{
    return (struct attention_task){
        .args = args,
        .kv_head = kv_head,
        .first_token = work->starts[block],
        .n_tokens = work->starts[block + 1] - work->starts[block],
        .group = plan->group,
    };
}

/* One segment: its sums are left in the scratch. */
static void run_segment(struct attention_task *task, const struct thread_work *work,
                        int64_t segment, attention_block_fn *run_block)
{
    int64_t first = segment * ATTENTION_SEGMENT;
    task->cells = work->cells + first;
    task->n_keys = smaller(ATTENTION_SEGMENT, work->n_cells - first);
    begin_segment(task, &work->scratch);
    run_block(task, &work->scratch);
}

/* All segments of a block, one after the other. */
static void run_whole(struct attention_task *task, const struct thread_work *work,
                      attention_block_fn *run_block)
{
    const struct attention_scratch *scratch = &work->scratch;
    int64_t d_v = task->args->shape.d_v, rows = task->n_tokens * task->group;
    int64_t size = total_floats(&task->args->shape);
    for (int64_t row = 0; row < rows; row++)
        clear_total(work->totals + row * size, d_v);
    for (int64_t segment = 0; segment * ATTENTION_SEGMENT < work->n_cells; segment++) {
        run_segment(task, work, segment, run_block);
        for (int64_t row = 0; row < rows; row++)
            join_segment(work->totals + row * size, scratch->maxima[row],
                         sum_of_lanes(scratch->sums + row * ATTENTION_MOST_LANES),
                         scratch->y + row * d_v, d_v);
    }
    for (int64_t row = 0; row < rows; row++)
        finish_row(task->args, token_of(task, row), head_of(task, row), work->totals + row * size);
}

/* Where the total of a segment of a token and head lies. */
static float *part_of(const struct attention_args *args, float *parts, int64_t segment,
                      int64_t token, int64_t head)
{
    const struct attention_shape *shape = &args->shape;
    return parts +
           ((segment * shape->n_tokens + token) * shape->n_heads + head) * total_floats(shape);
}

/* One segment of a block, which becomes a part. */
static void run_part(struct attention_task *task, const struct thread_work *work, int64_t segment,
                     attention_block_fn *run_block, float *parts)
{
    const struct attention_scratch *scratch = &work->scratch;
    int64_t d_v = task->args->shape.d_v;
    bool is_empty = segment * ATTENTION_SEGMENT >= work->n_cells;
    if (!is_empty)
        run_segment(task, work, segment, run_block);
    for (int64_t row = 0; row < task->n_tokens * task->group; row++) {
        float *part = part_of(task->args, parts, segment, token_of(task, row), head_of(task, row));
        part[0] = is_empty ? -INFINITY : scratch->maxima[row];
        if (part[0] == -INFINITY)
            continue;
        part[1] = sum_of_lanes(scratch->sums + row * ATTENTION_MOST_LANES);
        memcpy(part + 2, scratch->y + row * d_v, (size_t)d_v * sizeof(float));
    }
}

static void run_parts(struct attention_task *task, const struct plan *plan,
                      const struct thread_work *work, int64_t first, attention_block_fn *run_block,
                      float *parts)
{
    int64_t end = smaller(first + plan->at_once, plan->n_segments);
    for (int64_t segment = first; segment < end; segment++)
        run_part(task, work, segment, run_block, parts);
}

/* All parts are there: every thread joins some rows'. */
static void join_parts(const struct attention_args *args, const struct plan *plan,
                       const struct thread_work *work, float *parts, const struct kernel_team *team)
{
    int64_t d_v = args->shape.d_v;
    for (int64_t i = team->ith; i < args->shape.n_tokens * args->shape.n_heads; i += team->nth) {
        int64_t token = i / args->shape.n_heads, head = i % args->shape.n_heads;
        clear_total(work->totals, d_v);
        for (int64_t segment = 0; segment < plan->n_segments; segment++) {
            const float *part = part_of(args, parts, segment, token, head);
            join_segment(work->totals, part[0], part[1], part + 2, d_v);
        }
        finish_row(args, token, head, work->totals);
    }
}

/* ---- The whole ---- */

static attention_block_fn *block_of(enum kernel_isa isa)
{
    switch (isa) {
#if defined(__x86_64__)
    case KERNEL_ISA_AVX2:
        return attention_block_avx2;
    case KERNEL_ISA_AVX512:
    case KERNEL_ISA_AVX512_VNNI:
        return attention_block_avx512;
#elif defined(__aarch64__)
    case KERNEL_ISA_NEON:
    case KERNEL_ISA_NEON_I8MM:
        return attention_block_neon;
#endif
    default:
        return NULL;
    }
}

static bool is_head_width(int64_t d, enum attention_format format)
{
    return d > 0 && d <= ATTENTION_MOST_HEAD && d % (format == ATTENTION_Q8_0 ? 32 : 16) == 0;
}

bool attention_handles(enum kernel_isa isa, const struct attention_shape *shape)
{
    return block_of(isa) != NULL && is_head_width(shape->d_k, shape->k_format) &&
           is_head_width(shape->d_v, shape->v_format) && shape->n_tokens > 0 && shape->n_keys > 0 &&
           shape->n_kv_heads > 0 && shape->n_heads % shape->n_kv_heads == 0 &&
           shape->n_heads / shape->n_kv_heads <= ATTENTION_MOST_ROWS;
}

void attention_run(enum kernel_isa isa, const struct attention_args *args,
                   const struct kernel_team *team)
{
    attention_block_fn *run_block = block_of(isa);
    struct plan plan = make_plan(&args->shape, team->nth);
    size_t of_a_thread = thread_bytes(&args->shape, &plan);
    struct carver carver = {args->work, of_a_thread * (size_t)team->ith};
    struct thread_work work = carve_thread(&args->shape, &plan, &carver);
    float *parts = (float *)((char *)args->work + of_a_thread * (size_t)team->nth);

    int64_t n_blocks = find_blocks(args, &plan, work.starts);
    int64_t n_parts = plan.is_split ? divide_up(plan.n_segments, plan.at_once) : 1;
    int64_t n_tasks = n_blocks * args->shape.n_kv_heads * n_parts;
    for (int64_t i = team_first_task(team); i < n_tasks; i = team_next_task(team)) {
        int64_t block = i / n_parts / args->shape.n_kv_heads;
        find_cells(args, &work, block);
        struct attention_task task =
            task_of(args, &plan, &work, block, i / n_parts % args->shape.n_kv_heads);
        begin_block(&task, &work.scratch);
        if (plan.is_split)
            run_parts(&task, &plan, &work, i % n_parts * plan.at_once, run_block, parts);
        else
            run_whole(&task, &work, run_block);
    }
    if (plan.is_split) {
        team->barrier(team->arg);
        join_parts(args, &plan, &work, parts, team);
    }
}
