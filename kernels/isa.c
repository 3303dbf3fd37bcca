#include "kernels/isa.h"

#include <string.h>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

static const char *const names[KERNEL_ISA_COUNT] = {
    [KERNEL_ISA_NONE] = "off",      [KERNEL_ISA_AVX2] = "avx2",
    [KERNEL_ISA_AVX512] = "avx512", [KERNEL_ISA_AVX512_VNNI] = "avx512-vnni",
    [KERNEL_ISA_NEON] = "neon",     [KERNEL_ISA_NEON_I8MM] = "neon-i8mm",
};

const char *isa_name(enum kernel_isa isa)
{
    return names[isa];
}

bool isa_from_name(const char *name, enum kernel_isa *out)
{
    for (int i = 0; i < KERNEL_ISA_COUNT; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum kernel_isa)i;
            return true;
        }
    }
    return false;
}

#if defined(__x86_64__)

/* The compiler's run-time check asks the system too (XGETBV), not only the processor. */
static bool has(enum kernel_isa isa)
{
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("f16c");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    switch (isa) {
    case KERNEL_ISA_AVX2:
        return avx2;
    case KERNEL_ISA_AVX512:
        return avx512;
    case KERNEL_ISA_AVX512_VNNI:
        return avx512 && __builtin_cpu_supports("avx512vnni");
    case KERNEL_ISA_NONE:
    case KERNEL_ISA_NEON:
    case KERNEL_ISA_NEON_I8MM:
    case KERNEL_ISA_COUNT:
        break;
    }
    return false;
}

#elif defined(__aarch64__) && defined(__linux__)

enum { /* bits of AT_HWCAP and AT_HWCAP2; Linux, Documentation/arch/arm64/elf_hwcaps.rst */
       CAP_ASIMDHP = 1 << 10,
       CAP_ASIMDDP = 1 << 20,
       CAP2_I8MM = 1 << 13,
};

static bool has(enum kernel_isa isa)
{
    bool neon = (getauxval(AT_HWCAP) & (CAP_ASIMDHP | CAP_ASIMDDP)) == (CAP_ASIMDHP | CAP_ASIMDDP);
    return isa == KERNEL_ISA_NEON ||
                   (isa == KERNEL_ISA_NEON_I8MM && (getauxval(AT_HWCAP2) & CAP2_I8MM) != 0)
               ? neon
               : false;
}

#elif defined(__aarch64__) && defined(__APPLE__)

static bool has_feature(const char *name)
{
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, NULL, 0) == 0 && value != 0;
}

static bool has(enum kernel_isa isa)
{
    bool neon =
        has_feature("hw.optional.arm.FEAT_DotProd") && has_feature("hw.optional.arm.FEAT_FP16");
    return isa == KERNEL_ISA_NEON ||
                   (isa == KERNEL_ISA_NEON_I8MM && has_feature("hw.optional.arm.FEAT_I8MM"))
               ? neon
               : false;
}

#else

static bool has(enum kernel_isa isa)
{
    (void)isa;
    return false;
}

#endif

bool isa_is_here(enum kernel_isa isa)
{
    return isa == KERNEL_ISA_NONE || has(isa);
}

enum kernel_isa isa_best(void)
{
    for (int i = KERNEL_ISA_COUNT - 1; i > 0; i--)
        if (has((enum kernel_isa)i))
            return (enum kernel_isa)i;
    return KERNEL_ISA_NONE;
}
