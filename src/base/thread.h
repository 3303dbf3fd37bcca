/* thread -- pthreads with names, one stack size and timed waits on the monotonic clock. */
#pragma once

#include <pthread.h>
#include <signal.h>

#include "status.h"

/* Starts `run(arg)` on a thread called `name` (at most 15 bytes show up in ps and gdb), with a
 * stack of 8 MiB: llama.cpp's template and grammar parsers recurse.  SIGTERM and SIGINT are held
 * on it: they are the main thread's, who then can decide when they count. */
MUST_USE enum status thread_start(pthread_t *out, const char *name, void *(*run)(void *),
                                  void *arg);

/* SIGTERM and SIGINT no longer reach the calling thread; `before` (may be NULL) becomes its mask as
 * it was, for pthread_sigmask. */
void thread_hold_stop_signals(sigset_t *before);

/* A condition that waits by the monotonic clock. */
void thread_cond_init(pthread_cond_t *cond);

/* Waits until signalled or `timeout_ms` from now.  False when the time has passed. */
bool thread_cond_wait_ms(pthread_cond_t *cond, pthread_mutex_t *mutex, unsigned timeout_ms);
