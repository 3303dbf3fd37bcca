/* attention -- scaled dot-product attention over the KV pool, as ggml's FLASH_ATTN_EXT defines it:
 *
 *      s[key]  = scale * q . k[key]                     (q of one token and head; k of its KV head)
 *      s[key]  = softcap * tanh(s[key] / softcap)       where softcap != 0
 *      s[key] += slope(head) * mask[token][key]         where there is a mask; slope: ALiBi
 *      y       = sum p[key] v[key] / (sum p[key] + p of the head's sink),  p = exp(s - max s)
 *
 * One program serves reading and writing: the query rows of a block (some tokens times the query
 * heads that share a KV head) meet the keys tile by tile, with the running maximum of the online
 * softmax (Milakov and Gimelshein, arXiv:1805.02867; Dao, arXiv:2205.14135).  Each tile of K and V
 * is unpacked to f32 once and used by all rows of the block.
 *
 * A row must come out the same to the bit whatever is computed beside it and wherever its keys lie
 * in the pool, or a reply would depend on who else is served.  So keys are counted among those that
 * the token sees: tiles are of 64 seen keys, segments of ATTENTION_SEGMENT of them are summed up
 * apart and joined in order, and tokens share a block only if each sees all that the one before it
 * sees.  It holds as long as the cells of a sequence lie in the order of its positions.  Where
 * there are few tokens, as in writing, the segments are the threads' tasks.
 *
 * What it is not: general.  What attention_handles declines goes ggml's own way.
 *
 * A row whose keys are all masked gives zeros. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/isa.h"
#include "kernels/team.h"

enum attention_format {
    ATTENTION_F16,
    ATTENTION_Q8_0, /* blocks of 32: an f16 scale, then 32 int8 */
};

enum {
    ATTENTION_TILE_KEYS = 64,
    ATTENTION_SEGMENT = 512,   /* keys, a number of tiles */
    ATTENTION_MOST_HEAD = 256, /* widest head */
};

struct attention_shape {
    int64_t d_k, d_v; /* width of a head; multiples of 16, at most ATTENTION_MOST_HEAD */
    int64_t n_tokens; /* query tokens */
    int64_t n_heads;  /* query heads, a multiple of n_kv_heads */
    int64_t n_kv_heads;
    int64_t n_keys; /* cells of the pool that the mask speaks of */
    enum attention_format k_format, v_format;
};

/* A tensor of rows: what lies between one token (or key) and the next, and one head and the next.
 */
struct attention_rows {
    const void *data;
    size_t token_stride, head_stride; /* bytes; a row itself is contiguous */
};

struct attention_args {
    struct attention_shape shape;
    struct attention_rows q; /* f32 */
    struct attention_rows k, v;
    const void *mask; /* f16, n_keys a token; NULL: none */
    size_t mask_stride;
    const float *sinks; /* one a query head; NULL: none */
    float *y;           /* n_tokens rows of n_heads heads of d_v, contiguous */
    float scale, softcap, max_bias;
    void *work; /* attention_work_bytes, 64-byte aligned, shared by the team */
};

bool attention_handles(enum kernel_isa isa, const struct attention_shape *shape);

/* Bytes of `work` for a team of n_threads. */
size_t attention_work_bytes(enum kernel_isa isa, const struct attention_shape *shape,
                            int n_threads);

/* Called by every thread of the team with the same arguments.  Returns without a last barrier: ggml
 * has one between operations. */
void attention_run(enum kernel_isa isa, const struct attention_args *args,
                   const struct kernel_team *team);
