/* cpu -- which processor this is, and how many of its cores this process may use. */
#pragma once

#include <stdint.h>

#include "strbuf.h"

/* Cores that threads of ours can run on together: what the process's affinity and its container's
 * quota leave; at least 1. */
uint32_t cpu_usable(void);

/* Of these, the ones that do not share their units with another (first threads of a core; on Apple
 * Silicon the fast cores); 0 where the system does not say. */
uint32_t cpu_physical(void);

/* Cores worth of time that the cgroup in `folder` allows, rounded up; 0: no bound is known. */
uint32_t cpu_quota(const char *folder);

/* Appends the processor's name, e.g. "AMD EPYC 7763 64-Core Processor". */
void cpu_name(struct strbuf *out);
