/* meminfo_parse -- what the systems' texts and counters say about memory.  No input or output: text
 * in, numbers out, so that every case runs in tests on any machine.
 *
 * A limit that is not set is UINT64_MAX.  All figures are bytes. */
#pragma once

#include "base/strbuf.h"
#include "memory/meminfo.h"

#define MEMINFO_UNLIMITED UINT64_MAX

/* The number in the line of `text` that begins with `key` (then blanks or a colon): plain, in kB,
 * or "max" / "unlimited".  False when there is no such line or no number in it. */
bool meminfo_find_number(struct str text, const char *key, uint64_t *out);

/* The number that `text` begins with; "max" and "unlimited" are MEMINFO_UNLIMITED. */
bool meminfo_number(struct str text, uint64_t *out);

/* /proc/meminfo.  The kernel counts mapped weights as free page cache: they are taken off. */
MUST_USE enum status meminfo_parse_host(struct str meminfo, uint64_t own_mapped_bytes,
                                        struct mem_sample *out);

/* /proc/self/limits and /proc/self/status: what RLIMIT_AS and RLIMIT_DATA leave; UNLIMITED when
 * neither is set. */
uint64_t meminfo_parse_limits(struct str limits, struct str status);

/* /proc/pressure/memory, or memory.pressure of a cgroup: true when all tasks stalled for memory for
 * over a tenth of the last ten seconds. */
bool meminfo_parse_pressure(struct str pressure);

/* Where the memory controller of this process lives. */
struct mem_cgroup {
    bool is_v2;
    struct strbuf path; /* folder of the process's own group */
    size_t mount_len;   /* the first bytes of `path`: the topmost group that can be seen */
};

/* From /proc/self/cgroup and /proc/self/mountinfo.  False when no memory controller is mounted. */
bool meminfo_find_cgroup(struct str cgroup, struct str mountinfo, struct mem_cgroup *out);
void mem_cgroup_free(struct mem_cgroup *g);

/* Cuts the last folder off; false at the topmost group. */
bool mem_cgroup_parent(struct mem_cgroup *g);

/* The files of one group; an empty text is a file that is not there. */
struct mem_cgroup_files {
    struct str max;     /* v2 memory.max,     v1 memory.limit_in_bytes */
    struct str high;    /* v2 memory.high */
    struct str current; /* v2 memory.current, v1 memory.usage_in_bytes */
    struct str stat;    /* memory.stat */
};

/* What the group leaves, in *out_left (UNLIMITED without a limit), and its limit.  Page cache that
 * the kernel would take back counts as free, our own weights do not. */
MUST_USE enum status meminfo_parse_group(bool is_v2, const struct mem_cgroup_files *files,
                                         uint64_t own_mapped_bytes, uint64_t *out_left,
                                         uint64_t *out_limit);

/* macOS: host_statistics64, in pages.  Free is what is not app memory, wired or compressed, as
 * inactive anonymous pages are not free and file-backed ones are. */
struct mem_page_counts {
    uint64_t page_bytes;
    uint64_t total_bytes;
    uint64_t internal; /* anonymous pages, purgeable ones included */
    uint64_t purgeable;
    uint64_t wired;
    uint64_t compressor;
};
void meminfo_from_pages(const struct mem_page_counts *pages, uint64_t own_mapped_bytes,
                        struct mem_sample *out);
