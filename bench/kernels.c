/* kernels -- how fast each kernel is: beside ggml's own, and as a part of what the machine can do.
 *
 *      bench-kernels [--threads N] [--kernels NAME] [--only TEXT] [--json FILE]
 *
 * The machine's peaks are measured first, in the same run: multiply-adds of floats, products of
 * bytes, bytes read from memory, all threads together.  Then each case is one graph of ggml's of
 * equal operations, on as many different weights (keys and values) as exceed the caches where the
 * case reads from memory; computed by our kernels and by ggml's in turn, the best of several
 * rounds each.  A case's bound is the peak that it cannot pass: bytes, where there are few rows. */
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/peaks.h"
#include "kernels/hook.h"

enum {
    MEMORY_BYTES = 192 << 20, /* of different weights: more than caches hold */
    QUANTISED_ROWS = 32,      /* made with care; the others repeat them */
    MOST_COPIES = 256,
    LEAST_ROUNDS = 3,
};

static const double SECONDS = 0.6; /* of each of the two, at least */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fail(const char *what)
{
    fprintf(stderr, "bench-kernels: %s\n", what);
    exit(1);
}

static float draw(void)
{
    static unsigned long long state = 20261126;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(state >> 40) / (float)(1 << 23) - 1;
}

/* ---- A case: a graph of equal operations ---- */

struct bench_case {
    char name[64];
    double work;                  /* multiply-adds of one operation */
    double bytes;                 /* that one reads from memory; 0: the caches hold them */
    bool is_f32;                  /* its multiply-adds are of floats */
    struct ggml_context *context; /* NULL: left out */
    struct ggml_cgraph *graph;
    ggml_backend_buffer_t buffer;
    int copies;
};

static bool is_wanted(const struct bench_case *c, const char *only)
{
    return only == NULL || strstr(c->name, only) != NULL;
}

static struct ggml_context *new_context(void)
{
    struct ggml_init_params params = {.mem_size = (size_t)MOST_COPIES * 8 * ggml_tensor_overhead() +
                                                  ggml_graph_overhead(),
                                      .no_alloc = true};
    struct ggml_context *context = ggml_init(params);
    if (context == NULL)
        fail("no memory");
    return context;
}

static int copies_for(double bytes)
{
    int n = (int)ceil(MEMORY_BYTES / bytes);
    return n < 1 ? 1 : n > MOST_COPIES ? MOST_COPIES : n;
}

static void fill_floats(struct ggml_tensor *t)
{
    for (int64_t i = 0; i < ggml_nelements(t); i++)
        ((float *)t->data)[i] = draw();
}

static void fill_quantised(struct ggml_tensor *t)
{
    int64_t n_k = t->ne[0], n_rows = ggml_nrows(t);
    int64_t made = n_rows < QUANTISED_ROWS ? n_rows : QUANTISED_ROWS;
    float *values = malloc((size_t)(made * n_k) * sizeof *values);
    if (values == NULL)
        fail("no memory");
    for (int64_t i = 0; i < made * n_k; i++)
        values[i] = draw();
    ggml_quantize_chunk(t->type, values, t->data, 0, made, n_k, NULL);
    free(values);
    for (int64_t row = made; row < n_rows; row++)
        memcpy((char *)t->data + (size_t)row * t->nb[1],
               (char *)t->data + (size_t)(row % made) * t->nb[1], t->nb[1]);
}

static void alloc_case(struct bench_case *c, ggml_backend_t backend)
{
    c->buffer = ggml_backend_alloc_ctx_tensors(c->context, backend);
    if (c->buffer == NULL)
        fail("no memory");
}

static void free_case(struct bench_case *c)
{
    ggml_backend_buffer_free(c->buffer);
    ggml_free(c->context);
}

/* n_rows activations times weights of `type`; few rows: from memory. */
static void make_product(struct bench_case *c, const char *only, ggml_backend_t backend,
                         enum ggml_type type, int64_t n_k, int64_t n_out, int64_t n_rows)
{
    struct ggml_tensor *weights[MOST_COPIES];
    bool from_memory = n_rows < 32;
    double bytes = (double)ggml_row_size(type, n_k) * (double)n_out;
    *c = (struct bench_case){.work = (double)(n_k * n_out * n_rows),
                             .bytes = from_memory ? bytes : 0,
                             .copies = from_memory ? copies_for(bytes) : 2};
    snprintf(c->name, sizeof c->name, "%s, %d row%s", ggml_type_name(type), (int)n_rows,
             n_rows == 1 ? "" : "s");
    if (!is_wanted(c, only))
        return;
    c->context = new_context();
    c->graph = ggml_new_graph(c->context);
    struct ggml_tensor *x = ggml_new_tensor_2d(c->context, GGML_TYPE_F32, n_k, n_rows);
    for (int i = 0; i < c->copies; i++) {
        weights[i] = ggml_new_tensor_2d(c->context, type, n_k, n_out);
        ggml_build_forward_expand(c->graph, ggml_mul_mat(c->context, weights[i], x));
    }
    alloc_case(c, backend);
    fill_floats(x);
    for (int i = 0; i < c->copies; i++)
        fill_quantised(weights[i]);
}

/* Of n_experts weights each token takes n_used, by chance. */
static void choose_experts(struct ggml_tensor *ids, int n_experts)
{
    for (int64_t token = 0; token < ids->ne[1]; token++) {
        int first = (int)((draw() + 1) / 2 * (float)n_experts) % n_experts;
        for (int64_t slot = 0; slot < ids->ne[0]; slot++)
            ((int32_t *)ids->data)[token * ids->ne[0] + slot] = (first + (int)slot * 7) % n_experts;
    }
}

static void make_experts(struct bench_case *c, const char *only, ggml_backend_t backend,
                         enum ggml_type type, int64_t n_tokens)
{
    enum { WIDTH = 2048, OUT = 768, EXPERTS = 64, USED = 8 };
    double bytes = (double)ggml_row_size(type, WIDTH) * OUT * USED;
    *c = (struct bench_case){.work = (double)n_tokens * WIDTH * OUT * USED,
                             .bytes = n_tokens < 32 ? bytes : 0,
                             .copies = n_tokens < 32 ? 4 : 1};
    snprintf(c->name, sizeof c->name, "%s, 8 of 64 experts, %d token%s", ggml_type_name(type),
             (int)n_tokens, n_tokens == 1 ? "" : "s");
    if (!is_wanted(c, only))
        return;
    c->context = new_context();
    c->graph = ggml_new_graph(c->context);
    struct ggml_tensor *weights[MOST_COPIES], *ids[MOST_COPIES];
    struct ggml_tensor *x = ggml_new_tensor_3d(c->context, GGML_TYPE_F32, WIDTH, 1, n_tokens);
    for (int i = 0; i < c->copies; i++) {
        weights[i] = ggml_new_tensor_3d(c->context, type, WIDTH, OUT, EXPERTS);
        ids[i] = ggml_new_tensor_2d(c->context, GGML_TYPE_I32, USED, n_tokens);
        ggml_build_forward_expand(c->graph, ggml_mul_mat_id(c->context, weights[i], x, ids[i]));
    }
    alloc_case(c, backend);
    fill_floats(x);
    for (int i = 0; i < c->copies; i++) {
        fill_quantised(weights[i]);
        choose_experts(ids[i], EXPERTS);
    }
}

/* What attention reads of a sequence of n_keys, as llama.cpp lays out its pool. */
struct heads {
    int width, n_kv, group;
};

/* Tokens at the end of the keys, which see those before them: at most `window` of them. */
struct span {
    int64_t n_keys, n_tokens, window;
};

static bool sees(const struct span *span, int64_t token, int64_t key)
{
    int64_t own = span->n_keys - span->n_tokens + token;
    return key <= own && key > own - span->window;
}

static void fill_mask(struct ggml_tensor *mask, const struct span *span)
{
    for (int64_t token = 0; token < span->n_tokens; token++)
        for (int64_t key = 0; key < span->n_keys; key++)
            ((ggml_fp16_t *)mask->data)[token * span->n_keys + key] =
                ggml_fp32_to_fp16(sees(span, token, key) ? 0 : -INFINITY);
}

static double seen_by_all(const struct span *span)
{
    double n = 0;
    for (int64_t token = 0; token < span->n_tokens; token++) {
        int64_t before = span->n_keys - span->n_tokens + token + 1;
        n += (double)(before < span->window ? before : span->window);
    }
    return n;
}

static void make_attention(struct bench_case *c, const char *only, ggml_backend_t backend,
                           enum ggml_type type, struct heads heads, const struct span *span)
{
    int64_t n_keys = span->n_keys, n_tokens = span->n_tokens;
    struct ggml_tensor *kept[2 * MOST_COPIES];
    double bytes =
        2.0 * (double)(ggml_row_size(type, heads.width) * (size_t)heads.n_kv) * (double)n_keys;
    bool from_memory = n_tokens < 32;
    *c = (struct bench_case){.work =
                                 2.0 * heads.width * heads.n_kv * heads.group * seen_by_all(span),
                             .bytes = from_memory ? bytes : 0,
                             .is_f32 = true,
                             .copies = from_memory ? copies_for(bytes) : 1};
    snprintf(c->name, sizeof c->name, "attention %s %d, %d keys, %d token%s%s",
             ggml_type_name(type), heads.width, (int)n_keys, (int)n_tokens,
             n_tokens == 1 ? "" : "s", span->window < n_keys ? ", window" : "");
    if (!is_wanted(c, only))
        return;
    c->context = new_context();
    c->graph = ggml_new_graph(c->context);
    struct ggml_tensor *q = ggml_new_tensor_3d(c->context, GGML_TYPE_F32, heads.width, n_tokens,
                                               (int64_t)heads.n_kv * heads.group);
    struct ggml_tensor *mask = ggml_new_tensor_2d(c->context, GGML_TYPE_F16, n_keys, n_tokens);
    for (int i = 0; i < 2 * c->copies; i += 2) {
        struct ggml_tensor *views[2];
        for (int j = 0; j < 2; j++) {
            kept[i + j] = ggml_new_tensor_3d(c->context, type, heads.width, heads.n_kv, n_keys);
            views[j] = ggml_permute(c->context, kept[i + j], 0, 2, 1, 3);
        }
        struct ggml_tensor *op = ggml_flash_attn_ext(c->context, q, views[0], views[1], mask,
                                                     1 / sqrtf((float)heads.width), 0, 0);
        ggml_build_forward_expand(c->graph, op);
    }
    alloc_case(c, backend);
    fill_floats(q);
    fill_mask(mask, span);
    for (int i = 0; i < 2 * c->copies; i++)
        fill_quantised(kept[i]);
}

/* ---- Measuring ---- */

/* Seconds of one operation. */
static double time_once(const struct bench_case *c, ggml_backend_t backend, enum kernel_isa isa)
{
    kernels_use(isa);
    double begin = now();
    if (ggml_backend_graph_compute(backend, c->graph) != GGML_STATUS_SUCCESS)
        fail("ggml failed");
    return (now() - begin) / c->copies;
}

struct result {
    double ours, ggml; /* seconds of one operation */
};

static struct result measure(const struct bench_case *c, ggml_backend_t backend,
                             enum kernel_isa isa)
{
    struct result best = {INFINITY, INFINITY};
    uint64_t before = kernels_n_computed();
    time_once(c, backend, isa);
    if (kernels_n_computed() == before)
        best.ours = NAN; /* the kernels decline it */
    double begin = now();
    for (int i = 0; i < LEAST_ROUNDS || now() - begin < 2 * SECONDS; i++) {
        if (!isnan(best.ours))
            best.ours = fmin(best.ours, time_once(c, backend, isa));
        best.ggml = fmin(best.ggml, time_once(c, backend, KERNEL_ISA_NONE));
    }
    return best;
}

static void report(const struct bench_case *c, struct result r, const struct peaks *peaks,
                   FILE *json, bool is_first)
{
    double rate = c->work / r.ours, peak = c->is_f32 ? peaks->f32 : peaks->int8;
    bool by_memory = c->bytes > 0 && c->bytes / peaks->memory > c->work / peak;
    const char *bound = by_memory ? "memory" : c->is_f32 ? "f32" : "int8";
    double part = by_memory ? c->bytes / r.ours / peaks->memory : rate / peak;
    if (isnan(r.ours))
        printf("%-44s%10.3f%21s\n", c->name, r.ggml * 1e3, "ggml's alone");
    else
        printf("%-44s%10.3f%10.3f%9.2fx%9.0f %% of %s\n", c->name, r.ggml * 1e3, r.ours * 1e3,
               r.ggml / r.ours, part * 100, bound);
    fflush(stdout);
    if (json != NULL && !isnan(r.ours))
        fprintf(json,
                "%s\n  {\"case\": \"%s\", \"ours_s\": %.9f, \"ggml_s\": %.9f, \"part\": %.4f, "
                "\"of\": \"%s\"}",
                is_first ? "" : ",", c->name, r.ours, r.ggml, part, bound);
}

struct options {
    int n_threads;
    enum kernel_isa isa;
    const char *only;
    const char *json;
};

static struct options read_options(int argc, char **argv)
{
    struct options o = {.n_threads = (int)sysconf(_SC_NPROCESSORS_ONLN), .isa = isa_best()};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--threads") == 0)
            o.n_threads = (int)strtol(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--only") == 0)
            o.only = argv[i + 1];
        else if (strcmp(argv[i], "--json") == 0)
            o.json = argv[i + 1];
        else if (strcmp(argv[i], "--kernels") != 0 || !isa_from_name(argv[i + 1], &o.isa))
            fail("usage: [--threads N] [--kernels NAME] [--only TEXT] [--json FILE]");
    }
    if (o.isa == KERNEL_ISA_NONE || !isa_is_here(o.isa))
        fail("this processor has no such kernels");
    return o;
}

/* Shapes of Qwen2.5-1.5B's feed-forward products, and of its and 0.5B's attention. */
static const enum ggml_type types[] = {
    GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0,   GGML_TYPE_Q8_0,   GGML_TYPE_Q4_K,
    GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_IQ4_NL, GGML_TYPE_IQ4_XS, GGML_TYPE_F16};
static const int64_t rows[] = {1, 3, 8, 512};
enum { N_K = 1536, N_OUT = 8960 };

static const struct heads heads[] = {{64, 2, 7}, {128, 2, 6}};
enum { EVERYTHING = 1 << 30 };
static const struct span spans[] = {{512, 512, EVERYTHING},
                                    {4096, 512, EVERYTHING},
                                    {12288, 512, EVERYTHING},
                                    {12288, 1, EVERYTHING},
                                    {1024, 512, 512}};
enum { SPANS = sizeof spans / sizeof *spans };

/* The nth case, with context NULL where --only leaves it out; false behind the last. */
static bool make_case(size_t nth, const char *only, ggml_backend_t backend, struct bench_case *c)
{
    size_t n_products = sizeof types / sizeof *types * (sizeof rows / sizeof *rows);
    if (nth < n_products) {
        make_product(c, only, backend, types[nth / 4], N_K, N_OUT, rows[nth % 4]);
        return true;
    }
    nth -= n_products;
    size_t n_experts = (sizeof types / sizeof *types - 1) * 2;
    if (nth < n_experts) {
        make_experts(c, only, backend, types[nth / 2], nth % 2 ? 512 : 1);
        return true;
    }
    nth -= n_experts;
    if (nth >= (size_t)2 * 2 * SPANS)
        return false;
    make_attention(c, only, backend, nth / SPANS / 2 ? GGML_TYPE_Q8_0 : GGML_TYPE_F16,
                   heads[nth / SPANS % 2], &spans[nth % SPANS]);
    return true;
}

int main(int argc, char **argv)
{
    struct options o = read_options(argc, argv);
    if (!kernels_install())
        fail("the kernels are not for this ggml");
    ggml_backend_t backend = ggml_backend_cpu_init();
    ggml_backend_cpu_set_n_threads(backend, o.n_threads);
    struct peaks peaks = peaks_measure(o.isa, o.n_threads);
    printf("%s, %d threads: f32 %.0f GMAC/s, int8 %.0f GMAC/s, memory %.1f GB/s\n\n",
           isa_name(o.isa), o.n_threads, peaks.f32 / 1e9, peaks.int8 / 1e9, peaks.memory / 1e9);
    printf("%-44s%10s%10s%10s%12s\n", "one operation, ms", "ggml", "ours", "faster", "of the peak");
    FILE *json = o.json != NULL ? fopen(o.json, "w") : NULL;
    if (o.json != NULL && json == NULL)
        fail("the JSON file cannot be written");
    if (json != NULL)
        fprintf(json,
                "{\"kernels\": \"%s\", \"threads\": %d, \"f32\": %.4g, \"int8\": %.4g, "
                "\"memory\": %.4g, \"cases\": [",
                isa_name(o.isa), o.n_threads, peaks.f32, peaks.int8, peaks.memory);
    struct bench_case c;
    bool is_first = true;
    for (size_t nth = 0; make_case(nth, o.only, backend, &c); nth++) {
        if (c.context == NULL)
            continue;
        report(&c, measure(&c, backend, o.isa), &peaks, json, is_first);
        is_first = false;
        free_case(&c);
    }
    if (json != NULL) {
        fprintf(json, "\n]}\n");
        fclose(json);
    }
    ggml_backend_free(backend);
    return 0;
}
