#define _GNU_SOURCE
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    FILE_MODE = 0600,
    DIR_MODE = 0700,
    READ_BYTES = 64 * 1024,
};

static enum status io_error(struct error *err, const char *what, const char *path)
{
    enum status st = errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO;
    return error_set(err, st, "cannot %s %s: %s", what, path, strerror(errno));
}

enum status file_read(const char *path, struct strbuf *out, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return io_error(err, "open", path);

    enum status st = STATUS_OK;
    char *part = mem_alloc(READ_BYTES);
    for (;;) {
        ssize_t n = read(fd, part, READ_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            st = io_error(err, "read", path);
        if (n <= 0)
            break;
        strbuf_append(out, part, (size_t)n);
        if (out->failed) {
            st = out->len + (size_t)n > out->limit
                     ? error_set(err, STATUS_TOO_LARGE, "%s is larger than %zu bytes", path,
                                 out->limit)
                     : error_set(err, STATUS_NO_MEMORY, "not enough memory to read %s", path);
            break;
        }
    }
    mem_free(part);
    close(fd);
    return st;
}

static enum status write_all(int fd, struct str content)
{
    size_t done = 0;
    while (done < content.len) {
        ssize_t n = write(fd, content.ptr + done, content.len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return STATUS_IO;
        done += (size_t)n;
    }
    return STATUS_OK;
}

enum status file_write_atomic(const char *path, struct str content, struct error *err)
{
    struct strbuf temporary;
    strbuf_init(&temporary, 4096);
    strbuf_printf(&temporary, "%s.%ld.tmp", path, (long)getpid());
    const char *tmp = strbuf_cstr(&temporary);

    enum status st = STATUS_OK;
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (fd < 0) {
        st = io_error(err, "create", tmp);
        goto out;
    }
    st = write_all(fd, content);
    if (st != STATUS_OK || fchmod(fd, FILE_MODE) != 0 || fsync(fd) != 0)
        st = io_error(err, "write", tmp);
    close(fd);
    if (st == STATUS_OK && rename(tmp, path) != 0)
        st = io_error(err, "replace", path);
    if (st != STATUS_OK)
        unlink(tmp);
out:
    strbuf_free(&temporary);
    return st;
}

enum status file_make_dirs(const char *path, struct error *err)
{
    char *copy = mem_strdup(path);
    enum status st = STATUS_OK;
    for (char *p = copy + 1; st == STATUS_OK; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char saved = *p;
        *p = '\0';
        if (mkdir(copy, DIR_MODE) != 0 && errno != EEXIST)
            st = io_error(err, "make the folder", copy);
        *p = saved;
        if (saved == '\0')
            break;
    }
    mem_free(copy);
    return st;
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

enum status file_size(const char *path, uint64_t *out_bytes)
{
    struct stat sb;
    if (stat(path, &sb) != 0)
        return errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO;
    *out_bytes = (uint64_t)sb.st_size;
    return STATUS_OK;
}

enum status file_disk_free(const char *path, uint64_t *out_bytes)
{
    char *copy = mem_strdup(path);
    struct statvfs vfs;
    int rc;
    while ((rc = statvfs(copy, &vfs)) != 0 && errno == ENOENT) {
        char *slash = strrchr(copy, '/');
        if (slash == NULL || copy[1] == '\0')
            break;
        slash[slash == copy ? 1 : 0] = '\0'; /* the root keeps its slash */
    }
    mem_free(copy);
    if (rc != 0)
        return STATUS_IO;
    *out_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    return STATUS_OK;
}

char *file_user_path(const char *kind, const char *name)
{
    static const struct {
        const char *kind, *variable, *fallback;
    } kinds[] = {
        {"cache", "XDG_CACHE_HOME", ".cache"},
        {"config", "XDG_CONFIG_HOME", ".config"},
        {"data", "XDG_DATA_HOME", ".local/share"},
        {"state", "XDG_STATE_HOME", ".local/state"},
    };
    const char *home = getenv("HOME");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kind, kinds[i].kind) != 0)
            continue;
        const char *base = getenv(kinds[i].variable);
        struct strbuf path;
        strbuf_init(&path, 4096);
        if (base != NULL && base[0] == '/') /* the rules say: ignore a relative one */
            strbuf_printf(&path, "%s/pensieve/%s", base, name);
        else if (home != NULL && home[0] == '/')
            strbuf_printf(&path, "%s/%s/pensieve/%s", home, kinds[i].fallback, name);
        else
            return NULL;
        return strbuf_detach(&path, NULL);
    }
    return NULL;
}
