/* isa -- the instruction sets that the kernels are written for, and which of them this processor
 * has.  Each is one level: what is listed after it on the same processor family contains it. */
#pragma once

#include <stdbool.h>

enum kernel_isa {
    KERNEL_ISA_NONE,        /* no kernel of ours: ggml's own run */
    KERNEL_ISA_AVX2,        /* AVX2, FMA, F16C */
    KERNEL_ISA_AVX512,      /* AVX-512 F, BW, DQ, VL */
    KERNEL_ISA_AVX512_VNNI, /* and VNNI: vpdpbusd */
    KERNEL_ISA_NEON,        /* Armv8.2 with dot product and half floats */
    KERNEL_ISA_NEON_I8MM,   /* and the 8-bit matrix product */
    KERNEL_ISA_COUNT,
};

/* As in --kernels and in what `pensieve status` prints: "off", "avx2", "avx512", "avx512-vnni",
 * "neon", "neon-i8mm". */
const char *isa_name(enum kernel_isa isa);

/* Whether this processor, and its operating system, run it. */
bool isa_is_here(enum kernel_isa isa);

/* The highest level that is here. */
enum kernel_isa isa_best(void);

/* False, *out untouched, for a name that is none. */
bool isa_from_name(const char *name, enum kernel_isa *out);
