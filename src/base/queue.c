#include "queue.h"

#include "clock.h"
#include "mem.h"
#include "thread.h"

/* `mutex` guards every field below it; it is never held across a call out of this file. */
struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t not_empty;
    pthread_cond_t not_full;
    void **items; /* ring of `capacity` */
    size_t capacity;
    size_t head; /* index of the oldest item */
    size_t count;
    bool closed;
};

struct queue *queue_create(size_t capacity)
{
    INVARIANT(capacity > 0);
    struct queue *q = mem_zalloc(sizeof *q);
    pthread_mutex_init(&q->mutex, NULL);
    thread_cond_init(&q->not_empty);
    thread_cond_init(&q->not_full);
    q->items = mem_zalloc(mem_array_bytes(capacity, sizeof *q->items));
    q->capacity = capacity;
    return q;
}

void queue_destroy(struct queue *q)
{
    if (q == NULL)
        return;
    pthread_cond_destroy(&q->not_full);
    pthread_cond_destroy(&q->not_empty);
    pthread_mutex_destroy(&q->mutex);
    mem_free(q->items);
    mem_free(q);
}

/* Waits for a change of the queue; false once `deadline_ms` has passed.  A wake-up may be early:
 * callers test their condition again. */
static bool wait_until(struct queue *q, pthread_cond_t *cond, uint64_t deadline_ms)
{
    uint64_t now = clock_now_ms();
    if (now >= deadline_ms)
        return false;
    thread_cond_wait_ms(cond, &q->mutex, (unsigned)(deadline_ms - now));
    return true;
}

enum status queue_push(struct queue *q, void *item, unsigned timeout_ms)
{
    uint64_t deadline_ms = clock_now_ms() + timeout_ms;
    enum status st = STATUS_OK;
    pthread_mutex_lock(&q->mutex);
    while (!q->closed && q->count == q->capacity)
        if (!wait_until(q, &q->not_full, deadline_ms))
            break;
    if (q->closed) {
        st = STATUS_CANCELLED;
    } else if (q->count == q->capacity) {
        st = STATUS_AGAIN;
    } else {
        q->items[(q->head + q->count) % q->capacity] = item;
        q->count++;
        pthread_cond_signal(&q->not_empty);
    }
    pthread_mutex_unlock(&q->mutex);
    return st;
}

enum status queue_pop(struct queue *q, void **out_item, unsigned timeout_ms)
{
    uint64_t deadline_ms = clock_now_ms() + timeout_ms;
    enum status st = STATUS_OK;
    pthread_mutex_lock(&q->mutex);
    while (!q->closed && q->count == 0)
        if (!wait_until(q, &q->not_empty, deadline_ms))
            break;
    if (q->count > 0) {
        *out_item = q->items[q->head];
        q->head = (q->head + 1) % q->capacity;
        q->count--;
        pthread_cond_signal(&q->not_full);
    } else {
        st = q->closed ? STATUS_CANCELLED : STATUS_AGAIN;
    }
    pthread_mutex_unlock(&q->mutex);
    return st;
}

void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    q->closed = true;
    pthread_cond_broadcast(&q->not_empty);
    pthread_cond_broadcast(&q->not_full);
    pthread_mutex_unlock(&q->mutex);
}

size_t queue_length(struct queue *q)
{
    pthread_mutex_lock(&q->mutex);
    size_t count = q->count;
    pthread_mutex_unlock(&q->mutex);
    return count;
}
