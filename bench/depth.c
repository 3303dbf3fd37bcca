/* depth -- how fast one engine reads a long prompt and writes behind it.
 *
 *      bench-depth MODEL KERNELS FLASH KV TOKENS DECODED THREADS
 *      KERNELS  off, or an instruction set of kernels/isa.h; FLASH  on, off; KV  f16, q8_0
 *
 * Writes 1 + DECODED tokens at the beginning of an empty pool, clears it, reads TOKENS random
 * tokens (the same ones for every engine) in micro-batches of 512, and writes DECODED tokens behind
 * them. Prints one JSON object.  Compiled twice: with Pensieve's llama.cpp, where the kernels are,
 * and, as DEPTH_PEER, with the headers and libraries of ik_llama.cpp, whose API differs a little.
 */
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef DEPTH_PEER
#include "kernels/hook.h"
#endif

enum {
    STEP = 512,
    WINDOW = 2048,
    SPARE = 256, /* cells beyond what is asked for */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void only_errors(enum ggml_log_level level, const char *text, void *arg)
{
    (void)arg;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static void fail(const char *what)
{
    fprintf(stderr, "bench-depth: %s\n", what);
    exit(1);
}

/* ---- What differs between the two ---- */

static void choose_kernels(const char *name)
{
#ifdef DEPTH_PEER
    if (strcmp(name, "off") != 0)
        fail("the peer has kernels of its own");
#else
    enum kernel_isa isa;
    if (!isa_from_name(name, &isa) || !isa_is_here(isa))
        fail("this processor has no such kernels");
    if (!kernels_install())
        fail("the kernels are not for this ggml");
    kernels_use(isa);
#endif
}

static void set_flash(struct llama_context_params *params, int is_on)
{
#ifdef DEPTH_PEER
    params->flash_attn = is_on != 0;
#else
    params->flash_attn_type =
        is_on ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
#endif
}

static void clear_pool(struct llama_context *context)
{
#ifdef DEPTH_PEER
    llama_kv_cache_clear(context);
#else
    llama_memory_clear(llama_get_memory(context), true);
#endif
}

static int32_t vocabulary(const struct llama_model *model)
{
#ifdef DEPTH_PEER
    return llama_n_vocab(model);
#else
    return llama_vocab_n_tokens(llama_model_get_vocab(model));
#endif
}

/* ---- Measuring ---- */

static void decode(struct llama_context *context, const llama_token *tokens, int n, int position)
{
    struct llama_batch batch = llama_batch_init(n, 0, 1);
    batch.n_tokens = n;
    for (int i = 0; i < n; i++) {
        batch.token[i] = tokens[i];
        batch.pos[i] = position + i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = i + 1 == n;
    }
    if (llama_decode(context, batch) != 0)
        fail("the model failed");
    llama_batch_free(batch);
}

/* Tokens per second of writing n tokens from `position` on.  Which ones does not matter. */
static double write_tokens(struct llama_context *context, const llama_token *tokens, int n,
                           int position)
{
    double begin = now();
    for (int i = 0; i < n; i++)
        decode(context, tokens + i, 1, position + i);
    return n / (now() - begin);
}

static void read_tokens(struct llama_context *context, const llama_token *tokens, int n)
{
    double begin = now(), window_begin = begin, first = 0;
    int in_window = 0;
    printf("\"windows\":[");
    for (int at = 0; at < n; at += STEP) {
        int rows = n - at < STEP ? n - at : STEP;
        decode(context, tokens + at, rows, at);
        llama_synchronize(context);
        if (at == 0)
            first = rows / (now() - begin);
        in_window += rows;
        if (in_window >= WINDOW || at + rows >= n) {
            double t = now();
            printf("%s%.2f", at < WINDOW ? "" : ",", in_window / (t - window_begin));
            window_begin = t;
            in_window = 0;
        }
    }
    double seconds = now() - begin;
    printf("],\"read_s\":%.3f,\"read_tps\":%.2f,\"read_512_tps\":%.2f,", seconds, n / seconds,
           first);
}

static long resident_kib(const char *name)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long kib = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            kib = strtol(line + strlen(name), NULL, 10);
    if (file != NULL)
        fclose(file);
    return kib;
}

int main(int argc, char **argv)
{
    if (argc != 8)
        fail("usage: bench-depth MODEL KERNELS FLASH KV TOKENS DECODED THREADS");
    int n = (int)strtol(argv[5], NULL, 10), n_decoded = (int)strtol(argv[6], NULL, 10);
    llama_log_set(only_errors, NULL);
    llama_backend_init();
    choose_kernels(argv[2]);
    struct llama_model_params model_params = llama_model_default_params();
#ifndef DEPTH_PEER
    model_params.use_extra_bufts = false; /* as the server loads it: no second copy of weights */
#endif
    struct llama_model *model = llama_model_load_from_file(argv[1], model_params);
    if (model == NULL)
        fail("the model could not be loaded");
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (unsigned)(n + n_decoded + SPARE);
    params.n_batch = params.n_ubatch = STEP;
    params.n_threads = params.n_threads_batch = (int)strtol(argv[7], NULL, 10);
    set_flash(&params, strcmp(argv[3], "on") == 0);
    params.type_k = params.type_v = strcmp(argv[4], "q8_0") == 0 ? GGML_TYPE_Q8_0 : GGML_TYPE_F16;
    struct llama_context *context = llama_init_from_model(model, params);
    if (context == NULL)
        fail("no context");

    llama_token *tokens = malloc((size_t)(n + n_decoded) * sizeof *tokens);
    unsigned long long state = 20261126;
    for (int i = 0; i < n + n_decoded; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        tokens[i] = (llama_token)((state >> 33) % (unsigned)(vocabulary(model) - 1000));
    }
    printf("{");
    write_tokens(context, tokens, 4, 0); /* the weights come from the disk here */
    clear_pool(context);
    printf("\"write_0_tps\":%.2f,", write_tokens(context, tokens, n_decoded, 0));
    clear_pool(context);
    read_tokens(context, tokens, n);
    printf("\"write_tps\":%.2f,", write_tokens(context, tokens + n, n_decoded, n));
    printf("\"rss_anon_mib\":%ld,\"rss_file_mib\":%ld}\n", resident_kib("RssAnon:") / 1024,
           resident_kib("RssFile:") / 1024);
    free(tokens);
    llama_free(context);
#ifdef DEPTH_PEER
    llama_free_model(model);
#else
    llama_model_free(model);
#endif
    return 0;
}
