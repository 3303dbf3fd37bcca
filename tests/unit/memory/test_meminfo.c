/* What the readers make of the systems' texts: fake trees of cgroup v1 and v2, macOS counters, and
 * one real reading. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "memory/meminfo_linux.h"
#include "memory/meminfo_parse.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

#define HOST                                                                                       \
    "MemTotal:       16777216 kB\nMemFree:         1000000 kB\nMemAvailable:    8388608 kB\n"

/* ---- Texts ---- */

static void test_number__reads_plain_kilobytes_and_unlimited(void **state)
{
    (void)state;
    uint64_t n;
    assert_true(meminfo_number(STR("12\n"), &n) && n == 12);
    assert_true(meminfo_number(STR(":  12 kB"), &n) && n == 12 * KIB);
    assert_true(meminfo_number(STR("max\n"), &n) && n == MEMINFO_UNLIMITED);
    assert_true(meminfo_number(STR("unlimited"), &n) && n == MEMINFO_UNLIMITED);
    assert_false(meminfo_number(STR(""), &n));
    assert_false(meminfo_number(STR("-1"), &n));
    assert_false(meminfo_number(STR("18446744073709551616"), &n));
    assert_false(meminfo_number(STR("18446744073709551615 kB"), &n));
}

static void test_find_number__matches_whole_keys_at_line_starts(void **state)
{
    (void)state;
    struct str text = STR("xactive_file 1\ninactive_file 2\nactive_file_old 3\nactive_file 4\n");
    uint64_t n;
    assert_true(meminfo_find_number(text, "active_file", &n) && n == 4);
    assert_false(meminfo_find_number(text, "file", &n));
    assert_false(meminfo_find_number(STR("active_file"), "active_file", &n));
}

static void test_host__own_weights_are_not_free(void **state)
{
    (void)state;
    struct mem_sample s;
    assert_int_equal(meminfo_parse_host(STR(HOST), 3 * GIB, &s), STATUS_OK);
    assert_true(s.available_bytes == 5 * GIB && s.total_bytes == 16 * GIB);
    assert_int_equal(meminfo_parse_host(STR(HOST), 100 * GIB, &s), STATUS_OK);
    assert_true(s.available_bytes == 0);
    assert_int_equal(meminfo_parse_host(STR("MemTotal: 1 kB\n"), 0, &s), STATUS_CORRUPT);
}

static void test_limits__the_tighter_of_address_space_and_data(void **state)
{
    (void)state;
    struct str status = STR("VmSize:\t 1048576 kB\nVmData:\t  524288 kB\n");
    struct str none =
        STR("Max data size             unlimited            unlimited            bytes\n"
            "Max address space         unlimited            unlimited            bytes\n");
    assert_true(meminfo_parse_limits(none, status) == MEMINFO_UNLIMITED);
    struct str both =
        STR("Max data size             1073741824           unlimited            bytes\n"
            "Max address space         4294967296           unlimited            bytes\n");
    assert_true(meminfo_parse_limits(both, status) == 512 * MIB);
    struct str passed =
        STR("Max address space         1024                 unlimited            bytes\n");
    assert_true(meminfo_parse_limits(passed, status) == 0);
}

static void test_pressure__full_stalls_over_ten_percent(void **state)
{
    (void)state;
    assert_false(meminfo_parse_pressure(STR("some avg10=50.00 avg60=0.00 avg300=0.00 total=0\n"
                                            "full avg10=9.99 avg60=0.00 avg300=0.00 total=0\n")));
    assert_true(meminfo_parse_pressure(STR("some avg10=50.00 avg60=0.00 avg300=0.00 total=0\n"
                                           "full avg10=10.00 avg60=0.00 avg300=0.00 total=0\n")));
    assert_false(meminfo_parse_pressure(STR("")));
}

static void check_cgroup(const char *cgroup, const char *mountinfo, bool is_v2, const char *path)
{
    struct mem_cgroup g;
    assert_true(meminfo_find_cgroup(str_from(cgroup), str_from(mountinfo), &g));
    assert_int_equal(g.is_v2, is_v2);
    assert_string_equal(strbuf_cstr(&g.path), path);
    mem_cgroup_free(&g);
}

#define V1_MOUNTS                                                                                  \
    "30 29 0:28 / /proc rw - proc proc rw\n"                                                       \
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"          \
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"

static void test_cgroup__finds_v1_v2_and_container_paths(void **state)
{
    (void)state;
    check_cgroup("9:name=systemd:/\n4:cpu,memory:/a/b\n0::/x\n", V1_MOUNTS, false,
                 "/sys/fs/cgroup/memory/a/b");
    check_cgroup("0::/user.slice/x.scope\n", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 none rw\n",
                 true, "/sys/fs/cgroup/user.slice/x.scope");
    check_cgroup("0::/\n", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 none rw\n", true,
                 "/sys/fs/cgroup");
    /* Docker on v1: the mount shows only the container's own folder. */
    check_cgroup("4:memory:/docker/abc/sub\n",
                 "9 1 0:1 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", false,
                 "/sys/fs/cgroup/memory/sub");
    /* Moved out of the namespace's root, or another folder with the same beginning. */
    check_cgroup("0::/../other\n", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 none rw\n", true,
                 "/sys/fs/cgroup");
    check_cgroup("4:memory:/docker/abcd\n",
                 "9 1 0:1 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", false,
                 "/sys/fs/cgroup/memory");
}

static void test_cgroup__none_without_a_memory_controller(void **state)
{
    (void)state;
    struct mem_cgroup g;
    assert_false(meminfo_find_cgroup(STR(""), STR(V1_MOUNTS), &g));
    assert_false(meminfo_find_cgroup(STR("4:memory:/a\n"), STR(""), &g));
    assert_false(meminfo_find_cgroup(STR("garbage\n4:memory\n"), STR("x y\n- - -\n"), &g));
}

static void test_cgroup__parents_end_at_the_mount(void **state)
{
    (void)state;
    struct mem_cgroup g;
    assert_true(meminfo_find_cgroup(STR("4:memory:/a/b\n"), STR(V1_MOUNTS), &g));
    assert_true(mem_cgroup_parent(&g));
    assert_string_equal(strbuf_cstr(&g.path), "/sys/fs/cgroup/memory/a");
    assert_true(mem_cgroup_parent(&g));
    assert_string_equal(strbuf_cstr(&g.path), "/sys/fs/cgroup/memory");
    assert_false(mem_cgroup_parent(&g));
    mem_cgroup_free(&g);
}

static void test_group__page_cache_is_free_but_our_weights_are_not(void **state)
{
    (void)state;
    /* 4 GiB limit, 3 GiB used, of which 1 GiB inactive and 1 GiB active file pages. */
    struct mem_cgroup_files files = {
        .max = STR("4294967296\n"),
        .high = STR("max\n"),
        .current = STR("3221225472\n"),
        .stat = STR("inactive_file 1073741824\nactive_file 1073741824\nslab_reclaimable 0\n"),
    };
    uint64_t left, limit;
    assert_int_equal(meminfo_parse_group(true, &files, 0, &left, &limit), STATUS_OK);
    assert_true(left == 2560 * MIB && limit == 4 * GIB);
    assert_int_equal(meminfo_parse_group(true, &files, 1792 * MIB, &left, &limit), STATUS_OK);
    assert_true(left == 1280 * MIB);
    assert_int_equal(meminfo_parse_group(true, &files, 8 * GIB, &left, &limit), STATUS_OK);
    assert_true(left == 1 * GIB);

    files.high = STR("2147483648\n");
    assert_int_equal(meminfo_parse_group(true, &files, 8 * GIB, &left, &limit), STATUS_OK);
    assert_true(left == 0 && limit == 2 * GIB);
}

static void test_group__damaged_files_are_told_and_missing_limits_are_none(void **state)
{
    (void)state;
    uint64_t left, limit;
    struct mem_cgroup_files none = {0};
    assert_int_equal(meminfo_parse_group(true, &none, 0, &left, &limit), STATUS_OK);
    assert_true(left == MEMINFO_UNLIMITED && limit == MEMINFO_UNLIMITED);
    struct mem_cgroup_files bad = {.max = STR("oops")};
    assert_int_equal(meminfo_parse_group(true, &bad, 0, &left, &limit), STATUS_CORRUPT);
    struct mem_cgroup_files half = {.max = STR("100"), .current = STR("")};
    assert_int_equal(meminfo_parse_group(true, &half, 0, &left, &limit), STATUS_CORRUPT);
}

static void test_group__v1_knows_its_unlimited_and_hidden_ancestors(void **state)
{
    (void)state;
    uint64_t left, limit;
    struct mem_cgroup_files files = {
        .max = STR("9223372036854771712\n"),
        .current = STR("1073741824\n"),
        .stat = STR("hierarchical_memory_limit 9223372036854771712\n"),
    };
    assert_int_equal(meminfo_parse_group(false, &files, 0, &left, &limit), STATUS_OK);
    assert_true(limit == MEMINFO_UNLIMITED);
    files.stat = STR("hierarchical_memory_limit 2147483648\ntotal_inactive_file 536870912\n"
                     "inactive_file 7\n");
    assert_int_equal(meminfo_parse_group(false, &files, 0, &left, &limit), STATUS_OK);
    assert_true(limit == 2 * GIB && left == 1536 * MIB);
}

static void test_pages__macos_counts_app_wired_and_compressed_as_taken(void **state)
{
    (void)state;
    struct mem_page_counts pages = {
        .page_bytes = 16384,
        .total_bytes = 16 * GIB,
        .internal = 5 * GIB / 16384,
        .purgeable = 1 * GIB / 16384,
        .wired = 2 * GIB / 16384,
        .compressor = 1 * GIB / 16384,
    };
    struct mem_sample s;
    meminfo_from_pages(&pages, 2 * GIB, &s);
    assert_true(s.available_bytes == 7 * GIB && s.total_bytes == 16 * GIB);
    meminfo_from_pages(&pages, 20 * GIB, &s);
    assert_true(s.available_bytes == 0);
}

/* ---- Whole readings from a fake tree ---- */

struct tree {
    char root[64];
};

static int tree_setup(void **state)
{
    static struct tree t;
    snprintf(t.root, sizeof t.root, "meminfo-tree.XXXXXX");
    *state = &t;
    return mkdtemp(t.root) == NULL;
}

static int tree_teardown(void **state)
{
    const struct tree *t = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", t->root);
    return system(command);
}

static void tree_write(const struct tree *t, const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", t->root, path);
    char *slash = strrchr(full, '/');
    *slash = '\0';
    assert_int_equal(file_make_dirs(full, NULL), STATUS_OK);
    *slash = '/';
    assert_int_equal(file_write_atomic(full, str_from(text), NULL), STATUS_OK);
}

static void test_linux__tightest_of_all_v2_ancestors_counts(void **state)
{
    const struct tree *t = *state;
    tree_write(t, "proc/meminfo", HOST);
    tree_write(t, "proc/self/cgroup", "0::/user/app\n");
    tree_write(t, "proc/self/mountinfo", "31 23 0:28 / /cg rw - cgroup2 none rw\n");
    tree_write(t, "cg/user/app/memory.max", "max\n");
    tree_write(t, "cg/user/app/memory.high", "max\n");
    tree_write(t, "cg/user/app/memory.current", "1073741824\n");
    tree_write(t, "cg/user/app/memory.stat", "inactive_file 0\n");
    struct mem_sample s;
    assert_int_equal(meminfo_linux_read(t->root, 0, &s, NULL), STATUS_OK);
    assert_true(s.available_bytes == 8 * GIB && s.total_bytes == 16 * GIB && !s.is_pressed);

    tree_write(t, "cg/user/memory.max", "4294967296\n");
    tree_write(t, "cg/user/memory.current", "3221225472\n");
    tree_write(t, "cg/user/memory.stat", "inactive_file 536870912\n");
    tree_write(t, "cg/user/app/memory.pressure", "full avg10=33.10 avg60=0.00\n");
    assert_int_equal(meminfo_linux_read(t->root, 0, &s, NULL), STATUS_OK);
    assert_true(s.available_bytes == 1536 * MIB && s.total_bytes == 4 * GIB && s.is_pressed);
}

static void test_linux__reads_v1_limits_and_resource_limits(void **state)
{
    const struct tree *t = *state;
    tree_write(t, "proc/meminfo", HOST);
    tree_write(t, "proc/self/cgroup", "4:memory:/box\n0::/\n");
    tree_write(t, "proc/self/mountinfo", "35 31 0:32 / /cg rw - cgroup cgroup rw,memory\n");
    tree_write(t, "cg/box/memory.limit_in_bytes", "3221225472\n");
    tree_write(t, "cg/box/memory.usage_in_bytes", "1073741824\n");
    tree_write(t, "cg/box/memory.stat", "total_inactive_file 0\n");
    tree_write(t, "cg/memory.limit_in_bytes", "9223372036854771712\n");
    struct mem_sample s;
    assert_int_equal(meminfo_linux_read(t->root, 0, &s, NULL), STATUS_OK);
    assert_true(s.available_bytes == 2 * GIB && s.total_bytes == 3 * GIB);

    tree_write(t, "proc/self/limits", "Max address space         2147483648  2147483648  bytes\n");
    tree_write(t, "proc/self/status",
               "VmSize:\t 1048576 kB\nRssAnon:\t 100 kB\nRssFile:\t 200 kB\n");
    assert_int_equal(meminfo_linux_read(t->root, 0, &s, NULL), STATUS_OK);
    assert_true(s.available_bytes == 1 * GIB);

    uint64_t anon, mapped;
    assert_int_equal(meminfo_linux_self(t->root, &anon, &mapped), STATUS_OK);
    assert_true(anon == 100 * KIB && mapped == 200 * KIB);
}

static void test_linux__without_meminfo_there_is_no_reading(void **state)
{
    const struct tree *t = *state;
    struct mem_sample s;
    struct error err = {0};
    assert_int_equal(meminfo_linux_read(t->root, 0, &s, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.message, "MemAvailable"));
    tree_write(t, "proc/meminfo", HOST);
    tree_write(t, "proc/self/cgroup", "0::/\n");
    tree_write(t, "proc/self/mountinfo", "31 23 0:28 / /cg rw - cgroup2 none rw\n");
    tree_write(t, "cg/memory.max", "not a number\n");
    assert_int_equal(meminfo_linux_read(t->root, 0, &s, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.message, "/cg"));
}

/* ---- This machine ---- */

static void test_meminfo__reads_this_machine(void **state)
{
    (void)state;
    struct mem_sample s;
    struct error err = {0};
    assert_int_equal(meminfo_read(0, &s, &err), STATUS_OK);
    assert_true(s.available_bytes > 16 * MIB);
    assert_true(s.available_bytes <= s.total_bytes);
    struct mem_sample less;
    assert_int_equal(meminfo_read(UINT64_C(1) << 60, &less, &err), STATUS_OK);
    assert_true(less.available_bytes == 0);
}

static void test_meminfo__tells_anonymous_memory_of_this_process(void **state)
{
    (void)state;
    enum {
        BYTES = 64 * 1024 * 1024,
    };
    uint64_t anon_before, anon_after, mapped;
    assert_int_equal(meminfo_self(&anon_before, &mapped), STATUS_OK);
    assert_true(mapped > 0);
    char *block = mem_alloc(BYTES);
    for (size_t i = 0; i < BYTES; i += 4096)
        ((volatile char *)block)[i] = 1;
    assert_int_equal(meminfo_self(&anon_after, &mapped), STATUS_OK);
    assert_true(anon_after - anon_before > BYTES * 9 / 10);
    mem_free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_number__reads_plain_kilobytes_and_unlimited),
        cmocka_unit_test(test_find_number__matches_whole_keys_at_line_starts),
        cmocka_unit_test(test_host__own_weights_are_not_free),
        cmocka_unit_test(test_limits__the_tighter_of_address_space_and_data),
        cmocka_unit_test(test_pressure__full_stalls_over_ten_percent),
        cmocka_unit_test(test_cgroup__finds_v1_v2_and_container_paths),
        cmocka_unit_test(test_cgroup__none_without_a_memory_controller),
        cmocka_unit_test(test_cgroup__parents_end_at_the_mount),
        cmocka_unit_test(test_group__page_cache_is_free_but_our_weights_are_not),
        cmocka_unit_test(test_group__damaged_files_are_told_and_missing_limits_are_none),
        cmocka_unit_test(test_group__v1_knows_its_unlimited_and_hidden_ancestors),
        cmocka_unit_test(test_pages__macos_counts_app_wired_and_compressed_as_taken),
        cmocka_unit_test_setup_teardown(test_linux__tightest_of_all_v2_ancestors_counts, tree_setup,
                                        tree_teardown),
        cmocka_unit_test_setup_teardown(test_linux__reads_v1_limits_and_resource_limits, tree_setup,
                                        tree_teardown),
        cmocka_unit_test_setup_teardown(test_linux__without_meminfo_there_is_no_reading, tree_setup,
                                        tree_teardown),
        cmocka_unit_test(test_meminfo__reads_this_machine),
        cmocka_unit_test(test_meminfo__tells_anonymous_memory_of_this_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
