/* tiny_server -- an HTTP server of a test's own, on a loopback port that the system chose.
 *
 * One thread, one request a connection, answers from a table by path.  Nothing sleeps: it waits in
 * poll() for a connection or for the end. */
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/check.h"

enum {
    TINY_PAGES = 16,
    TINY_HELD = 16,
    TINY_HEAD_BYTES = 16 * 1024,
};

struct tiny_page {
    const char *path;   /* without the query */
    const char *answer; /* head and body; NULL: none ever comes */
    size_t n_more;      /* times that `more` follows */
    const char *more;
};

struct tiny_server {
    struct tiny_page pages[TINY_PAGES]; /* ends with a NULL path; fixed once it runs */
    int listener, wake[2];
    unsigned port;
    char url[64];
    pthread_t thread;
    atomic_bool has_hung;  /* a request came that is not answered */
    pthread_mutex_t mutex; /* guards what follows */
    unsigned n_requests;
    char request[TINY_HEAD_BYTES]; /* the last one's head */
};

static void tiny_send(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t sent = write(fd, bytes, n);
        if (sent <= 0)
            return; /* the client has gone, as some are meant to */
        bytes += sent;
        n -= (size_t)sent;
    }
}

/* Reads the head of a request; "" where the client goes away before. */
static void tiny_read(int fd, char head[TINY_HEAD_BYTES])
{
    size_t len = 0;
    head[0] = '\0';
    while (strstr(head, "\r\n\r\n") == NULL) {
        ssize_t n = recv(fd, head + len, TINY_HEAD_BYTES - 1 - len, 0);
        if (n <= 0) {
            head[0] = '\0';
            return;
        }
        len += (size_t)n;
        head[len] = '\0';
    }
}

static const struct tiny_page *tiny_find(const struct tiny_server *s, const char *head)
{
    static const struct tiny_page none = {"", "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n",
                                          0, NULL};
    const char *path = strchr(head, ' ');
    for (size_t i = 0; path != NULL && i < TINY_PAGES && s->pages[i].path != NULL; i++) {
        size_t len = strlen(s->pages[i].path);
        if (strncmp(path + 1, s->pages[i].path, len) == 0 && strchr(" ?", path[1 + len]) != NULL)
            return &s->pages[i];
    }
    return &none;
}

/* False where the connection is to stay open, unanswered. */
static bool tiny_answer(struct tiny_server *s, int fd)
{
    char head[TINY_HEAD_BYTES];
    tiny_read(fd, head);
    pthread_mutex_lock(&s->mutex);
    s->n_requests++;
    memcpy(s->request, head, sizeof head);
    pthread_mutex_unlock(&s->mutex);
    const struct tiny_page *page = tiny_find(s, head);
    if (page->answer == NULL) {
        atomic_store(&s->has_hung, true);
        return false;
    }
    tiny_send(fd, page->answer, strlen(page->answer));
    for (size_t i = 0; i < page->n_more; i++)
        tiny_send(fd, page->more, strlen(page->more));
    shutdown(fd, SHUT_WR);
    return true;
}

static void *tiny_main(void *arg)
{
    struct tiny_server *s = arg;
    int held[TINY_HELD];
    size_t n_held = 0;
    struct pollfd fds[] = {{.fd = s->wake[0], .events = POLLIN},
                           {.fd = s->listener, .events = POLLIN}};
    while (poll(fds, 2, -1) > 0 && fds[0].revents == 0) {
        int fd = accept(s->listener, NULL, NULL);
        if (fd < 0)
            continue;
        if (tiny_answer(s, fd) || n_held == TINY_HELD)
            close(fd);
        else
            held[n_held++] = fd;
    }
    while (n_held > 0)
        close(held[--n_held]);
    return NULL;
}

/* Before tiny_start(), so that answers can name the port. */
static void tiny_bind(struct tiny_server *s)
{
    *s = (struct tiny_server){0};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    pthread_mutex_init(&s->mutex, NULL);
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL); /* clients leave */
    assert_int_equal(pipe(s->wake), 0);
    s->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(s->listener >= 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(s->listener, 16), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&a, &len), 0);
    s->port = ntohs(a.sin_port);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u", s->port);
}

static void tiny_start(struct tiny_server *s)
{
    assert_int_equal(pthread_create(&s->thread, NULL, tiny_main, s), 0);
}

static void tiny_stop(struct tiny_server *s)
{
    assert_int_equal(write(s->wake[1], "x", 1), 1);
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    close(s->wake[0]);
    close(s->wake[1]);
    close(s->listener);
    pthread_mutex_destroy(&s->mutex);
}

static unsigned tiny_requests(struct tiny_server *s)
{
    pthread_mutex_lock(&s->mutex);
    unsigned n = s->n_requests;
    pthread_mutex_unlock(&s->mutex);
    return n;
}

/* Does the last request's head hold `text`? */
static bool tiny_was_asked(struct tiny_server *s, const char *text)
{
    pthread_mutex_lock(&s->mutex);
    bool was = strstr(s->request, text) != NULL;
    pthread_mutex_unlock(&s->mutex);
    return was;
}
