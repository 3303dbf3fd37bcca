/* attention_block -- one task of attention.c: the rows of a block against a segment of its keys.
 * Private to the attention kernels; each instruction set has its own attention_block_*. */
#pragma once

#include "kernels/attention.h"

enum {
    ATTENTION_BLOCK_ROWS = 252, /* aimed at: 42 groups of 6, and 7 query heads divide it */
    ATTENTION_MOST_ROWS = 256,  /* a group of more query heads is not handled */
    ATTENTION_MOST_LANES = 16,  /* floats of the widest vector */
    ATTENTION_FEW_ROWS = 8,     /* a block of so few goes another way */
    ATTENTION_GROUP_ROWS = 6,   /* rows of a block that are computed together in registers */
    ATTENTION_PAD = 8,          /* floats behind a row of which others' values at the same place are
                                   read in turn: a power of two apart, they would lie in the same
                                   bank of L1, which on AMD's processors gives one of them a cycle */
};

/* What a mask says of one token and one tile. */
enum attention_sight {
    ATTENTION_HIDDEN,  /* -inf throughout */
    ATTENTION_VISIBLE, /* 0 throughout */
    ATTENTION_MIXED,   /* its values are in scratch.mask */
};

/* Of one thread.  All arrays are 64-byte aligned. */
struct attention_scratch {
    float *q;         /* [rows][d_k + ATTENTION_PAD], times scale and log2 e */
    float *q_columns; /* [d_k][ATTENTION_FEW_ROWS]: the same, for few rows; the others are 0 */
    float *y;         /* [rows][d_v], not divided yet */
    float *sums;      /* [rows][ATTENTION_MOST_LANES]: the sum of p, spread over lanes */
    float *maxima;    /* [rows], in units of log2 */
    float *slopes;    /* [rows] */
    int32_t *tokens;  /* [rows]: which of the block's tokens a row is of */
    float *k;         /* a tile of K: [d_k][ATTENTION_TILE_KEYS]; few rows:
                         [ATTENTION_TILE_KEYS][d_k + ATTENTION_PAD] */
    float *v;         /* [ATTENTION_TILE_KEYS][d_v] */
    float *scores;    /* [a group, or few rows][ATTENTION_TILE_KEYS + ATTENTION_PAD] */
    float *mask;      /* [tokens][ATTENTION_TILE_KEYS], times log2 e */
    uint8_t *sight;   /* [tokens]: enum attention_sight of the tile at hand */
};

/* Rows are token-major: row = token * group + (head - first_head). */
struct attention_task {
    const struct attention_args *args;
    int64_t kv_head;
    int64_t first_token, n_tokens;
    int64_t group;        /* query heads of this KV head */
    const int32_t *cells; /* where the keys of this segment lie; 2 * ATTENTION_TILE_KEYS more may be
                             read, to be prefetched */
    int64_t n_keys;       /* of this segment; each is seen by the block's last token */
};

/* Leaves y, sums and maxima in the scratch. */
typedef void attention_block_fn(const struct attention_task *task,
                                const struct attention_scratch *scratch);

attention_block_fn attention_block_avx2;
attention_block_fn attention_block_avx512;
attention_block_fn attention_block_neon;
