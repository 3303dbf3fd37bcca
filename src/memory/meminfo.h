/* meminfo -- how much memory this process could still take without harm, read from the system.
 *
 * Linux: the least of the host's MemAvailable, what every cgroup (v1 or v2, all ancestors) leaves,
 * and the resource limits; our own mapped weights, which the kernel counts as free page cache, are
 * taken off.  macOS: total - (app + wired + compressed).  The parsers take text, so that each runs
 * in tests on any system. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/str.h"

struct mem_sample {
    uint64_t available_bytes; /* after all limits, own weights taken off */
    uint64_t total_bytes;     /* of the host, or the tightest limit */
    bool is_pressed;          /* the system itself says that memory is short: tasks stall for it */
};

/* One reading.  `own_mapped_bytes`: resident file mappings of ours that must stay (weights). */
MUST_USE enum status meminfo_read(uint64_t own_mapped_bytes, struct mem_sample *out,
                                  struct error *err);

/* The resident set of this process, told apart: anonymous, and file-backed. */
MUST_USE enum status meminfo_self(uint64_t *out_anon_bytes, uint64_t *out_file_bytes);
