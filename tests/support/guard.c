#define _GNU_SOURCE
#include "support/guard.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/status.h"

struct guard guard_copy(struct str s, size_t padding)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t usable = (s.len + padding + page - 1) / page * page;
    if (usable == 0)
        usable = page;
    char *base =
        mmap(NULL, usable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    INVARIANT(base != MAP_FAILED);
    INVARIANT(mprotect(base + usable, page, PROT_NONE) == 0);
    struct guard g = {
        .text = base + usable - padding - s.len,
        .len = s.len,
        .mapping = base,
        .mapping_bytes = usable + page,
    };
    if (s.len > 0)
        memcpy(g.text, s.ptr, s.len);
    return g;
}

void guard_free(struct guard *g)
{
    munmap(g->mapping, g->mapping_bytes);
    *g = (struct guard){0};
}
