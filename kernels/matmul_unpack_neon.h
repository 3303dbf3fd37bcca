/* matmul_unpack_neon -- sub-blocks of 32 weights as 32 bytes; shared by the matrix products of all
 * Arm instruction sets.  Included after a simd_neon.h, once per instruction set. */
#pragma once

#include <arm_neon.h>
#include <string.h>

#include "kernels/matmul_tiles.h"

ALWAYS_INLINE uint8x16x2_t mask_both(uint8x16x2_t a, const int mask)
{
    a.val[0] = vandq_u8(a.val[0], vdupq_n_u8((uint8_t)mask));
    a.val[1] = vandq_u8(a.val[1], vdupq_n_u8((uint8_t)mask));
    return a;
}

ALWAYS_INLINE uint8x16x2_t or_both(uint8x16x2_t a, uint8x16x2_t b)
{
    a.val[0] = vorrq_u8(a.val[0], b.val[0]);
    a.val[1] = vorrq_u8(a.val[1], b.val[1]);
    return a;
}

/* The bit `from` of each byte becomes its bit `to`, and the bits above it the next ones. */
ALWAYS_INLINE uint8x16x2_t move_bits(const uint8_t *bytes, const int from, const int to)
{
    int8x16_t shift = vdupq_n_s8((int8_t)(to - from));
    return (uint8x16x2_t){
        {vshlq_u8(vld1q_u8(bytes), shift), vshlq_u8(vld1q_u8(bytes + 16), shift)}};
}

/* 16 bytes of nibbles: the low ones, then the high ones. */
ALWAYS_INLINE uint8x16x2_t split_nibbles(const uint8_t *nibble)
{
    uint8x16_t bytes = vld1q_u8(nibble);
    return (uint8x16x2_t){{vandq_u8(bytes, vdupq_n_u8(15)), vshrq_n_u8(bytes, 4)}};
}

/* Of 32 bytes of nibbles, the low or the high ones. */
ALWAYS_INLINE uint8x16x2_t half_nibbles(const uint8_t *nibble, const bool is_high)
{
    return mask_both(move_bits(nibble, is_high ? 4 : 0, 0), 15);
}

/* 16 in each byte whose bit of `bits` is set. */
ALWAYS_INLINE uint8x16x2_t spread_fifth_bits(const uint8_t bits[4])
{
    static const uint8_t byte_of_bit[32] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,
                                            2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3};
    static const uint8_t bit_of_byte[16] = {1, 2, 4, 8, 16, 32, 64, 128,
                                            1, 2, 4, 8, 16, 32, 64, 128};
    uint32_t word;
    memcpy(&word, bits, sizeof word);
    uint8x16_t all = vreinterpretq_u8_u32(vdupq_n_u32(word)), bit = vld1q_u8(bit_of_byte);
    uint8x16x2_t is_set = {{vtstq_u8(vqtbl1q_u8(all, vld1q_u8(byte_of_bit)), bit),
                            vtstq_u8(vqtbl1q_u8(all, vld1q_u8(byte_of_bit + 16)), bit)}};
    return mask_both(is_set, 16);
}

ALWAYS_INLINE uint8x16x2_t iq4_values(uint8x16x2_t index)
{
    static const int8_t values[16] = {MATMUL_IQ4_VALUES};
    uint8x16_t table = vreinterpretq_u8_s8(vld1q_s8(values));
    return (uint8x16x2_t){{vqtbl1q_u8(table, index.val[0]), vqtbl1q_u8(table, index.val[1])}};
}

ALWAYS_INLINE uint8x16x2_t unpack_bytes(const void *block, const enum matmul_format format,
                                        const int place)
{
    switch (format) {
    case MATMUL_Q4_0:
        return split_nibbles(((const struct block_q4_0 *)block)->nibble);
    case MATMUL_Q4_1:
        return split_nibbles(((const struct block_q4_1 *)block)->nibble);
    case MATMUL_Q5_0: {
        const struct block_q5_0 *b = block;
        return or_both(split_nibbles(b->nibble), spread_fifth_bits(b->fifth));
    }
    case MATMUL_Q4_K: {
        const struct block_q4_k *b = block;
        return half_nibbles(b->nibble + place / 2 * 32, place % 2 != 0);
    }
    case MATMUL_Q5_K: {
        const struct block_q5_k *b = block;
        return or_both(half_nibbles(b->nibble + place / 2 * 32, place % 2 != 0),
                       mask_both(move_bits(b->fifth, place, 4), 16));
    }
    case MATMUL_Q6_K: {
        const struct block_q6_k *b = block;
        int half = place / 4, quarter = place % 4;
        return or_both(half_nibbles(b->low[half] + quarter % 2 * 32, quarter >= 2),
                       mask_both(move_bits(b->high[half], 2 * quarter, 4), 0x30));
    }
    case MATMUL_Q8_0:
        return move_bits((const uint8_t *)((const struct block_q8_0 *)block)->value, 0, 0);
    case MATMUL_IQ4_NL:
        return iq4_values(split_nibbles(((const struct block_q4_0 *)block)->nibble));
    case MATMUL_IQ4_XS:
        return iq4_values(split_nibbles(((const struct block_iq4_xs *)block)->nibble[place]));
    default:
        return (uint8x16x2_t){{vdupq_n_u8(0), vdupq_n_u8(0)}};
    }
}

/* q of the 32 values of sub-block `place` of a block; 8-bit formats signed, so that all are at home
 * in a signed byte. */
ALWAYS_INLINE int8x16x2_t unpack_q(const void *block, const enum matmul_format format,
                                   const int place)
{
    uint8x16x2_t bytes = unpack_bytes(block, format, place);
    return (int8x16x2_t){{vreinterpretq_s8_u8(bytes.val[0]), vreinterpretq_s8_u8(bytes.val[1])}};
}
