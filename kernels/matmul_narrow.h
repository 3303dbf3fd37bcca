/* matmul_narrow -- the narrow form of matmul_program.h: up to MATMUL_NARROW_ROWS rows of
 * activations, as in writing.  The weights come from memory, once; whatever is done for each of
 * them must keep up with that.
 *
 * Eight outputs at a time, and four rows, which read the weights again from L1 if there are more.
 * Sub-block by sub-block (K block by K block) each output's products are summed up into a vector of
 * partial sums; eight such vectors become one of eight sums, an output in each lane, and from there
 * on it is the wide form's program, whose bits it must give: a row comes out the same however many
 * are multiplied with it.  K blocks have whole scales, so that only whole numbers are summed before
 * that, in any order.
 *
 * Eight streams of memory at once are more than processors read ahead by themselves: they came at
 * 8 GB/s where one comes at 24.  So it is said what to bring to L2: as one stream, line after line,
 * the rows that come next.  Spread evenly, as many at once would wait for each other.
 *
 * Over what matmul_x86.h and matmul_neon.h define:
 *
 *   v8                    eight floats (simd_*.h); e8, e8_set, e8_add, e8_to_v8: eight integers
 *   narrow_block          sums of products of a sub-block of each of eight outputs, row by row
 *   narrow_super          sums of products times whole scales, of a K block; and of the minima
 *                         times the sums of activations
 *   narrow_factors        half floats of eight blocks */
#pragma once

/* ---- Blocks of 32 ---- */

/* Sub-blocks [sub, end), at most MATMUL_CHUNK values: to be added to y. */
ALWAYS_INLINE void narrow_chunk(const int n_rows, const enum matmul_format format,
                                const struct narrow_rows *rows, const struct matmul_tile *tiles,
                                int64_t sub, int64_t end, v8 total[ROWS_AT_ONCE])
{
    struct matmul_format_traits traits = matmul_traits(format);
    for (int r = 0; r < n_rows; r++)
        total[r] = v8_set(0);
    for (; sub < end; sub++) {
        const char *block = rows->first + sub * traits.block_bytes;
        prefetch_rows(rows, sub * traits.block_bytes, traits.block_bytes, 0, NARROW_OUTS);
        const int8_t *q[ROWS_AT_ONCE];
        for (int r = 0; r < n_rows; r++)
            q[r] = tiles[r].q + sub * MATMUL_SUB;
        e8 sum[ROWS_AT_ONCE];
        narrow_block(n_rows, format, block, rows->stride, q, sum);
        v8 factor, minimum;
        narrow_factors(format, block, rows->stride, &factor, &minimum);
        for (int r = 0; r < n_rows; r++) {
            if (!traits.has_mins)
                sum[r] = e8_add(sum[r], e8_set(tiles[r].sums[sub].offset));
            v8 both = v8_mul(factor, v8_set(tiles[r].scales[sub]));
            total[r] = v8_fma(e8_to_v8(sum[r]), both, total[r]);
            if (traits.has_mins)
                total[r] = v8_fnma(v8_mul(minimum, v8_set(sign_of_min(format))),
                                   v8_set(tiles[r].sums[sub].sum), total[r]);
        }
    }
}

ALWAYS_INLINE void narrow_blocks(const int n_rows, const enum matmul_format format,
                                 const struct narrow_rows *rows, const struct matmul_tile *tiles,
                                 int64_t n_k, v8 y[ROWS_AT_ONCE])
{
    const int64_t n_sub = n_k / MATMUL_SUB, step = MATMUL_CHUNK / MATMUL_SUB;
    for (int64_t sub = 0; sub < n_sub; sub += step) {
        v8 total[ROWS_AT_ONCE];
        narrow_chunk(n_rows, format, rows, tiles, sub, sub + step < n_sub ? sub + step : n_sub,
                     total);
        for (int r = 0; r < n_rows; r++)
            y[r] = v8_add(y[r], total[r]);
    }
}

/* ---- K blocks ---- */

ALWAYS_INLINE void narrow_supers(const int n_rows, const enum matmul_format format,
                                 const struct narrow_rows *rows, const struct matmul_tile *tiles,
                                 int64_t n_k, v8 y[ROWS_AT_ONCE])
{
    struct matmul_format_traits traits = matmul_traits(format);
    for (int64_t b = 0; b < n_k / MATMUL_SUPER; b++) {
        const char *block = rows->first + b * traits.block_bytes;
        const int8_t *q[ROWS_AT_ONCE];
        const int16_t *x_sums[ROWS_AT_ONCE];
        for (int r = 0; r < n_rows; r++) {
            q[r] = tiles[r].q + b * MATMUL_SUPER;
            x_sums[r] = tiles[r].short_sums + b * (MATMUL_SUPER / traits.scale_values);
        }
        e8 total[ROWS_AT_ONCE], minimum[ROWS_AT_ONCE];
        narrow_super(n_rows, format, rows, b, q, x_sums, total, minimum);
        v8 factor, min_factor;
        narrow_factors(format, block, rows->stride, &factor, &min_factor);
        for (int r = 0; r < n_rows; r++) {
            v8 sum = v8_mul(e8_to_v8(total[r]), factor);
            if (traits.has_mins)
                sum = v8_fnma(e8_to_v8(minimum[r]), min_factor, sum);
            y[r] = v8_fma(sum, v8_set(tiles[r].scales[b]), y[r]);
        }
    }
}

/* ---- Both ---- */

/* Outputs [begin, end), at most eight, of n_rows rows from first_row on.  The eight that are
 * computed are moved to where there are as many; where there are not, they are all the one. */
ALWAYS_INLINE void narrow_outputs(const int n_rows, const enum matmul_format format,
                                  const struct matmul_args *args, const struct matmul_tile *tiles,
                                  int64_t first_row, int64_t begin, int64_t end)
{
    int64_t first = smaller(begin, args->shape.n_out - NARROW_OUTS);
    bool are_enough = first >= 0;
    if (!are_enough)
        first = begin;
    size_t together = NARROW_OUTS * args->weights_stride;
    struct narrow_rows rows = {
        .first = (const char *)args->weights + (size_t)first * args->weights_stride,
        .stride = are_enough ? args->weights_stride : 0,
        .ahead = first_row == 0 ? together * (1 + LEAST_AHEAD / together) : 0,
    };
    v8 y[ROWS_AT_ONCE];
    for (int r = 0; r < n_rows; r++)
        y[r] = v8_set(0);
    if (has_short_groups(format))
        narrow_blocks(n_rows, format, &rows, tiles + first_row, args->shape.n_k, y);
    else
        narrow_supers(n_rows, format, &rows, tiles + first_row, args->shape.n_k, y);
    for (int r = 0; r < n_rows; r++) {
        float lanes[NARROW_OUTS];
        v8_store(lanes, y[r]);
        memcpy((float *)((char *)args->y + (size_t)(first_row + r) * args->y_stride) + begin,
               lanes + (begin - first), (size_t)(end - begin) * sizeof *lanes);
    }
}

ALWAYS_INLINE void narrow_format(const enum matmul_format format, const struct matmul_args *args,
                                 const struct matmul_tile *tiles, int64_t begin, int64_t end)
{
    int64_t step = args->shape.n_out >= NARROW_OUTS ? NARROW_OUTS : 1;
    int64_t n_rows = args->shape.n_rows, n_passes = divide_up(n_rows, ROWS_AT_ONCE);
    for (int64_t out = begin; out < end; out += step)
        for (int64_t pass = 0; pass < n_passes; pass++) {
            int64_t row = n_rows * pass / n_passes, last = smaller(out + step, end);
            switch (n_rows * (pass + 1) / n_passes - row) {
            case 1:
                narrow_outputs(1, format, args, tiles, row, out, last);
                break;
            case 2:
                narrow_outputs(2, format, args, tiles, row, out, last);
                break;
            case 3:
                narrow_outputs(3, format, args, tiles, row, out, last);
                break;
            default:
                narrow_outputs(4, format, args, tiles, row, out, last);
                break;
            }
        }
}

static void narrow(const struct matmul_args *args, const struct matmul_tile *tiles, int64_t begin,
                   int64_t end)
{
#define CALL(format) narrow_format(format, args, tiles, begin, end)
    FOR_FORMAT(args->shape.format, CALL)
#undef CALL
}
