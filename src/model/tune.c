#include "model/tune.h"

#include "base/clock.h"
#include "base/log.h"

enum {
    PAIRS = 3,
    LEAST_PAIRS = 2,
    READ_ROWS = 128, /* of one timed chunk; from 64 on the kernels work as with 512 */
    POLLING = 50,    /* libllama's own default */
    MOST_DISTURBED = 4,
    MOST_NOISY = 2, /* comparisons, and nothing is believed */
};

/* Below, other programs were computing beside us. */
static const double LEAST_SHARE = 0.8;

/* A change has to gain this much. */
static const double KERNELS_MARGIN = 0.03;
static const double FLASH_MARGIN = 0.03;
static const double THREADS_MARGIN = 0.05;
/* Threads that spin take a core from the server's own threads and keep a laptop warm. */
static const double POLL_MARGIN = 0.05;
/* A smaller step may be slower by this much, for the memory that it saves. */
static const double STEP_LOSS = 0.04;

/* Farther apart than this and it was not our work alone that was timed. */
static const double RATIOS_APART = 1.35;
static const double TIMES_APART = 1.5;
/* Nearer than this, pairs that point to both sides of a border only say that it is near. */
static const double RATIOS_STEADY = 1.06;

/* What a pair compares: tokens read and written. */
struct work {
    double n_read, n_written;
};
static const struct work TURN = {TUNE_READ_TOKENS, TUNE_WRITTEN_TOKENS};
static const struct work READING = {1, 0};
static const struct work WRITING = {0, 1};

/* What a token costs is noted apart for each way of computing it. */
enum form { FORM_PLAIN, FORM_FLASH, FORM_KERNELS, FORMS };

static enum form form_of(const struct tune_setting *setting)
{
    return setting->kernels != KERNEL_ISA_NONE ? FORM_KERNELS
           : setting->flash                    ? FORM_FLASH
                                               : FORM_PLAIN;
}

struct run {
    struct tune_bench *bench;
    const struct tune_request *request;
    struct tune_choice choice;
    uint64_t deadline_ms;
    bool has_failed; /* the bench was stopped */
    bool is_busy;    /* too often, others were computing */
    unsigned n_disturbed;
    bool was_cut; /* a comparison was left out for lack of time */
    unsigned n_noisy;
    bool is_unsettled; /* kernels or the form of attention were not decided */
    double best_read_us[FORMS], best_write_us[FORMS];
};

struct tune_choice tune_default(uint32_t n_threads, bool has_gpu, enum kernel_isa kernels)
{
    return (struct tune_choice){
        .kernels = kernels,
        .flash = has_gpu                      ? MODEL_FLASH_AUTO
                 : kernels != KERNEL_ISA_NONE ? MODEL_FLASH_ON
                                              : MODEL_FLASH_OFF,
        .n_threads = n_threads,
        .n_threads_batch = n_threads,
        .poll = 0,
        .n_step_rows = TUNE_LARGEST_STEP,
    };
}

size_t tune_thread_candidates(uint32_t n_usable, uint32_t n_physical,
                              uint32_t out[TUNE_MOST_CANDIDATES])
{
    size_t n = 0;
    if (n_physical > 0 && n_physical < n_usable)
        out[n++] = n_physical;
    uint32_t half = (n_physical > 0 && n_physical < n_usable ? n_physical : n_usable) / 2;
    if (half >= 2)
        out[n++] = half;
    return n;
}

/* ---- Judging ---- */

static void sort(double *values, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && values[j] < values[j - 1]; j--) {
            double larger = values[j - 1];
            values[j - 1] = values[j];
            values[j] = larger;
        }
}

static double spread(const struct tune_pair *pairs, size_t n_pairs, size_t side)
{
    double least = pairs[0].us[side], most = pairs[0].us[side];
    for (size_t i = 1; i < n_pairs; i++) {
        least = pairs[i].us[side] < least ? pairs[i].us[side] : least;
        most = pairs[i].us[side] > most ? pairs[i].us[side] : most;
    }
    return most / least;
}

enum tune_verdict tune_judge(const struct tune_pair *pairs, size_t n_pairs, double margin)
{
    double ratios[PAIRS];
    INVARIANT(n_pairs >= 1 && n_pairs <= PAIRS);
    for (size_t i = 0; i < n_pairs; i++)
        ratios[i] = pairs[i].us[1] / pairs[i].us[0];
    sort(ratios, n_pairs);
    double least = ratios[0], most = ratios[n_pairs - 1];
    double median = (ratios[(n_pairs - 1) / 2] + ratios[n_pairs / 2]) / 2;
    if (most > least * RATIOS_APART || spread(pairs, n_pairs, 0) > TIMES_APART ||
        spread(pairs, n_pairs, 1) > TIMES_APART)
        return TUNE_NOISE;
    bool is_steady = most <= least * RATIOS_STEADY;
    if (median < 1 - margin && (most < 1 || is_steady))
        return TUNE_TAKE;
    return least >= 1 - margin || is_steady ? TUNE_KEEP : TUNE_NOISE;
}

/* ---- Timing ---- */

/* Once more where it was disturbed, within reason. */
static double time_undisturbed(struct run *r, const struct tune_setting *setting, uint32_t n_rows)
{
    while (!r->has_failed) {
        double us = r->bench->time_rows(r->bench, setting, n_rows);
        bool is_disturbed = r->bench->share < LEAST_SHARE && !r->request->insists;
        if (us > 0 && !is_disturbed)
            return us;
        r->n_disturbed += is_disturbed;
        r->is_busy = is_disturbed && (us <= 0 || r->n_disturbed > MOST_DISTURBED);
        r->has_failed = us <= 0 || r->is_busy;
    }
    return 0;
}

static double time_rows(struct run *r, const struct tune_setting *setting, uint32_t n_rows)
{
    double us = time_undisturbed(r, setting, n_rows);
    if (us <= 0)
        return 0;
    double *best = n_rows == 1 ? r->best_write_us : r->best_read_us;
    enum form form = form_of(setting);
    if (best[form] <= 0 || us < best[form])
        best[form] = us;
    return us;
}

static double time_work(struct run *r, const struct tune_setting *setting, struct work work,
                        uint32_t n_rows)
{
    double us = 0;
    if (work.n_written > 0)
        us += work.n_written * time_rows(r, setting, 1);
    if (work.n_read > 0)
        us += work.n_read * time_rows(r, setting, n_rows);
    return us;
}

/* One side of a comparison. */
struct side {
    struct tune_setting setting;
    uint32_t n_rows;
};

static enum tune_verdict compare(struct run *r, const struct side sides[2], struct work work,
                                 double margin)
{
    struct tune_pair pairs[PAIRS];
    size_t n = 0;
    for (; n < PAIRS && clock_now_ms() < r->deadline_ms; n++) {
        size_t first = n % 2;
        for (size_t i = 0; i < 2; i++) {
            size_t side = i == 0 ? first : 1 - first;
            pairs[n].us[side] = time_work(r, &sides[side].setting, work, sides[side].n_rows);
        }
        if (r->has_failed)
            return TUNE_KEEP;
        log_debug("tune: pair %zu: %.0f and %.0f us", n + 1, pairs[n].us[0], pairs[n].us[1]);
    }
    if (n < LEAST_PAIRS) {
        r->was_cut = true;
        return TUNE_KEEP;
    }
    enum tune_verdict verdict = tune_judge(pairs, n, margin);
    r->n_noisy += verdict == TUNE_NOISE;
    return verdict;
}

/* ---- The choices, in the order of what they can gain ---- */

static struct tune_setting setting_of(const struct tune_choice *choice)
{
    return (struct tune_setting){
        .kernels = choice->kernels,
        .flash = choice->flash == MODEL_FLASH_ON,
        .n_threads = choice->n_threads,
        .poll = choice->poll,
    };
}

/* Before the form of attention, which follows from it. */
static void choose_kernels(struct run *r)
{
    if (!r->request->compares_kernels || r->choice.kernels == KERNEL_ISA_NONE)
        return;
    struct tune_setting on = setting_of(&r->choice), off = on;
    on.flash = r->choice.flash != MODEL_FLASH_OFF;
    off.kernels = KERNEL_ISA_NONE;
    const struct side sides[2] = {{on, READ_ROWS}, {off, READ_ROWS}};
    enum tune_verdict verdict = compare(r, sides, TURN, KERNELS_MARGIN);
    if (r->best_read_us[FORM_KERNELS] > 0 && !r->has_failed)
        log_info("tune: %u tokens deep, kernels %s read %.1f and write %.1f tokens/s",
                 r->bench->depth, isa_name(on.kernels), 1e6 / r->best_read_us[FORM_KERNELS],
                 1e6 / r->best_write_us[FORM_KERNELS]);
    if (verdict == TUNE_TAKE) {
        r->choice.kernels = KERNEL_ISA_NONE;
        log_info("tune: ggml's own kernels are faster here");
    }
    r->is_unsettled = verdict == TUNE_NOISE || r->was_cut;
}

static void choose_flash(struct run *r)
{
    if (r->choice.flash != MODEL_FLASH_AUTO)
        return;
    if (r->choice.kernels != KERNEL_ISA_NONE) {
        r->choice.flash = MODEL_FLASH_ON;
        return;
    }
    r->choice.flash = MODEL_FLASH_OFF;
    struct tune_setting off = setting_of(&r->choice), on = off;
    on.flash = true;
    const struct side sides[2] = {{off, READ_ROWS}, {on, READ_ROWS}};
    enum tune_verdict verdict = compare(r, sides, TURN, FLASH_MARGIN);
    if (verdict == TUNE_TAKE)
        r->choice.flash = MODEL_FLASH_ON;
    r->is_unsettled = r->is_unsettled || verdict == TUNE_NOISE || r->was_cut;
    if (r->best_read_us[FORM_PLAIN] > 0 && r->best_read_us[FORM_FLASH] > 0 && !r->has_failed)
        log_info(
            "tune: %u tokens deep, flash attention off reads %.1f and writes %.1f tokens/s, "
            "on %.1f and %.1f: %s%s",
            r->bench->depth, 1e6 / r->best_read_us[FORM_PLAIN], 1e6 / r->best_write_us[FORM_PLAIN],
            1e6 / r->best_read_us[FORM_FLASH], 1e6 / r->best_write_us[FORM_FLASH],
            r->choice.flash == MODEL_FLASH_ON ? "on" : "off", r->is_unsettled ? " (unsteady)" : "");
}

/* The better number of threads for `work`, all of them tried. */
static uint32_t choose_threads(struct run *r, uint32_t start, struct work work, const char *what)
{
    struct tune_setting best = setting_of(&r->choice);
    best.n_threads = start;
    for (size_t i = 0; i < r->request->n_threads; i++) {
        struct tune_setting other = best;
        other.n_threads = r->request->threads[i];
        const struct side sides[2] = {{best, READ_ROWS}, {other, READ_ROWS}};
        if (compare(r, sides, work, THREADS_MARGIN) == TUNE_TAKE)
            best = other;
    }
    if (best.n_threads != start)
        log_info("tune: %s is faster on %u threads than on %u", what, best.n_threads, start);
    return best.n_threads;
}

static void choose_poll(struct run *r)
{
    struct tune_setting sleeping = setting_of(&r->choice), spinning = sleeping;
    if (sleeping.n_threads < 2)
        return; /* nobody waits */
    spinning.poll = POLLING;
    const struct side sides[2] = {{sleeping, 1}, {spinning, 1}};
    if (compare(r, sides, WRITING, POLL_MARGIN) == TUNE_TAKE) {
        r->choice.poll = POLLING;
        log_info("tune: writing is faster when waiting threads spin");
    }
}

/* Without the flash form a step needs memory for its rows x the whole pool.  With it there is
 * nothing to save. */
static void choose_step(struct run *r)
{
    if (r->choice.flash != MODEL_FLASH_OFF)
        return;
    struct tune_setting setting = setting_of(&r->choice);
    setting.n_threads = r->choice.n_threads_batch;
    uint32_t largest = r->choice.n_step_rows;
    for (uint32_t rows = TUNE_SMALLEST_STEP; rows < r->choice.n_step_rows; rows *= 2) {
        const struct side sides[2] = {{setting, largest}, {setting, rows}};
        if (compare(r, sides, READING, -STEP_LOSS) == TUNE_TAKE)
            r->choice.n_step_rows = rows;
    }
    if (r->choice.n_step_rows != largest)
        log_info("tune: %u rows a step are as fast as %u", r->choice.n_step_rows, largest);
}

/* Also of a measurement that came to nothing else. */
static void note_speed(struct run *r)
{
    struct tune_setting setting = setting_of(&r->choice);
    enum form form = form_of(&setting);
    double *write_us = &r->best_write_us[form], *read_us = &r->best_read_us[form];
    if (*write_us <= 0)
        time_rows(r, &setting, 1);
    setting.n_threads = r->choice.n_threads_batch;
    if (*read_us <= 0)
        time_rows(r, &setting, READ_ROWS);
    r->choice.decode_tokens_per_s = *write_us > 0 ? 1e6 / *write_us : 0;
    r->choice.prefill_tokens_per_s = *read_us > 0 ? 1e6 / *read_us : 0;
}

static void finish(const struct run *r, struct tune_result *out)
{
    bool is_settled = !r->has_failed && !r->is_unsettled && r->n_noisy < MOST_NOISY;
    *out = (struct tune_result){
        .state = is_settled   ? TUNE_SETTLED
                 : r->is_busy ? TUNE_NONE
                              : TUNE_UNSETTLED,
        .choice = is_settled ? r->choice : r->request->start,
    };
    if (out->choice.flash == MODEL_FLASH_AUTO)
        out->choice.flash =
            out->choice.kernels != KERNEL_ISA_NONE ? MODEL_FLASH_ON : MODEL_FLASH_OFF;
    out->choice.prefill_tokens_per_s = r->choice.prefill_tokens_per_s;
    out->choice.decode_tokens_per_s = r->choice.decode_tokens_per_s;
}

void tune_run(struct tune_bench *b, const struct tune_request *request, struct tune_result *out)
{
    uint64_t begin_ms = clock_now_ms();
    struct run r = {
        .bench = b,
        .request = request,
        .choice = request->start,
        .deadline_ms = begin_ms + request->budget_ms,
    };
    log_info("tune: measuring how this model runs fastest here, once; at most about %u s",
             request->budget_ms / 1000);
    choose_kernels(&r);
    choose_flash(&r);
    r.choice.n_threads = choose_threads(&r, r.choice.n_threads, WRITING, "writing");
    r.choice.n_threads_batch = choose_threads(&r, r.choice.n_threads_batch, READING, "reading");
    choose_poll(&r);
    choose_step(&r);
    note_speed(&r);
    finish(&r, out);
    out->elapsed_ms = (unsigned)(clock_now_ms() - begin_ms);
    if (out->state == TUNE_NONE)
        log_info("tune: other programs are busy; to be measured at the next start");
    else
        log_info("tune: %s after %.1f s; %u tokens deep it reads %.0f and writes %.1f tokens/s",
                 out->state == TUNE_SETTLED ? "settled" : "too unsteady to keep",
                 out->elapsed_ms / 1000.0, b->depth, out->choice.prefill_tokens_per_s,
                 out->choice.decode_tokens_per_s);
}
