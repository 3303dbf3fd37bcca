#include "kernels/attention.h"

#include <math.h>
#include <string.h>

#include "kernels/attention_block.h"

/* How the work is cut: blocks of query rows, each for one KV head, and parts of the keys. */
struct plan {
    int64_t group;        /* query heads of a KV head */
    int64_t block_tokens; /* tokens of a block, the last one may have fewer */
    int64_t n_blocks;     /* of each KV head */
    int64_t part_keys;    /* keys of a part, a multiple of the tile */
    int64_t n_parts;
    int64_t n_tasks;
};

enum {
    ALIGNMENT_FLOATS = 16,
    TASKS_PER_THREAD = 4, /* so that the threads end together */
    LEAST_PART_KEYS = 256,
};

static const float LOG2_E = 1.4426950408889634f;

static int64_t divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static struct plan make_plan(const struct attention_shape *shape, int n_threads)
{
    struct plan plan = {.group = shape->n_heads / shape->n_kv_heads};
    plan.block_tokens = larger(1, smaller(shape->n_tokens, ATTENTION_BLOCK_ROWS / plan.group));
    plan.n_blocks = divide_up(shape->n_tokens, plan.block_tokens);

    int64_t n_whole = plan.n_blocks * shape->n_kv_heads;
    int64_t wanted = (int64_t)n_threads * TASKS_PER_THREAD;
    int64_t n_parts = n_whole >= wanted ? 1 : divide_up(wanted, n_whole);
    n_parts = larger(1, smaller(n_parts, shape->n_keys / LEAST_PART_KEYS));
    plan.part_keys =
        divide_up(divide_up(shape->n_keys, n_parts), ATTENTION_TILE_KEYS) * ATTENTION_TILE_KEYS;
    plan.n_parts = larger(1, divide_up(shape->n_keys, plan.part_keys));
    plan.n_tasks = n_whole * plan.n_parts;
    return plan;
}

/* ---- The work buffer ---- */

/* Where pieces of the work buffer begin; with base NULL it only measures. */
struct carver {
    float *base;
    int64_t used; /* floats */
};

static float *carve(struct carver *from, int64_t n_floats)
{
    float *piece = from->base == NULL ? NULL : from->base + from->used;
    from->used += divide_up(n_floats, ALIGNMENT_FLOATS) * ALIGNMENT_FLOATS;
    return piece;
}

/* One thread's scratch. */
static struct attention_scratch carve_scratch(const struct attention_shape *shape,
                                              const struct plan *plan, struct carver *from)
{
    int64_t rows = plan->block_tokens * plan->group;
    return (struct attention_scratch){
        .q = carve(from, rows * shape->d_k),
        .y = carve(from, rows * shape->d_v),
        .sums = carve(from, rows * ATTENTION_MOST_LANES),
        .maxima = carve(from, rows),
        .slopes = carve(from, rows),
        .tokens = (int32_t *)carve(from, rows),
        .k = carve(from, shape->d_k * ATTENTION_TILE_KEYS),
        .v = carve(from, shape->d_v * ATTENTION_TILE_KEYS),
        .scores = carve(from, ATTENTION_FEW_ROWS * ATTENTION_TILE_KEYS),
        .mask = carve(from, plan->block_tokens * ATTENTION_TILE_KEYS),
        .sight = (uint8_t *)carve(from, divide_up(plan->block_tokens, (int64_t)sizeof(float))),
    };
}

static int64_t scratch_floats(const struct attention_shape *shape, const struct plan *plan)
{
    struct carver measure = {0};
    carve_scratch(shape, plan, &measure);
    return measure.used;
}

/* Of one task whose keys are a part: what is joined later. */
static int64_t part_floats(const struct attention_shape *shape, const struct plan *plan)
{
    int64_t rows = plan->block_tokens * plan->group;
    return divide_up(rows * (shape->d_v + 2), ALIGNMENT_FLOATS) * ALIGNMENT_FLOATS;
}

size_t attention_work_bytes(enum kernel_isa isa, const struct attention_shape *shape, int n_threads)
{
    (void)isa;
    struct plan plan = make_plan(shape, n_threads);
    int64_t floats = scratch_floats(shape, &plan) * n_threads;
    if (plan.n_parts > 1)
        floats += part_floats(shape, &plan) * plan.n_tasks;
    return (size_t)floats * sizeof(float);
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

static void begin_block(const struct attention_task *task, const struct attention_scratch *scratch)
{
    const struct attention_args *args = task->args;
    int64_t d_k = args->shape.d_k;
    /* Scores are kept in units of log2, so that p is a power of two; a softcap is applied to the
     * natural ones first. */
    float scale = args->softcap != 0 ? args->scale / args->softcap : args->scale * LOG2_E;
    for (int64_t row = 0; row < task->n_tokens * task->group; row++) {
        int64_t token = task->first_token + row / task->group;
        int64_t head = task->kv_head * task->group + row % task->group;
        const float *q =
            (const float *)((const char *)args->q.data + (size_t)token * args->q.token_stride +
                            (size_t)head * args->q.head_stride);
        for (int64_t d = 0; d < d_k; d++)
            scratch->q[row * d_k + d] = q[d] * scale;
        scratch->maxima[row] = -INFINITY;
        scratch->slopes[row] = slope_of(args, head);
        scratch->tokens[row] = (int32_t)(token - task->first_token);
    }
    int64_t rows = task->n_tokens * task->group;
    memset(scratch->y, 0, (size_t)(rows * args->shape.d_v) * sizeof(float));
    memset(scratch->sums, 0, (size_t)(rows * ATTENTION_MOST_LANES) * sizeof(float));
}

static float sum_of_lanes(const float *lanes)
{
    float sum = 0;
    for (int i = 0; i < ATTENTION_MOST_LANES; i++)
        sum += lanes[i];
    return sum;
}

/* Divides a row by its sum, the head's sink included, and puts it where it belongs. */
static void finish_row(const struct attention_args *args, int64_t token, int64_t head,
                       const float *y, float maximum, float sum)
{
    int64_t d_v = args->shape.d_v;
    float factor = 1;
    if (args->sinks != NULL) {
        float sink = args->sinks[head] * LOG2_E;
        float new_maximum = sink > maximum ? sink : maximum;
        factor = maximum == -INFINITY ? 0 : exp2f(maximum - new_maximum);
        sum = sum * factor + exp2f(sink - new_maximum);
    }
    factor = sum == 0 ? 0 : factor / sum;
    float *out = args->y + (token * args->shape.n_heads + head) * d_v;
    for (int64_t d = 0; d < d_v; d++)
        out[d] = y[d] * factor;
}

static void finish_block(const struct attention_task *task, const struct attention_scratch *scratch)
{
    for (int64_t row = 0; row < task->n_tokens * task->group; row++)
        finish_row(task->args, task->first_token + row / task->group,
                   task->kv_head * task->group + row % task->group,
                   scratch->y + row * task->args->shape.d_v, scratch->maxima[row],
                   sum_of_lanes(scratch->sums + row * ATTENTION_MOST_LANES));
}

/* ---- Parts ---- */

/* A part holds, for each row, its maximum, its sum, then y. */
static void keep_part(const struct attention_task *task, const struct attention_scratch *scratch,
                      float *part)
{
    int64_t d_v = task->args->shape.d_v;
    for (int64_t row = 0; row < task->n_tokens * task->group; row++) {
        float *kept = part + row * (d_v + 2);
        kept[0] = scratch->maxima[row];
        kept[1] = sum_of_lanes(scratch->sums + row * ATTENTION_MOST_LANES);
        memcpy(kept + 2, scratch->y + row * d_v, (size_t)d_v * sizeof(float));
    }
}

/* Joins the parts of one row: the first one's place becomes their sum. */
static void join_row(float *first, int64_t n_parts, int64_t part_stride, int64_t d_v)
{
    float maximum = -INFINITY;
    for (int64_t i = 0; i < n_parts; i++)
        maximum = fmaxf(maximum, first[i * part_stride]);
    for (int64_t i = 0; i < n_parts; i++) {
        float *part = first + i * part_stride;
        float factor = part[0] == -INFINITY ? 0 : exp2f(part[0] - maximum);
        if (i == 0) {
            first[1] *= factor;
            for (int64_t d = 0; d < d_v; d++)
                first[2 + d] *= factor;
        } else {
            first[1] += part[1] * factor;
            for (int64_t d = 0; d < d_v; d++)
                first[2 + d] += part[2 + d] * factor;
        }
    }
    first[0] = maximum;
}

struct parts {
    float *data;
    int64_t stride; /* floats from one task's part to the next */
};

/* Tasks are numbered block by block, the parts of a block side by side. */
static struct attention_task task_of(const struct attention_args *args, const struct plan *plan,
                                     int64_t number)
{
    int64_t part = number % plan->n_parts;
    int64_t block = number / plan->n_parts % plan->n_blocks;
    int64_t first_token = block * plan->block_tokens;
    int64_t first_key = part * plan->part_keys;
    return (struct attention_task){
        .args = args,
        .kv_head = number / plan->n_parts / plan->n_blocks,
        .first_token = first_token,
        .n_tokens = smaller(plan->block_tokens, args->shape.n_tokens - first_token),
        .group = plan->group,
        .first_key = first_key,
        .last_key = smaller(first_key + plan->part_keys, args->shape.n_keys),
    };
}

/* All parts are there: every thread joins some blocks' rows. */
static void join_parts(const struct attention_args *args, const struct plan *plan,
                       const struct parts *parts, const struct kernel_team *team)
{
    int64_t d_v = args->shape.d_v;
    int64_t n_blocks = plan->n_tasks / plan->n_parts;
    int64_t rows = plan->block_tokens * plan->group;
    for (int64_t i = team->ith; i < n_blocks * rows; i += team->nth) {
        int64_t number = i / rows * plan->n_parts, row = i % rows;
        struct attention_task task = task_of(args, plan, number);
        if (row >= task.n_tokens * task.group)
            continue;
        float *first = parts->data + number * parts->stride + row * (d_v + 2);
        join_row(first, plan->n_parts, parts->stride, d_v);
        finish_row(args, task.first_token + row / task.group,
                   task.kv_head * task.group + row % task.group, first + 2, first[0], first[1]);
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
    int64_t of_a_thread = scratch_floats(&args->shape, &plan);
    struct carver carver = {(float *)args->work, of_a_thread * team->ith};
    struct attention_scratch scratch = carve_scratch(&args->shape, &plan, &carver);
    struct parts parts = {
        .data = (float *)args->work + of_a_thread * team->nth,
        .stride = part_floats(&args->shape, &plan),
    };
    for (int64_t i = team_first_task(team); i < plan.n_tasks; i = team_next_task(team)) {
        struct attention_task task = task_of(args, &plan, i);
        begin_block(&task, &scratch);
        run_block(&task, &scratch);
        if (plan.n_parts == 1)
            finish_block(&task, &scratch);
        else
            keep_part(&task, &scratch, parts.data + i * parts.stride);
    }
    if (plan.n_parts > 1) {
        team->barrier(team->arg);
        join_parts(args, &plan, &parts, team);
    }
}
