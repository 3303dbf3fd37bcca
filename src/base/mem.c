#define MEM_IMPLEMENTATION
#include "mem.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void out_of_memory(size_t bytes)
{
    fprintf(stderr, "pensieve: the system has no %zu bytes left\n", bytes);
    abort();
}

enum { NOT_READ = -1 };

/* Calls of mem_try_* up to the one that fails; 0 and below: none does. */
static atomic_long fail_countdown = NOT_READ;

static bool must_fail(void)
{
    long left = atomic_load_explicit(&fail_countdown, memory_order_relaxed);
    if (left == NOT_READ) {
        const char *text = getenv("PENSIEVE_FAIL_ALLOC");
        long n = text != NULL ? strtol(text, NULL, 10) : 0;
        atomic_compare_exchange_strong(&fail_countdown, &left, n > 0 ? n : 0);
        left = atomic_load(&fail_countdown);
    }
    while (left > 0)
        if (atomic_compare_exchange_weak(&fail_countdown, &left, left - 1))
            return left == 1;
    return false;
}

long mem_fail_at(long n)
{
    long left = atomic_exchange(&fail_countdown, n);
    return left > 0 ? left : 0;
}

void *mem_alloc(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (p == NULL)
        out_of_memory(bytes);
    return p;
}

void *mem_zalloc(size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);
    if (p == NULL)
        out_of_memory(bytes);
    return p;
}

void *mem_realloc(void *p, size_t bytes)
{
    void *q = realloc(p, bytes ? bytes : 1);
    if (q == NULL)
        out_of_memory(bytes);
    return q;
}

char *mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}

char *mem_strndup(const char *s, size_t len)
{
    char *copy = mem_alloc(len + 1);
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

void mem_free(void *p)
{
    free(p);
}

static _Thread_local unsigned long n_failures;

static void *note(void *p)
{
    n_failures += p == NULL;
    return p;
}

void *mem_try_alloc(size_t bytes)
{
    return note(must_fail() ? NULL : malloc(bytes ? bytes : 1));
}

void *mem_try_realloc(void *p, size_t bytes)
{
    return note(must_fail() ? NULL : realloc(p, bytes ? bytes : 1));
}

unsigned long mem_failures(void)
{
    return n_failures;
}

enum status mem_check(unsigned long before, enum status st, struct error *err)
{
    if (n_failures == before)
        return st;
    return error_set(err, STATUS_NO_MEMORY,
                     "not enough memory for this request; try again shortly");
}

size_t mem_array_bytes(size_t n, size_t size)
{
    if (size != 0 && n > SIZE_MAX / size)
        return SIZE_MAX;
    return n * size;
}
