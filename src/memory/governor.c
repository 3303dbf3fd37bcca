/* Transitions (threshold of a state: warn, reject, stop bytes):
 *
 *   from        to         when                                                    where
 *   any         EMERGENCY  3 samples in a row below stop, or one below stop / 2    enter
 *   less        CRITICAL   2 samples in a row below reject                         enter
 *   SAFE        CAUTION    2 samples in a row below warn, or 5 s without a reading enter, step
 *   CRITICAL    CAUTION    5 s above reject + 25 %                                 leave
 *   CAUTION     SAFE       10 s above warn + 25 %                                  leave
 *   EMERGENCY   -          never: the server is on its way out
 *
 * Where the system itself says that memory is short (is_pressed), a sample counts for the next
 * worse state, but never for EMERGENCY: what stalls may be another program. */
#include "memory/governor.h"

#include <inttypes.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/thread.h"
#include "memory/meminfo_parse.h"

enum {
    SAMPLES_TO_ENTER = 2,
    SAMPLES_TO_STOP = 3,
    LEAVE_CAUTION_MS = 10 * 1000,
    LEAVE_CRITICAL_MS = 5 * 1000,
    UNREADABLE_MS = 5 * 1000, /* so long the last known state is good enough */

    PERIOD_MS = 250,
    PERIOD_LOW_MS = 100,
    LOG_PERIOD_MS = 60 * 1000,
    SOURCE_BYTES = 64, /* a decimal number */
};

static const uint64_t LOW_BYTES = UINT64_C(3) << 30; /* below this, look more often */

static const char *const state_names[GOVERNOR_STATES] = {"Safe", "Caution", "Critical",
                                                         "Emergency"};

const char *governor_state_name(enum governor_state s)
{
    return state_names[s];
}

enum status governor_rules_check(const struct governor_rules *rules, struct error *err)
{
    if (rules->warn_bytes > rules->reject_bytes && rules->reject_bytes > rules->stop_bytes &&
        rules->stop_bytes > 0)
        return STATUS_OK;
    return error_set(err, STATUS_INVALID,
                     "memory thresholds must fall: warn %" PRIu64 " > reject %" PRIu64
                     " > stop %" PRIu64 " > 0 bytes",
                     rules->warn_bytes, rules->reject_bytes, rules->stop_bytes);
}

/* ---- The machine: pure ---- */

void governor_machine_init(struct governor_machine *m, const struct governor_rules *rules)
{
    *m = (struct governor_machine){.rules = *rules, .state = GOVERNOR_SAFE};
}

static uint64_t threshold(const struct governor_rules *rules, enum governor_state s)
{
    switch (s) {
    case GOVERNOR_SAFE:
        return MEMINFO_UNLIMITED;
    case GOVERNOR_CAUTION:
        return rules->warn_bytes;
    case GOVERNOR_CRITICAL:
        return rules->reject_bytes;
    case GOVERNOR_EMERGENCY:
        return rules->stop_bytes;
    }
    return 0;
}

static bool is_below(const struct governor_machine *m, enum governor_state s,
                     const struct mem_sample *sample)
{
    if (sample->is_pressed && s != GOVERNOR_EMERGENCY)
        s--;
    return sample->available_bytes < threshold(&m->rules, s);
}

static bool is_above(const struct governor_machine *m, enum governor_state s,
                     const struct mem_sample *sample)
{
    uint64_t border = threshold(&m->rules, s);
    border = border > UINT64_MAX - border / 4 ? UINT64_MAX : border + border / 4;
    return sample->available_bytes > border && !sample->is_pressed;
}

static void count_sample(struct governor_machine *m, const struct mem_sample *sample,
                         uint64_t now_ms)
{
    for (enum governor_state s = GOVERNOR_CAUTION; s <= GOVERNOR_EMERGENCY; s++) {
        m->below_count[s] = is_below(m, s, sample) ? m->below_count[s] + 1 : 0;
        if (!is_above(m, s, sample))
            m->above_since_ms[s] = 0;
        else if (m->above_since_ms[s] == 0)
            m->above_since_ms[s] = now_ms;
    }
}

/* The worst state that the counts ask for. */
static enum governor_state enter(const struct governor_machine *m, const struct mem_sample *sample)
{
    if (m->below_count[GOVERNOR_EMERGENCY] >= SAMPLES_TO_STOP ||
        sample->available_bytes < m->rules.stop_bytes / 2)
        return GOVERNOR_EMERGENCY;
    if (m->below_count[GOVERNOR_CRITICAL] >= SAMPLES_TO_ENTER)
        return GOVERNOR_CRITICAL;
    if (m->below_count[GOVERNOR_CAUTION] >= SAMPLES_TO_ENTER)
        return GOVERNOR_CAUTION;
    return GOVERNOR_SAFE;
}

/* The state one better, when the present one has been left behind long enough. */
static enum governor_state leave(const struct governor_machine *m, uint64_t now_ms)
{
    enum governor_state s = m->state;
    if (s == GOVERNOR_SAFE || s == GOVERNOR_EMERGENCY || m->above_since_ms[s] == 0)
        return s;
    uint64_t wait_ms = s == GOVERNOR_CRITICAL ? LEAVE_CRITICAL_MS : LEAVE_CAUTION_MS;
    return now_ms - m->above_since_ms[s] >= wait_ms ? s - 1 : s;
}

static enum governor_state step_unreadable(struct governor_machine *m, uint64_t now_ms)
{
    for (enum governor_state s = GOVERNOR_CAUTION; s <= GOVERNOR_EMERGENCY; s++)
        m->above_since_ms[s] = 0; /* "above all the time" can no longer be said */
    if (m->last_good_ms == 0)
        m->last_good_ms = now_ms;
    if (now_ms - m->last_good_ms >= UNREADABLE_MS && m->state < GOVERNOR_CAUTION)
        m->state = GOVERNOR_CAUTION;
    return m->state;
}

enum governor_state governor_step(struct governor_machine *m, const struct mem_sample *sample,
                                  uint64_t now_ms)
{
    if (sample == NULL)
        return step_unreadable(m, now_ms);
    m->last_good_ms = now_ms;
    count_sample(m, sample, now_ms);
    enum governor_state worst = enter(m, sample);
    m->state = worst > m->state ? worst : leave(m, now_ms);
    return m->state;
}

/* ---- The thread ---- */

struct governor {
    struct governor_options options;
    char *source_file; /* owned copy; NULL: the system */

    /* Only the memory thread, once it runs. */
    struct governor_machine machine;
    uint64_t last_log_ms; /* 0: nothing logged yet */
    bool was_readable;

    /* Written by the memory thread, read by all. */
    _Atomic int state;
    _Atomic uint64_t available_bytes;
    _Atomic uint64_t reading_us;

    pthread_t thread;
    pthread_mutex_t mutex; /* guards is_stopping; taken by itself only */
    pthread_cond_t wake;
    bool is_stopping;
};

static enum status read_source(const char *path, struct mem_sample *out, struct error *err)
{
    struct strbuf text;
    strbuf_init(&text, SOURCE_BYTES);
    uint64_t available;
    enum status st = file_read(path, &text, err);
    if (st == STATUS_OK && !meminfo_number(strbuf_str(&text), &available))
        st = error_set(err, STATUS_CORRUPT, "%s does not begin with a number of bytes", path);
    strbuf_free(&text);
    if (st == STATUS_OK)
        *out = (struct mem_sample){.available_bytes = available, .total_bytes = available};
    return st;
}

enum status governor_read(const char *source_file, uint64_t own_mapped_bytes,
                          struct mem_sample *out, struct error *err)
{
    return source_file != NULL ? read_source(source_file, out, err)
                               : meminfo_read(own_mapped_bytes, out, err);
}

static enum status take_reading(struct governor *g, struct mem_sample *out, struct error *err)
{
    uint64_t begin_us = clock_now_us();
    enum status st = governor_read(g->source_file, g->options.model_mapped_bytes, out, err);
    atomic_store(&g->reading_us, clock_now_us() - begin_us);
    return st;
}

/* Every change at once; a state that stays bad, once a minute. */
static void log_state(struct governor *g, enum governor_state before, uint64_t now_ms)
{
    enum governor_state s = g->machine.state;
    if (s == before && (s == GOVERNOR_SAFE || now_ms - g->last_log_ms < LOG_PERIOD_MS))
        return;
    g->last_log_ms = now_ms;
    uint64_t mib = atomic_load(&g->available_bytes) >> 20;
    switch (s) {
    case GOVERNOR_SAFE:
        log_info("memory: safe again, %" PRIu64 " MiB free", mib);
        break;
    case GOVERNOR_CAUTION:
        log_warn("memory: caution, %" PRIu64 " MiB free", mib);
        break;
    case GOVERNOR_CRITICAL:
        log_warn("memory: critical, %" PRIu64 " MiB free; new requests are refused", mib);
        break;
    case GOVERNOR_EMERGENCY:
        log_error("memory: emergency, %" PRIu64 " MiB free; the server stops", mib);
        break;
    }
}

/* A reading, a decision, and their publication. */
static void look(struct governor *g)
{
    struct mem_sample sample;
    struct error err = {0};
    bool is_readable = take_reading(g, &sample, &err) == STATUS_OK;
    if (!is_readable && g->was_readable)
        log_warn("memory: no reading: %s", err.message);
    g->was_readable = is_readable;

    enum governor_state before = g->machine.state;
    uint64_t now_ms = clock_now_ms();
    enum governor_state after = governor_step(&g->machine, is_readable ? &sample : NULL, now_ms);
    if (is_readable) {
        atomic_store(&g->available_bytes, sample.available_bytes);
        metric_set(METRIC_MEMORY_AVAILABLE, (int64_t)(sample.available_bytes & INT64_MAX));
    }
    atomic_store(&g->state, (int)after);
    metric_set(METRIC_MEMORY_STATE, (int64_t)after);
    log_state(g, before, now_ms);
    if (after == GOVERNOR_EMERGENCY && before != GOVERNOR_EMERGENCY &&
        g->options.on_emergency != NULL)
        g->options.on_emergency(g->options.arg);
}

static void *run(void *arg)
{
    struct governor *g = arg;
    for (;;) {
        unsigned period_ms =
            atomic_load(&g->available_bytes) < LOW_BYTES ? PERIOD_LOW_MS : PERIOD_MS;
        pthread_mutex_lock(&g->mutex);
        if (!g->is_stopping)
            (void)thread_cond_wait_ms(&g->wake, &g->mutex, period_ms);
        bool is_stopping = g->is_stopping;
        pthread_mutex_unlock(&g->mutex);
        if (is_stopping)
            return NULL;
        look(g);
    }
}

static void destroy(struct governor *g)
{
    pthread_cond_destroy(&g->wake);
    pthread_mutex_destroy(&g->mutex);
    mem_free(g->source_file);
    mem_free(g);
}

enum status governor_start(const struct governor_options *options, struct governor **out,
                           struct error *err)
{
    enum status st = governor_rules_check(&options->rules, err);
    if (st != STATUS_OK)
        return st;
    struct governor *g = mem_zalloc(sizeof *g);
    g->options = *options;
    g->source_file = options->source_file != NULL ? mem_strdup(options->source_file) : NULL;
    g->options.source_file = NULL; /* the caller's string may go */
    governor_machine_init(&g->machine, &options->rules);
    pthread_mutex_init(&g->mutex, NULL);
    thread_cond_init(&g->wake);

    /* One reading before anyone asks: a system that cannot be read at all is told now. */
    struct mem_sample sample;
    st = take_reading(g, &sample, err);
    if (st != STATUS_OK)
        goto fail;
    g->was_readable = true;
    atomic_store(&g->available_bytes, sample.available_bytes);
    metric_set(METRIC_MEMORY_AVAILABLE, (int64_t)(sample.available_bytes & INT64_MAX));

    st = thread_start(&g->thread, "memory", run, g);
    if (st != STATUS_OK) {
        (void)error_set(err, st, "cannot start the memory thread");
        goto fail;
    }
    *out = g;
    return STATUS_OK;
fail:
    destroy(g);
    return st;
}

void governor_stop(struct governor *g)
{
    if (g == NULL)
        return;
    pthread_mutex_lock(&g->mutex);
    g->is_stopping = true;
    pthread_cond_signal(&g->wake);
    pthread_mutex_unlock(&g->mutex);
    pthread_join(g->thread, NULL);
    destroy(g);
}

enum governor_state governor_state(const struct governor *g)
{
    return (enum governor_state)atomic_load(&g->state);
}

uint64_t governor_available_bytes(const struct governor *g)
{
    return atomic_load(&g->available_bytes);
}

uint64_t governor_reading_us(const struct governor *g)
{
    return atomic_load(&g->reading_us);
}
