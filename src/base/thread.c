#define _GNU_SOURCE
#include "thread.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "mem.h"

enum {
    STACK_BYTES = 8 * 1024 * 1024,
    NAME_BYTES = 16, /* the kernel's limit, terminator included */
};

struct start {
    void *(*run)(void *);
    void *arg;
    char name[NAME_BYTES];
};

static void *trampoline(void *p)
{
    struct start s = *(struct start *)p;
    mem_free(p);
#ifdef __APPLE__
    pthread_setname_np(s.name);
#else
    pthread_setname_np(pthread_self(), s.name);
#endif
    return s.run(s.arg);
}

void thread_hold_stop_signals(sigset_t *before)
{
    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stops, before);
}

enum status thread_start(pthread_t *out, const char *name, void *(*run)(void *), void *arg)
{
    struct start *s = mem_alloc(sizeof *s);
    *s = (struct start){.run = run, .arg = arg};
    snprintf(s->name, sizeof s->name, "%s", name);

    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    /* A mask is inherited: held before the thread is, so that no instant is without it. */
    sigset_t before;
    thread_hold_stop_signals(&before);
    int rc = pthread_create(out, &attr, trampoline, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        mem_free(s);
        return rc == EAGAIN ? STATUS_BUSY : STATUS_INTERNAL;
    }
    return STATUS_OK;
}

void thread_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
#ifndef __APPLE__ /* macOS has a relative timed wait instead */
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
#endif
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

bool thread_cond_wait_ms(pthread_cond_t *cond, pthread_mutex_t *mutex, unsigned timeout_ms)
{
#ifdef __APPLE__
    struct timespec delta = {.tv_sec = timeout_ms / 1000,
                             .tv_nsec = (long)(timeout_ms % 1000) * 1000000L};
    return pthread_cond_timedwait_relative_np(cond, mutex, &delta) == 0;
#else
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    return pthread_cond_timedwait(cond, mutex, &until) == 0;
#endif
}
