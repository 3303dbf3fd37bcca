#define _GNU_SOURCE
#include "cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

#include "file.h"

enum {
    INFO_BYTES = 1024 * 1024, /* /proc/cpuinfo of a machine with hundreds of cores */
    SMALL_BYTES = 4096,
};

/* The text of a small file; empty where there is none. */
static void read_small(const char *folder, const char *name, struct strbuf *out)
{
    struct strbuf path;
    strbuf_init(&path, SMALL_BYTES);
    strbuf_printf(&path, "%s/%s", folder, name);
    strbuf_init(out, SMALL_BYTES);
    if (file_read(strbuf_cstr(&path), out, NULL) != STATUS_OK)
        strbuf_clear(out);
    strbuf_free(&path);
}

static long read_number(const char *folder, const char *name)
{
    struct strbuf text;
    read_small(folder, name, &text);
    long n = strtol(strbuf_cstr(&text), NULL, 10);
    strbuf_free(&text);
    return n;
}

uint32_t cpu_quota(const char *folder)
{
    long quota, period;
    struct strbuf text;
    read_small(folder, "cpu.max", &text); /* version 2: "200000 100000" or "max 100000" */
    if (text.len > 0) {
        char *rest;
        quota = strtol(strbuf_cstr(&text), &rest, 10);
        period = strtol(rest, NULL, 10);
    } else {
        quota = read_number(folder, "cpu/cpu.cfs_quota_us"); /* version 1; -1: none */
        period = read_number(folder, "cpu/cpu.cfs_period_us");
    }
    strbuf_free(&text);
    if (quota <= 0 || period <= 0)
        return 0;
    long cores = (quota - 1) / period + 1;
    return cores < UINT16_MAX ? (uint32_t)cores : 0;
}

static uint32_t count_online(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (uint32_t)n : 1;
}

#ifdef __linux__

static bool get_affinity(cpu_set_t *set)
{
    return sched_getaffinity(0, sizeof *set, set) == 0 && CPU_COUNT(set) > 0;
}

uint32_t cpu_usable(void)
{
    cpu_set_t set;
    uint32_t n = get_affinity(&set) ? (uint32_t)CPU_COUNT(&set) : count_online();
    uint32_t quota = cpu_quota("/sys/fs/cgroup");
    return quota > 0 && quota < n ? quota : n;
}

/* A thread of a core is counted where no usable thread before it belongs to the same core: those
 * are listed in order, so the first of the list stands for all. */
uint32_t cpu_physical(void)
{
    cpu_set_t set;
    if (!get_affinity(&set))
        return 0;
    uint32_t n = 0;
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET(i, &set))
            continue;
        char folder[96];
        snprintf(folder, sizeof folder, "/sys/devices/system/cpu/cpu%zu/topology", i);
        struct strbuf siblings;
        read_small(folder, "thread_siblings_list", &siblings);
        size_t first = strtoul(strbuf_cstr(&siblings), NULL, 10);
        bool is_known = siblings.len > 0;
        strbuf_free(&siblings);
        if (!is_known)
            return 0;
        n += first == i || first >= CPU_SETSIZE || !CPU_ISSET(first, &set);
    }
    uint32_t usable = cpu_usable();
    return n < usable ? n : usable;
}

void cpu_name(struct strbuf *out)
{
    struct strbuf info;
    strbuf_init(&info, INFO_BYTES);
    if (file_read("/proc/cpuinfo", &info, NULL) != STATUS_OK)
        strbuf_clear(&info);
    struct str text = strbuf_str(&info);
    size_t at = str_find(text, STR("model name"));
    if (at == SIZE_MAX) {
        strbuf_append_cstr(out, "unknown processor");
    } else {
        const char *begin = text.ptr + at + strlen("model name");
        begin += strspn(begin, " \t:");
        strbuf_append(out, begin, strcspn(begin, "\n"));
    }
    strbuf_free(&info);
}

#else

uint32_t cpu_usable(void)
{
    return count_online();
}

uint32_t cpu_physical(void)
{
#ifdef __APPLE__
    int n = 0;
    size_t size = sizeof n;
    if (sysctlbyname("hw.perflevel0.physicalcpu", &n, &size, NULL, 0) == 0 && n > 0)
        return (uint32_t)n;
    size = sizeof n;
    if (sysctlbyname("hw.physicalcpu", &n, &size, NULL, 0) == 0 && n > 0)
        return (uint32_t)n;
#endif
    return 0;
}

void cpu_name(struct strbuf *out)
{
#ifdef __APPLE__
    char name[256];
    size_t size = sizeof name - 1;
    if (sysctlbyname("machdep.cpu.brand_string", name, &size, NULL, 0) == 0) {
        name[size] = '\0';
        strbuf_append_cstr(out, name);
        return;
    }
#endif
    strbuf_append_cstr(out, "unknown processor");
}

#endif
