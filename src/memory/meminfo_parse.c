#include "memory/meminfo_parse.h"

enum {
    KIB = 1024,
    PATH_BYTES = 4096,
    /* Percent of time; systemd-oomd acts at 60 for 30 s, a person feels far less. */
    PRESSED_PERCENT = 10,
};

/* cgroup v1 writes "no limit" as the largest multiple of a page that fits. */
static const uint64_t V1_UNLIMITED = UINT64_C(1) << 60;

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Takes what stands before the next `separator` (or all) off `rest`. */
static bool take_until(struct str *rest, char separator, struct str *out)
{
    if (rest->len == 0)
        return false;
    const char *end = memchr(rest->ptr, separator, rest->len);
    size_t n = end != NULL ? (size_t)(end - rest->ptr) : rest->len;
    *out = (struct str){rest->ptr, n};
    size_t skip = end != NULL ? n + 1 : n;
    *rest = (struct str){rest->ptr + skip, rest->len - skip};
    return true;
}

static struct str skip_blanks(struct str s)
{
    while (s.len > 0 && (*s.ptr == ' ' || *s.ptr == '\t' || *s.ptr == ':')) {
        s.ptr++;
        s.len--;
    }
    return s;
}

bool meminfo_number(struct str text, uint64_t *out)
{
    struct str s = skip_blanks(text);
    if (str_starts_with(s, STR("max")) || str_starts_with(s, STR("unlimited"))) {
        *out = MEMINFO_UNLIMITED;
        return true;
    }
    uint64_t value = 0;
    size_t i = 0;
    for (; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++) {
        uint64_t digit = (uint64_t)(s.ptr[i] - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (i == 0)
        return false;
    struct str unit = skip_blanks((struct str){s.ptr + i, s.len - i});
    if (str_starts_with(unit, STR("kB"))) {
        if (value > UINT64_MAX / KIB)
            return false;
        value *= KIB;
    }
    *out = value;
    return true;
}

bool meminfo_find_number(struct str text, const char *key, uint64_t *out)
{
    struct str wanted = str_from(key);
    struct str line;
    while (take_until(&text, '\n', &line)) {
        if (!str_starts_with(line, wanted) || line.len == wanted.len)
            continue;
        char after = line.ptr[wanted.len];
        if (after != ':' && after != ' ' && after != '\t')
            continue;
        return meminfo_number((struct str){line.ptr + wanted.len, line.len - wanted.len}, out);
    }
    return false;
}

enum status meminfo_parse_host(struct str meminfo, uint64_t own_mapped_bytes,
                               struct mem_sample *out)
{
    uint64_t available, total;
    if (!meminfo_find_number(meminfo, "MemAvailable", &available) ||
        !meminfo_find_number(meminfo, "MemTotal", &total))
        return STATUS_CORRUPT;
    *out = (struct mem_sample){
        .available_bytes = minus(available, own_mapped_bytes),
        .total_bytes = total,
    };
    return STATUS_OK;
}

uint64_t meminfo_parse_limits(struct str limits, struct str status)
{
    static const struct {
        const char *limit, *used;
    } pairs[] = {
        {"Max address space", "VmSize"},
        {"Max data size", "VmData"},
    };
    uint64_t left = MEMINFO_UNLIMITED;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        uint64_t limit, used;
        if (meminfo_find_number(limits, pairs[i].limit, &limit) && limit != MEMINFO_UNLIMITED &&
            meminfo_find_number(status, pairs[i].used, &used))
            left = least(left, minus(limit, used));
    }
    return left;
}

bool meminfo_parse_pressure(struct str pressure)
{
    struct str line;
    while (take_until(&pressure, '\n', &line)) {
        struct str head = STR("full avg10=");
        uint64_t percent;
        if (str_starts_with(line, head) &&
            meminfo_number((struct str){line.ptr + head.len, line.len - head.len}, &percent))
            return percent >= PRESSED_PERCENT;
    }
    return false;
}

/* One of the names in "cpu,memory,cpuacct"? */
static bool has_name(struct str list, const char *name)
{
    struct str one;
    while (take_until(&list, ',', &one))
        if (str_is(one, name))
            return true;
    return false;
}

/* The process's path in the v1 memory hierarchy; where there is none, in the v2 hierarchy.  Lines
 * are "id:controllers:path"; v2 is "0::path". */
static bool find_group_path(struct str cgroup, bool *out_is_v2, struct str *out_path)
{
    bool found = false;
    struct str line;
    while (take_until(&cgroup, '\n', &line)) {
        struct str id, controllers;
        if (!take_until(&line, ':', &id) || !take_until(&line, ':', &controllers))
            continue;
        bool is_v1_memory = has_name(controllers, "memory");
        if (!is_v1_memory && !(str_is(id, "0") && controllers.len == 0))
            continue;
        *out_is_v2 = !is_v1_memory;
        *out_path = line;
        found = true;
        if (is_v1_memory)
            return true;
    }
    return found;
}

struct mount {
    struct str root; /* which folder of the hierarchy is shown */
    struct str point;
};

/* A line of mountinfo: "id parent dev root point options [tags] - type source super_options". */
static bool parse_mount(struct str line, bool is_v2, struct mount *out)
{
    struct str fields[5];
    for (size_t i = 0; i < 5; i++)
        if (!take_until(&line, ' ', &fields[i]))
            return false;
    struct str separator = STR(" - ");
    size_t at = str_find(line, separator);
    if (at == SIZE_MAX)
        return false;
    struct str tail = {line.ptr + at + separator.len, line.len - at - separator.len};
    struct str type, source;
    if (!take_until(&tail, ' ', &type) || !take_until(&tail, ' ', &source))
        return false;
    if (is_v2 ? !str_is(type, "cgroup2") : !(str_is(type, "cgroup") && has_name(tail, "memory")))
        return false;
    *out = (struct mount){.root = fields[3], .point = fields[4]};
    return true;
}

static bool find_mount(struct str mountinfo, bool is_v2, struct mount *out)
{
    struct str line;
    while (take_until(&mountinfo, '\n', &line))
        if (parse_mount(line, is_v2, out))
            return true;
    return false;
}

/* `path` as seen below the mount: without the mount's root.  A path outside of it (a namespace made
 * after we were placed) leaves only the mount itself. */
static struct str below_root(struct str path, struct str root)
{
    if (str_is(root, "/"))
        return str_find(path, STR("/..")) == SIZE_MAX ? path : STR("");
    if (!str_starts_with(path, root))
        return STR("");
    struct str rest = {path.ptr + root.len, path.len - root.len};
    return rest.len == 0 || rest.ptr[0] == '/' ? rest : STR("");
}

bool meminfo_find_cgroup(struct str cgroup, struct str mountinfo, struct mem_cgroup *out)
{
    struct str path = {0};
    struct mount mount = {0};
    bool is_v2 = false;
    if (!find_group_path(cgroup, &is_v2, &path) || !find_mount(mountinfo, is_v2, &mount))
        return false;
    *out = (struct mem_cgroup){.is_v2 = is_v2};
    strbuf_init(&out->path, PATH_BYTES);
    strbuf_append_str(&out->path, mount.point);
    out->mount_len = out->path.len;
    struct str below = below_root(path, mount.root);
    if (!str_is(below, "/"))
        strbuf_append_str(&out->path, below);
    if (out->path.failed) {
        strbuf_free(&out->path);
        return false;
    }
    return true;
}

void mem_cgroup_free(struct mem_cgroup *g)
{
    strbuf_free(&g->path);
}

bool mem_cgroup_parent(struct mem_cgroup *g)
{
    size_t len = g->path.len;
    if (len <= g->mount_len)
        return false;
    while (len > g->mount_len && g->path.data[len - 1] != '/')
        len--;
    if (len > g->mount_len)
        len--; /* the slash */
    g->path.data[len] = '\0';
    g->path.len = len;
    return true;
}

/* How much of the group's memory the kernel would take back without harm: inactive file pages, half
 * of the active ones (they are in use, but not all at once) and reclaimable slab.  Never more of
 * the file pages than are not our weights. */
static uint64_t reclaimable(bool is_v2, struct str stat, uint64_t own_mapped_bytes)
{
    uint64_t inactive = 0, active = 0, slab = 0;
    (void)meminfo_find_number(stat, is_v2 ? "inactive_file" : "total_inactive_file", &inactive);
    (void)meminfo_find_number(stat, is_v2 ? "active_file" : "total_active_file", &active);
    if (is_v2)
        (void)meminfo_find_number(stat, "slab_reclaimable", &slab);
    uint64_t not_ours = minus(inactive + active, own_mapped_bytes);
    return least(inactive + active / 2, not_ours) + slab;
}

enum status meminfo_parse_group(bool is_v2, const struct mem_cgroup_files *files,
                                uint64_t own_mapped_bytes, uint64_t *out_left, uint64_t *out_limit)
{
    uint64_t limit = MEMINFO_UNLIMITED, high = MEMINFO_UNLIMITED, hierarchical;
    /* The root group has no limit file. */
    if (files->max.len > 0 && !meminfo_number(files->max, &limit))
        return STATUS_CORRUPT;
    if (files->high.len > 0 && !meminfo_number(files->high, &high))
        return STATUS_CORRUPT;
    limit = least(limit, high);
    if (!is_v2) {
        /* Also knows of ancestors that a container does not see. */
        if (meminfo_find_number(files->stat, "hierarchical_memory_limit", &hierarchical))
            limit = least(limit, hierarchical);
        if (limit >= V1_UNLIMITED)
            limit = MEMINFO_UNLIMITED;
    }
    *out_limit = limit;
    *out_left = MEMINFO_UNLIMITED;
    if (limit == MEMINFO_UNLIMITED)
        return STATUS_OK;
    uint64_t used;
    if (!meminfo_number(files->current, &used))
        return STATUS_CORRUPT;
    used = minus(used, reclaimable(is_v2, files->stat, own_mapped_bytes));
    *out_left = minus(limit, used);
    return STATUS_OK;
}

void meminfo_from_pages(const struct mem_page_counts *pages, uint64_t own_mapped_bytes,
                        struct mem_sample *out)
{
    uint64_t app = minus(pages->internal, pages->purgeable);
    uint64_t taken = (app + pages->wired + pages->compressor) * pages->page_bytes;
    *out = (struct mem_sample){
        .available_bytes = minus(minus(pages->total_bytes, taken), own_mapped_bytes),
        .total_bytes = pages->total_bytes,
    };
}
