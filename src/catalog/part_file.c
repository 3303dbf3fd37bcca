#define _GNU_SOURCE
#include "catalog/part_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/strbuf.h"

enum {
    PART_MODE = 0600,
    CHUNK_BYTES = 1024 * 1024,
    PATH_BYTES = 4096,
    LOOK_MS = 100, /* between two tries to get the lock */
    HOLDER_BYTES = 32,
};

static enum status fail_errno(const struct part_file *p, const char *what, struct error *err)
{
    bool is_full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    return error_set(err, is_full ? STATUS_TOO_LARGE : STATUS_IO, "cannot %s %s: %s", what, p->path,
                     strerror(errno));
}

static void drop_hash(struct part_file *p)
{
    unsigned char unused[SHA256_BYTES];
    if (p->hash != NULL)
        sha256_finish(p->hash, unused);
    p->hash = NULL;
}

/* ---- Opening ---- */

/* The process that has the lock, as text; false where nobody has it any more.  One in another
 * container, or on another machine, has no number here. */
static bool find_holder(const struct part_file *p, char out[HOLDER_BYTES])
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(p->fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK)
        return false;
    if (lock.l_pid > 0)
        snprintf(out, HOLDER_BYTES, "process %ld", (long)lock.l_pid);
    else
        snprintf(out, HOLDER_BYTES, "another process");
    return true;
}

static uint64_t size_of(const struct part_file *p)
{
    struct stat sb;
    return fstat(p->fd, &sb) == 0 ? (uint64_t)sb.st_size : 0;
}

/* A lock of fcntl, as it knows its holder and goes with the process, however that ends. */
static enum status lock(struct part_file *p, unsigned patience_ms, struct meter *meter,
                        struct error *err)
{
    uint64_t seen_bytes = size_of(p);
    uint64_t until_ms = clock_now_ms() + patience_ms;
    char holder[HOLDER_BYTES] = "another process", told[HOLDER_BYTES] = "";
    meter_begin(meter, "another process downloads", seen_bytes);
    for (;;) {
        struct flock want = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        if (fcntl(p->fd, F_SETLK, &want) == 0)
            return STATUS_OK;
        if (errno != EACCES && errno != EAGAIN && errno != EINTR)
            return fail_errno(p, "lock", err);
        bool is_held = find_holder(p, holder);
        uint64_t now_bytes = size_of(p);
        if (now_bytes != seen_bytes)
            until_ms = clock_now_ms() + patience_ms;
        seen_bytes = now_bytes;
        if (clock_now_ms() >= until_ms)
            return error_set(err, STATUS_BUSY,
                             "%s is fetching this model, and nothing has come for %u s; end it, or "
                             "try again later",
                             holder, patience_ms / 1000);
        if (is_held && strcmp(holder, told) != 0) {
            meter_note(meter, "%s is fetching this model already: waiting for it", holder);
            memcpy(told, holder, sizeof told);
        }
        if (meter_update(meter, now_bytes))
            return meter_stopped(err);
        poll(NULL, 0, LOOK_MS);
    }
}

/* Whether the name still means the file that was locked: its last holder may have given it its
 * final name, or deleted it, while we waited. */
static bool is_in_place(const struct part_file *p)
{
    struct stat by_fd, by_name;
    return fstat(p->fd, &by_fd) == 0 && lstat(p->path, &by_name) == 0 &&
           by_fd.st_dev == by_name.st_dev && by_fd.st_ino == by_name.st_ino;
}

static enum status open_and_lock(struct part_file *p, unsigned patience_ms, struct meter *meter,
                                 struct error *err)
{
    for (;;) {
        struct stat sb;
        p->fd = open(p->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, PART_MODE);
        if (p->fd < 0)
            return fail_errno(p, "open", err);
        if (fstat(p->fd, &sb) != 0 || !S_ISREG(sb.st_mode) || fchmod(p->fd, PART_MODE) != 0)
            return error_set(err, STATUS_IO, "%s is no ordinary file of ours", p->path);
        enum status st = lock(p, patience_ms, meter, err);
        if (st != STATUS_OK || is_in_place(p))
            return st;
        close(p->fd);
    }
}

enum status part_file_open(struct part_file *p, const char *final_path, uint64_t total_bytes,
                           unsigned patience_ms, struct meter *meter, struct error *err)
{
    struct strbuf path;
    strbuf_init(&path, PATH_BYTES);
    strbuf_printf(&path, "%s.part", final_path);
    *p = (struct part_file){
        .final_path = mem_strdup(final_path),
        .path = strbuf_detach(&path, NULL),
        .fd = -1,
        .total_bytes = total_bytes,
    };
    enum status st = open_and_lock(p, patience_ms, meter, err);
    if (st != STATUS_OK)
        part_file_close(p);
    return st;
}

void part_file_close(struct part_file *p)
{
    drop_hash(p);
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    mem_free(p->path);
    mem_free(p->final_path);
    p->path = NULL;
    p->final_path = NULL;
}

void part_file_remove(struct part_file *p)
{
    unlink(p->path); /* before the lock goes: who waits for it sees that the name is free */
    part_file_close(p);
}

/* ---- Reading ---- */

/* From where the file stands to its end. */
static enum status hash_rest(struct part_file *p, struct meter *meter, struct error *err)
{
    enum status st = STATUS_OK;
    char *chunk = mem_alloc(CHUNK_BYTES);
    while (st == STATUS_OK) {
        ssize_t n = read(p->fd, chunk, CHUNK_BYTES);
        if (n < 0 && errno == EINTR)
            n = 0;
        else if (n < 0)
            st = fail_errno(p, "read", err);
        else if (n == 0)
            break;
        if (n > 0)
            sha256_update(p->hash, chunk, (size_t)n);
        p->done_bytes += n > 0 ? (uint64_t)n : 0;
        if (meter_update(meter, p->done_bytes) && st == STATUS_OK)
            st = meter_stopped(err);
    }
    mem_free(chunk);
    return st;
}

enum status part_file_rehash(struct part_file *p, struct meter *meter, struct error *err)
{
    if (size_of(p) > p->total_bytes) /* of another version, or not ours */
        return part_file_restart(p, err);
    drop_hash(p);
    p->hash = sha256_create();
    p->done_bytes = 0;
    if (lseek(p->fd, 0, SEEK_SET) != 0)
        return fail_errno(p, "read", err);
    meter_begin(meter, "checking what is here", 0);
    return hash_rest(p, meter, err);
}

enum status part_file_hash(const char *path, char out_hex[SHA256_HEX_BYTES], struct meter *meter,
                           struct error *err)
{
    struct part_file p = {.path = mem_strdup(path), .hash = sha256_create()};
    p.fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    enum status st = p.fd < 0 ? fail_errno(&p, "open", err) : hash_rest(&p, meter, err);
    if (st == STATUS_OK) {
        unsigned char digest[SHA256_BYTES];
        sha256_finish(p.hash, digest);
        p.hash = NULL;
        sha256_hex(digest, out_hex);
    }
    part_file_close(&p);
    return st;
}

/* ---- Writing ---- */

enum status part_file_restart(struct part_file *p, struct error *err)
{
    drop_hash(p);
    p->hash = sha256_create();
    p->done_bytes = 0;
    if (ftruncate(p->fd, 0) != 0 || lseek(p->fd, 0, SEEK_SET) != 0)
        return fail_errno(p, "empty", err);
    return STATUS_OK;
}

enum status part_file_append(struct part_file *p, const void *bytes, size_t n, struct error *err)
{
    if (n > p->total_bytes - p->done_bytes)
        return error_set(err, STATUS_CORRUPT, "the source has more than the %llu bytes we know of",
                         (unsigned long long)p->total_bytes);
    const char *from = bytes;
    while (n > 0) {
        ssize_t written = write(p->fd, from, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return fail_errno(p, "write", err);
        sha256_update(p->hash, from, (size_t)written);
        p->done_bytes += (uint64_t)written;
        from += written;
        n -= (size_t)written;
    }
    return STATUS_OK;
}

enum status part_file_finish(struct part_file *p, const char *sha256_expected, struct error *err)
{
    unsigned char digest[SHA256_BYTES];
    char hex[SHA256_HEX_BYTES];
    sha256_finish(p->hash, digest);
    p->hash = NULL;
    sha256_hex(digest, hex);
    if (p->done_bytes != p->total_bytes || strcmp(hex, sha256_expected) != 0)
        return error_set(err, STATUS_CORRUPT,
                         "what arrived is another file: %llu of %llu bytes, SHA-256 %s instead "
                         "of %s",
                         (unsigned long long)p->done_bytes, (unsigned long long)p->total_bytes, hex,
                         sha256_expected);
    if (fsync(p->fd) != 0)
        return fail_errno(p, "write", err);
    if (rename(p->path, p->final_path) != 0)
        return fail_errno(p, "rename", err);
    return STATUS_OK;
}
