/* matmul_narrow -- the narrow form of matmul_program.h: up to MATMUL_NARROW_ROWS rows of
 * activations.
 *
 * A row must come out the same to the bit, however many rows are multiplied with it: else a reply
 * would depend on what else was computed in the same step.  So this adds up what the wide form adds
 * up, in its order, and only goes another way to the integers:
 *
 *   1. For one output after the other its weights are read once, as one stream, which the processor
 *      reads ahead (four outputs side by side came from memory at a third of the speed), and the
 * exact sum of each scale block, the scales and the minima are put down;
 *   2. for as many outputs as a vector has lanes these become vectors, of an output in each lane,
 * and are added up as multiply_group does. */
#pragma once

enum {
    NARROW_OUTS = VF_LANES,
    NARROW_SUBS = MATMUL_SUPER / MATMUL_SUB, /* sub-blocks that narrow_sums takes at once */
};

/* What phase 1 puts down, of NARROW_OUTS outputs: [outs][stride] each, and [rows] of the sums. */
struct narrow_notes {
    float *sums;
    float *scales;
    float *mins;
    int64_t stride;
};

static int64_t narrow_stride(int64_t n_k)
{
    return (n_k / 16 + NARROW_OUTS - 1) / NARROW_OUTS * NARROW_OUTS;
}

static int64_t narrow_floats(int64_t n_k)
{
    return narrow_stride(n_k) * NARROW_OUTS * (MATMUL_NARROW_ROWS + 2);
}

static struct narrow_notes notes_in(float *work, int64_t n_k)
{
    int64_t stride = narrow_stride(n_k), n = stride * NARROW_OUTS;
    return (struct narrow_notes){work, work + n * MATMUL_NARROW_ROWS,
                                 work + n * (MATMUL_NARROW_ROWS + 1), stride};
}

/* ---- Phase 1 ---- */

/* The scales of n sub-blocks from `block` on. */
ALWAYS_INLINE void note_scales(const enum matmul_format format, const char *block, int64_t n,
                               float *scales, float *mins)
{
    struct matmul_format_traits traits = matmul_traits(format);
    const int subs = traits.block_values / MATMUL_SUB;
    const int n_scales = traits.block_values / traits.scale_values;
    for (int64_t sub = 0; sub < n; sub += subs, block += traits.block_bytes) {
        float s[16], m[8];
        unpack_scales(block, format, s, m);
        memcpy(scales + sub / subs * n_scales, s, (size_t)n_scales * sizeof *s);
        if (traits.has_mins)
            memcpy(mins + sub, m, (size_t)subs * sizeof *m);
    }
}

ALWAYS_INLINE void note_output(const int n_rows, const enum matmul_format format, const char *row,
                               int64_t n_sub, const struct matmul_tile *tiles,
                               const struct narrow_notes *notes, int64_t lane)
{
    struct matmul_format_traits traits = matmul_traits(format);
    const int halves = MATMUL_SUB / traits.scale_values;
    for (int64_t sub = 0; sub < n_sub; sub += NARROW_SUBS) {
        int64_t n = n_sub - sub < NARROW_SUBS ? n_sub - sub : NARROW_SUBS;
        const char *block = block_at(row, format, sub);
        const int8_t *q[MATMUL_NARROW_ROWS];
        for (int r = 0; r < n_rows; r++)
            q[r] = tiles[r].q + sub * MATMUL_SUB;
        int32_t sums[MATMUL_NARROW_ROWS][2 * NARROW_SUBS];
        if (n == NARROW_SUBS)
            narrow_sums(n_rows, format, block, q, NARROW_SUBS, sums);
        else
            narrow_sums(n_rows, format, block, q, (int)n, sums);
        int64_t at = lane * notes->stride + sub * halves;
        for (int r = 0; r < n_rows; r++) {
            float *out = notes->sums + r * NARROW_OUTS * notes->stride + at;
            const union matmul_sum *offsets = tiles[r].sums + sub * halves;
            for (int i = 0; i < n * halves; i++)
                out[i] = (float)(sums[r][i] + (traits.has_mins ? 0 : offsets[i].offset));
        }
        note_scales(format, block, n, notes->scales + at, notes->mins + at);
    }
}

/* ---- Phase 2 ---- */

/* Notes `at` and on of all outputs as vectors: one a note, an output in each lane. */
ALWAYS_INLINE void gather_notes(const float *notes, int64_t stride, int64_t at, vf out[VF_LANES])
{
    for (int i = 0; i < VF_LANES; i++)
        out[i] = vf_load(notes + i * stride + at);
    vf_transpose(out);
}

/* NARROW_OUTS outputs of one row, as multiply_group and multiply_tile would add them up. */
ALWAYS_INLINE vf add_notes(const enum matmul_format format, int64_t n_sub,
                           const struct matmul_tile *tile, const struct narrow_notes *notes, int r)
{
    struct matmul_format_traits traits = matmul_traits(format);
    const bool by_sub = has_short_groups(format);
    const int halves = MATMUL_SUB / traits.scale_values;
    const int64_t in_group = by_sub ? MATMUL_CHUNK / MATMUL_SUB : SUPER_GROUP_SUBS * halves;
    const float *sums = notes->sums + r * NARROW_OUTS * notes->stride;
    vf y = vf_set(0), total = vf_set(0);
    int64_t n = n_sub * halves;
    for (int64_t at = 0; at < n; at += VF_LANES) {
        vf sum[VF_LANES], scale[VF_LANES], minimum[VF_LANES];
        gather_notes(sums, notes->stride, at, sum);
        gather_notes(notes->scales, notes->stride, at, scale);
        if (traits.has_mins)
            gather_notes(notes->mins, notes->stride, at, minimum);
        for (int64_t i = 0; i < VF_LANES && at + i < n; i++) {
            vf both = by_sub ? vf_mul(scale[i], vf_set(tile->scales[at + i])) : scale[i];
            total = vf_fma(sum[i], both, total);
            if (traits.has_mins)
                total = vf_fnma(minimum[i], vf_set(tile->sums[at + i].sum), total);
            if ((at + i + 1) % in_group != 0 && at + i + 1 < n)
                continue;
            y = by_sub ? vf_add(y, total)
                       : vf_fma(total, vf_set(tile->scales[(at + i) / in_group]), y);
            total = vf_set(0);
        }
    }
    return y;
}

/* ---- Both ---- */

ALWAYS_INLINE void narrow_format(const int n_rows, const enum matmul_format format,
                                 const struct matmul_args *args, const struct matmul_tile *tiles,
                                 const struct narrow_notes *notes, int64_t begin, int64_t end)
{
    int64_t n_sub = args->shape.n_k / MATMUL_SUB;
    for (int64_t out = begin; out < end; out += NARROW_OUTS) {
        int64_t n = end - out < NARROW_OUTS ? end - out : NARROW_OUTS;
        const char *weights = (const char *)args->weights + (size_t)out * args->weights_stride;
        for (int64_t lane = 0; lane < n; lane++)
            note_output(n_rows, format, weights + (size_t)lane * args->weights_stride, n_sub, tiles,
                        notes, lane);
        for (int r = 0; r < n_rows; r++) {
            float y[NARROW_OUTS];
            vf_store(y, add_notes(format, n_sub, &tiles[r], notes, r));
            memcpy((float *)((char *)args->y + (size_t)r * args->y_stride) + out, y,
                   (size_t)n * sizeof *y);
        }
    }
}

static void narrow(const struct matmul_args *args, const struct matmul_tile *tiles, float *work,
                   int64_t begin, int64_t end)
{
    struct narrow_notes notes = notes_in(work, args->shape.n_k);
#define CALL(format)                                                                               \
    if (args->shape.n_rows == 1)                                                                   \
        narrow_format(1, format, args, tiles, &notes, begin, end);                                 \
    else if (args->shape.n_rows == 2)                                                              \
        narrow_format(2, format, args, tiles, &notes, begin, end);                                 \
    else                                                                                           \
        narrow_format(3, format, args, tiles, &notes, begin, end)
    FOR_FORMAT(args->shape.format, CALL)
#undef CALL
}
