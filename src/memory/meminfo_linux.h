/* meminfo_linux -- one reading from the /proc and cgroup files below a folder.
 *
 * `root` is "" on a real system; tests give a folder that holds proc/meminfo, proc/self/cgroup and
 * so on, on any operating system. */
#pragma once

#include "memory/meminfo.h"

MUST_USE enum status meminfo_linux_read(const char *root, uint64_t own_mapped_bytes,
                                        struct mem_sample *out, struct error *err);

MUST_USE enum status meminfo_linux_self(const char *root, uint64_t *out_anon_bytes,
                                        uint64_t *out_file_bytes);
