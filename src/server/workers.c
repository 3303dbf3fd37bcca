#include "server/workers.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/queue.h"
#include "base/thread.h"
#include "server/route.h"

enum {
    SHORT_WORKERS = 2,
    POP_WAIT_MS = 60 * 1000,
};

enum turn_thread_state {
    TURN_THREAD_FREE,    /* never started, or joined */
    TURN_THREAD_RUNNING, /* has an exchange */
    TURN_THREAD_ENDED,   /* done with its exchange; to be joined, which takes no time */
};

struct turn_thread {
    struct workers *workers;
    pthread_t thread;
    enum turn_thread_state state; /* guarded by workers->mutex */
    struct exchange *exchange;
    void (*run)(struct exchange *x);
};

struct workers {
    struct queue *queue;
    pthread_t threads[SHORT_WORKERS];
    size_t n_threads;
    pthread_mutex_t mutex; /* guards the states of `turns`; held for no call but join and start */
    struct turn_thread turns[LIMIT_TURNS];
};

static void *short_worker(void *arg)
{
    struct workers *w = arg;
    for (;;) {
        void *item;
        enum status st = queue_pop(w->queue, &item, POP_WAIT_MS);
        if (st == STATUS_CANCELLED)
            return NULL;
        if (st != STATUS_OK)
            continue;
        struct exchange *x = item;
        x->route->handle(x);
        exchange_release(x);
    }
}

static void *turn_worker(void *arg)
{
    struct turn_thread *t = arg;
    t->run(t->exchange);
    exchange_release(t->exchange);
    pthread_mutex_lock(&t->workers->mutex);
    t->state = TURN_THREAD_ENDED;
    pthread_mutex_unlock(&t->workers->mutex);
    return NULL;
}

enum status workers_create(struct workers **out, struct error *err)
{
    struct workers *w = mem_zalloc(sizeof *w);
    w->queue = queue_create(LIMIT_SHORT_QUEUE);
    pthread_mutex_init(&w->mutex, NULL);
    for (; w->n_threads < SHORT_WORKERS; w->n_threads++) {
        if (thread_start(&w->threads[w->n_threads], "pv-short", short_worker, w) != STATUS_OK) {
            workers_destroy(w);
            return error_set(err, STATUS_INTERNAL, "cannot start a worker thread");
        }
    }
    *out = w;
    return STATUS_OK;
}

enum status workers_submit(struct workers *w, struct exchange *x)
{
    exchange_reference(x);
    enum status st = queue_push(w->queue, x, 0);
    if (st == STATUS_OK)
        return STATUS_OK;
    exchange_release(x);
    return STATUS_BUSY;
}

/* A place that no running thread has; called with the mutex held. */
static struct turn_thread *find_place(struct workers *w)
{
    for (size_t i = 0; i < LIMIT_TURNS; i++) {
        struct turn_thread *t = &w->turns[i];
        if (t->state == TURN_THREAD_ENDED) {
            pthread_join(t->thread, NULL);
            t->state = TURN_THREAD_FREE;
        }
        if (t->state == TURN_THREAD_FREE)
            return t;
    }
    return NULL;
}

enum status workers_start_turn(struct workers *w, struct exchange *x,
                               void (*run)(struct exchange *x))
{
    enum status st = STATUS_BUSY;
    pthread_mutex_lock(&w->mutex);
    struct turn_thread *t = find_place(w);
    if (t != NULL) {
        t->workers = w;
        t->exchange = exchange_reference(x);
        t->run = run;
        t->state = TURN_THREAD_RUNNING;
        st = thread_start(&t->thread, "pv-turn", turn_worker, t);
        if (st != STATUS_OK) {
            t->state = TURN_THREAD_FREE;
            exchange_release(x);
            log_warn("cannot start a thread for a turn");
            st = STATUS_BUSY;
        }
    }
    pthread_mutex_unlock(&w->mutex);
    return st;
}

void workers_destroy(struct workers *w)
{
    if (w == NULL)
        return;
    queue_close(w->queue); /* what is queued is still handled: each exchange must be let go */
    for (size_t i = 0; i < w->n_threads; i++)
        pthread_join(w->threads[i], NULL);
    for (size_t i = 0; i < LIMIT_TURNS; i++) {
        /* From here on no place is taken; but the threads that still run write their state. */
        pthread_mutex_lock(&w->mutex);
        bool is_free = w->turns[i].state == TURN_THREAD_FREE;
        pthread_mutex_unlock(&w->mutex);
        if (!is_free)
            pthread_join(w->turns[i].thread, NULL);
    }
    pthread_mutex_destroy(&w->mutex);
    queue_destroy(w->queue);
    mem_free(w);
}
