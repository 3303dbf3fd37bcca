/* matmul_formats -- how the weights are stored: ggml's block layouts, little-endian, as its file
 * format (GGUF) has them.
 *
 * All of them are one form, block by block: w = s * (q - offset) - m, with q an unsigned whole
 * number, s a scale, m a minimum (0 but for three formats) and the offset a constant of the format.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kernels/matmul.h"

enum {
    MATMUL_SUB = 32,    /* values that are unpacked together; every block is a number of these */
    MATMUL_SUPER = 256, /* values of a K block */
};

struct matmul_format_traits {
    int16_t block_values, block_bytes;
    int16_t offset;
    int16_t scale_values; /* values that share a scale: 32 or 16 */
    int16_t most;         /* largest q */
    bool has_mins;
};

static inline struct matmul_format_traits matmul_traits(enum matmul_format format)
{
    static const struct matmul_format_traits traits[MATMUL_FORMATS] = {
        [MATMUL_Q4_0] = {32, 18, 8, 32, 15, false},
        [MATMUL_Q4_1] = {32, 20, 0, 32, 15, true},
        [MATMUL_Q5_0] = {32, 22, 16, 32, 31, false},
        [MATMUL_Q8_0] = {32, 34, 128, 32, 255, false},
        [MATMUL_Q4_K] = {256, 144, 0, 32, 15, true},
        [MATMUL_Q5_K] = {256, 176, 0, 32, 31, true},
        [MATMUL_Q6_K] = {256, 210, 32, 16, 63, false},
        [MATMUL_IQ4_NL] = {32, 18, 128, 32, 241, false},
        [MATMUL_IQ4_XS] = {256, 136, 128, 32, 241, false},
    };
    return traits[format];
}

/* Activations that share a scale: those of a block, as in ggml.  K blocks sum products as whole
 * numbers over a block, so a shorter group would cost speed there.  A longer one costs quality:
 * with 128 for the blocks of 32 the perplexity of SmolLM2-135M, which has large outliers, rose by
 * 0.9 %.
 */
static inline int matmul_group(enum matmul_format format)
{
    return matmul_traits(format).block_values;
}

struct block_q4_0 {
    uint16_t scale;     /* f16, here and below */
    uint8_t nibble[16]; /* low: values 0-15, high: 16-31; so too in q4_1, q5_0, iq4_nl */
};

struct block_q4_1 {
    uint16_t scale, minimum; /* w = scale * q + minimum */
    uint8_t nibble[16];
};

struct block_q5_0 {
    uint16_t scale;
    uint8_t fifth[4]; /* bit i: the fifth bit of value i */
    uint8_t nibble[16];
};

struct block_q8_0 {
    uint16_t scale;
    int8_t value[32];
};

/* Of a K block's 8 sub-blocks: six bits of scale and six of minimum each, spread over 12 bytes:
 *   byte 0-3   scales 0-3, above them the two upper bits of scales 4-7
 *   byte 4-7   minima 0-3, above them the two upper bits of minima 4-7
 *   byte 8-11  the four lower bits of scales 4-7, above them those of minima 4-7 */
struct block_q4_k {
    uint16_t scale, minimum; /* what the six bits are multiplied by */
    uint8_t scales[12];
    uint8_t
        nibble[128]; /* 32 bytes for each 64 values: low nibbles the first 32, high the others */
};

struct block_q5_k {
    uint16_t scale, minimum;
    uint8_t scales[12];
    uint8_t fifth[32];   /* bit j of byte i: the fifth bit of value i of sub-block j */
    uint8_t nibble[128]; /* as in q4_k */
};

/* Two halves of 128 values, each four sub-blocks of 32: of 0 and 1 the low nibbles of 64 bytes are
 * the low bits, of 2 and 3 the high ones; byte i of 32 has the upper two bits of value i of all
 * four. */
struct block_q6_k {
    uint8_t low[2][64];
    uint8_t high[2][32];
    int8_t scales[16]; /* one for 16 values */
    uint16_t scale;
};

struct block_iq4_xs {
    uint16_t scale;
    uint16_t scales_high;  /* two bits a sub-block, of its scale less 32 */
    uint8_t scales_low[4]; /* four bits a sub-block */
    uint8_t nibble[8][16];
};

/* What a nibble stands for in iq4_nl and iq4_xs: the format's constants. */
#define MATMUL_IQ4_VALUES -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113

_Static_assert(sizeof(struct block_q4_0) == 18 && sizeof(struct block_q4_1) == 20, "layout");
_Static_assert(sizeof(struct block_q5_0) == 22 && sizeof(struct block_q8_0) == 34, "layout");
_Static_assert(sizeof(struct block_q4_k) == 144 && sizeof(struct block_q5_k) == 176, "layout");
_Static_assert(sizeof(struct block_q6_k) == 210 && sizeof(struct block_iq4_xs) == 136, "layout");
