#include "support/team.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    MOST_THREADS = 16,
};

struct shared {
    pthread_barrier_t barrier;
    atomic_int counter;
    void (*run)(const struct kernel_team *team, void *arg);
    void *arg;
};

struct member {
    struct kernel_team team;
    struct shared *shared;
    pthread_t thread;
};

static void barrier(void *arg)
{
    struct shared *shared = arg;
    pthread_barrier_wait(&shared->barrier);
}

static void set_counter(void *arg, int to)
{
    struct shared *shared = arg;
    atomic_store(&shared->counter, to);
}

static int take(void *arg)
{
    struct shared *shared = arg;
    return atomic_fetch_add(&shared->counter, 1);
}

static void *run_member(void *arg)
{
    struct member *member = arg;
    member->shared->run(&member->team, member->shared->arg);
    return NULL;
}

void team_run(int n_threads, void (*run)(const struct kernel_team *team, void *arg), void *arg)
{
    struct shared shared = {.run = run, .arg = arg};
    struct member members[MOST_THREADS];
    pthread_barrier_init(&shared.barrier, NULL, (unsigned)n_threads);
    for (int i = 0; i < n_threads; i++) {
        members[i] = (struct member){
            .team = {i, n_threads, &shared, barrier, set_counter, take},
            .shared = &shared,
        };
        if (i > 0)
            pthread_create(&members[i].thread, NULL, run_member, &members[i]);
    }
    run_member(&members[0]);
    for (int i = 1; i < n_threads; i++)
        pthread_join(members[i].thread, NULL);
    pthread_barrier_destroy(&shared.barrier);
}
