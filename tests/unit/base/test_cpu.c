/* Cores: the quota of a container, on made-up cgroup folders, and this machine's own answers. */
#include "base/cpu.h"

#include "support/check.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"

enum { PATH_BYTES = 256 };

static uint32_t quota_of(const char *name, const char *text, const char *other, const char *period)
{
    char folder[] = "/tmp/pensieve-cpu-XXXXXX", inner[64], path[PATH_BYTES], second[PATH_BYTES];
    assert_non_null(mkdtemp(folder));
    snprintf(inner, sizeof inner, "%s/cpu", folder);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(second, sizeof second, "%s/%s", folder, other);
    assert_int_equal(file_make_dirs(inner, NULL), STATUS_OK);
    assert_int_equal(file_write_atomic(path, str_from(text), NULL), STATUS_OK);
    assert_int_equal(file_write_atomic(second, str_from(period), NULL), STATUS_OK);
    uint32_t n = cpu_quota(folder);
    unlink(path);
    unlink(second);
    rmdir(inner);
    rmdir(folder);
    return n;
}

static void test_cpu__reads_the_quota_of_both_cgroup_versions(void **state)
{
    (void)state;
    assert_int_equal(quota_of("cpu.max", "200000 100000\n", "other", ""), 2);
    assert_int_equal(quota_of("cpu.max", "150000 100000\n", "other", ""), 2);
    assert_int_equal(quota_of("cpu.max", "50000 100000\n", "other", ""), 1);
    assert_int_equal(quota_of("cpu.max", "max 100000\n", "other", ""), 0);
    assert_int_equal(quota_of("cpu.max", "nonsense", "other", ""), 0);
    const char *quota = "cpu/cpu.cfs_quota_us", *period = "cpu/cpu.cfs_period_us";
    assert_int_equal(quota_of(quota, "400000\n", period, "100000\n"), 4);
    assert_int_equal(quota_of(quota, "-1\n", period, "100000\n"), 0);
    assert_int_equal(quota_of(quota, "400000\n", period, "0\n"), 0);
    assert_int_equal(cpu_quota("/nowhere/at/all"), 0);
}

static void test_cpu__knows_this_machine(void **state)
{
    (void)state;
    assert_true(cpu_usable() >= 1);
    assert_true(cpu_physical() <= cpu_usable());
    struct strbuf name;
    strbuf_init(&name, PATH_BYTES);
    cpu_name(&name);
    assert_true(name.len > 0);
    assert_true(str_find(strbuf_str(&name), STR("\n")) == SIZE_MAX);
    strbuf_free(&name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu__reads_the_quota_of_both_cgroup_versions),
        cmocka_unit_test(test_cpu__knows_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
