/* queue -- a bounded first-in first-out queue of pointers between threads.
 *
 * The only place where threads meet.  The queue does not own what it carries.  After
 * queue_close(), pushes fail with STATUS_CANCELLED and pops drain what is left, then fail too. */
#pragma once

#include "status.h"

struct queue;

struct queue *queue_create(size_t capacity);
void queue_destroy(struct queue *q); /* no thread may be using it */

/* Waits up to `timeout_ms` (0: not at all) for room.  STATUS_AGAIN when still full. */
MUST_USE enum status queue_push(struct queue *q, void *item, unsigned timeout_ms);

/* Waits up to `timeout_ms` for an item.  STATUS_AGAIN when there is none. */
MUST_USE enum status queue_pop(struct queue *q, void **out_item, unsigned timeout_ms);

void queue_close(struct queue *q);
size_t queue_length(struct queue *q);
