/* meter -- the progress of one fetch: how fast, how far, and whether somebody wants it to stop. */
#pragma once

#include "catalog/fetch.h"

struct meter {
    const struct fetch_options *options;
    uint64_t total_bytes;
    const char *what; /* the step under way */
    double bytes_per_s;
    uint64_t mark_ms, mark_bytes; /* where the interval that is being measured began */
    uint64_t told_ms;             /* when on_progress was called last */
};

void meter_init(struct meter *m, const struct fetch_options *options, uint64_t total_bytes);

/* A new step, which begins at `done_bytes`: its speed is measured afresh.  `what` must outlive it.
 */
void meter_begin(struct meter *m, const char *what, uint64_t done_bytes);

/* Tells on_progress a few times a second.  True when the fetch has to stop. */
bool meter_update(struct meter *m, uint64_t done_bytes);

/* The last word of a step, told whatever the time. */
void meter_finish(struct meter *m, uint64_t done_bytes);

void meter_note(const struct meter *m, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* STATUS_CANCELLED, with what the user wants to know after Ctrl-C. */
enum status meter_stopped(struct error *err);
