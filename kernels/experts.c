#include "kernels/experts.h"

#include <string.h>

#include "kernels/work.h"

enum {
    MOST_ROWS = 128, /* brought together at once: what bounds the work buffer */
    TASKS_PER_THREAD = 8,
    PART_OUTS = 96, /* a part is a number of these: whole slabs of every instruction set */
};

bool experts_handles(enum kernel_isa isa, const struct experts_shape *shape)
{
    return matmul_handles(isa, &shape->expert);
}

/* ---- The work buffer: each thread's own ---- */

struct scratch {
    int32_t *n_rows; /* of each expert */
    float *x, *y;    /* rows brought together */
    void *work;      /* the product's */
};

/* Fewer rows take no more. */
static size_t product_bytes(enum kernel_isa isa, const struct experts_shape *shape)
{
    struct matmul_shape product = shape->expert;
    product.n_rows = smaller(product.n_rows, MOST_ROWS);
    return matmul_work_bytes(isa, &product, 1);
}

static struct scratch carve_scratch(enum kernel_isa isa, const struct experts_shape *shape,
                                    struct carver *from)
{
    int64_t n_rows = smaller(shape->expert.n_rows, MOST_ROWS);
    return (struct scratch){
        .n_rows = carve_ints(from, shape->n_experts),
        .x = carve_floats(from, n_rows * shape->expert.n_k),
        .y = carve_floats(from, n_rows * shape->expert.n_out),
        .work = carve(from, (int64_t)product_bytes(isa, shape)),
    };
}

static size_t thread_bytes(enum kernel_isa isa, const struct experts_shape *shape)
{
    struct carver measure = {0};
    carve_scratch(isa, shape, &measure);
    return measure.used;
}

size_t experts_work_bytes(enum kernel_isa isa, const struct experts_shape *shape, int n_threads)
{
    return thread_bytes(isa, shape) * (size_t)n_threads;
}

/* ---- Rows: numbered token by token, slot by slot ---- */

static int32_t expert_of(const struct experts_args *args, int64_t row)
{
    int64_t token = row / args->shape.n_slots, slot = row % args->shape.n_slots;
    const char *ids = (const char *)args->ids + (size_t)token * args->ids_stride;
    int32_t expert;
    memcpy(&expert, ids + (size_t)slot * sizeof expert, sizeof expert);
    return expert;
}

static const float *x_of(const struct experts_args *args, int64_t row)
{
    size_t token = (size_t)(row / args->shape.n_slots), slot = (size_t)(row % args->shape.n_slots);
    return (const float *)((const char *)args->x + token * args->x_token_stride +
                           slot * args->x_slot_stride);
}

static float *y_of(const struct experts_args *args, int64_t row)
{
    size_t token = (size_t)(row / args->shape.n_slots), slot = (size_t)(row % args->shape.n_slots);
    return (float *)((char *)args->y + token * args->y_token_stride + slot * args->y_slot_stride);
}

/* Returns how many experts have rows. */
static int64_t count_rows(const struct experts_args *args, int32_t *n_rows)
{
    int64_t n_busy = 0;
    memset(n_rows, 0, (size_t)args->shape.n_experts * sizeof *n_rows);
    for (int64_t row = 0; row < args->shape.expert.n_rows; row++)
        if (n_rows[expert_of(args, row)]++ == 0)
            n_busy++;
    return n_busy;
}

/* The next rows, at most MOST_ROWS, that chose `expert`, from row *from on, which moves on. */
static int64_t find_rows(const struct experts_args *args, int64_t expert, int64_t *from,
                         int64_t rows[MOST_ROWS])
{
    int64_t n = 0;
    for (; *from < args->shape.expert.n_rows && n < MOST_ROWS; ++*from)
        if (expert_of(args, *from) == expert)
            rows[n++] = *from;
    return n;
}

/* ---- A thread that computes a product alone ---- */

static void meet_nobody(void *arg)
{
    (void)arg;
}

static void set_own_counter(void *arg, int to)
{
    *(int *)arg = to;
}

static int take_own(void *arg)
{
    int *counter = arg;
    return (*counter)++;
}

/* Outputs [begin, end) of an expert, for the rows that chose it. */
struct part {
    int64_t expert, begin, end;
};

static void multiply_rows(enum kernel_isa isa, const struct experts_args *args,
                          const struct part *part, const struct scratch *scratch,
                          const int64_t *rows, int64_t n)
{
    int64_t n_k = args->shape.expert.n_k, n_out = part->end - part->begin;
    int counter;
    struct kernel_team alone = {0, 1, &counter, meet_nobody, set_own_counter, take_own};
    struct matmul_args product = {
        .shape = {args->shape.expert.format, n_k, n_out, n},
        .weights = (const char *)args->weights + (size_t)part->expert * args->expert_stride +
                   (size_t)part->begin * args->weights_stride,
        .weights_stride = args->weights_stride,
        .x = n == 1 ? x_of(args, rows[0]) : scratch->x,
        .x_stride = (size_t)n_k * sizeof(float),
        .y = n == 1 ? y_of(args, rows[0]) + part->begin : scratch->y,
        .y_stride = (size_t)n_out * sizeof(float),
        .work = scratch->work,
    };
    for (int64_t i = 0; n > 1 && i < n; i++)
        memcpy(scratch->x + i * n_k, x_of(args, rows[i]), product.x_stride);
    matmul_run(isa, &product, &alone);
    for (int64_t i = 0; n > 1 && i < n; i++)
        memcpy(y_of(args, rows[i]) + part->begin, scratch->y + i * n_out, product.y_stride);
}

static void run_part(enum kernel_isa isa, const struct experts_args *args, const struct part *part,
                     const struct scratch *scratch)
{
    int64_t rows[MOST_ROWS], from = 0;
    while (from < args->shape.expert.n_rows) {
        int64_t n = find_rows(args, part->expert, &from, rows);
        if (n > 0)
            multiply_rows(isa, args, part, scratch, rows, n);
    }
}

void experts_run(enum kernel_isa isa, const struct experts_args *args,
                 const struct kernel_team *team)
{
    const struct experts_shape *shape = &args->shape;
    struct carver carver = {args->work, thread_bytes(isa, shape) * (size_t)team->ith};
    struct scratch scratch = carve_scratch(isa, shape, &carver);
    int64_t n_busy = count_rows(args, scratch.n_rows);
    int64_t n_parts = smaller(divide_up(shape->expert.n_out, PART_OUTS),
                              divide_up(TASKS_PER_THREAD * team->nth, n_busy));
    int64_t step = divide_up(divide_up(shape->expert.n_out, n_parts), PART_OUTS) * PART_OUTS;
    n_parts = divide_up(shape->expert.n_out, step);
    /* Tasks come in rising order, so the experts are walked along once. */
    int64_t expert = -1, n_walked = 0;
    for (int64_t i = team_first_task(team); i < n_busy * n_parts; i = team_next_task(team)) {
        while (n_walked <= i / n_parts)
            n_walked += scratch.n_rows[++expert] > 0;
        int64_t begin = i % n_parts * step;
        struct part part = {expert, begin, smaller(begin + step, shape->expert.n_out)};
        run_part(isa, args, &part, &scratch);
    }
}
