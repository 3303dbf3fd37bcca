/* matmul_unpack_x86 -- sub-blocks of 32 weights as 32 bytes; shared by the matrix products of all
 * x86 instruction sets.  Included after a simd_*.h, once per instruction set. */
#pragma once

#include <immintrin.h>
#include <string.h>

#include "kernels/matmul_tiles.h"

/* 16 bytes of nibbles: the low ones, then the high ones. */
ALWAYS_INLINE __m256i split_nibbles(const uint8_t *nibble)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)nibble);
    __m256i both = _mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

/* Of 32 bytes of nibbles, the low or the high ones. */
ALWAYS_INLINE __m256i half_nibbles(const uint8_t *nibble, bool is_high)
{
    __m256i bytes = _mm256_loadu_si256((const __m256i *)nibble);
    if (is_high)
        bytes = _mm256_srli_epi16(bytes, 4);
    return _mm256_and_si256(bytes, _mm256_set1_epi8(15));
}

/* 16 more in each byte whose bit of `bits` is set. */
ALWAYS_INLINE __m256i add_fifth_bits(__m256i q, const uint8_t bits[4])
{
    uint32_t word;
    memcpy(&word, bits, sizeof word);
#ifdef __AVX512VL__
    return _mm256_mask_add_epi8(q, word, q, _mm256_set1_epi8(16));
#else
    const __m256i byte_of_bit = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2,
                                                 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32((int)word), byte_of_bit);
    __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
    return _mm256_or_si256(q, _mm256_and_si256(is_set, _mm256_set1_epi8(16)));
#endif
}

/* Two bits at 2 * place of each byte, as bits 4 and 5. */
ALWAYS_INLINE __m256i upper_two_bits(const uint8_t *high, const int place)
{
    __m256i bytes = _mm256_loadu_si256((const __m256i *)high);
    bytes = place < 2 ? _mm256_slli_epi16(bytes, 4 - 2 * place)
                      : _mm256_srli_epi16(bytes, 2 * place - 4);
    return _mm256_and_si256(bytes, _mm256_set1_epi8(0x30));
}

/* Signed, or with 128 added. */
ALWAYS_INLINE __m256i iq4_values(__m256i index, const bool is_signed)
{
    const __m256i values = _mm256_setr_epi8(MATMUL_IQ4_VALUES, MATMUL_IQ4_VALUES);
    const __m256i table =
        is_signed ? values : _mm256_xor_si256(values, _mm256_set1_epi8((char)0x80));
    return _mm256_shuffle_epi8(table, index);
}

/* q of the 32 values of sub-block `place` of a block.  8-bit formats: signed, or with 128 added. */
ALWAYS_INLINE __m256i unpack_q(const void *block, const enum matmul_format format, const int place,
                               const bool is_signed)
{
    switch (format) {
    case MATMUL_Q4_0:
        return split_nibbles(((const struct block_q4_0 *)block)->nibble);
    case MATMUL_Q4_1:
        return split_nibbles(((const struct block_q4_1 *)block)->nibble);
    case MATMUL_Q5_0: {
        const struct block_q5_0 *b = block;
        return add_fifth_bits(split_nibbles(b->nibble), b->fifth);
    }
    case MATMUL_Q4_K: {
        const struct block_q4_k *b = block;
        return half_nibbles(b->nibble + place / 2 * 32, place % 2 != 0);
    }
    case MATMUL_Q5_K: {
        const struct block_q5_k *b = block;
        __m256i fifth = _mm256_loadu_si256((const __m256i *)b->fifth);
        fifth =
            place < 4 ? _mm256_slli_epi16(fifth, 4 - place) : _mm256_srli_epi16(fifth, place - 4);
        fifth = _mm256_and_si256(fifth, _mm256_set1_epi8(16));
        return _mm256_or_si256(half_nibbles(b->nibble + place / 2 * 32, place % 2 != 0), fifth);
    }
    case MATMUL_Q6_K: {
        const struct block_q6_k *b = block;
        int half = place / 4, quarter = place % 4;
        __m256i low = half_nibbles(b->low[half] + quarter % 2 * 32, quarter >= 2);
        return _mm256_or_si256(low, upper_two_bits(b->high[half], quarter));
    }
    case MATMUL_Q8_0: {
        const struct block_q8_0 *b = block;
        __m256i q = _mm256_loadu_si256((const __m256i *)b->value);
        return is_signed ? q : _mm256_xor_si256(q, _mm256_set1_epi8((char)0x80));
    }
    case MATMUL_IQ4_NL:
        return iq4_values(split_nibbles(((const struct block_q4_0 *)block)->nibble), is_signed);
    case MATMUL_IQ4_XS:
        return iq4_values(split_nibbles(((const struct block_iq4_xs *)block)->nibble[place]),
                          is_signed);
    default:
        return _mm256_setzero_si256();
    }
}
