/* default_model -- which model suits this machine.
 *
 * The larger of the two coder models, unless less than 4 GB are free or it would need more than 30
 * s to read Claude Code's short prompt (850 tokens).  The time is predicted from a probe of at most
 * a second: a loop of multiply-adds on every core, whose speed was held against measured prefill
 * once (see EFFICIENCY).  The probe's result is kept in the cache folder. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/commands.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/thread.h"
#include "memory/governor.h"

enum {
    PROBE_MS = 500,
    LITE_TOKENS = 850, /* Claude Code --bare, recorded */
    PATIENCE_S = 30,
    MOST_THREADS = 64,
    LANES = 64,
};

#define LEAST_FREE_BYTES (UINT64_C(4) << 30)

/* Share of the probe's speed that reading a prompt reaches: 45 tokens/s of 1.31e9 multiply-adds
 * each, beside 48e9 multiply-adds/s of the probe, on two Zen 3 cores. */
static const double EFFICIENCY = 1.2;

static void *probe_thread(void *arg)
{
    float sum[LANES];
    for (int i = 0; i < LANES; i++)
        sum[i] = (float)i;
    uint64_t until_ms = clock_now_ms() + PROBE_MS;
    uint64_t n = 0;
    while (clock_now_ms() < until_ms) {
        for (int k = 0; k < 10000; k++)
            for (int i = 0; i < LANES; i++)
                sum[i] = sum[i] * 0.999f + 0.001f;
        n += 10000u * LANES;
    }
    volatile float used = sum[0]; /* keeps the loop */
    (void)used;
    *(double *)arg = (double)n * 1000 / PROBE_MS;
    return NULL;
}

static double probe_macs_per_s(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    if (n < 1)
        n = 1;
    if (n > MOST_THREADS)
        n = MOST_THREADS;
    pthread_t threads[MOST_THREADS];
    double speeds[MOST_THREADS] = {0};
    long started = 0;
    while (started < n &&
           thread_start(&threads[started], "probe", probe_thread, &speeds[started]) == STATUS_OK)
        started++;
    double sum = 0;
    for (long i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        sum += speeds[i];
    }
    return sum;
}

static char *probe_path(const struct options *o)
{
    const char *folder = option_text(o, OPTION_CACHE_DIR);
    if (folder[0] == '\0')
        return file_user_path("cache", "probe");
    struct strbuf path;
    strbuf_init(&path, 4096);
    strbuf_printf(&path, "%s/probe", folder);
    return strbuf_detach(&path, NULL);
}

static void keep_probe(const char *path, double speed)
{
    char *folder = mem_strdup(path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL && slash != folder)
        *slash = '\0';
    char text[64];
    int n = snprintf(text, sizeof text, "%ld %.0f\n", sysconf(_SC_NPROCESSORS_ONLN), speed);
    /* Where it can't be kept it is measured again next time. */
    if (file_make_dirs(folder, NULL) == STATUS_OK &&
        file_write_atomic(path, (struct str){text, (size_t)n}, NULL) != STATUS_OK)
        fprintf(stderr, "pensieve: cannot keep the measurement in %s\n", folder);
    mem_free(folder);
}

static double machine_speed(const struct options *o)
{
    char *path = probe_path(o);
    double speed = 0;
    struct strbuf text;
    strbuf_init(&text, 256);
    if (path != NULL && file_read(path, &text, NULL) == STATUS_OK) {
        char *rest;
        long cores = strtol(strbuf_cstr(&text), &rest, 10);
        if (cores == sysconf(_SC_NPROCESSORS_ONLN))
            speed = strtod(rest, NULL);
    }
    strbuf_free(&text);
    if (!(speed > 0)) {
        speed = probe_macs_per_s();
        if (path != NULL)
            keep_probe(path, speed);
    }
    mem_free(path);
    return speed;
}

const struct catalog_model *default_model(const struct options *o, char *why, size_t why_bytes)
{
    const struct catalog_model *large = catalog_find(STR("qwen2.5-coder:1.5b"));
    const struct catalog_model *small = catalog_find(STR("qwen2.5-coder:0.5b"));
    INVARIANT(large != NULL && small != NULL);
    const char *source = option_text(o, OPTION_MEMORY_SOURCE);
    struct mem_sample memory = {0};
    if (governor_read(source[0] != '\0' ? source : NULL, 0, &memory, NULL) == STATUS_OK &&
        memory.available_bytes < LEAST_FREE_BYTES) {
        snprintf(why, why_bytes, "choosing %s: %.1f GB are free, %s wants 4", small->name,
                 (double)memory.available_bytes / (1u << 30), large->name);
        return small;
    }
    double speed = machine_speed(o) * EFFICIENCY;
    double seconds = (double)large->macs_per_token * LITE_TOKENS / speed;
    if (seconds > PATIENCE_S) {
        snprintf(why, why_bytes,
                 "choosing %s: %s would need about %.0f s for Claude Code's short prompt here",
                 small->name, large->name, seconds);
        return small;
    }
    snprintf(why, why_bytes,
             "choosing %s: it should read Claude Code's short prompt in about %.0f s here",
             large->name, seconds);
    return large;
}
