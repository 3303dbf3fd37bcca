/* sched -- the owner's thread: see sched.h for the rules, job.h for a job's states.
 *
 * Lock order: a job's outbox mutex, then the scheduler's.  The scheduler's mutex guards the inbox,
 * the flags beside it and the published numbers; jobs, prefix tree and model are the thread's own.
 */
#include "sched/sched.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/thread.h"
#include "sched/batch.h"
#include "sched/job.h"
#include "sched/order.h"
#include "sched/persist.h"
#include "sched/recount.h"

enum {
    IDLE_WAIT_MS = 1000,     /* the longest sleep; every event wakes earlier */
    REPLY_SLACK_CELLS = 64,  /* room per running job that an admission leaves for replies */
    LEADER_GAIN_TOKENS = 64, /* for less, nobody waits for another's prompt to come by */
};

struct sched {
    struct model *model;
    struct prefix *prefix;
    struct persist *persist;
    struct recount *recount; /* NULL: nothing is counted */
    struct sched_options options;
    pthread_t thread;

    /* The thread's own. */
    struct job **jobs; /* [max_jobs], oldest first */
    size_t n_jobs;
    struct batch_entry *entries; /* [max_jobs], one per job */
    struct order_entry *ranking; /* the same */
    size_t *order;               /* [max_jobs] */
    struct batch batch;
    struct batch_speed speed;
    struct draft_cost draft_cost;
    bool model_failed;

    /* Read by the model's threads while they compute. */
    _Atomic(struct job *) computed; /* whose rows, and nobody else's, are under way, or NULL */
    atomic_bool is_stopping;

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t woken;
    bool has_news;
    struct job **inbox; /* [max_jobs] */
    size_t n_inbox;
    size_t n_admitted; /* inbox and jobs */
    struct sched_stats stats;
};

static void wake(void *arg)
{
    struct sched *s = arg;
    pthread_mutex_lock(&s->mutex);
    s->has_news = true;
    pthread_cond_signal(&s->woken);
    pthread_mutex_unlock(&s->mutex);
}

/* The model asks this between its operations. */
static bool should_abort(void *arg)
{
    struct sched *s = arg;
    if (atomic_load_explicit(&s->is_stopping, memory_order_relaxed))
        return true;
    struct job *j = atomic_load_explicit(&s->computed, memory_order_relaxed);
    return j != NULL && atomic_load_explicit(&j->is_cancelled, memory_order_relaxed);
}

/* ---- Numbers for others ---- */

static double blend(double old, double now)
{
    return old == 0 ? now : 0.8 * old + 0.2 * now;
}

static size_t count_running(const struct sched *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_jobs; i++)
        n += s->jobs[i]->leaf != NULL;
    return n;
}

/* The most important prompt that is being read, or NULL. */
static const struct job *find_read(const struct sched *s)
{
    const struct job *found = NULL;
    for (size_t i = 0; i < s->n_jobs; i++) {
        const struct job *j = s->jobs[i];
        if (j->state == JOB_STATE_PREFILL && (found == NULL || j->class < found->class))
            found = j;
    }
    return found;
}

static void publish_stats(struct sched *s)
{
    uint32_t n_running = (uint32_t)count_running(s);
    const struct job *read = find_read(s);
    pthread_mutex_lock(&s->mutex);
    s->stats.n_running = n_running;
    s->stats.n_waiting = (uint32_t)s->n_admitted - n_running;
    s->stats.cells_used = prefix_cells_used(s->prefix);
    s->stats.prefill_done = read != NULL ? (uint32_t)prefix_leaf_length(read->leaf) : 0;
    s->stats.prefill_total = read != NULL ? (uint32_t)read->n_tokens : 0;
    metric_set(METRIC_TURNS_RUNNING, n_running);
    metric_set(METRIC_TURNS_WAITING, s->stats.n_waiting);
    metric_set(METRIC_KV_CELLS_USED, s->stats.cells_used);
    pthread_mutex_unlock(&s->mutex);
}

static void note_decode(struct sched *s, size_t n_sampled, uint64_t us)
{
    metric_add(METRIC_DECODE_US, (int64_t)us);
    pthread_mutex_lock(&s->mutex);
    if (us > 0)
        s->stats.decode_tokens_per_s =
            blend(s->stats.decode_tokens_per_s, (double)n_sampled * 1e6 / (double)us);
    pthread_mutex_unlock(&s->mutex);
}

static void note_prefill(struct sched *s, size_t depth, size_t n_rows, uint64_t us)
{
    batch_speed_add(&s->speed, depth, n_rows, us);
    metric_add(METRIC_PREFILLED_TOKENS, (int64_t)n_rows);
    metric_add(METRIC_PREFILL_US, (int64_t)us);
    pthread_mutex_lock(&s->mutex);
    if (us > 0)
        s->stats.prefill_tokens_per_s =
            blend(s->stats.prefill_tokens_per_s, (double)n_rows * 1e6 / (double)us);
    pthread_mutex_unlock(&s->mutex);
}

/* The first n_rows that the batch has of `e` were computed in `us`. */
static void note_rows_of(struct sched *s, const struct batch_entry *e, size_t n_rows, uint64_t us)
{
    metric_add(METRIC_ROWS_COMPUTED, (int64_t)n_rows);
    recount_add(s->recount, e->tokens, e->n_done, e->n_done + n_rows, us);
}

/* The batch was computed in `us`.  Looks at the entries' tokens, so no job may have changed since.
 */
static void note_rows(struct sched *s, uint64_t us)
{
    const struct batch *b = &s->batch;
    for (size_t begin = 0, end; begin < b->n_rows; begin = end) {
        for (end = begin + 1; end < b->n_rows && b->entry_of[end] == b->entry_of[begin]; end++)
            ;
        note_rows_of(s, &s->entries[b->entry_of[begin]], end - begin,
                     us * (end - begin) / b->n_rows);
    }
}

/* ---- Jobs come and go ---- */

/* Ends the job at `index`, which leaves the list; its leaf goes idle.  The reader hears of it last:
 * who submits again at once finds the prefix, a free place, and figures without this job (the step
 * may still have a long chunk of another job before it). */
static void finish_job(struct sched *s, size_t index, enum job_end end, const struct error *error)
{
    struct job *j = s->jobs[index];
    job_drop_leaf(j);
    memmove(s->jobs + index, s->jobs + index + 1, (s->n_jobs - index - 1) * sizeof *s->jobs);
    s->n_jobs--;
    pthread_mutex_lock(&s->mutex);
    s->n_admitted--;
    pthread_mutex_unlock(&s->mutex);
    metric_add(METRIC_TURNS_DONE, 1);
    if (end == JOB_CANCELLED)
        metric_add(METRIC_TURNS_CANCELLED, 1);
    publish_stats(s);
    job_finish(j, end, error, s->model);
    job_unref(j);
}

static size_t index_of(const struct sched *s, const struct job *j)
{
    for (size_t i = 0; i < s->n_jobs; i++)
        if (s->jobs[i] == j)
            return i;
    INVARIANT(false && "a job of this scheduler");
    return 0;
}

static void take_inbox(struct sched *s)
{
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < s->n_inbox; i++)
        s->jobs[s->n_jobs++] = s->inbox[i];
    s->n_inbox = 0;
    s->has_news = false;
    pthread_mutex_unlock(&s->mutex);
}

static void drop_cancelled(struct sched *s)
{
    for (size_t i = s->n_jobs; i-- > 0;)
        if (atomic_load(&s->jobs[i]->is_cancelled))
            finish_job(s, i, JOB_CANCELLED, NULL);
}

static void fail_all(struct sched *s)
{
    struct error error;
    error_set(&error, STATUS_INTERNAL, SCHED_MODEL_FAILED);
    log_error("sched: the model failed; every turn ends");
    s->model_failed = true;
    pthread_mutex_lock(&s->mutex);
    s->stats.has_failed = true;
    pthread_mutex_unlock(&s->mutex);
    while (s->n_jobs > 0)
        finish_job(s, s->n_jobs - 1, JOB_FAILED, &error);
}

/* Whether `j` may start: it fits beside what runs, with some room for everyone's reply. */
static bool has_room(struct sched *s, const struct job *j, size_t n_running)
{
    if (n_running == 0)
        return true;
    uint32_t needed = prefix_cells_with(s->prefix, j->namespace_key, j->tokens, j->n_tokens);
    return needed + REPLY_SLACK_CELLS * (n_running + 1) <= s->model->info.n_cells;
}

static void start_job(struct sched *s, struct job *j, struct prefix_leaf *leaf, size_t n_reused)
{
    bool is_first = !j->has_started;
    job_start(j, s->model, leaf, n_reused);
    if (is_first) {
        metric_add(METRIC_PROMPT_TOKENS, (int64_t)j->n_prompt);
        metric_add(METRIC_REUSED_TOKENS, (int64_t)n_reused);
    }
    job_publish(j);
}

/* The running job that gives way to a more important one: the youngest of the least important class
 * among those whose prompt is still read, as what was read stays, and the background ones, whose
 * reply can wait.  NULL where there is none. */
static struct job *find_yielding(const struct sched *s, enum job_class class)
{
    struct job *found = NULL;
    for (size_t i = 0; i < s->n_jobs; i++) {
        struct job *j = s->jobs[i];
        bool yields = j->state == JOB_STATE_PREFILL || j->class == JOB_BACKGROUND;
        if (j->leaf != NULL && yields && j->class > class &&
            (found == NULL || j->class >= found->class))
            found = j;
    }
    return found;
}

/* Starts `j` if there is, or can be made, a place and room for it. */
static bool admit(struct sched *s, struct job *j)
{
    for (size_t n_running = count_running(s);
         n_running >= s->options.max_running || !has_room(s, j, n_running); n_running--) {
        struct job *yielding = find_yielding(s, j->class);
        if (yielding == NULL)
            return false;
        log_debug("sched: a turn gives way to a more important one");
        job_give_way(yielding);
    }
    struct prefix_leaf *leaf;
    size_t n_reused, n_nearest;
    size_t n_known = prefix_known(s->prefix, j->namespace_key, j->tokens, j->n_tokens, &n_nearest);
    if (prefix_acquire(s->prefix, j->namespace_key, j->tokens, j->n_tokens, &leaf, &n_reused) !=
        STATUS_OK)
        return false; /* every sequence id runs: the next end makes room */
    if (!j->has_started)
        job_note_parting(j, n_known, n_nearest);
    start_job(s, j, leaf, n_reused);
    return true;
}

static size_t common_length(const struct job *a, const struct job *b)
{
    size_t most = a->n_tokens < b->n_tokens ? a->n_tokens : b->n_tokens;
    size_t n = 0;
    while (n < most && a->tokens[n] == b->tokens[n])
        n++;
    return n;
}

/* Who is being read and will come by more of the beginning of `j` than is known now; NULL: nobody.
 */
static struct job *find_leader(const struct sched *s, const struct job *j)
{
    if (!s->model->info.can_share_prefix)
        return NULL;
    size_t most = prefix_known(s->prefix, j->namespace_key, j->tokens, j->n_tokens, NULL);
    size_t least = most + LEADER_GAIN_TOKENS;
    struct job *leader = NULL;
    for (size_t i = 0; i < s->n_jobs; i++) {
        struct job *other = s->jobs[i];
        if (other->state != JOB_STATE_PREFILL || other->namespace_key != j->namespace_key)
            continue;
        size_t n_common = common_length(j, other);
        if (n_common < least)
            continue;
        least = n_common + 1;
        leader = other;
    }
    return leader;
}

/* Whose prompt gets the next chunk, or NULL: the first in order that is being read or can be
 * started.  Instead of one that waits for another to pass their common part, that other.  Where the
 * first can't be started, nobody else is, but those that are being read go on. */
static struct job *choose_reader(struct sched *s)
{
    for (size_t i = 0; i < s->n_jobs; i++)
        s->ranking[i] = (struct order_entry){s->jobs[i]->class, s->jobs[i]->served_ms};
    order_sort(s->ranking, s->n_jobs, clock_now_ms(), s->order);
    bool may_admit = true;
    for (size_t i = 0; i < s->n_jobs; i++) {
        struct job *j = s->jobs[s->order[i]];
        if (j->state == JOB_STATE_PREFILL)
            return j;
        if (j->state != JOB_STATE_WAITING || !may_admit)
            continue;
        struct job *leader = find_leader(s, j);
        if (leader != NULL)
            return leader;
        if (admit(s, j))
            return j;
        may_admit = false;
    }
    return NULL;
}

/* ---- Steps ---- */

static void build_entries(struct sched *s)
{
    for (size_t i = 0; i < s->n_jobs; i++) {
        const struct job *j = s->jobs[i];
        struct batch_entry *e = &s->entries[i];
        *e = (struct batch_entry){.role = BATCH_SITS_OUT,
                                  .is_background = j->class == JOB_BACKGROUND,
                                  .tokens = j->tokens,
                                  .n_tokens = j->n_tokens};
        if (j->state == JOB_STATE_DECODE)
            e->role = BATCH_DECODES;
        else if (j->state == JOB_STATE_PREFILL)
            e->role = BATCH_PREFILLS;
        if (j->leaf == NULL)
            continue;
        e->n_done = prefix_leaf_length(j->leaf);
        e->n_draft = j->n_drafted;
        e->sequence = prefix_leaf_sequence(j->leaf);
    }
}

/* The pool is full: drops an idle prefix, else lets the youngest running job of the least important
 * class wait, else ends the one that fills the pool alone.  Afterwards the batch is built anew. */
static void make_room(struct sched *s)
{
    if (prefix_evict_one(s->prefix))
        return;
    size_t n_running = 0;
    struct job *last = NULL;
    for (size_t i = 0; i < s->n_jobs; i++) {
        struct job *j = s->jobs[i];
        if (j->leaf == NULL)
            continue;
        n_running++;
        if (last == NULL || j->class >= last->class)
            last = j;
    }
    INVARIANT(n_running > 0);
    if (n_running == 1) {
        finish_job(s, index_of(s, last), JOB_WINDOW, NULL);
        return;
    }
    log_debug("sched: the pool is full; the last of %zu turns waits", n_running);
    job_give_way(last);
}

/* The batch's rows; `j` may call it off where all of them are its own, else it is NULL. */
static enum model_result compute(struct sched *s, struct job *j)
{
    atomic_store(&s->computed, j);
    enum model_result result = s->model->ops->decode(s->model, s->batch.rows, s->batch.n_rows);
    atomic_store(&s->computed, NULL);
    return result;
}

static enum job_end sample(struct sched *s, struct job *j, size_t row)
{
    uint32_t n_before = j->n_sampled;
    enum job_end end = job_take_token(j, s->model, s->model->ops->logits(s->model, row));
    metric_add(METRIC_GENERATED_TOKENS, j->n_sampled - n_before);
    return end;
}

static void go_on(struct sched *s, struct job *j, enum job_end end)
{
    if (end == JOB_RUNNING)
        job_publish(j);
    else
        finish_job(s, index_of(s, j), end, NULL);
}

/* Samples for `j`, whose last token's row has just been computed, and as long as the guess holds
 * from the rows behind it.  Returns how many tokens came of it. */
static size_t take_tokens(struct sched *s, struct job *j, size_t row)
{
    size_t n_held = 0;
    job_rows_done(j, 1);
    enum job_end end = sample(s, j, row);
    while (end == JOB_RUNNING && job_draft_holds(j, n_held)) {
        job_publish(j);
        if (j->state != JOB_STATE_DECODE)
            break; /* the reader has enough for now */
        n_held++;
        job_rows_done(j, 1);
        end = sample(s, j, row + n_held);
    }
    if (j->n_drafted > 0)
        job_draft_done(j, &s->draft_cost, n_held);
    go_on(s, j, end);
    return n_held + 1;
}

/* What is left to do after a call that did not compute its rows; the next step tries again. */
static void after_failed_call(struct sched *s, enum model_result result)
{
    if (result == MODEL_FULL) {
        make_room(s);
        return;
    }
    if (result == MODEL_FAILED) {
        fail_all(s);
        return;
    }
    for (size_t i = 0; i < s->batch.n_rows; i++) {
        if (i > 0 && s->batch.entry_of[i] == s->batch.entry_of[i - 1])
            continue;
        struct job *j = s->jobs[s->batch.entry_of[i]];
        const struct batch_entry *e = &s->entries[s->batch.entry_of[i]];
        job_rows_lost(j, s->model);
        size_t n_kept = prefix_leaf_length(j->leaf);
        if (n_kept > e->n_done)
            note_rows_of(s, e, n_kept - e->n_done, 0); /* how long these took is not known */
    }
}

/* The job that decodes while no other does, or NULL. */
static struct job *find_lone_decoder(const struct sched *s)
{
    struct job *found = NULL;
    for (size_t i = 0; i < s->n_jobs; i++) {
        if (s->jobs[i]->state != JOB_STATE_DECODE)
            continue;
        if (found != NULL)
            return NULL;
        found = s->jobs[i];
    }
    return found;
}

/* A guess for `j`, if there is room for its rows: nothing is evicted for one, and it must be
 * possible to remove it. */
static void make_draft(struct sched *s, struct job *j)
{
    uint32_t n_free = s->model->info.n_cells - prefix_cells_used(s->prefix);
    if (s->options.drafts && s->model->info.can_share_prefix && n_free > DRAFT_MOST)
        job_draft(j, DRAFT_MOST);
}

/* One row for every decoding job, and its guess for one that decodes alone, whom nobody waits for.
 * True if there was anything to do. */
static bool decode_step(struct sched *s)
{
    for (size_t i = 0; i < s->n_jobs; i++)
        s->jobs[i]->n_drafted = 0; /* the call that it was for may have failed */
    struct job *lone = find_lone_decoder(s);
    if (lone != NULL)
        make_draft(s, lone);
    build_entries(s);
    batch_decode(&s->batch, s->entries, s->n_jobs);
    if (s->batch.n_rows == 0)
        return false;
    uint64_t begin_us = clock_now_us();
    enum model_result result = compute(s, s->batch.n_rows > 1 ? lone : NULL);
    if (result != MODEL_DONE) {
        after_failed_call(s, result);
        return true;
    }
    uint64_t us = clock_now_us() - begin_us;
    if (lone != NULL)
        draft_cost_add(&s->draft_cost, lone->n_drafted, us);
    note_rows(s, us);

    /* Ends shorten the list, so the jobs are looked up before any of them is sampled. */
    struct job *of_row[MODEL_BATCH_ROWS];
    for (size_t i = 0; i < s->batch.n_rows; i++)
        of_row[i] = s->jobs[s->batch.entry_of[i]];
    size_t n_sampled = 0;
    for (size_t i = 0; i < s->batch.n_rows; i++)
        if (i == 0 || of_row[i] != of_row[i - 1])
            n_sampled += take_tokens(s, of_row[i], i);
    note_decode(s, n_sampled, us);
    return true;
}

/* What comes next in the prompt is taken from the disk; false where it is not there. */
static bool restore(struct sched *s, struct job *j)
{
    size_t n = persist_restore(s->persist, j->leaf, j->tokens, j->n_tokens);
    if (n == 0)
        return false;
    job_rows_restored(j, n);
    job_publish(j);
    log_debug("sched: %zu tokens came from the disk", n);
    return true;
}

/* A chunk of one prompt.  True if there was anything to do. */
static bool prefill_step(struct sched *s)
{
    struct job *j = choose_reader(s);
    if (j == NULL)
        return false;
    if (restore(s, j))
        return true;
    build_entries(s);
    batch_prefill(&s->batch, s->entries, s->n_jobs, index_of(s, j), &s->speed);
    size_t n_rows = s->batch.n_rows;
    size_t depth = prefix_leaf_length(j->leaf);
    uint64_t begin_us = clock_now_us();
    enum model_result result = compute(s, j);
    if (result != MODEL_DONE) {
        after_failed_call(s, result);
        return true;
    }
    note_rows(s, clock_now_us() - begin_us);
    note_prefill(s, depth, n_rows, clock_now_us() - begin_us);
    job_rows_done(j, n_rows);
    if (prefix_leaf_length(j->leaf) == j->n_tokens)
        go_on(s, j, sample(s, j, n_rows - 1));
    else
        job_publish(j);
    return true;
}

static void wait_for_news(struct sched *s)
{
    pthread_mutex_lock(&s->mutex);
    if (!s->has_news && !atomic_load(&s->is_stopping))
        thread_cond_wait_ms(&s->woken, &s->mutex, IDLE_WAIT_MS);
    pthread_mutex_unlock(&s->mutex);
}

/* Order matters: cancelled jobs go before an admission asks for their room, and who decodes comes
 * before who is read. */
static void *sched_main(void *arg)
{
    struct sched *s = arg;
    while (!atomic_load(&s->is_stopping)) {
        take_inbox(s);
        drop_cancelled(s);
        for (size_t i = 0; i < s->n_jobs; i++)
            job_try_unpark(s->jobs[i]);
        if (s->model_failed && s->n_jobs > 0)
            fail_all(s);
        bool worked = decode_step(s);
        worked |= prefill_step(s);
        publish_stats(s);
        if (worked)
            persist_note_work(s->persist);
        else if (!persist_rest(s->persist))
            wait_for_news(s);
    }
    take_inbox(s);
    while (s->n_jobs > 0)
        finish_job(s, s->n_jobs - 1, JOB_CANCELLED, NULL);
    if (!s->model_failed)
        persist_flush(s->persist, s->options.flush_ms);
    return NULL;
}

/* ---- For other threads ---- */

static void sched_free(struct sched *s)
{
    persist_destroy(s->persist);
    recount_destroy(s->recount);
    prefix_destroy(s->prefix);
    model_destroy(s->model);
    pthread_cond_destroy(&s->woken);
    pthread_mutex_destroy(&s->mutex);
    mem_free(s->inbox);
    mem_free(s->order);
    mem_free(s->ranking);
    mem_free(s->entries);
    mem_free(s->jobs);
    mem_free(s);
}

struct sched *sched_create(struct model *m, const struct sched_options *options)
{
    INVARIANT(options->max_running > 0 && options->max_jobs >= options->max_running &&
              options->max_running <= MODEL_BATCH_ROWS);
    struct sched *s = mem_zalloc(sizeof *s);
    s->model = m;
    s->options = *options;
    s->prefix = prefix_create(m);
    s->persist = persist_create(m, s->prefix, options->store,
                                &(struct persist_options){.idle_ms = options->persist_idle_ms});
    s->recount = recount_create(options->recount_file);
    s->jobs = mem_zalloc(mem_array_bytes(options->max_jobs, sizeof *s->jobs));
    s->entries = mem_zalloc(mem_array_bytes(options->max_jobs, sizeof *s->entries));
    s->ranking = mem_zalloc(mem_array_bytes(options->max_jobs, sizeof *s->ranking));
    s->order = mem_zalloc(mem_array_bytes(options->max_jobs, sizeof *s->order));
    s->inbox = mem_zalloc(mem_array_bytes(options->max_jobs, sizeof *s->inbox));
    s->stats.cells_total = m->info.n_cells;
    metric_set(METRIC_KV_CELLS_TOTAL, m->info.n_cells);
    pthread_mutex_init(&s->mutex, NULL);
    thread_cond_init(&s->woken);
    m->ops->set_abort(m, should_abort, s);
    if (thread_start(&s->thread, "scheduler", sched_main, s) != STATUS_OK) {
        sched_free(s);
        return NULL;
    }
    return s;
}

void sched_destroy(struct sched *s)
{
    if (s == NULL)
        return;
    atomic_store(&s->is_stopping, true);
    wake(s);
    pthread_join(s->thread, NULL);
    sched_free(s);
}

/* At least one token has to fit behind the prompt, in the window; it needs no cell to be sampled.
 */
static enum status check_params(const struct sched *s, const struct job_params *params,
                                struct error *err)
{
    if (params->n_tokens == 0)
        return error_set(err, STATUS_INVALID, "the prompt is empty");
    for (size_t i = 0; i < params->n_stops; i++)
        if (params->stops[i].len == 0)
            return error_set(err, STATUS_INVALID, "stop sequence %zu is empty", i);
    uint32_t most = params->n_window > 0 ? params->n_window - 1 : 0;
    if (most > s->model->info.n_cells)
        most = s->model->info.n_cells;
    if (params->n_tokens > most)
        return error_set(err, STATUS_TOO_LONG, "prompt is too long: %zu tokens > %u maximum",
                         params->n_tokens, most);
    return STATUS_OK;
}

enum status sched_submit(struct sched *s, const struct job_params *params, struct job **out,
                         struct error *err)
{
    enum status st = check_params(s, params, err);
    if (st != STATUS_OK)
        return st;
    struct job *j;
    st = job_create(params, (struct job_waker){wake, s}, &j, err);
    if (st != STATUS_OK)
        return st;

    pthread_mutex_lock(&s->mutex);
    if (s->stats.has_failed) {
        st = error_set(err, STATUS_INTERNAL, SCHED_MODEL_FAILED);
    } else if (s->n_admitted == s->options.max_jobs) {
        st = error_set(err, STATUS_BUSY, "%u turns run or wait already", s->options.max_jobs);
    } else {
        s->inbox[s->n_inbox++] = j;
        s->n_admitted++;
        s->stats.n_waiting++;
        s->has_news = true;
        pthread_cond_signal(&s->woken);
    }
    pthread_mutex_unlock(&s->mutex);
    if (st != STATUS_OK) {
        job_unref(j);
        job_unref(j);
        return st;
    }
    *out = j;
    return STATUS_OK;
}

void sched_get_stats(const struct sched *s, struct sched_stats *out)
{
    struct sched *mutable = (struct sched *)(uintptr_t)s; /* only the mutex changes */
    pthread_mutex_lock(&mutable->mutex);
    *out = s->stats;
    pthread_mutex_unlock(&mutable->mutex);
}
