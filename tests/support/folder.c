#define _GNU_SOURCE
#include "support/folder.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

enum {
    OPEN_FOLDERS = 8,
    PATHS = 4,
    FILE_BYTES = 1024 * 1024,
};

void folder_make(struct folder *f)
{
    snprintf(f->path, sizeof f->path, "test-folder.XXXXXX");
    INVARIANT(mkdtemp(f->path) != NULL);
}

static int remove_one(const char *path, const struct stat *sb, int type, struct FTW *ftw)
{
    (void)sb, (void)type, (void)ftw;
    return remove(path);
}

void folder_remove(const struct folder *f)
{
    INVARIANT(nftw(f->path, remove_one, OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS) == 0);
}

const char *folder_path(const struct folder *f, const char *name)
{
    static char paths[PATHS][2 * FOLDER_PATH_BYTES];
    static size_t next;
    char *path = paths[next++ % PATHS];
    snprintf(path, sizeof paths[0], "%s/%s", f->path, name);
    return path;
}

void folder_write(const struct folder *f, const char *name, const char *text)
{
    INVARIANT(file_write_atomic(folder_path(f, name), str_from(text), NULL) == STATUS_OK);
}

void folder_write_program(const struct folder *f, const char *name, const char *text)
{
    folder_write(f, name, text);
    INVARIANT(chmod(folder_path(f, name), 0700) == 0);
}

void folder_read(const struct folder *f, const char *name, struct strbuf *out)
{
    strbuf_init(out, FILE_BYTES);
    if (file_read(folder_path(f, name), out, NULL) != STATUS_OK)
        strbuf_clear(out);
}

size_t folder_count(const struct folder *f)
{
    size_t n = 0;
    DIR *dir = opendir(f->path);
    INVARIANT(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return n;
}
