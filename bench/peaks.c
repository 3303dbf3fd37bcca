#include "bench/peaks.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define VECTOR "+v"
#else
#include <arm_neon.h>
#define VECTOR "+w"
#endif

enum {
    SUMS = 12, /* in flight: more than a latency of 4 times two units */
    TURNS = 1 << 16,
    MOST_THREADS = 256,
    MEMORY = 256 << 20, /* bytes a thread reads */
    ROUNDS = 5,
};

#define UNROLLED _Pragma("GCC unroll 16")
#define KEEP(a)  __asm__ volatile("" : VECTOR(a)) /* so that no turn is left out */

/* ---- One thread's work; each returns how much it did ---- */

typedef double probe_fn(char *memory);

/* Sums of `type` to which `step` adds something, TURNS times: `per_step` products each. */
#define PROBE(name, attribute, type, zero, step, per_step)                                         \
    attribute static double name(char *memory)                                                     \
    {                                                                                              \
        (void)memory;                                                                              \
        type sum[SUMS], a = zero, b = zero;                                                        \
        KEEP(a);                                                                                   \
        KEEP(b);                                                                                   \
        UNROLLED for (int i = 0; i < SUMS; i++) sum[i] = zero;                                     \
        for (int turn = 0; turn < TURNS; turn++) {                                                 \
            UNROLLED for (int i = 0; i < SUMS; i++)                                                \
            {                                                                                      \
                sum[i] = step;                                                                     \
                KEEP(sum[i]);                                                                      \
            }                                                                                      \
        }                                                                                          \
        return (double)TURNS * SUMS * (per_step);                                                  \
    }

#if defined(__x86_64__)

#define AVX2   __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f,avx512bw")))
#define VNNI   __attribute__((target("avx512f,avx512bw,avx512vnni")))

PROBE(f32_avx2, AVX2, __m256, _mm256_setzero_ps(), _mm256_fmadd_ps(a, b, sum[i]), 8)
PROBE(f32_avx512, AVX512, __m512, _mm512_setzero_ps(), _mm512_fmadd_ps(a, b, sum[i]), 16)
PROBE(int8_avx2, AVX2, __m256i, _mm256_setzero_si256(),
      _mm256_add_epi32(sum[i], _mm256_madd_epi16(_mm256_maddubs_epi16(a, sum[i]), b)), 32)
PROBE(int8_avx512, AVX512, __m512i, _mm512_setzero_si512(),
      _mm512_add_epi32(sum[i], _mm512_madd_epi16(_mm512_maddubs_epi16(a, sum[i]), b)), 64)
PROBE(int8_vnni, VNNI, __m512i, _mm512_setzero_si512(), _mm512_dpbusd_epi32(sum[i], a, b), 64)

AVX2 static double read_memory(char *memory)
{
    __m256i sum[4];
    UNROLLED for (int i = 0; i < 4; i++) sum[i] = _mm256_setzero_si256();
    for (size_t at = 0; at < MEMORY; at += 4 * sizeof sum[0])
        UNROLLED for (size_t i = 0; i < 4; i++) sum[i] = _mm256_xor_si256(
            sum[i], _mm256_load_si256((const __m256i *)(memory + at + i * sizeof sum[0])));
    UNROLLED for (int i = 0; i < 4; i++) KEEP(sum[i]);
    return MEMORY;
}

static probe_fn *f32_of(enum kernel_isa isa)
{
    return isa == KERNEL_ISA_AVX2 ? f32_avx2 : f32_avx512;
}

static probe_fn *int8_of(enum kernel_isa isa)
{
    return isa == KERNEL_ISA_AVX2 ? int8_avx2 : isa == KERNEL_ISA_AVX512 ? int8_avx512 : int8_vnni;
}

#else

#define DOT    __attribute__((target("+dotprod")))
#define MATRIX __attribute__((target("+i8mm")))

PROBE(f32_neon, , float32x4_t, vdupq_n_f32(0), vfmaq_f32(sum[i], a, b), 4)
PROBE(int8_dot, DOT, int32x4_t, vdupq_n_s32(0),
      vdotq_s32(sum[i], vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b)), 16)
PROBE(int8_matrix, MATRIX, int32x4_t, vdupq_n_s32(0),
      vmmlaq_s32(sum[i], vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b)), 32)

static double read_memory(char *memory)
{
    uint8x16_t sum[4];
    UNROLLED for (int i = 0; i < 4; i++) sum[i] = vdupq_n_u8(0);
    for (size_t at = 0; at < MEMORY; at += 4 * sizeof sum[0])
        UNROLLED for (size_t i = 0; i < 4; i++) sum[i] =
            veorq_u8(sum[i], vld1q_u8((const uint8_t *)memory + at + i * sizeof sum[0]));
    UNROLLED for (int i = 0; i < 4; i++) KEEP(sum[i]);
    return MEMORY;
}

static probe_fn *f32_of(enum kernel_isa isa)
{
    (void)isa;
    return f32_neon;
}

static probe_fn *int8_of(enum kernel_isa isa)
{
    return isa == KERNEL_ISA_NEON ? int8_dot : int8_matrix;
}

#endif

/* ---- All threads at once ---- */

struct worker {
    probe_fn *probe;
    pthread_barrier_t *ready;
    char *memory; /* its own */
    double done, seconds;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    pthread_barrier_wait(w->ready);
    double begin = now();
    w->done = w->probe(w->memory);
    w->seconds = now() - begin;
    return NULL;
}

/* The best of some rounds, as a machine's other work only slows. */
static double best_rate(probe_fn *probe, int n_threads, char *memory)
{
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_t ready;
        pthread_t threads[MOST_THREADS];
        struct worker workers[MOST_THREADS];
        double rate = 0;
        pthread_barrier_init(&ready, NULL, (unsigned)n_threads);
        for (int i = 0; i < n_threads; i++) {
            workers[i] = (struct worker){
                .probe = probe, .ready = &ready, .memory = memory + (size_t)i * MEMORY};
            if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
                abort();
        }
        for (int i = 0; i < n_threads; i++) {
            pthread_join(threads[i], NULL);
            rate += workers[i].done / workers[i].seconds;
        }
        pthread_barrier_destroy(&ready);
        best = rate > best ? rate : best;
    }
    return best;
}

struct peaks peaks_measure(enum kernel_isa isa, int n_threads)
{
    n_threads = n_threads < MOST_THREADS ? n_threads : MOST_THREADS;
    size_t bytes = (size_t)n_threads * MEMORY;
    char *memory = aligned_alloc(4096, bytes);
    if (memory == NULL)
        abort();
    memset(memory, 1, bytes); /* pages that are really there */
    struct peaks peaks = {
        .f32 = best_rate(f32_of(isa), n_threads, memory),
        .int8 = best_rate(int8_of(isa), n_threads, memory),
        .memory = best_rate(read_memory, n_threads, memory),
    };
    free(memory);
    return peaks;
}
