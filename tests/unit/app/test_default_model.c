/* The choice of the default model, on a scripted memory and a speed that was measured "before". */
#define _GNU_SOURCE
#include "support/check.h"

#include <stdlib.h>
#include <unistd.h>

#include "app/commands.h"
#include "support/folder.h"

#define GIB (UINT64_C(1) << 30)

struct choice {
    const struct catalog_model *model;
    char why[256];
};

/* With `free_bytes` of memory and a machine that does `macs_per_s`. */
static struct choice choose(uint64_t free_bytes, double macs_per_s)
{
    struct folder f;
    struct options options;
    struct choice choice;
    char memory[64], probe[64], memory_flag[512], cache_flag[512];
    folder_make(&f);
    snprintf(memory, sizeof memory, "%llu\n", (unsigned long long)free_bytes);
    folder_write(&f, "memory", memory);
    snprintf(memory_flag, sizeof memory_flag, "--memory-source=%s", folder_path(&f, "memory"));
    snprintf(cache_flag, sizeof cache_flag, "--cache-dir=%s", f.path);
    char *argv[] = {"pull", memory_flag, cache_flag};
    assert_int_equal(options_read(3, argv, &options, NULL), STATUS_OK);

    /* A first choice writes the file where the speed is kept, with what it counts as cores. */
    choice.model = default_model(&options, choice.why, sizeof choice.why);
    struct strbuf kept;
    folder_read(&f, "probe", &kept);
    snprintf(probe, sizeof probe, "%ld %.0f\n", strtol(strbuf_cstr(&kept), NULL, 10), macs_per_s);
    folder_write(&f, "probe", probe);
    choice.model = default_model(&options, choice.why, sizeof choice.why);
    strbuf_free(&kept);
    options_free(&options);
    folder_remove(&f);
    return choice;
}

static void test_default_model__a_quick_machine_with_room_gets_the_larger_one(void **state)
{
    (void)state;
    struct choice c = choose(8 * GIB, 1e12);
    assert_string_equal(c.model->name, "qwen2.5-coder:1.5b");
    assert_non_null(strstr(c.why, "about 1 s"));
}

static void test_default_model__little_memory_gets_the_smaller_one_and_is_told(void **state)
{
    (void)state;
    struct choice c = choose(4 * GIB - 1, 1e12);
    assert_string_equal(c.model->name, "qwen2.5-coder:0.5b");
    assert_non_null(strstr(c.why, "4.0 GB are free"));
    assert_string_equal(choose(4 * GIB, 1e12).model->name, "qwen2.5-coder:1.5b");
}

static void test_default_model__a_slow_machine_gets_the_smaller_one_and_is_told(void **state)
{
    (void)state;
    struct choice c = choose(8 * GIB, 1e10);
    assert_string_equal(c.model->name, "qwen2.5-coder:0.5b");
    assert_non_null(strstr(c.why, "would need about 93 s"));
}

int main(void)
{
    /* The user's own settings are none of this test's. */
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_model__a_quick_machine_with_room_gets_the_larger_one),
        cmocka_unit_test(test_default_model__little_memory_gets_the_smaller_one_and_is_told),
        cmocka_unit_test(test_default_model__a_slow_machine_gets_the_smaller_one_and_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
