/* matmul_tiles -- what the matrix products of all instruction sets share: the measures of their
 * tiles and how they are written.  Included by matmul_unpack_*.h after what a matmul_*.c defines
 * (matmul_program.h lists it), so once per instruction set. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/matmul_block.h"
#include "kernels/work.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#ifndef VI_STEP
#define VI_STEP 4
#endif

enum {
    STEP_VALUES = VI_STEP,            /* consecutive k of an output, side by side in a panel */
    STEPS = MATMUL_SUB / STEP_VALUES, /* of a sub-block */
    OUTS = VF_LANES * VI_COLS,        /* of a slab */
    STEP_BYTES = OUTS * STEP_VALUES,
    SUPER_SUBS = MATMUL_SUPER / MATMUL_SUB,
    ROWS_AT_ONCE = 4, /* of the narrow form */
};

/* Rolled, gcc 12 copies every sum twice a turn, or keeps them in memory. */
#define UNROLLED _Pragma("GCC unroll 16")

/* Calls CALL(format) with the format as a constant. */
#define FOR_FORMAT(format, CALL)                                                                   \
    switch (format) {                                                                              \
    case MATMUL_Q4_0:                                                                              \
        CALL(MATMUL_Q4_0);                                                                         \
        break;                                                                                     \
    case MATMUL_Q4_1:                                                                              \
        CALL(MATMUL_Q4_1);                                                                         \
        break;                                                                                     \
    case MATMUL_Q5_0:                                                                              \
        CALL(MATMUL_Q5_0);                                                                         \
        break;                                                                                     \
    case MATMUL_Q8_0:                                                                              \
        CALL(MATMUL_Q8_0);                                                                         \
        break;                                                                                     \
    case MATMUL_Q4_K:                                                                              \
        CALL(MATMUL_Q4_K);                                                                         \
        break;                                                                                     \
    case MATMUL_Q5_K:                                                                              \
        CALL(MATMUL_Q5_K);                                                                         \
        break;                                                                                     \
    case MATMUL_Q6_K:                                                                              \
        CALL(MATMUL_Q6_K);                                                                         \
        break;                                                                                     \
    case MATMUL_IQ4_NL:                                                                            \
        CALL(MATMUL_IQ4_NL);                                                                       \
        break;                                                                                     \
    case MATMUL_IQ4_XS:                                                                            \
        CALL(MATMUL_IQ4_XS);                                                                       \
        break;                                                                                     \
    default:                                                                                       \
        break;                                                                                     \
    }

/* The block that holds sub-block `sub`. */
ALWAYS_INLINE const char *block_at(const char *row, const enum matmul_format format, int64_t sub)
{
    struct matmul_format_traits traits = matmul_traits(format);
    return row + sub / (traits.block_values / MATMUL_SUB) * traits.block_bytes;
}

/* ---- Narrow: what is read ---- */

enum {
    NARROW_OUTS = 8,
    LEAST_AHEAD = 12288, /* bytes: what memory's latency takes at 25 GB/s, several times over */
    LINE = 64,
};

/* Eight rows of weights, side by side. */
struct narrow_rows {
    const char *first;
    size_t stride; /* from one to the next */
    size_t ahead;  /* from what is read to what is brought to L2: some times eight rows; 0: nothing
                      is, as these rows have been read before */
};

/* For n_bytes of `n` rows from row `i` on, which are read from `at` on. */
ALWAYS_INLINE void prefetch_rows(const struct narrow_rows *rows, int64_t at, const int n_bytes,
                                 size_t i, const int n)
{
    if (rows->ahead == 0)
        return;
    const char *from = rows->first + NARROW_OUTS * (size_t)at + i * (size_t)n_bytes + rows->ahead;
    UNROLLED for (int line = 0; line < n_bytes * n; line += LINE)
        __builtin_prefetch(from + line, 0, 2);
}

/* ---- Scales of K blocks ---- */

/* Six-bit scales, then minima, as bytes. */
ALWAYS_INLINE void unpack_six_bits(const uint8_t packed[12], uint8_t out[16])
{
    uint32_t word[3], bytes[4];
    memcpy(word, packed, sizeof word);
    bytes[0] = word[0] & 0x3f3f3f3f;
    bytes[1] = (word[2] & 0x0f0f0f0f) | (word[0] >> 6 & 0x03030303) << 4;
    bytes[2] = word[1] & 0x3f3f3f3f;
    bytes[3] = (word[2] >> 4 & 0x0f0f0f0f) | (word[1] >> 6 & 0x03030303) << 4;
    memcpy(out, bytes, sizeof bytes);
}

ALWAYS_INLINE int iq4_scale(const struct block_iq4_xs *b, int place)
{
    int low = b->scales_low[place / 2] >> (place % 2 * 4) & 15;
    int high = b->scales_high >> (2 * place) & 3;
    return (low | high << 4) - 32;
}

/* A K block's whole scales, 8 or, for Q6_K, 16, and its minima where it has them. */
ALWAYS_INLINE void unpack_whole_scales(const void *block, const enum matmul_format format,
                                       int8_t scales[16], uint8_t mins[8])
{
    uint8_t bytes[16];
    switch (format) {
    case MATMUL_Q4_K:
    case MATMUL_Q5_K: /* as q4_k begins */
        unpack_six_bits(((const struct block_q4_k *)block)->scales, bytes);
        memcpy(scales, bytes, 8);
        memcpy(mins, bytes + 8, 8);
        break;
    case MATMUL_Q6_K:
        memcpy(scales, ((const struct block_q6_k *)block)->scales, 16);
        break;
    case MATMUL_IQ4_XS:
        for (int i = 0; i < 8; i++)
            scales[i] = (int8_t)iq4_scale(block, i);
        break;
    default:
        break;
    }
}

/* Where a block's half float is that its values, or whole scales, are multiplied by, and that of
 * its minima, where it has them. */
ALWAYS_INLINE const char *factor_at(const char *block, const enum matmul_format format)
{
    return format == MATMUL_Q6_K ? block + offsetof(struct block_q6_k, scale) : block;
}

ALWAYS_INLINE const char *min_factor_at(const char *block)
{
    return block + sizeof(uint16_t);
}

/* Q4_1 adds its minimum, the K blocks take theirs away. */
ALWAYS_INLINE float sign_of_min(const enum matmul_format format)
{
    return format == MATMUL_Q4_1 ? -1 : 1;
}
