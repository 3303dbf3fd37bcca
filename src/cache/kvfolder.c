#define _GNU_SOURCE
#include "cache/kvfolder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/kvjournal.h"
#include "cache/turnfile.h"

/* NULL with STATUS_OK where there is no such folder. */
static enum status open_folder(const char *folder, DIR **out, struct error *err)
{
    *out = NULL;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return STATUS_OK;
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        int why = errno;
        if (fd >= 0)
            close(fd);
        return error_set(err, STATUS_IO, "cannot list %.300s: %s", folder, strerror(why));
    }
    *out = dir;
    return STATUS_OK;
}

static bool is_block(const char *name)
{
    struct kv_key key;
    uint64_t parent_short;
    return kvfile_parse_name(name, &key, &parent_short);
}

static bool is_ours(const char *name)
{
    size_t len = strlen(name), tail = strlen(KVFILE_TEMPORARY);
    return is_block(name) || strcmp(name, KVJOURNAL_NAME) == 0 ||
           strcmp(name, TURNFILE_NAME) == 0 ||
           (len > tail && strcmp(name + len - tail, KVFILE_TEMPORARY) == 0);
}

static void look_at(int fd, const char *name, bool reads_all, struct kvfile_buffer *buffer,
                    struct kvfolder_block *out)
{
    struct str data;
    out->state = reads_all ? kvfile_read(fd, name, buffer, &out->head, &data)
                           : kvfile_read_head(fd, name, &out->head);
    if (reads_all && out->state == STATUS_CORRUPT)
        unlinkat(fd, name, 0);
}

enum status kvfolder_each(const char *folder, bool reads_all,
                          void (*on_block)(void *arg, const struct kvfolder_block *block),
                          void *arg, struct error *err)
{
    DIR *dir;
    enum status st = open_folder(folder, &dir, err);
    if (st != STATUS_OK || dir == NULL)
        return st;
    struct kvfile_buffer buffer = {0};
    for (const struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
        struct stat info;
        if (!is_block(d->d_name) || fstatat(dirfd(dir), d->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        struct kvfolder_block block = {.bytes = (uint64_t)info.st_size,
                                       .used_at = (int64_t)info.st_mtime};
        look_at(dirfd(dir), d->d_name, reads_all, &buffer, &block);
        if (block.state != STATUS_NOT_FOUND) /* else it was deleted just now */
            on_block(arg, &block);
    }
    kvfile_buffer_free(&buffer);
    closedir(dir);
    return STATUS_OK;
}

enum status kvfolder_clear(const char *folder, uint64_t *out_blocks, uint64_t *out_bytes,
                           struct error *err)
{
    *out_blocks = *out_bytes = 0;
    DIR *dir;
    enum status st = open_folder(folder, &dir, err);
    if (st != STATUS_OK || dir == NULL)
        return st;
    for (const struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
        struct stat info;
        if (!is_ours(d->d_name) || fstatat(dirfd(dir), d->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (unlinkat(dirfd(dir), d->d_name, 0) != 0) {
            st = error_set(err, STATUS_IO, "cannot delete files in %.300s: %s", folder,
                           strerror(errno));
            continue;
        }
        *out_blocks += is_block(d->d_name);
        *out_bytes += (uint64_t)info.st_size;
    }
    closedir(dir);
    if (st == STATUS_OK)
        (void)rmdir(folder);
    return st;
}

uint64_t kvfolder_written_today(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    uint64_t n_bytes = kvjournal_read(fd, kvjournal_today());
    close(fd);
    return n_bytes;
}
