/* matmul_x86 -- the matrix products of matmul_block.h, over what a matmul_*.c defines before:
 *
 *   simd_*.h              floats: vf, VF_LANES of them
 *   vi, vi_load, vi_zero, vi_set, vi_add    as many 32-bit integers
 *   VI_ROWS, VI_COLS      a register tile: activation rows, and vectors of outputs
 *   VI_HAS_DOT            vi_dot(sum, q, a): adds to each lane its four products, q unsigned;
 *                         without it: vi_pairs(q, a), products summed in pairs, 16 bits;
 *                         vi_signed_pairs, the same for signed q; vi_add16, vi_fold: pairs of those
 *   narrow_dot(sum, q, a) 32 products into 8 lanes; narrow_signed_dot for signed q
 *   narrow_add_scaled     adds pairs times 16-bit scales
 *
 * Wide.  A panel holds 4 consecutive k of one output beside those of the next, so that a vector
 * times a broadcast dword of activations gives every lane its own output: nothing is summed across
 * lanes, and a weight is unpacked once for all rows of the batch.
 *
 *        panel, one sub-block of 32 k                activations, a tile
 *        out 0    out 1         out 31               row 0    ...  row 5
 *        +--------+--------+----+--------+           +--------+---+--------+
 *   i=0  |k0k1k2k3|k0k1k2k3|    |k0k1k2k3|           |k0k1k2k3|   |k0k1k2k3|
 *   ...  +--------+--------+----+--------+           +--------+---+--------+
 *   i=7  |k28..31 |        |    |        |           |k28..31 |
 *
 * A register tile of VI_ROWS x 2 vectors: a broadcast then serves two products.  12 rows x 1
 * vector, with as many sums, waits for its loads (Zen 4 loads one 512-bit operand a cycle): 158
 * where this one does 170 GMAC/s.  With VNNI 12 integer sums, 12 float sums, two panel vectors, a
 * broadcast and a scale are 28 of 32 registers; a sub-block costs 8 dot products, a conversion and
 * a multiplication by the scale per sum, so at most 8/10 of the peak are left.  Without VNNI
 * products of up to 15, 31 and 63 are summed 8, 4 and 2 times in 16 bits before they are widened: 8
 * * 2 * 15 * 127 is still below 2^15.
 *
 * Measured on a Zen 4 EPYC, one thread, 1,024 x 4,864 weights, 512 rows, of 233 GMAC/s that
 * vpdpbusd does alone: Q5_0 170, Q8_0 167, Q4_K 158, Q6_K 150; AVX-512 without VNNI 120 (Q5_0),
 * AVX2 107.
 *
 * Narrow.  At most three rows: every weight is unpacked once into 32 bytes and multiplied with all
 * rows.  What counts is to keep up with memory, which two cores read at up to 25 GB/s each. */
#pragma once

#include "kernels/matmul_unpack_x86.h"

enum {
    STEPS = MATMUL_SUB / 4,    /* vectors of a sub-block */
    OUTS = VF_LANES * VI_COLS, /* of a slab */
    STEP_BYTES = OUTS * 4,
    GROUP_SUBS = MATMUL_GROUP / MATMUL_SUB,
};

#ifdef VI_HAS_DOT
enum { TAKES_SIGNED = false };
#else
enum { TAKES_SIGNED = true };
#endif

/* Rolled, gcc 12 copies every sum twice a turn, or keeps them in memory. */
#define UNROLLED _Pragma("GCC unroll 16")

/* A value that is needed now: else gcc 12 computes the products of all steps first and keeps them
 * in memory. */
#define VI_KEEP(a) __asm__ volatile("" : "+v"(a))

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

/* ---- Activations ---- */

static float largest_magnitude(const float *x, int64_t n)
{
    vf most = vf_set(0);
    for (int64_t i = 0; i < n; i += VF_LANES)
        most = vf_max(most, vf_abs(vf_load(x + i)));
    return vf_highest(most);
}

/* The integers of a sub-block, where the tile keeps them. */
static void put_q(const struct matmul_tile *tile, const struct matmul_shape *shape, int64_t row,
                  int64_t sub, const int8_t q[MATMUL_SUB])
{
    if (tile->lane_offsets != NULL) {
        memcpy(tile->q + row * shape->n_k + sub * MATMUL_SUB, q, MATMUL_SUB);
        return;
    }
    int8_t *at = tile->q + (sub * STEPS * tile->n_rows + row) * 4;
    for (int i = 0; i < STEPS; i++, at += tile->n_rows * 4)
        memcpy(at, q + i * 4, 4);
}

static int sum_of(const int8_t *q, int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += q[i];
    return sum;
}

/* The sums of a sub-block; `scale` is the group's. */
static void put_sums(const struct matmul_tile *tile, const struct matmul_shape *shape, int64_t row,
                     int64_t sub, const int8_t q[MATMUL_SUB], float scale, int offset)
{
    struct matmul_format_traits traits = matmul_traits(shape->format);
    bool is_narrow = tile->lane_offsets != NULL;
    int n = MATMUL_SUB / traits.scale_values;
    for (int i = 0; i < n; i++) {
        int sum = sum_of(q + i * traits.scale_values, traits.scale_values);
        union matmul_sum value;
        if (traits.has_mins || (is_narrow && shape->format == MATMUL_Q6_K))
            value.sum = is_narrow ? (float)sum * scale : (float)sum;
        else
            value.offset = -offset * sum;
        int64_t at = sub * n + i, n_sums = shape->n_k / traits.scale_values;
        tile->sums[is_narrow ? row * n_sums + at : at * tile->n_rows + row] = value;
    }
    if (!is_narrow)
        return;
    int32_t *lanes =
        tile->lane_offsets + (row * (shape->n_k / MATMUL_SUB) + sub) * MATMUL_LANE_SUMS;
    for (int i = 0; i < MATMUL_LANE_SUMS; i++)
        lanes[i] = -offset * sum_of(q + i * 4, 4);
}

static void quantize(const struct matmul_shape *shape, const float *x, int offset,
                     const struct matmul_tile *tile, int64_t row)
{
    int64_t n_groups = (shape->n_k + MATMUL_GROUP - 1) / MATMUL_GROUP;
    for (int64_t group = 0; group < n_groups; group++) {
        int64_t begin = group * MATMUL_GROUP;
        int64_t n = shape->n_k - begin < MATMUL_GROUP ? shape->n_k - begin : MATMUL_GROUP;
        float most = largest_magnitude(x + begin, n);
        float scale = most / 127, inverse = most > 0 ? 127 / most : 0;
        tile->scales[tile->lane_offsets != NULL ? row * n_groups + group
                                                : group * tile->n_rows + row] = scale;
        for (int64_t i = begin; i < begin + n; i += MATMUL_SUB) {
            int8_t q[MATMUL_SUB];
            for (int lane = 0; lane < MATMUL_SUB; lane += VF_LANES)
                vf_store_i8(q + lane, vf_mul(vf_load(x + i + lane), vf_set(inverse)));
            put_q(tile, shape, row, i / MATMUL_SUB, q);
            put_sums(tile, shape, row, i / MATMUL_SUB, q, scale, offset);
        }
    }
}

/* ---- Wide: the panel ---- */

/* Eight rows of eight dwords become columns. */
ALWAYS_INLINE void transpose_dwords(__m256i r[8])
{
    __m256i t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
    }
    for (int i = 0; i < 8; i++)
        r[i] = t[i];
}

ALWAYS_INLINE void unpack_panel_q(const struct matmul_weights *weights,
                                  const enum matmul_format format, int64_t first, int64_t n,
                                  uint8_t *out)
{
    struct matmul_format_traits traits = matmul_traits(format);
    const bool is_signed = TAKES_SIGNED && traits.most > 127;
    const int subs = traits.block_values / MATMUL_SUB;
    for (int64_t sub = 0; sub < n; sub += subs) {
        const char *block = block_at(weights->rows, format, first + sub);
        for (int lane = 0; lane < OUTS; lane += 8, block += 8 * weights->stride) {
            UNROLLED for (int place = 0; place < subs; place++)
            {
                __m256i r[8];
                for (int i = 0; i < 8; i++)
                    r[i] = lane + i < weights->n_outs
                               ? unpack_q(block + (size_t)i * weights->stride, format, place,
                                          is_signed)
                               : _mm256_setzero_si256();
                transpose_dwords(r);
                uint8_t *at = out + (sub + place) * STEPS * STEP_BYTES + lane * 4;
                for (int i = 0; i < STEPS; i++)
                    _mm256_storeu_si256((__m256i *)(at + i * STEP_BYTES), r[i]);
            }
        }
    }
}

ALWAYS_INLINE void unpack_panel_scales(const struct matmul_weights *weights,
                                       const enum matmul_format format, int64_t first, int64_t n,
                                       const struct matmul_panel *panel)
{
    struct matmul_format_traits traits = matmul_traits(format);
    const int subs = traits.block_values / MATMUL_SUB;
    const int n_scales = traits.block_values / traits.scale_values;
    for (int64_t lane = 0; lane < OUTS; lane++) {
        const char *row = weights->rows + (size_t)lane * weights->stride;
        for (int64_t sub = 0; sub < n; sub += subs) {
            float s[16] = {0}, m[8] = {0};
            if (lane < weights->n_outs)
                unpack_scales(block_at(row, format, first + sub), format, s, m);
            float *scales = panel->scales + sub * (MATMUL_SUB / traits.scale_values) * OUTS;
            for (int i = 0; i < n_scales; i++)
                scales[i * OUTS + lane] = s[i];
            for (int i = 0; traits.has_mins && i < subs; i++)
                panel->mins[(sub + i) * OUTS + lane] = m[i];
        }
    }
}

static void unpack(const struct matmul_weights *weights, int64_t first, int64_t n,
                   const struct matmul_panel *panel)
{
#define CALL(format)                                                                               \
    unpack_panel_q(weights, format, first, n, panel->q);                                           \
    unpack_panel_scales(weights, format, first, n, panel)
    FOR_FORMAT(weights->format, CALL)
#undef CALL
}

/* ---- Wide: the product ---- */

ALWAYS_INLINE vi broadcast_dword(const int8_t *q)
{
    int32_t dword;
    memcpy(&dword, q, sizeof dword);
    return vi_set(dword);
}

/* Adds to sum[row][col] the products of n steps of the panel with as many dwords of each row. */
ALWAYS_INLINE void add_products(const int n_rows, const int n, const int most,
                                vi sum[VI_ROWS][VI_COLS], const uint8_t *panel, const int8_t *q)
{
#ifdef VI_HAS_DOT
    (void)most;
    UNROLLED for (int i = 0; i < n; i++)
    {
        vi right[VI_COLS];
        UNROLLED for (int c = 0; c < VI_COLS; c++) right[c] =
            vi_load(panel + i * STEP_BYTES + c * VF_LANES * 4);
        UNROLLED for (int r = 0; r < n_rows; r++)
        {
            vi left = broadcast_dword(q + (i * n_rows + r) * 4);
            UNROLLED for (int c = 0; c < VI_COLS; c++) sum[r][c] =
                vi_dot(sum[r][c], right[c], left);
        }
    }
#else
    const int fold = most <= 15 ? 8 : most <= 31 ? 4 : most <= 63 ? 2 : 1;
    UNROLLED for (int i = 0; i < n; i += fold)
    {
        vi pairs[VI_ROWS][VI_COLS];
        UNROLLED for (int j = i; j < i + fold; j++)
        {
            vi right[VI_COLS];
            UNROLLED for (int c = 0; c < VI_COLS; c++) right[c] =
                vi_load(panel + j * STEP_BYTES + c * VF_LANES * 4);
            UNROLLED for (int r = 0; r < n_rows; r++)
            {
                vi left = broadcast_dword(q + (j * n_rows + r) * 4);
                UNROLLED for (int c = 0; c < VI_COLS; c++)
                {
                    vi product =
                        most > 127 ? vi_signed_pairs(right[c], left) : vi_pairs(right[c], left);
                    pairs[r][c] = j == i ? product : vi_add16(pairs[r][c], product);
                    VI_KEEP(pairs[r][c]);
                }
            }
        }
        UNROLLED for (int r = 0; r < n_rows; r++)
        {
            UNROLLED for (int c = 0; c < VI_COLS; c++)
            {
                sum[r][c] = vi_add(sum[r][c], vi_fold(pairs[r][c]));
                VI_KEEP(sum[r][c]);
            }
        }
    }
#endif
}

/* What one product needs beside the constants. */
struct place {
    const struct matmul_panel *panel;
    const int8_t *q;
    const float *scales;
    const union matmul_sum *sums;
    float *y;
    size_t y_stride;
    bool adds; /* to what y holds */
};

/* total += scale * sum */
ALWAYS_INLINE void add_scaled(const int n_rows, vf total[VI_ROWS][VI_COLS],
                              vi sum[VI_ROWS][VI_COLS], const float *scales)
{
    UNROLLED for (int c = 0; c < VI_COLS; c++)
    {
        vf scale = vf_load(scales + c * VF_LANES);
        UNROLLED for (int r = 0; r < n_rows; r++) total[r][c] =
            vf_fma(vi_to_vf(sum[r][c]), scale, total[r][c]);
    }
}

ALWAYS_INLINE void subtract_mins(const int n_rows, vf total[VI_ROWS][VI_COLS], const float *mins,
                                 const union matmul_sum *sums)
{
    UNROLLED for (int c = 0; c < VI_COLS; c++)
    {
        vf minimum = vf_load(mins + c * VF_LANES);
        UNROLLED for (int r = 0; r < n_rows; r++) total[r][c] =
            vf_fnma(minimum, vf_set(sums[r].sum), total[r][c]);
    }
}

/* A group of at most GROUP_SUBS sub-blocks, from sub-block `sub` of the panel on. */
ALWAYS_INLINE void multiply_group(const int n_rows, const bool has_mins, const int halves,
                                  const int most, const struct place *place, int64_t sub,
                                  int64_t end)
{
    vf total[VI_ROWS][VI_COLS];
    UNROLLED for (int r = 0; r < n_rows; r++) UNROLLED for (int c = 0; c < VI_COLS; c++)
        total[r][c] = vf_set(0);
    const int8_t *q = place->q + sub * MATMUL_SUB * n_rows;
    const union matmul_sum *sums = place->sums + sub * halves * n_rows;
    for (; sub < end; sub++) {
        for (int half = 0; half < halves; half++) {
            int64_t at = sub * halves + half;
            vi sum[VI_ROWS][VI_COLS];
            UNROLLED for (int r = 0; r < n_rows; r++) UNROLLED for (int c = 0; c < VI_COLS; c++)
                sum[r][c] = has_mins ? vi_zero() : vi_set(sums[r].offset);
            add_products(n_rows, STEPS / halves, most, sum,
                         place->panel->q + at * (STEPS / halves * STEP_BYTES), q);
            add_scaled(n_rows, total, sum, place->panel->scales + at * OUTS);
            q += MATMUL_SUB / halves * n_rows;
            sums += has_mins ? 0 : n_rows;
        }
        if (has_mins) {
            subtract_mins(n_rows, total, place->panel->mins + sub * OUTS, sums);
            sums += n_rows;
        }
    }
    const float *scales = place->scales + (end - 1) / GROUP_SUBS * n_rows;
    UNROLLED for (int r = 0; r < n_rows; r++)
    {
        float *y = (float *)((char *)place->y + (size_t)r * place->y_stride);
        UNROLLED for (int c = 0; c < VI_COLS; c++)
        {
            vf before = place->adds ? vf_load(y + c * VF_LANES) : vf_set(0);
            vf_store(y + c * VF_LANES, vf_fma(total[r][c], vf_set(scales[r]), before));
        }
    }
}

ALWAYS_INLINE void multiply_tile(const int n_rows, const bool has_mins, const int halves,
                                 const int most, struct place place, int64_t n)
{
    for (int64_t sub = 0; sub < n; sub += GROUP_SUBS) {
        int64_t end = sub + GROUP_SUBS < n ? sub + GROUP_SUBS : n;
        multiply_group(n_rows, has_mins, halves, most, &place, sub, end);
        place.adds = true;
    }
}

#define ROWS_CASE(rows)                                                                            \
    case rows:                                                                                     \
        multiply_tile(rows, has_mins, halves, most, place, n);                                     \
        break;

ALWAYS_INLINE void multiply_rows(int64_t n_rows, const bool has_mins, const int halves,
                                 const int most, struct place place, int64_t n)
{
    switch (n_rows) {
        ROWS_CASE(1)
        ROWS_CASE(2)
        ROWS_CASE(3)
#if VI_ROWS > 3
        ROWS_CASE(4)
#endif
#if VI_ROWS > 4
        ROWS_CASE(5)
        ROWS_CASE(6)
#endif
    }
}

static void multiply_plain(int64_t n_rows, struct place place, int64_t n, int most)
{
#ifdef VI_HAS_DOT
    most = 0; /* all one program */
#endif
    if (most == 0 || most == 15)
        multiply_rows(n_rows, false, 1, 15, place, n);
    else if (most == 31)
        multiply_rows(n_rows, false, 1, 31, place, n);
    else
        multiply_rows(n_rows, false, 1, 255, place, n);
}

static void multiply_with_mins(int64_t n_rows, struct place place, int64_t n, int most)
{
#ifdef VI_HAS_DOT
    most = 15;
#endif
    if (most == 15)
        multiply_rows(n_rows, true, 1, 15, place, n);
    else
        multiply_rows(n_rows, true, 1, 31, place, n);
}

static void multiply(enum matmul_format format, const struct matmul_panel *panel, int64_t first,
                     int64_t n, const struct matmul_tile *tile, float *y, size_t y_stride)
{
    struct matmul_format_traits traits = matmul_traits(format);
    int64_t halves = MATMUL_SUB / traits.scale_values;
    struct place place = {
        .panel = panel,
        .q = tile->q + first * MATMUL_SUB * tile->n_rows,
        .scales = tile->scales + first / GROUP_SUBS * tile->n_rows,
        .sums = tile->sums + first * halves * tile->n_rows,
        .y = y,
        .y_stride = y_stride,
        .adds = first > 0,
    };
    if (halves == 2)
        multiply_rows(tile->n_rows, false, 2, 63, place, n);
    else if (traits.has_mins)
        multiply_with_mins(tile->n_rows, place, n, traits.most);
    else
        multiply_plain(tile->n_rows, place, n, traits.most);
}

/* ---- Narrow ---- */

ALWAYS_INLINE float sum_of_8(__m256 a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

/* One row of activations, from a block's first sub-block on. */
struct narrow_row {
    const int8_t *q;
    const int32_t *lane_offsets;
    const union matmul_sum *sums;
    const float *scales; /* of the groups from here on */
};

/* A block of 32 of one output times one row. */
ALWAYS_INLINE __m256 narrow_block(const enum matmul_format format, const void *block,
                                  const struct narrow_row *row, __m256 total)
{
    struct matmul_format_traits traits = matmul_traits(format);
    const bool is_signed = TAKES_SIGNED && traits.most > 127;
    float s[16], m[8];
    unpack_scales(block, format, s, m);
    __m256i q = unpack_q(block, format, 0, is_signed);
    __m256i a = _mm256_loadu_si256((const __m256i *)row->q);
    __m256i sum = _mm256_setzero_si256();
    if (!traits.has_mins && !is_signed)
        sum = _mm256_loadu_si256((const __m256i *)row->lane_offsets);
    sum = is_signed ? narrow_signed_dot(sum, q, a) : narrow_dot(sum, q, a);
    if (traits.has_mins) /* an eighth in each lane; sums are scaled already */
        total =
            _mm256_fnmadd_ps(_mm256_set1_ps(m[0] / 8), _mm256_broadcast_ss(&row->sums->sum), total);
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(s[0] * row->scales[0]), total);
}

/* The scales of a K block are small whole numbers: they multiply pairs of products in 16 bits, so
 * that floats appear once a group and not once a sub-block.  Pairs fit: 2 * 63 * 127, and 2 * 127 *
 * 127 for IQ4_XS, are below 2^15. */
ALWAYS_INLINE __m256i narrow_pairs(__m256i q, __m256i a, const bool is_signed)
{
    if (is_signed)
        return _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(a, q));
    return _mm256_maddubs_epi16(q, a);
}

/* A K block of one output times one row. */
ALWAYS_INLINE __m256 narrow_super(const enum matmul_format format, const void *block,
                                  const struct super_scales *scales, const struct narrow_row *row,
                                  __m256 total)
{
    const bool is_signed = matmul_traits(format).most > 127;
    UNROLLED for (int group = 0; group < MATMUL_SUPER / MATMUL_GROUP; group++)
    {
        __m256i sum = _mm256_setzero_si256();
        UNROLLED for (int i = 0; i < GROUP_SUBS; i++)
        {
            const int place = group * GROUP_SUBS + i;
            __m256i q = unpack_q(block, format, place, is_signed);
            __m256i a = _mm256_loadu_si256((const __m256i *)(row->q + place * MATMUL_SUB));
            /* The 16-bit scale of this place, in all lanes of each half. */
            const __m256i which = _mm256_set1_epi16((short)(0x0100 + 0x0202 * place));
            __m256i scale = _mm256_shuffle_epi8(scales->whole, which);
            sum = narrow_add_scaled(sum, narrow_pairs(q, a, is_signed), scale);
        }
        __m256 factor = _mm256_mul_ps(scales->factor, _mm256_broadcast_ss(row->scales + group));
        total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), factor, total);
    }
    if (format == MATMUL_IQ4_XS)
        return total;
    total = _mm256_fnmadd_ps(scales->mins[0], _mm256_loadu_ps(&row->sums[0].sum), total);
    if (format == MATMUL_Q6_K)
        total = _mm256_fnmadd_ps(scales->mins[1], _mm256_loadu_ps(&row->sums[8].sum), total);
    return total;
}

/* One output at a time: its weights are one stream that the processor reads ahead of us; four
 * streams side by side, for more chains of additions, came from memory at a third of the speed. */
ALWAYS_INLINE void narrow_out(const int n_rows, const enum matmul_format format,
                              const struct matmul_args *args, const struct matmul_tile *tile,
                              int64_t out)
{
    struct matmul_format_traits traits = matmul_traits(format);
    const int subs = traits.block_values / MATMUL_SUB, n_sums = MATMUL_SUB / traits.scale_values;
    const char *block = (const char *)args->weights + (size_t)out * args->weights_stride;
    int64_t n_sub = args->shape.n_k / MATMUL_SUB;
    int64_t n_groups = (n_sub + GROUP_SUBS - 1) / GROUP_SUBS;
    __m256 total[MATMUL_NARROW_ROWS];
    for (int r = 0; r < n_rows; r++)
        total[r] = _mm256_setzero_ps();
    for (int64_t sub = 0; sub < n_sub; sub += subs, block += traits.block_bytes) {
        struct super_scales scales = {0};
        if (subs > 1)
            unpack_super_scales(block, format, &scales);
        for (int r = 0; r < n_rows; r++) {
            struct narrow_row row = {
                .q = tile->q + (r * n_sub + sub) * MATMUL_SUB,
                .lane_offsets = tile->lane_offsets + (r * n_sub + sub) * MATMUL_LANE_SUMS,
                .sums = tile->sums + (r * n_sub + sub) * n_sums,
                .scales = tile->scales + r * n_groups + sub / GROUP_SUBS,
            };
            total[r] = subs > 1 ? narrow_super(format, block, &scales, &row, total[r])
                                : narrow_block(format, block, &row, total[r]);
        }
    }
    for (int r = 0; r < n_rows; r++) {
        float *y = (float *)((char *)args->y + (size_t)r * args->y_stride);
        y[out] = sum_of_8(total[r]);
    }
}

ALWAYS_INLINE void narrow_format(const int n_rows, const enum matmul_format format,
                                 const struct matmul_args *args, const struct matmul_tile *tile,
                                 int64_t begin, int64_t end)
{
    for (int64_t out = begin; out < end; out++)
        narrow_out(n_rows, format, args, tile, out);
}

static void narrow(const struct matmul_args *args, const struct matmul_tile *tile, int64_t begin,
                   int64_t end)
{
#define CALL(format)                                                                               \
    if (args->shape.n_rows == 1)                                                                   \
        narrow_format(1, format, args, tile, begin, end);                                          \
    else if (args->shape.n_rows == 2)                                                              \
        narrow_format(2, format, args, tile, begin, end);                                          \
    else                                                                                           \
        narrow_format(3, format, args, tile, begin, end)
    FOR_FORMAT(args->shape.format, CALL)
#undef CALL
}

#define MATMUL_KERNELS                                                                             \
    {.outs = OUTS,                                                                                 \
     .tile_rows = VI_ROWS,                                                                         \
     .takes_signed = TAKES_SIGNED,                                                                 \
     .quantize = quantize,                                                                         \
     .unpack = unpack,                                                                             \
     .multiply = multiply,                                                                         \
     .narrow = narrow}
