/* kvstore -- see kvstore.h.
 *
 * The mutex guards the index, the numbers and the failing state.  Files are opened, read, written
 * and deleted without it: a block in the index whose file is gone is a miss like any other. */
#define _GNU_SOURCE
#include "cache/kvstore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/queue.h"
#include "base/thread.h"
#include "cache/kvindex.h"
#include "cache/kvjournal.h"

enum {
    DAY_S = 24 * 3600,
    PERIOD_MS = 1000,                 /* of the thread's looking around */
    RETRY_MS = 60 * 1000,             /* after the disk took no more */
    TIDY_MS = 60 * 60 * 1000,         /* between two looks for blocks that nobody uses */
    TOUCH_S = 60,                     /* a use is noted on disk no more often */
    MOST_CHILDREN = 64,               /* that are compared with a prompt */
    EVICT_TO_PERCENT = 95,            /* of the budget: not for every block anew */
    JOURNAL_BYTES = 16 * 1024 * 1024, /* written between two notes of the day's sum */
    WARM_BYTES = 512 * 1024 * 1024,   /* that are read ahead at the start: a prompt or two */
    DIR_MODE = 0700,
};

/* A block on its way. */
struct parcel {
    struct kvfile_head head;
    char *data;
    size_t n_bytes;
};

struct kvstore {
    struct kvstore_options options;
    char *folder;
    int fd; /* of the folder */
    pthread_t thread;
    bool has_thread;
    struct queue *queue;
    atomic_uint_fast64_t give_up_ms; /* when closing: the clock's time at which writing ends */
    struct kvfile_buffer buffer;     /* the scheduler thread's */

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t written;
    struct kvindex *index;
    uint64_t waiting_bytes;
    int64_t day;
    uint64_t day_bytes;
    bool is_failing, day_is_over_budget;
    uint64_t retry_ms;

    /* The store thread's. */
    uint64_t unnoted_bytes;
    uint64_t tidied_ms;
};

static void publish(struct kvstore *s)
{
    metric_set(METRIC_STORE_BLOCKS, kvindex_count(s->index));
    metric_set(METRIC_STORE_BYTES, (int64_t)kvindex_bytes(s->index));
}

static bool matches(const struct kvindex_entry *e, uint64_t parent_short)
{
    return e != NULL && e->parent_short == parent_short;
}

/* ---- Deleting ---- */

static void remove_block(struct kvstore *s, const struct kv_key *key, uint64_t parent_short)
{
    char name[KVFILE_NAME_CHARS + 1];
    kvfile_name(key, parent_short, name);
    unlinkat(s->fd, name, 0);
    pthread_mutex_lock(&s->mutex);
    if (matches(kvindex_find(s->index, key), parent_short))
        kvindex_remove(s->index, key);
    publish(s);
    pthread_mutex_unlock(&s->mutex);
}

/* A file that is not what it should be. */
static void drop_damaged(struct kvstore *s, const struct kv_key *key, uint64_t parent_short)
{
    remove_block(s, key, parent_short);
    metric_add(METRIC_STORE_DAMAGED, 1);
    log_warn("store: a block was damaged and has been deleted; its tokens are computed again");
}

/* Deletes in the order of the index until at most `most_bytes` are left.  Returns how many. */
static size_t evict_to(struct kvstore *s, uint64_t most_bytes)
{
    pthread_mutex_lock(&s->mutex);
    size_t n = 0, n_gone = 0;
    struct kv_key *order =
        kvindex_bytes(s->index) > most_bytes ? kvindex_order(s->index, &n) : NULL;
    for (size_t i = 0; i < n && kvindex_bytes(s->index) > most_bytes; i++) {
        const struct kvindex_entry *e = kvindex_find(s->index, &order[i]);
        if (e == NULL) /* it was damaged, and went while the mutex was free */
            continue;
        uint64_t parent_short = e->parent_short;
        kvindex_remove(s->index, &order[i]);
        char name[KVFILE_NAME_CHARS + 1];
        kvfile_name(&order[i], parent_short, name);
        pthread_mutex_unlock(&s->mutex);
        unlinkat(s->fd, name, 0);
        n_gone++;
        pthread_mutex_lock(&s->mutex);
    }
    publish(s);
    pthread_mutex_unlock(&s->mutex);
    mem_free(order);
    return n_gone;
}

/* The blocks that nobody used since `oldest`; as kvindex_order. */
static struct kv_key *list_unused(struct kvstore *s, int64_t oldest, size_t *out_n)
{
    size_t n = 0, n_old = 0;
    pthread_mutex_lock(&s->mutex);
    struct kv_key *keys = kvindex_order(s->index, &n);
    for (size_t i = 0; keys != NULL && i < n; i++)
        if (kvindex_find(s->index, &keys[i])->used_at < oldest)
            keys[n_old++] = keys[i];
    pthread_mutex_unlock(&s->mutex);
    *out_n = n_old;
    return keys;
}

static void expire(struct kvstore *s)
{
    if (s->options.ttl_days == 0)
        return;
    size_t n = 0;
    int64_t oldest = clock_wall_s() - (int64_t)s->options.ttl_days * DAY_S;
    struct kv_key *keys = list_unused(s, oldest, &n);
    for (size_t i = 0; i < n; i++) {
        pthread_mutex_lock(&s->mutex);
        const struct kvindex_entry *e = kvindex_find(s->index, &keys[i]);
        uint64_t parent_short = e != NULL ? e->parent_short : 0;
        pthread_mutex_unlock(&s->mutex);
        remove_block(s, &keys[i], parent_short);
    }
    mem_free(keys);
    if (n > 0)
        log_info("store: %zu blocks went that nobody used for %u days", n, s->options.ttl_days);
}

/* ---- The day's bytes ---- */

static void note_day(struct kvstore *s)
{
    pthread_mutex_lock(&s->mutex);
    int64_t day = s->day;
    uint64_t n_bytes = s->day_bytes;
    pthread_mutex_unlock(&s->mutex);
    kvjournal_write(s->folder, day, n_bytes);
    s->unnoted_bytes = 0;
}

/* With the mutex: whether today's budget has room. */
static bool day_has_room(struct kvstore *s, uint64_t n_bytes)
{
    if (s->day != kvjournal_today()) {
        s->day = kvjournal_today();
        s->day_bytes = 0;
        s->day_is_over_budget = false;
    }
    if (s->options.daily_bytes == 0 || s->day_bytes + n_bytes <= s->options.daily_bytes)
        return true;
    if (!s->day_is_over_budget)
        log_info("store: today's %.1f GB are written; more prompts are kept from tomorrow on",
                 (double)s->options.daily_bytes / (1u << 30));
    s->day_is_over_budget = true;
    return false;
}

/* ---- Writing: the store's thread ---- */

/* With the mutex. */
static bool is_paused(const struct kvstore *s)
{
    return s->is_failing && clock_now_ms() < s->retry_ms;
}

static void note_failure(struct kvstore *s, const char *why)
{
    pthread_mutex_lock(&s->mutex);
    bool is_news = !s->is_failing;
    s->is_failing = true;
    s->retry_ms = clock_now_ms() + RETRY_MS;
    pthread_mutex_unlock(&s->mutex);
    if (is_news)
        log_warn("store: prompts can't be kept on disk (%s); what is there is still used", why);
}

static void note_success(struct kvstore *s, const struct parcel *p, uint64_t n_bytes)
{
    pthread_mutex_lock(&s->mutex);
    struct kvindex_entry *e = kvindex_find(s->index, &p->head.key);
    if (e != NULL)
        e->is_written = true;
    bool was_failing = s->is_failing;
    s->is_failing = false;
    s->day_bytes += n_bytes;
    publish(s);
    pthread_mutex_unlock(&s->mutex);
    metric_add(METRIC_STORE_WRITTEN_BYTES, (int64_t)n_bytes);
    s->unnoted_bytes += n_bytes;
    if (was_failing)
        log_info("store: prompts are kept on disk again");
    if (s->unnoted_bytes >= JOURNAL_BYTES)
        note_day(s);
}

/* Room in the budget and on the disk. */
static bool make_room(struct kvstore *s, uint64_t n_bytes)
{
    uint64_t budget = s->options.budget_bytes;
    pthread_mutex_lock(&s->mutex);
    uint64_t used = kvindex_bytes(s->index); /* with this block */
    pthread_mutex_unlock(&s->mutex);
    if (used > budget) {
        size_t n_gone = evict_to(s, budget / 100 * EVICT_TO_PERCENT);
        log_debug("store: %zu blocks made room", n_gone);
    }
    uint64_t n_free;
    if (file_disk_free(s->folder, &n_free) != STATUS_OK ||
        n_free >= s->options.reserve_bytes + n_bytes)
        return true;
    note_failure(s, "the disk is nearly full");
    return false;
}

static void drop_parcel(struct kvstore *s, const struct parcel *p)
{
    pthread_mutex_lock(&s->mutex);
    kvindex_remove(s->index, &p->head.key);
    pthread_mutex_unlock(&s->mutex);
    metric_add(METRIC_STORE_DROPPED, 1);
}

static void write_parcel(struct kvstore *s, const struct parcel *p)
{
    uint64_t n_bytes = kvfile_size(&p->head, p->n_bytes);
    uint64_t give_up_ms = atomic_load(&s->give_up_ms);
    int why = 0;
    pthread_mutex_lock(&s->mutex);
    bool may = !is_paused(s) && day_has_room(s, n_bytes) &&
               (give_up_ms == 0 || clock_now_ms() < give_up_ms);
    pthread_mutex_unlock(&s->mutex);
    if (!may || !make_room(s, n_bytes)) {
        drop_parcel(s, p);
        return;
    }
    if (kvfile_write(s->fd, &p->head, (struct str){p->data, p->n_bytes}, &why) == STATUS_OK) {
        note_success(s, p, n_bytes);
        return;
    }
    drop_parcel(s, p);
    note_failure(s, why == ENOSPC ? "the disk is full" : strerror(why));
}

static void finish_parcel(struct kvstore *s, struct parcel *p)
{
    pthread_mutex_lock(&s->mutex);
    s->waiting_bytes -= p->n_bytes;
    pthread_cond_broadcast(&s->written);
    pthread_mutex_unlock(&s->mutex);
    mem_free(p->data);
    mem_free(p);
}

/* The prompts used last are likely to come first: at a start after a reboot their files are not in
 * the page cache.  The system reads them while the model loads. */
static void read_ahead(struct kvstore *s)
{
    pthread_mutex_lock(&s->mutex);
    size_t n = 0;
    struct kv_key *order = kvindex_order(s->index, &n);
    pthread_mutex_unlock(&s->mutex);
    uint64_t n_bytes = 0;
    while (n-- > 0 && n_bytes < WARM_BYTES) {
        pthread_mutex_lock(&s->mutex);
        const struct kvindex_entry *e = kvindex_find(s->index, &order[n]);
        uint64_t parent_short = e != NULL ? e->parent_short : 0;
        pthread_mutex_unlock(&s->mutex);
        char name[KVFILE_NAME_CHARS + 1];
        kvfile_name(&order[n], parent_short, name);
        n_bytes += kvfile_read_ahead(s->fd, name);
    }
    mem_free(order);
}

static void *store_main(void *arg)
{
    struct kvstore *s = arg;
    read_ahead(s);
    for (;;) {
        void *item;
        enum status st = queue_pop(s->queue, &item, PERIOD_MS);
        if (st == STATUS_CANCELLED)
            break;
        if (st == STATUS_OK) {
            write_parcel(s, item);
            finish_parcel(s, item);
        }
        if (clock_now_ms() - s->tidied_ms >= TIDY_MS) {
            s->tidied_ms = clock_now_ms();
            expire(s);
        }
    }
    if (s->unnoted_bytes > 0)
        note_day(s);
    return NULL;
}

/* ---- Opening and closing ---- */

/* What a process that died left of a file it was writing. */
static void remove_leftover(struct kvstore *s, const char *name)
{
    size_t len = strlen(name), tail = strlen(KVFILE_TEMPORARY);
    if (len <= tail || strcmp(name + len - tail, KVFILE_TEMPORARY) != 0)
        return;
    long pid = strtol(name, NULL, 10);
    if (pid > 0 && pid != (long)getpid() && (kill((pid_t)pid, 0) == 0 || errno == EPERM))
        return; /* it still writes */
    unlinkat(s->fd, name, 0);
}

static void take_stock_of(struct kvstore *s, const char *name)
{
    struct kv_key key;
    uint64_t parent_short;
    struct stat info;
    if (!kvfile_parse_name(name, &key, &parent_short)) {
        remove_leftover(s, name);
        return;
    }
    if (fstatat(s->fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode) ||
        kvindex_find(s->index, &key) != NULL)
        return;
    struct kvindex_entry *e =
        kvindex_add(s->index, &key, parent_short, (uint64_t)info.st_size, (int64_t)info.st_mtime);
    if (e != NULL)
        e->is_written = true;
    else
        unlinkat(s->fd, name, 0); /* more than the index holds */
}

static enum status take_stock(struct kvstore *s, struct error *err)
{
    int fd = openat(s->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return error_set(err, STATUS_IO, "cannot list the folder %.300s", s->folder);
    }
    for (const struct dirent *d = readdir(dir); d != NULL; d = readdir(dir))
        take_stock_of(s, d->d_name);
    closedir(dir);
    return STATUS_OK;
}

static enum status open_folder(struct kvstore *s, struct error *err)
{
    enum status st = file_make_dirs(s->folder, err);
    if (st != STATUS_OK)
        return st;
    s->fd = open(s->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->fd < 0)
        return error_set(err, STATUS_IO, "cannot open the folder %.300s: %s", s->folder,
                         strerror(errno));
    (void)fchmod(s->fd, DIR_MODE); /* it may be older than this rule, or not ours */
    return STATUS_OK;
}

static void store_free(struct kvstore *s)
{
    if (s->fd >= 0)
        close(s->fd);
    queue_destroy(s->queue);
    kvindex_destroy(s->index);
    kvfile_buffer_free(&s->buffer);
    pthread_cond_destroy(&s->written);
    pthread_mutex_destroy(&s->mutex);
    mem_free(s->folder);
    mem_free(s);
}

enum status kvstore_open(const struct kvstore_options *options, struct kvstore **out,
                         struct error *err)
{
    struct kvstore *s = mem_zalloc(sizeof *s);
    s->options = *options;
    s->folder = mem_strdup(options->folder);
    s->fd = -1;
    s->day = kvjournal_today();
    s->index = kvindex_create(KVSTORE_MOST_BLOCKS);
    s->queue = queue_create(KVSTORE_QUEUE_BLOCKS);
    pthread_mutex_init(&s->mutex, NULL);
    thread_cond_init(&s->written);
    atomic_init(&s->give_up_ms, 0);

    enum status st = open_folder(s, err);
    if (st == STATUS_OK)
        st = take_stock(s, err);
    if (st != STATUS_OK) {
        store_free(s);
        return st;
    }
    s->day_bytes = kvjournal_read(s->fd, s->day);
    expire(s);
    evict_to(s, s->options.budget_bytes);
    s->tidied_ms = clock_now_ms();
    if (thread_start(&s->thread, "store", store_main, s) != STATUS_OK) {
        store_free(s);
        return error_set(err, STATUS_INTERNAL, "cannot start the store's thread");
    }
    log_info("store: %u blocks, %.2f of %.2f GB", kvindex_count(s->index),
             (double)kvindex_bytes(s->index) / (1u << 30),
             (double)s->options.budget_bytes / (1u << 30));
    *out = s;
    return STATUS_OK;
}

void kvstore_close(struct kvstore *s, unsigned timeout_ms)
{
    if (s == NULL)
        return;
    atomic_store(&s->give_up_ms, clock_now_ms() + timeout_ms + 1);
    queue_close(s->queue);
    pthread_join(s->thread, NULL);
    store_free(s);
}

/* ---- For the scheduler ---- */

/* A block was used: now, and on disk too if that was not noted lately. */
static void touch(struct kvstore *s, const struct kv_key *key)
{
    int64_t now = clock_wall_s();
    pthread_mutex_lock(&s->mutex);
    struct kvindex_entry *e = kvindex_find(s->index, key);
    bool must_note = e != NULL && e->is_written && now - e->used_at >= TOUCH_S;
    uint64_t parent_short = e != NULL ? e->parent_short : 0;
    if (must_note)
        e->used_at = now;
    pthread_mutex_unlock(&s->mutex);
    if (!must_note)
        return;
    char name[KVFILE_NAME_CHARS + 1];
    kvfile_name(key, parent_short, name);
    (void)utimensat(s->fd, name, NULL, AT_SYMLINK_NOFOLLOW);
}

bool kvstore_has(struct kvstore *s, const struct kv_key *key)
{
    pthread_mutex_lock(&s->mutex);
    bool is_there = kvindex_find(s->index, key) != NULL;
    pthread_mutex_unlock(&s->mutex);
    if (is_there)
        touch(s, key);
    return is_there;
}

/* With the mutex.  One block is taken however large it is, where none waits. */
static bool has_room(struct kvstore *s, uint64_t n_bytes)
{
    return !is_paused(s) && n_bytes <= s->options.budget_bytes && day_has_room(s, n_bytes) &&
           (s->waiting_bytes == 0 || s->waiting_bytes + n_bytes <= s->options.queue_bytes);
}

bool kvstore_accepts(struct kvstore *s, uint64_t n_bytes)
{
    pthread_mutex_lock(&s->mutex);
    bool may = has_room(s, n_bytes);
    pthread_mutex_unlock(&s->mutex);
    return may;
}

bool kvstore_wait(struct kvstore *s, unsigned timeout_ms)
{
    uint64_t end_ms = clock_now_ms() + timeout_ms;
    pthread_mutex_lock(&s->mutex);
    for (uint64_t now = clock_now_ms(); s->waiting_bytes > 0 && now < end_ms; now = clock_now_ms())
        thread_cond_wait_ms(&s->written, &s->mutex, (unsigned)(end_ms - now));
    bool is_empty = s->waiting_bytes == 0;
    pthread_mutex_unlock(&s->mutex);
    return is_empty;
}

enum status kvstore_put(struct kvstore *s, const struct kvfile_head *head, char *data,
                        size_t n_bytes)
{
    INVARIANT(n_bytes > 0);
    pthread_mutex_lock(&s->mutex);
    bool is_taken = has_room(s, n_bytes) && kvindex_find(s->index, &head->key) == NULL &&
                    kvindex_add(s->index, &head->key, kv_key_short(&head->parent),
                                kvfile_size(head, n_bytes), clock_wall_s()) != NULL;
    if (is_taken)
        s->waiting_bytes += n_bytes;
    pthread_mutex_unlock(&s->mutex);
    if (!is_taken)
        return STATUS_BUSY;

    struct parcel *p = mem_alloc(sizeof *p);
    *p = (struct parcel){.head = *head, .data = data, .n_bytes = n_bytes};
    if (queue_push(s->queue, p, 0) == STATUS_OK)
        return STATUS_OK;
    pthread_mutex_lock(&s->mutex);
    kvindex_remove(s->index, &head->key);
    s->waiting_bytes -= n_bytes;
    pthread_mutex_unlock(&s->mutex);
    mem_free(p);
    return STATUS_BUSY;
}

static bool find_written(struct kvstore *s, const struct kv_key *key, uint64_t parent_short)
{
    pthread_mutex_lock(&s->mutex);
    const struct kvindex_entry *e = kvindex_find(s->index, key);
    bool is_there = matches(e, parent_short) && e->is_written;
    pthread_mutex_unlock(&s->mutex);
    return is_there;
}

/* The newest blocks behind a parent. */
static size_t list_children(struct kvstore *s, uint64_t parent_short,
                            struct kv_key out[MOST_CHILDREN])
{
    size_t n = 0;
    pthread_mutex_lock(&s->mutex);
    for (struct kvindex_entry *e = kvindex_first_child(s->index, parent_short);
         e != NULL && n < MOST_CHILDREN; e = kvindex_next_child(s->index, e))
        if (e->is_written)
            out[n++] = e->key;
    pthread_mutex_unlock(&s->mutex);
    return n;
}

static uint32_t count_common(const struct kvfile_head *head, const model_token *tokens, size_t n)
{
    uint32_t i = 0;
    while (i < head->n_tokens && i < n && head->tokens[i] == tokens[i])
        i++;
    return i;
}

/* Blocks that begin like the prompt goes on: their tokens stand in the files. */
static bool find_child(struct kvstore *s, const struct kv_key *parent, const model_token *tokens,
                       size_t n, bool is_whole, struct kvstore_hit *out)
{
    struct kv_key keys[MOST_CHILDREN];
    uint64_t parent_short = kv_key_short(parent);
    size_t n_keys = list_children(s, parent_short, keys);
    out->n_common = 0;
    for (size_t i = 0; i < n_keys; i++) {
        char name[KVFILE_NAME_CHARS + 1];
        struct kvfile_head head;
        kvfile_name(&keys[i], parent_short, name);
        enum status st = kvfile_read_head(s->fd, name, &head);
        if (st == STATUS_CORRUPT)
            drop_damaged(s, &keys[i], parent_short);
        else if (st == STATUS_NOT_FOUND)
            remove_block(s, &keys[i], parent_short);
        if (st != STATUS_OK || !kv_key_equal(&head.parent, parent))
            continue;
        uint32_t n_common = count_common(&head, tokens, n);
        if (n_common > out->n_common && (!is_whole || n_common == head.n_tokens))
            *out = (struct kvstore_hit){keys[i], parent_short, head.n_tokens, n_common};
    }
    return out->n_common > 0;
}

bool kvstore_find(struct kvstore *s, const struct kv_key *parent, const model_token *tokens,
                  size_t n, struct kvstore_hit *out)
{
    if (n >= KVFILE_BLOCK_TOKENS) {
        struct kv_key key = kv_key_child(parent, tokens, KVFILE_BLOCK_TOKENS);
        uint64_t parent_short = kv_key_short(parent);
        if (find_written(s, &key, parent_short)) {
            *out =
                (struct kvstore_hit){key, parent_short, KVFILE_BLOCK_TOKENS, KVFILE_BLOCK_TOKENS};
            return true;
        }
    }
    return find_child(s, parent, tokens, n, false, out);
}

bool kvstore_find_whole(struct kvstore *s, const struct kv_key *parent, const model_token *tokens,
                        size_t n, struct kvstore_hit *out)
{
    return find_child(s, parent, tokens, n, true, out);
}

enum status kvstore_load(struct kvstore *s, const struct kvstore_hit *hit,
                         struct kvfile_head *out_head, struct str *out_data)
{
    char name[KVFILE_NAME_CHARS + 1];
    kvfile_name(&hit->key, hit->parent_short, name);
    enum status st = kvfile_read(s->fd, name, &s->buffer, out_head, out_data);
    if (st == STATUS_OK)
        touch(s, &hit->key);
    if (st == STATUS_OK || st == STATUS_NO_MEMORY)
        return st;
    if (st == STATUS_CORRUPT)
        drop_damaged(s, &hit->key, hit->parent_short);
    else
        remove_block(s, &hit->key, hit->parent_short);
    return STATUS_NOT_FOUND;
}

void kvstore_discard(struct kvstore *s, const struct kvstore_hit *hit)
{
    drop_damaged(s, &hit->key, hit->parent_short);
}

void kvstore_get_stats(struct kvstore *s, struct kvstore_stats *out)
{
    pthread_mutex_lock(&s->mutex);
    *out = (struct kvstore_stats){
        .blocks = kvindex_count(s->index),
        .bytes = kvindex_bytes(s->index),
        .budget_bytes = s->options.budget_bytes,
        .written_today_bytes = s->day == kvjournal_today() ? s->day_bytes : 0,
        .daily_bytes = s->options.daily_bytes,
        .waiting_bytes = s->waiting_bytes,
        .is_paused = is_paused(s) || s->day_is_over_budget,
    };
    pthread_mutex_unlock(&s->mutex);
}
