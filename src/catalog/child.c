#define _GNU_SOURCE
#include "catalog/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "base/clock.h"
#include "base/mem.h"
#include "base/strbuf.h"

extern char **environ;

enum {
    CHUNK_BYTES = 256 * 1024,
    TAIL_BYTES = 2048,
    SAID_BYTES = 320, /* of the tail, in a message */
    TICK_MS = 100,
    VARIABLE_BYTES = 8192,
    EXIT_NO_PROGRAM = 127,
    EXIT_NO_START = 126,
};

struct child {
    const struct child_options *options;
    char **environment; /* ours, with its own TMPDIR */
    char *tmpdir;       /* "TMPDIR=..." */
    uint64_t deadline_ms;
    pid_t pid;
    int out_fd, err_fd; /* -1: at its end */
    char *chunk;
    char tail[TAIL_BYTES + 1]; /* the end of its standard error */
    size_t tail_len;
};

/* ---- Starting ---- */

/* Made before the fork: afterwards nothing may be allocated. */
static void make_environment(struct child *c)
{
    size_t n = 0;
    while (environ[n] != NULL)
        n++;
    c->environment = mem_alloc(mem_array_bytes(n + 2, sizeof *c->environment));
    struct strbuf tmpdir;
    strbuf_init(&tmpdir, VARIABLE_BYTES);
    strbuf_printf(&tmpdir, "TMPDIR=%s", c->options->folder);
    c->tmpdir = strbuf_detach(&tmpdir, NULL);
    size_t used = 0;
    c->environment[used++] = c->tmpdir;
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], "TMPDIR=", 7) != 0)
            c->environment[used++] = environ[i];
    c->environment[used] = NULL;
}

/* macOS has no pipe2(). */
static int make_pipe(int fds[2])
{
    if (pipe(fds) != 0)
        return -1;
    for (int i = 0; i < 2; i++)
        if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) != 0)
            return -1;
    return 0;
}

static void close_pipe(const int fds[2])
{
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* Between fork and exec: only what is safe there. */
static NO_RETURN void become_program(const struct child *c, int out_fd, int err_fd)
{
    setpgid(0, 0);
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a parent that is killed leaves no download behind */
#endif
    int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(out_fd, STDOUT_FILENO) < 0 ||
        dup2(err_fd, STDERR_FILENO) < 0 || chdir(c->options->folder) != 0)
        _exit(EXIT_NO_START);
    environ = c->environment;
    execvp(c->options->argv[0], (char *const *)(uintptr_t)c->options->argv);
    _exit(errno == ENOENT || errno == ENOTDIR ? EXIT_NO_PROGRAM : EXIT_NO_START);
}

static enum status start(struct child *c, struct error *err)
{
    int out_pipe[2] = {-1, -1}, err_pipe[2] = {-1, -1};
    c->pid = -1;
    if (make_pipe(out_pipe) == 0 && make_pipe(err_pipe) == 0)
        c->pid = fork();
    if (c->pid < 0) {
        int cause = errno;
        close_pipe(out_pipe);
        close_pipe(err_pipe);
        return error_set(err, STATUS_IO, "cannot start %s: %s", c->options->argv[0],
                         strerror(cause));
    }
    if (c->pid == 0)
        become_program(c, out_pipe[1], err_pipe[1]);
    setpgid(c->pid, c->pid); /* the child does so too: whoever comes first */
    close(out_pipe[1]);
    close(err_pipe[1]);
    c->out_fd = out_pipe[0];
    c->err_fd = err_pipe[0];
    return STATUS_OK;
}

/* ---- Watching ---- */

static void keep_tail(struct child *c, const char *bytes, size_t n)
{
    if (n > TAIL_BYTES) {
        bytes += n - TAIL_BYTES;
        n = TAIL_BYTES;
    }
    if (c->tail_len + n > TAIL_BYTES) {
        size_t drop = c->tail_len + n - TAIL_BYTES;
        memmove(c->tail, c->tail + drop, c->tail_len - drop);
        c->tail_len -= drop;
    }
    memcpy(c->tail + c->tail_len, bytes, n);
    c->tail_len += n;
    c->tail[c->tail_len] = '\0';
}

/* Reads what is there from one pipe; closes it at its end. */
static enum status drain(struct child *c, int *fd, struct error *err)
{
    ssize_t n = read(*fd, c->chunk, CHUNK_BYTES);
    if (n < 0 && errno == EINTR)
        return STATUS_OK;
    if (n <= 0) {
        close(*fd);
        *fd = -1;
        return STATUS_OK;
    }
    if (fd == &c->err_fd)
        keep_tail(c, c->chunk, (size_t)n);
    else if (c->options->on_output != NULL)
        return c->options->on_output(c->chunk, (size_t)n, c->options->arg, err);
    return STATUS_OK;
}

static enum status check_on(const struct child *c, struct error *err)
{
    if (clock_now_ms() >= c->deadline_ms)
        return error_set(err, STATUS_AGAIN, "%s took longer than %u s", c->options->argv[0],
                         c->options->limit_ms / 1000);
    if (c->options->on_tick != NULL && c->options->on_tick(c->options->arg))
        return error_set(err, STATUS_CANCELLED, "stopped");
    return STATUS_OK;
}

/* Until it has closed both pipes and ended. */
static enum status watch(struct child *c, int *out_wait_status, struct error *err)
{
    enum status st = STATUS_OK;
    while (st == STATUS_OK) {
        bool is_open = c->out_fd >= 0 || c->err_fd >= 0;
        pid_t ended = is_open ? 0 : waitpid(c->pid, out_wait_status, WNOHANG);
        if (ended == c->pid) {
            c->pid = -1;
            return STATUS_OK;
        }
        struct pollfd fds[2] = {{.fd = c->out_fd, .events = POLLIN},
                                {.fd = c->err_fd, .events = POLLIN}};
        int ready = poll(fds, 2, is_open ? TICK_MS : 1);
        st = check_on(c, err);
        if (st == STATUS_OK && ready > 0 && fds[0].revents != 0)
            st = drain(c, &c->out_fd, err);
        if (st == STATUS_OK && ready > 0 && fds[1].revents != 0)
            st = drain(c, &c->err_fd, err);
    }
    return st;
}

/* ---- Ending ---- */

static void kill_group(struct child *c)
{
    kill(-c->pid, SIGKILL);
    while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    c->pid = -1;
}

/* The last lines of what it said, as one line without control characters. */
static const char *last_words(struct child *c)
{
    while (c->tail_len > 0 && strchr("\r\n ", c->tail[c->tail_len - 1]) != NULL)
        c->tail[--c->tail_len] = '\0';
    char *words = c->tail;
    if (c->tail_len > SAID_BYTES) {
        words = c->tail + c->tail_len - SAID_BYTES;
        char *line = strchr(words, '\n');
        words = line != NULL ? line + 1 : words;
    }
    for (char *p = words; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
    return words[0] != '\0' ? words : "it did not say why";
}

static enum status judge(struct child *c, int wait_status, struct error *err)
{
    const char *name = c->options->argv[0];
    if (WIFSIGNALED(wait_status))
        return error_set(err, STATUS_IO, "%s was ended by signal %d", name, WTERMSIG(wait_status));
    if (WEXITSTATUS(wait_status) == EXIT_NO_PROGRAM && c->tail_len == 0)
        return error_set(err, STATUS_NOT_FOUND, "%s is not installed", name);
    if (WEXITSTATUS(wait_status) != 0)
        return error_set(err, STATUS_IO, "%s failed: %s", name, last_words(c));
    return STATUS_OK;
}

enum status child_run(const struct child_options *options, struct error *err)
{
    struct child c = {
        .options = options,
        .deadline_ms = clock_now_ms() + options->limit_ms,
        .out_fd = -1,
        .err_fd = -1,
    };
    make_environment(&c);
    enum status st = start(&c, err);
    if (st == STATUS_OK) {
        int wait_status = 0;
        c.chunk = mem_alloc(CHUNK_BYTES);
        st = watch(&c, &wait_status, err);
        if (st == STATUS_OK)
            st = judge(&c, wait_status, err);
        else
            kill_group(&c);
    }
    if (c.out_fd >= 0)
        close(c.out_fd);
    if (c.err_fd >= 0)
        close(c.err_fd);
    mem_free(c.chunk);
    mem_free(c.environment);
    mem_free(c.tmpdir);
    return st;
}
