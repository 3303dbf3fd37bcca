#include "support/check.h"

#include <string.h>

#include "kernels/isa.h"

static void test_isa__every_name_is_read_back(void **state)
{
    (void)state;
    for (int i = 0; i < KERNEL_ISA_COUNT; i++) {
        enum kernel_isa isa = KERNEL_ISA_COUNT;
        assert_true(isa_from_name(isa_name((enum kernel_isa)i), &isa));
        assert_int_equal(isa, i);
    }
    enum kernel_isa untouched = KERNEL_ISA_AVX2;
    assert_false(isa_from_name("mmx", &untouched));
    assert_int_equal(untouched, KERNEL_ISA_AVX2);
}

static void test_isa__the_best_one_is_here_and_none_above_it_is(void **state)
{
    (void)state;
    enum kernel_isa best = isa_best();
    assert_true(isa_is_here(best));
    for (int i = (int)best + 1; i < KERNEL_ISA_COUNT; i++)
        assert_false(isa_is_here((enum kernel_isa)i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_isa__every_name_is_read_back),
        cmocka_unit_test(test_isa__the_best_one_is_here_and_none_above_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
