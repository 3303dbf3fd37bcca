#define _GNU_SOURCE
#include "cache/turnfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/thread.h"
#include "cache/kvfile.h"

enum {
    MARKER_BYTES = 8,
    HASHED_FROM = 16,
    HEAD_BYTES = 56,
    TOKEN_BYTES = 4,
    NAME_BYTES = 64,
    RETRY_MS = 60 * 1000, /* after the disk took no more */
    DAY_S = 24 * 3600,
    FILE_MODE = 0600,
    DIR_MODE = 0700,
    LOOK_BYTES = 2 * TURNFILE_BUDGET_BYTES, /* most of a file that the command line reads */
};

/* Its end is not its beginning, so that no two can overlap, nor one arise where two records meet;
 * and without a byte 0 it is not in the tokens of a vocabulary of less than 2^24. */
static const char marker[MARKER_BYTES + 1] = "PNSVTRN1";

struct turnfile {
    struct turnfile_options options;
    char *folder, *path;

    /* Guards what follows, and is held while a record is written or the file rewritten, so that our
     * own threads lose nothing by invariant 4. */
    pthread_mutex_t mutex;
    int fd; /* -1: none */
    dev_t device;
    ino_t inode;
    int64_t oldest_at; /* no record of the file is older; INT64_MAX: there is none */
    bool is_failing;
    uint64_t retry_ms;
};

/* ---- The form ---- */

static size_t record_size(size_t n_tokens)
{
    return HEAD_BYTES + n_tokens * TOKEN_BYTES;
}

/* Where the first marker at or behind `from` begins; the end where there is none. */
static size_t find_marker(struct str bytes, size_t from)
{
    struct str rest = {bytes.ptr + from, bytes.len - from};
    size_t at = str_find(rest, (struct str){marker, MARKER_BYTES});
    return at == SIZE_MAX ? bytes.len : from + at;
}

/* The record at the beginning of `bytes`, which begin with a marker and hold no other one; false
 * where it is not sound. */
static bool check_record(struct str bytes, struct turnfile_record *out)
{
    if (bytes.len < HEAD_BYTES)
        return false;
    size_t n_tokens = bytes_get_u32(bytes.ptr + 16);
    if (n_tokens == 0 || n_tokens > TURNFILE_MOST_TOKENS || record_size(n_tokens) > bytes.len ||
        bytes_get_u32(bytes.ptr + 20) != 0)
        return false;
    struct str record = {bytes.ptr, record_size(n_tokens)};
    if (hash_xxh3(record.ptr + HASHED_FROM, record.len - HASHED_FROM, 0) !=
        bytes_get_u64(record.ptr + 8))
        return false;
    *out = (struct turnfile_record){
        .bytes = record,
        .model_id = bytes_get_u64(record.ptr + 24),
        .at = (int64_t)bytes_get_u64(record.ptr + 32),
        .n_tokens = n_tokens,
    };
    memcpy(out->key.bytes, record.ptr + 40, TURN_KEY_BYTES);
    return true;
}

model_token turnfile_token(const struct turnfile_record *r, size_t nth)
{
    return (model_token)bytes_get_u32(r->bytes.ptr + record_size(nth));
}

void turnfile_scan(struct str bytes, void (*on_record)(void *arg, const struct turnfile_record *r),
                   void *arg, struct turnfile_sum *out)
{
    *out = (struct turnfile_sum){0};
    size_t at = find_marker(bytes, 0);
    out->damaged += at > 0;
    while (at < bytes.len) {
        size_t next = find_marker(bytes, at + MARKER_BYTES); /* invariant 2 */
        struct turnfile_record r;
        bool is_sound = check_record((struct str){bytes.ptr + at, next - at}, &r);
        if (is_sound) {
            out->replies++;
            out->tokens += r.n_tokens;
            on_record(arg, &r);
        }
        out->damaged += !is_sound || r.bytes.len < next - at;
        at = next;
    }
}

/* False where it would hold a second marker. */
static bool make_record(char *out, uint64_t model_id, const struct turn_key *key,
                        const model_token *tokens, size_t n)
{
    memcpy(out, marker, MARKER_BYTES);
    bytes_put_u32(out + 16, (uint32_t)n);
    bytes_put_u32(out + 20, 0);
    bytes_put_u64(out + 24, model_id);
    bytes_put_u64(out + 32, (uint64_t)clock_wall_s());
    memcpy(out + 40, key->bytes, TURN_KEY_BYTES);
    for (size_t i = 0; i < n; i++)
        bytes_put_u32(out + record_size(i), (uint32_t)tokens[i]);
    struct str record = {out, record_size(n)};
    bytes_put_u64(out + 8, hash_xxh3(out + HASHED_FROM, record.len - HASHED_FROM, 0));
    return find_marker(record, MARKER_BYTES) == record.len;
}

/* ---- Opening and reading the file ---- */

static char *join(const char *folder, const char *name)
{
    size_t capacity = strlen(folder) + strlen(name) + 2;
    char *path = mem_alloc(capacity);
    snprintf(path, capacity, "%s/%s", folder, name);
    return path;
}

/* STATUS_NOT_FOUND; _CORRUPT where it is no file but a link, a pipe, a folder; _IO (errno). */
static enum status open_file(const char *path, int flags, int *out_fd, struct stat *out_info)
{
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, FILE_MODE);
    if (fd < 0 && errno == ENOENT)
        return STATUS_NOT_FOUND;
    /* A link; a folder; a pipe that nobody reads. */
    if (fd < 0 && (errno == ELOOP || errno == EISDIR || errno == ENXIO))
        return STATUS_CORRUPT;
    if (fd < 0)
        return STATUS_IO;
    if (fstat(fd, out_info) != 0 || !S_ISREG(out_info->st_mode)) {
        close(fd);
        return STATUS_CORRUPT;
    }
    *out_fd = fd;
    return STATUS_OK;
}

/* The end of a file, at most so many bytes of it; the caller frees it.  STATUS_IO (errno),
 * _NO_MEMORY. */
static enum status read_end(int fd, uint64_t n_file, uint64_t most_bytes, char **out, size_t *out_n)
{
    size_t n = (size_t)(n_file < most_bytes ? n_file : most_bytes), done = 0;
    char *bytes = mem_try_alloc(n);
    if (bytes == NULL)
        return STATUS_NO_MEMORY;
    while (done < n) {
        ssize_t got = pread(fd, bytes + done, n - done, (off_t)(n_file - n + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            mem_free(bytes);
            return STATUS_IO;
        }
        if (got == 0) /* it was cut just now */
            break;
        done += (size_t)got;
    }
    *out = bytes;
    *out_n = done;
    return STATUS_OK;
}

/* Both of the above. */
static enum status read_path(const char *path, uint64_t most_bytes, char **out, size_t *out_n,
                             uint64_t *out_file_bytes)
{
    int fd;
    struct stat info;
    enum status st = open_file(path, O_RDONLY, &fd, &info);
    if (st != STATUS_OK)
        return st;
    st = read_end(fd, (uint64_t)info.st_size, most_bytes, out, out_n);
    int why = errno;
    close(fd);
    errno = why;
    *out_file_bytes = (uint64_t)info.st_size;
    return st;
}

/* Whether the file that is open is the one in the folder. */
static bool is_current(const char *path, dev_t device, ino_t inode, struct stat *out_info)
{
    return lstat(path, out_info) == 0 && out_info->st_dev == device && out_info->st_ino == inode;
}

/* ---- Rewriting ---- */

/* Which records stay: the newest of so many bytes, and not those from before `oldest_at`. */
struct keep {
    uint64_t most_bytes;
    int64_t oldest_at;
};

struct compaction {
    char *bytes; /* what stays is moved to the front */
    size_t n_bytes;
    int64_t oldest_at; /* the bound */
};

static void move_to_front(void *arg, const struct turnfile_record *r)
{
    struct compaction *c = arg;
    if (r->at < c->oldest_at)
        return;
    memmove(c->bytes + c->n_bytes, r->bytes.ptr, r->bytes.len);
    c->n_bytes += r->bytes.len;
}

/* What stays of `bytes`, and when the oldest of it was written. */
static struct str compact(char *bytes, size_t n, const struct keep *keep, int64_t *out_oldest_at)
{
    struct compaction c = {.bytes = bytes, .oldest_at = keep->oldest_at};
    struct turnfile_sum sum;
    turnfile_scan((struct str){bytes, n}, move_to_front, &c, &sum);
    struct str rest = {bytes, c.n_bytes};
    while (rest.len > keep->most_bytes) {
        size_t n_first = record_size(bytes_get_u32(rest.ptr + 16));
        rest = (struct str){rest.ptr + n_first, rest.len - n_first};
    }
    *out_oldest_at = INT64_MAX;
    for (size_t at = 0; at < rest.len; at += record_size(bytes_get_u32(rest.ptr + at + 16))) {
        int64_t written_at = (int64_t)bytes_get_u64(rest.ptr + at + 32);
        if (written_at < *out_oldest_at)
            *out_oldest_at = written_at;
    }
    return rest;
}

static bool write_new(const char *path, struct str bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (fd < 0)
        return false;
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.ptr, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        bytes = (struct str){bytes.ptr + n, bytes.len - (size_t)n};
    }
    int why = errno;
    if (close(fd) != 0 && bytes.len == 0)
        return false;
    errno = why;
    return bytes.len == 0;
}

/* Puts `bytes` in the place of the file, or nothing where there are none.  The name of the
 * temporary file is one that kvstore and kvfolder know for such, and of this process. */
static enum status replace_file(const char *folder, const char *path, const struct stat *old,
                                struct str bytes)
{
    struct stat info;
    static atomic_uint counter;
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%ld-%s-%u%s", (long)getpid(), TURNFILE_NAME,
             atomic_fetch_add(&counter, 1), KVFILE_TEMPORARY);
    char *temporary = join(folder, name);
    enum status st = write_new(temporary, bytes) ? STATUS_OK : STATUS_IO;
    if (st == STATUS_OK && !is_current(path, old->st_dev, old->st_ino, &info))
        st = STATUS_BUSY; /* replaced, or deleted: then it must not come back */
    if (st == STATUS_OK && (bytes.len > 0 ? rename(temporary, path) : unlink(path)) != 0)
        st = errno == ENOENT ? STATUS_BUSY : STATUS_IO;
    int why = errno;
    if (st != STATUS_OK || bytes.len == 0)
        unlink(temporary);
    mem_free(temporary);
    errno = why;
    return st;
}

/* Writes the file anew with what shall stay of it.  STATUS_BUSY: another process does, or just did,
 * or deletes it; STATUS_NOT_FOUND; _CORRUPT; _IO (errno); _NO_MEMORY. */
static enum status rewrite(const char *folder, const char *path, uint64_t budget_bytes,
                           const struct keep *keep, int64_t *out_oldest_at)
{
    int fd;
    struct stat old;
    enum status st = open_file(path, O_RDWR, &fd, &old);
    if (st != STATUS_OK)
        return st;
    char *bytes = NULL;
    size_t n = 0;
    int64_t oldest_at = INT64_MAX;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        st = errno == EWOULDBLOCK ? STATUS_BUSY : STATUS_IO;
    else
        st = read_end(fd, (uint64_t)old.st_size, budget_bytes, &bytes, &n);
    if (st == STATUS_OK)
        st = replace_file(folder, path, &old, compact(bytes, n, keep, &oldest_at));
    int why = errno;
    mem_free(bytes);
    close(fd); /* and gives the lock back */
    errno = why;
    if (st == STATUS_OK)
        *out_oldest_at = oldest_at;
    return st;
}

/* ---- Appending ---- */

static const char *cause(enum status st)
{
    if (st == STATUS_CORRUPT)
        return "what is there under this name is no file";
    if (st == STATUS_IO)
        return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? "the disk is full"
                                                                    : strerror(errno);
    return status_text(st);
}

/* With the mutex. */
static void note_result(struct turnfile *t, const char *why)
{
    bool was_failing = t->is_failing;
    t->is_failing = why != NULL;
    t->retry_ms = clock_now_ms() + RETRY_MS;
    if (why != NULL && !was_failing)
        log_warn("store: replies can't be kept on disk (%s); those that are there are still used",
                 why);
    if (why == NULL && was_failing)
        log_info("store: replies are kept on disk again");
}

static void forget_file(struct turnfile *t)
{
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
}

/* Afterwards the file that is in the folder now is open, and *out_bytes long. */
static enum status open_current(struct turnfile *t, uint64_t *out_bytes)
{
    struct stat info;
    if (t->fd < 0 || !is_current(t->path, t->device, t->inode, &info)) {
        forget_file(t);
        enum status st = file_make_dirs(t->folder, NULL);
        if (st == STATUS_OK)
            st = open_file(t->path, O_WRONLY | O_APPEND | O_CREAT, &t->fd, &info);
        if (st != STATUS_OK)
            return st;
        (void)fchmod(t->fd, FILE_MODE); /* it may be older than this rule, or not ours */
        t->device = info.st_dev;
        t->inode = info.st_ino;
    }
    *out_bytes = (uint64_t)info.st_size;
    return STATUS_OK;
}

static int64_t oldest_allowed(const struct turnfile_options *o)
{
    return o->ttl_days > 0 ? clock_wall_s() - (int64_t)o->ttl_days * DAY_S : INT64_MIN;
}

/* Rewrites where a record of n bytes would pass the budget, or where records are a day older than
 * they may be: a day, since they get too old one by one. */
static enum status make_room(struct turnfile *t, size_t n, uint64_t *file_bytes)
{
    uint64_t budget = t->options.budget_bytes;
    struct keep keep = {.most_bytes = budget, .oldest_at = oldest_allowed(&t->options)};
    bool is_full = *file_bytes + n > budget;
    bool has_old = t->options.ttl_days > 0 && t->oldest_at < keep.oldest_at - DAY_S;
    if (!is_full && !has_old)
        return STATUS_OK;
    if (is_full)
        keep.most_bytes = budget / 2;
    enum status st = rewrite(t->folder, t->path, budget, &keep, &t->oldest_at);
    if (st == STATUS_OK || st == STATUS_NOT_FOUND)
        st = open_current(t, file_bytes);
    return st;
}

/* One write, or none: what a second one added could stand behind another server's record.  So a
 * short one leaves a torn record. */
static enum status write_record(int fd, struct str record)
{
    ssize_t n;
    do {
        n = write(fd, record.ptr, record.len);
    } while (n < 0 && errno == EINTR);
    if (n >= 0 && (size_t)n < record.len) {
        errno = ENOSPC;
        return STATUS_IO;
    }
    return n < 0 ? STATUS_IO : STATUS_OK;
}

/* With the mutex. */
static void append_record(struct turnfile *t, struct str record)
{
    uint64_t n_file, n_free;
    enum status st = open_current(t, &n_file);
    if (st == STATUS_OK)
        st = make_room(t, record.len, &n_file);
    if (st == STATUS_BUSY) { /* soon over: not worth to wait for, nor a word */
        log_debug("store: a reply is left out, as another process rewrites the file");
        return;
    }
    if (st == STATUS_OK && file_disk_free(t->folder, &n_free) == STATUS_OK &&
        n_free < t->options.reserve_bytes) {
        note_result(t, "the disk is nearly full");
        return;
    }
    if (st == STATUS_OK)
        st = write_record(t->fd, record);
    note_result(t, st == STATUS_OK ? NULL : cause(st));
    if (t->oldest_at == INT64_MAX)
        t->oldest_at = clock_wall_s();
}

void turnfile_append(struct turnfile *t, const struct turn_key *key, const model_token *tokens,
                     size_t n)
{
    if (n == 0 || n > TURNFILE_MOST_TOKENS || record_size(n) > t->options.budget_bytes / 2)
        return;
    char *record = mem_try_alloc(record_size(n));
    if (record == NULL)
        return;
    if (make_record(record, t->options.model_id, key, tokens, n)) {
        pthread_mutex_lock(&t->mutex);
        if (!t->is_failing || clock_now_ms() >= t->retry_ms)
            append_record(t, (struct str){record, record_size(n)});
        pthread_mutex_unlock(&t->mutex);
    }
    mem_free(record);
}

/* ---- Opening and closing ---- */

struct telling {
    struct turnfile *t;
    void (*on_turn)(void *arg, const struct turn_key *key, const model_token *tokens, size_t n);
    void *arg;
    model_token *tokens; /* TURNFILE_MOST_TOKENS */
    int64_t oldest_allowed;
    uint64_t n_expired;
};

static void tell(void *arg, const struct turnfile_record *r)
{
    struct telling *tell = arg;
    struct turnfile *t = tell->t;
    if (r->at < tell->oldest_allowed) {
        tell->n_expired++;
        return;
    }
    if (r->at < t->oldest_at)
        t->oldest_at = r->at;
    if (r->model_id != t->options.model_id)
        return;
    for (size_t i = 0; i < r->n_tokens; i++)
        tell->tokens[i] = turnfile_token(r, i);
    tell->on_turn(tell->arg, &r->key, tell->tokens, r->n_tokens);
}

/* Tells all that is there; then what is damaged, too old or too much goes. */
static void tell_all(struct turnfile *t, struct telling *telling)
{
    uint64_t budget = t->options.budget_bytes, n_file;
    char *bytes;
    size_t n;
    enum status st = read_path(t->path, budget, &bytes, &n, &n_file);
    if (st == STATUS_NOT_FOUND)
        return;
    if (st != STATUS_OK) {
        log_warn("store: the kept replies can't be read (%s)", cause(st));
        return;
    }
    struct turnfile_sum sum;
    turnfile_scan((struct str){bytes, n}, tell, telling, &sum);
    mem_free(bytes);
    if (n_file > budget)
        sum.damaged = 0; /* the first one read was cut by us */
    if (sum.damaged > 0)
        log_warn("store: %llu kept replies were damaged and are left out",
                 (unsigned long long)sum.damaged);
    if (n_file <= budget && sum.damaged == 0 && telling->n_expired == 0)
        return;
    struct keep keep = {.most_bytes = n_file > budget ? budget / 2 : budget,
                        .oldest_at = telling->oldest_allowed};
    /* Where this fails, an append will too, and tells it. */
    (void)!rewrite(t->folder, t->path, budget, &keep, &t->oldest_at);
}

static enum status make_folder(const char *folder, struct error *err)
{
    enum status st = file_make_dirs(folder, err);
    if (st != STATUS_OK)
        return st;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, STATUS_IO, "cannot open the folder %.300s: %s", folder,
                         strerror(errno));
    (void)fchmod(fd, DIR_MODE); /* it may be older than this rule, or not ours */
    close(fd);
    return STATUS_OK;
}

enum status turnfile_open(const struct turnfile_options *options,
                          void (*on_turn)(void *arg, const struct turn_key *key,
                                          const model_token *tokens, size_t n),
                          void *arg, struct turnfile **out, struct error *err)
{
    enum status st = make_folder(options->folder, err);
    if (st != STATUS_OK)
        return st;
    struct turnfile *t = mem_zalloc(sizeof *t);
    t->options = *options;
    t->folder = mem_strdup(options->folder);
    t->options.folder = t->folder;
    t->path = join(t->folder, TURNFILE_NAME);
    t->fd = -1;
    t->oldest_at = INT64_MAX;
    pthread_mutex_init(&t->mutex, NULL);

    struct telling telling = {
        .t = t,
        .on_turn = on_turn,
        .arg = arg,
        .tokens = mem_alloc(TURNFILE_MOST_TOKENS * sizeof(model_token)),
        .oldest_allowed = oldest_allowed(options),
    };
    tell_all(t, &telling);
    mem_free(telling.tokens);
    *out = t;
    return STATUS_OK;
}

void turnfile_close(struct turnfile *t)
{
    if (t == NULL)
        return;
    forget_file(t);
    pthread_mutex_destroy(&t->mutex);
    mem_free(t->path);
    mem_free(t->folder);
    mem_free(t);
}

/* ---- From outside ---- */

static void take_no_notice(void *arg, const struct turnfile_record *r)
{
    (void)arg, (void)r;
}

static enum status look_at(const char *path, struct turnfile_sum *out)
{
    char *bytes;
    size_t n;
    uint64_t n_file = 0;
    enum status st = read_path(path, LOOK_BYTES, &bytes, &n, &n_file);
    *out = (struct turnfile_sum){.damaged = st == STATUS_CORRUPT};
    if (st == STATUS_NOT_FOUND || st == STATUS_CORRUPT)
        return STATUS_OK;
    if (st != STATUS_OK)
        return st;
    turnfile_scan((struct str){bytes, n}, take_no_notice, NULL, out);
    out->bytes = n_file;
    mem_free(bytes);
    return STATUS_OK;
}

enum status turnfile_look(const char *folder, struct turnfile_sum *out, struct error *err)
{
    char *path = join(folder, TURNFILE_NAME);
    enum status st = look_at(path, out);
    if (st != STATUS_OK)
        st = error_set(err, st, "cannot read %.300s: %s", path, cause(st));
    mem_free(path);
    return st;
}

enum status turnfile_verify(const char *folder, struct turnfile_sum *out, struct error *err)
{
    enum status st = turnfile_look(folder, out, err);
    if (st != STATUS_OK || out->damaged == 0)
        return st;
    char *path = join(folder, TURNFILE_NAME);
    struct keep keep = {.most_bytes = LOOK_BYTES, .oldest_at = INT64_MIN};
    int64_t oldest_at;
    st = rewrite(folder, path, LOOK_BYTES, &keep, &oldest_at);
    if (st == STATUS_CORRUPT)
        st = unlink(path) == 0 ? STATUS_OK : STATUS_IO;
    if (st == STATUS_NOT_FOUND) /* it was deleted just now */
        st = STATUS_OK;
    if (st != STATUS_OK)
        st = error_set(err, st == STATUS_BUSY ? STATUS_IO : st, "cannot mend %.300s: %s", path,
                       st == STATUS_BUSY ? "another process writes it anew" : cause(st));
    mem_free(path);
    return st;
}
