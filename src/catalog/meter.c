#include "catalog/meter.h"

#include <stdio.h>

#include "base/clock.h"

enum {
    TELL_MS = 200,
    INTERVAL_MS = 1000, /* the speed is measured over this, then smoothed */
    NOTE_BYTES = 1024,
};

/* Weight of the newest interval: one slow second does not make the remaining time jump. */
static const double FRESH_WEIGHT = 0.3;

void meter_init(struct meter *m, const struct fetch_options *options, uint64_t total_bytes)
{
    *m = (struct meter){.options = options, .total_bytes = total_bytes, .what = ""};
}

/* The speed since the mark; 0 where nothing can be said. */
static double speed_since_mark(const struct meter *m, uint64_t done_bytes, uint64_t now_ms)
{
    if (now_ms <= m->mark_ms || done_bytes < m->mark_bytes)
        return 0;
    return (double)(done_bytes - m->mark_bytes) * 1000 / (double)(now_ms - m->mark_ms);
}

static void tell(const struct meter *m, uint64_t done_bytes, uint64_t now_ms)
{
    if (m->options->on_progress == NULL)
        return;
    struct fetch_progress p = {
        .done_bytes = done_bytes,
        .total_bytes = m->total_bytes,
        .bytes_per_s =
            m->bytes_per_s > 0 ? m->bytes_per_s : speed_since_mark(m, done_bytes, now_ms),
        .what = m->what,
    };
    m->options->on_progress(&p, m->options->arg);
}

void meter_begin(struct meter *m, const char *what, uint64_t done_bytes)
{
    m->what = what;
    m->bytes_per_s = 0;
    m->mark_ms = m->told_ms = clock_now_ms();
    m->mark_bytes = done_bytes;
}

bool meter_update(struct meter *m, uint64_t done_bytes)
{
    uint64_t now_ms = clock_now_ms();
    double fresh = speed_since_mark(m, done_bytes, now_ms);
    if (now_ms - m->mark_ms >= INTERVAL_MS) {
        m->bytes_per_s =
            m->bytes_per_s > 0 ? (1 - FRESH_WEIGHT) * m->bytes_per_s + FRESH_WEIGHT * fresh : fresh;
        m->mark_ms = now_ms;
        m->mark_bytes = done_bytes;
    }
    if (now_ms - m->told_ms >= TELL_MS) {
        m->told_ms = now_ms;
        tell(m, done_bytes, now_ms);
    }
    return m->options->stop != NULL && *m->options->stop != 0;
}

void meter_finish(struct meter *m, uint64_t done_bytes)
{
    tell(m, done_bytes, clock_now_ms());
}

void meter_note(const struct meter *m, const char *fmt, ...)
{
    if (m->options->on_note == NULL)
        return;
    char line[NOTE_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    m->options->on_note(line, m->options->arg);
}

enum status meter_stopped(struct error *err)
{
    return error_set(err, STATUS_CANCELLED, "stopped; the same command goes on from here");
}
