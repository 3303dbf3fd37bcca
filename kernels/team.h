/* team -- the threads that compute one operation together, as a kernel sees them.
 *
 * ggml runs each operation on all threads of its pool at once: every thread calls the kernel with
 * its own index.  A kernel meets the others at a barrier, and shares work out by numbers: tasks
 * 0 .. n-1, each taken by whoever is free, so that a thread that the system has put aside holds
 * nobody up for longer than one task.
 *
 * What it is not: a thread pool.  The threads are ggml's (hook_ggml.cpp) or a test's. */
#pragma once

struct kernel_team {
    int ith, nth; /* this thread's index; how many there are */
    void *arg;
    void (*barrier)(void *arg);             /* returns when all nth threads have called it */
    void (*set_counter)(void *arg, int to); /* the counter that all threads share */
    int (*take)(void *arg);                 /* its value, which it then raises by one */
};

/* Begins sharing out: the first task of this thread.  Contains a barrier; every thread calls it. */
static inline int team_first_task(const struct kernel_team *team)
{
    if (team->ith == 0)
        team->set_counter(team->arg, team->nth);
    team->barrier(team->arg);
    return team->ith;
}

static inline int team_next_task(const struct kernel_team *team)
{
    return team->take(team->arg);
}
