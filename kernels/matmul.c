#include "kernels/matmul.h"

#include <string.h>

#include "kernels/matmul_block.h"
#include "kernels/work.h"

enum {
    TASKS_PER_THREAD = 4, /* at least, so that the threads end together */
    MOST_SLABS = 4, /* of a task: a chunk of the activations is read from L2 for all of them */
    NARROW_LEAST_OUTS = 64, /* a number of vectors of every width */
    SMALL_ROWS = 4,
    SMALL_WEIGHTS = 8 << 20,
};

static const struct matmul_kernels *kernels_of(enum kernel_isa isa)
{
    switch (isa) {
#if defined(__x86_64__)
    case KERNEL_ISA_AVX2:
        return &matmul_kernels_avx2;
    case KERNEL_ISA_AVX512:
        return &matmul_kernels_avx512;
    case KERNEL_ISA_AVX512_VNNI:
        return &matmul_kernels_avx512_vnni;
#elif defined(__aarch64__)
    case KERNEL_ISA_NEON:
        return &matmul_kernels_neon;
    case KERNEL_ISA_NEON_I8MM:
        return &matmul_kernels_neon_i8mm;
#endif
    default:
        return NULL;
    }
}

static int offset_of(const struct matmul_kernels *kernels, enum matmul_format format)
{
    struct matmul_format_traits traits = matmul_traits(format);
    return traits.most > 127 && kernels->takes_signed ? 0 : traits.offset;
}

static bool is_narrow(const struct matmul_shape *shape)
{
    return shape->n_rows <= MATMUL_NARROW_ROWS;
}

/* So few weights that meeting at a barrier, to share out activations and tasks, would cost more
 * than it saves: each thread then rounds the few activations for itself, and takes its share. */
static bool is_small(const struct matmul_shape *shape)
{
    return shape->n_rows <= SMALL_ROWS && shape->n_k * shape->n_out <= SMALL_WEIGHTS;
}

/* ---- The work buffer: tiles of activations, then each thread's panel ---- */

struct activations {
    const struct matmul_shape *shape;
    int64_t n_tiles;
    int64_t n_groups, n_sums; /* of a row */
    struct matmul_tile all;   /* where the first tile begins */
};

static struct activations carve_activations(const struct matmul_kernels *kernels,
                                            const struct matmul_shape *shape, struct carver *from)
{
    int64_t rows = shape->n_rows, k = shape->n_k;
    struct activations out = {
        .shape = shape,
        .n_tiles = is_narrow(shape) ? rows : divide_up(rows, kernels->tile_rows),
        .n_groups = divide_up(k, matmul_group(shape->format)),
        .n_sums = k / matmul_traits(shape->format).scale_values,
    };
    out.all.n_rows = rows;
    out.all.q = carve(from, rows * k);
    out.all.scales = carve_floats(from, rows * out.n_groups);
    if (matmul_group(shape->format) != MATMUL_SUB &&
        (is_narrow(shape) || matmul_traits(shape->format).has_mins))
        out.all.short_sums = carve(from, rows * out.n_sums * (int64_t)sizeof(int16_t));
    else
        out.all.sums = carve(from, rows * out.n_sums * (int64_t)sizeof(union matmul_sum));
    return out;
}

static int64_t first_row(const struct activations *a, int64_t tile)
{
    return a->shape->n_rows * tile / a->n_tiles;
}

static struct matmul_tile tile_of(const struct activations *a, int64_t tile)
{
    int64_t row = first_row(a, tile);
    struct matmul_tile out = a->all;
    out.n_rows = first_row(a, tile + 1) - row;
    out.q += row * a->shape->n_k;
    out.scales += row * a->n_groups;
    if (out.short_sums != NULL)
        out.short_sums += row * a->n_sums;
    else
        out.sums += row * a->n_sums;
    return out;
}

struct scratch {
    struct matmul_panel panel;
    float *y; /* a slab that is not whole: [rows][outs] */
};

static struct scratch carve_scratch(const struct matmul_kernels *kernels,
                                    const struct matmul_shape *shape, struct carver *from)
{
    int64_t outs = kernels->outs;
    struct scratch out = {0};
    if (is_narrow(shape))
        return out;
    out.panel.q = carve(from, MATMUL_CHUNK * outs);
    out.panel.scales = carve(from, MATMUL_CHUNK / 16 * outs * (int64_t)sizeof(union matmul_scale));
    out.panel.mins = carve_floats(from, MATMUL_CHUNK / MATMUL_SUB * outs);
    out.panel.short_mins = carve(from, MATMUL_CHUNK / MATMUL_SUB * outs * (int64_t)sizeof(int16_t));
    out.panel.factors = carve_floats(from, MATMUL_CHUNK / MATMUL_SUPER * outs);
    out.panel.min_factors = carve_floats(from, MATMUL_CHUNK / MATMUL_SUPER * outs);
    out.y = carve_floats(from, shape->n_rows * outs);
    return out;
}

size_t matmul_work_bytes(enum kernel_isa isa, const struct matmul_shape *shape, int n_threads)
{
    const struct matmul_kernels *kernels = kernels_of(isa);
    struct carver measure = {0};
    for (int i = 0; i < (is_small(shape) ? n_threads : 1); i++)
        carve_activations(kernels, shape, &measure);
    for (int i = 0; i < n_threads; i++)
        carve_scratch(kernels, shape, &measure);
    return measure.used;
}

/* ---- The products ---- */

/* Every n-th tile from `begin` on: rows of one tile share cache lines. */
static void quantize_tiles(const struct matmul_kernels *kernels, const struct matmul_args *args,
                           const struct activations *a, int begin, int n)
{
    int offset = offset_of(kernels, args->shape.format);
    for (int64_t tile = begin; tile < a->n_tiles; tile += n) {
        struct matmul_tile t = tile_of(a, tile);
        int64_t first = first_row(a, tile);
        for (int64_t row = 0; row < t.n_rows; row++) {
            const float *x =
                (const float *)((const char *)args->x + (size_t)(first + row) * args->x_stride);
            kernels->quantize(&args->shape, x, offset, &t, row);
        }
    }
}

/* One chunk of k of one slab, for all rows. */
static void multiply_slab(const struct matmul_kernels *kernels, const struct matmul_args *args,
                          const struct activations *a, const struct scratch *scratch, int64_t slab,
                          int64_t first_sub)
{
    const struct matmul_shape *shape = &args->shape;
    int64_t out = slab * kernels->outs;
    int64_t n_sub = smaller(MATMUL_CHUNK / MATMUL_SUB, shape->n_k / MATMUL_SUB - first_sub);
    struct matmul_weights weights = {
        .format = shape->format,
        .rows = (const char *)args->weights + (size_t)out * args->weights_stride,
        .stride = args->weights_stride,
        .n_outs = smaller(kernels->outs, shape->n_out - out),
    };
    kernels->unpack(&weights, first_sub, n_sub, &scratch->panel);
    bool is_whole = weights.n_outs == kernels->outs;
    for (int64_t tile = 0; tile < a->n_tiles; tile++) {
        struct matmul_tile t = tile_of(a, tile);
        int64_t row = first_row(a, tile);
        float *y = is_whole ? (float *)((char *)args->y + (size_t)row * args->y_stride) + out
                            : scratch->y + row * kernels->outs;
        size_t stride = is_whole ? args->y_stride : (size_t)kernels->outs * sizeof(float);
        kernels->multiply(shape->format, &scratch->panel, first_sub, n_sub, &t, y, stride);
    }
}

/* The columns of a slab that is not whole go where they belong. */
static void copy_slab(const struct matmul_kernels *kernels, const struct matmul_args *args,
                      const struct scratch *scratch, int64_t slab)
{
    int64_t out = slab * kernels->outs, n = args->shape.n_out - out;
    for (int64_t row = 0; row < args->shape.n_rows; row++)
        memcpy((float *)((char *)args->y + (size_t)row * args->y_stride) + out,
               scratch->y + row * kernels->outs, (size_t)n * sizeof(float));
}

/* Slabs [begin, end).  Chunks of k outside, so that the activations of one chunk, half of L2 for
 * 512 rows, serve all slabs of the task.  A slab that is not whole is the last, and a task of its
 * own scratch. */
static void multiply_task(const struct matmul_kernels *kernels, const struct matmul_args *args,
                          const struct activations *a, const struct scratch *scratch, int64_t begin,
                          int64_t end)
{
    int64_t n_sub = args->shape.n_k / MATMUL_SUB;
    for (int64_t sub = 0; sub < n_sub; sub += MATMUL_CHUNK / MATMUL_SUB)
        for (int64_t slab = begin; slab < end; slab++)
            multiply_slab(kernels, args, a, scratch, slab, sub);
    if (end * kernels->outs > args->shape.n_out)
        copy_slab(kernels, args, scratch, end - 1);
}

static void run_wide(const struct matmul_kernels *kernels, const struct matmul_args *args,
                     const struct activations *a, const struct scratch *scratch,
                     const struct kernel_team *team)
{
    int64_t n_slabs = divide_up(args->shape.n_out, kernels->outs);
    int64_t step = larger(1, smaller(MOST_SLABS, n_slabs / (TASKS_PER_THREAD * team->nth)));
    int64_t n_tasks = divide_up(n_slabs, step);
    for (int64_t i = team_first_task(team); i < n_tasks; i = team_next_task(team))
        multiply_task(kernels, args, a, scratch, i * step, smaller((i + 1) * step, n_slabs));
}

static void multiply_narrow(const struct matmul_kernels *kernels, const struct matmul_args *args,
                            const struct activations *a, int64_t begin, int64_t end)
{
    struct matmul_tile tiles[MATMUL_NARROW_ROWS];
    for (int64_t i = 0; i < a->n_tiles; i++)
        tiles[i] = tile_of(a, i);
    kernels->narrow(args, tiles, begin, end);
}

static void run_narrow(const struct matmul_kernels *kernels, const struct matmul_args *args,
                       const struct activations *a, const struct kernel_team *team)
{
    int64_t n_out = args->shape.n_out;
    int64_t step = larger(NARROW_LEAST_OUTS, n_out / (TASKS_PER_THREAD * team->nth));
    step = divide_up(step, NARROW_LEAST_OUTS) * NARROW_LEAST_OUTS;
    int64_t n_tasks = divide_up(n_out, step);
    for (int64_t i = team_first_task(team); i < n_tasks; i = team_next_task(team))
        multiply_narrow(kernels, args, a, i * step, smaller((i + 1) * step, n_out));
}

static void run_small(const struct matmul_kernels *kernels, const struct matmul_args *args,
                      const struct activations *a, const struct kernel_team *team)
{
    int64_t n_out = args->shape.n_out;
    quantize_tiles(kernels, args, a, 0, 1);
    multiply_narrow(kernels, args, a, n_out * team->ith / team->nth,
                    n_out * (team->ith + 1) / team->nth);
}

bool matmul_handles(enum kernel_isa isa, const struct matmul_shape *shape)
{
    return kernels_of(isa) != NULL && matmul_traits(shape->format).block_values != 0 &&
           shape->n_k > 0 && shape->n_k % matmul_traits(shape->format).block_values == 0 &&
           shape->n_out > 0 && shape->n_rows > 0;
}

void matmul_run(enum kernel_isa isa, const struct matmul_args *args, const struct kernel_team *team)
{
    const struct matmul_kernels *kernels = kernels_of(isa);
    bool small = is_small(&args->shape);
    struct carver carver = {args->work, 0};
    struct activations a = {0};
    struct scratch scratch = {0};
    for (int i = 0; i < (small ? team->nth : 1); i++) {
        struct activations next = carve_activations(kernels, &args->shape, &carver);
        if (!small || i == team->ith)
            a = next;
    }
    for (int i = 0; i <= team->ith; i++)
        scratch = carve_scratch(kernels, &args->shape, &carver);
    if (small) {
        run_small(kernels, args, &a, team);
        return;
    }
    quantize_tiles(kernels, args, &a, team->ith, team->nth);
    if (is_narrow(&args->shape))
        run_narrow(kernels, args, &a, team);
    else
        run_wide(kernels, args, &a, &scratch, team);
}
