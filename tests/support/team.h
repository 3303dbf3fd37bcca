/* team -- runs a kernel as a team of real threads, as ggml's pool would. */
#pragma once

#include "kernels/team.h"

/* Calls run(team, arg) on n_threads threads at once, and returns when all have returned. */
void team_run(int n_threads, void (*run)(const struct kernel_team *team, void *arg), void *arg);
