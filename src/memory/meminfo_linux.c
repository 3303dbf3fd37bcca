#include "memory/meminfo_linux.h"

#include "base/file.h"
#include "memory/meminfo_parse.h"

enum {
    PATH_BYTES = 4096,
    FILE_BYTES = 1024 * 1024, /* mountinfo of a machine with thousands of containers */
};

/* The text of root + folder + name in `out`; a file that is not there is an empty text. */
static enum status read_text(const char *root, const char *folder, const char *name,
                             struct strbuf *out, struct error *err)
{
    struct strbuf path;
    strbuf_init(&path, PATH_BYTES);
    strbuf_printf(&path, "%s%s/%s", root, folder, name);
    strbuf_init(out, FILE_BYTES);
    enum status st = STATUS_OK;
    if (strbuf_status(&path) != STATUS_OK)
        st = error_set(err, STATUS_NO_MEMORY, "not enough memory to read %s/%s", folder, name);
    else
        st = file_read(strbuf_cstr(&path), out, err);
    strbuf_free(&path);
    if (st == STATUS_NOT_FOUND) {
        strbuf_clear(out);
        st = STATUS_OK;
    }
    return st;
}

static enum status read_host(const char *root, uint64_t own_mapped_bytes, struct mem_sample *out,
                             struct error *err)
{
    struct strbuf text;
    enum status st = read_text(root, "/proc", "meminfo", &text, err);
    if (st == STATUS_OK) {
        st = meminfo_parse_host(strbuf_str(&text), own_mapped_bytes, out);
        if (st != STATUS_OK)
            (void)error_set(err, st, "%s/proc/meminfo does not tell MemAvailable", root);
    }
    strbuf_free(&text);
    return st;
}

static enum status apply_limits(const char *root, struct mem_sample *sample, struct error *err)
{
    struct strbuf limits, status = {0};
    enum status st = read_text(root, "/proc/self", "limits", &limits, err);
    if (st == STATUS_OK)
        st = read_text(root, "/proc/self", "status", &status, err);
    if (st == STATUS_OK) {
        uint64_t left = meminfo_parse_limits(strbuf_str(&limits), strbuf_str(&status));
        if (left < sample->available_bytes)
            sample->available_bytes = left;
    }
    strbuf_free(&limits);
    strbuf_free(&status);
    return st;
}

/* Kernels with pressure accounting switched off refuse the read: then no pressure is known. */
static void apply_pressure(const char *root, const char *folder, const char *name,
                           struct mem_sample *sample)
{
    struct strbuf text;
    if (read_text(root, folder, name, &text, NULL) == STATUS_OK &&
        meminfo_parse_pressure(strbuf_str(&text)))
        sample->is_pressed = true;
    strbuf_free(&text);
}

static enum status apply_group(const char *root, const struct mem_cgroup *group,
                               uint64_t own_mapped_bytes, struct mem_sample *sample,
                               struct error *err)
{
    enum {
        MAX,
        HIGH,
        CURRENT,
        STAT,
        N_FILES,
    };
    static const char *const v1_names[N_FILES] = {"memory.limit_in_bytes", NULL,
                                                  "memory.usage_in_bytes", "memory.stat"};
    static const char *const v2_names[N_FILES] = {"memory.max", "memory.high", "memory.current",
                                                  "memory.stat"};
    const char *const *names = group->is_v2 ? v2_names : v1_names;
    const char *folder = strbuf_cstr(&group->path);
    struct strbuf texts[N_FILES] = {0};
    enum status st = STATUS_OK;
    for (int i = 0; i < N_FILES && st == STATUS_OK; i++)
        if (names[i] != NULL)
            st = read_text(root, folder, names[i], &texts[i], err);
    if (st != STATUS_OK)
        goto out;

    uint64_t left, limit;
    const struct mem_cgroup_files files = {
        .max = strbuf_str(&texts[MAX]),
        .high = strbuf_str(&texts[HIGH]),
        .current = strbuf_str(&texts[CURRENT]),
        .stat = strbuf_str(&texts[STAT]),
    };
    st = meminfo_parse_group(group->is_v2, &files, own_mapped_bytes, &left, &limit);
    if (st != STATUS_OK) {
        (void)error_set(err, st, "cannot read the memory limit in %s", folder);
        goto out;
    }
    if (left < sample->available_bytes)
        sample->available_bytes = left;
    if (limit < sample->total_bytes)
        sample->total_bytes = limit;
out:
    for (int i = 0; i < N_FILES; i++)
        strbuf_free(&texts[i]);
    return st;
}

/* The process's own group and every one above it: each may be the tightest. */
static enum status apply_groups(const char *root, uint64_t own_mapped_bytes,
                                struct mem_sample *sample, struct error *err)
{
    struct strbuf cgroup, mountinfo = {0};
    struct mem_cgroup group;
    enum status st = read_text(root, "/proc/self", "cgroup", &cgroup, err);
    if (st == STATUS_OK)
        st = read_text(root, "/proc/self", "mountinfo", &mountinfo, err);
    if (st != STATUS_OK ||
        !meminfo_find_cgroup(strbuf_str(&cgroup), strbuf_str(&mountinfo), &group))
        goto out;

    if (group.is_v2)
        apply_pressure(root, strbuf_cstr(&group.path), "memory.pressure", sample);
    do {
        st = apply_group(root, &group, own_mapped_bytes, sample, err);
    } while (st == STATUS_OK && mem_cgroup_parent(&group));
    mem_cgroup_free(&group);
out:
    strbuf_free(&cgroup);
    strbuf_free(&mountinfo);
    return st;
}

enum status meminfo_linux_read(const char *root, uint64_t own_mapped_bytes, struct mem_sample *out,
                               struct error *err)
{
    struct mem_sample sample;
    enum status st = read_host(root, own_mapped_bytes, &sample, err);
    if (st == STATUS_OK)
        st = apply_limits(root, &sample, err);
    if (st == STATUS_OK)
        st = apply_groups(root, own_mapped_bytes, &sample, err);
    if (st != STATUS_OK)
        return st;
    apply_pressure(root, "/proc/pressure", "memory", &sample);
    *out = sample;
    return STATUS_OK;
}

enum status meminfo_linux_self(const char *root, uint64_t *out_anon_bytes, uint64_t *out_file_bytes)
{
    struct strbuf status;
    uint64_t anon, file;
    enum status st = read_text(root, "/proc/self", "status", &status, NULL);
    if (st == STATUS_OK && (!meminfo_find_number(strbuf_str(&status), "RssAnon", &anon) ||
                            !meminfo_find_number(strbuf_str(&status), "RssFile", &file)))
        st = STATUS_CORRUPT;
    strbuf_free(&status);
    if (st == STATUS_OK) {
        *out_anon_bytes = anon;
        *out_file_bytes = file;
    }
    return st;
}
