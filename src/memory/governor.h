/* governor -- decides from readings of free memory what the server may still do.
 *
 * The decisions (struct governor_rules, governor_step) are pure: samples and a clock in, a state
 * out.  Around them one thread ("memory") takes a reading 4 times a second, 10 times below 3 GB,
 * and publishes the state in atomics: a request never waits for a reading.
 *
 * States: DESIGN names them OK, WARN, REJECT, STOP; the API calls them Safe, Caution, Critical and
 * Emergency.  A state is entered after some samples in a row below its threshold and left only
 * after a time above threshold + 25 %, so that noise around a border does not flap. */
#pragma once

#include <stdint.h>

#include "base/status.h"
#include "memory/meminfo.h"

enum governor_state {
    GOVERNOR_SAFE,
    GOVERNOR_CAUTION,   /* < warn: logged, no background work        */
    GOVERNOR_CRITICAL,  /* < reject: new turns get 503, running go on */
    GOVERNOR_EMERGENCY, /* < stop: latched; the server drains, exit 75 */
};

struct governor_rules {
    uint64_t warn_bytes;   /* 2 GiB */
    uint64_t reject_bytes; /* 1 GiB */
    uint64_t stop_bytes;   /* 0.5 GiB */
};

#define GOVERNOR_RULES_DEFAULT                                                                     \
    ((struct governor_rules){UINT64_C(2) << 30, UINT64_C(1) << 30, UINT64_C(1) << 29})

enum {
    GOVERNOR_STATES = 4,
};

/* The pure part.  Arrays have one entry per state; those of SAFE are not used. */
struct governor_machine {
    struct governor_rules rules;
    enum governor_state state;
    unsigned below_count[GOVERNOR_STATES];    /* samples in a row below the state's threshold */
    uint64_t above_since_ms[GOVERNOR_STATES]; /* first sample above its leave threshold; 0: none */
    uint64_t last_good_ms;                    /* time of the last readable sample; 0: none yet */
};
void governor_machine_init(struct governor_machine *m, const struct governor_rules *rules);

/* One sample, at a time that is never 0 and never goes back; `sample` is NULL where the reading
 * failed (fails safe: keeps the state for 5 s, then at least CAUTION).  Returns the state. */
enum governor_state governor_step(struct governor_machine *m, const struct mem_sample *sample,
                                  uint64_t now_ms);

/* STATUS_INVALID unless warn > reject > stop > 0. */
MUST_USE enum status governor_rules_check(const struct governor_rules *rules, struct error *err);

/* One reading: of the system, or of `source_file` (tests) where that is not NULL.
 * `own_mapped_bytes` as for meminfo_read(). */
MUST_USE enum status governor_read(const char *source_file, uint64_t own_mapped_bytes,
                                   struct mem_sample *out, struct error *err);

/* The running part. */
struct governor;
struct governor_options {
    struct governor_rules rules;
    const char *source_file;     /* tests: "available_bytes" as decimal text, re-read; or NULL */
    uint64_t model_mapped_bytes; /* our own weights in the page cache: not free memory */
    void (*on_emergency)(void *arg); /* called once, on the memory thread */
    void *arg;
};
MUST_USE enum status governor_start(const struct governor_options *options, struct governor **out,
                                    struct error *err);
void governor_stop(struct governor *g);

/* Any thread, no waiting. */
enum governor_state governor_state(const struct governor *g);
uint64_t governor_available_bytes(const struct governor *g);
uint64_t governor_reading_us(const struct governor *g); /* cost of the last reading */
const char *governor_state_name(enum governor_state s); /* "Safe", "Caution", ... */
