/* hook -- hands the kernels to ggml's CPU backend.
 *
 * ggml asks every "extra buffer type" about every operation before it computes one itself.  Ours
 * owns no memory: it takes the operations that attention.h and matmul.h handle, with their operands
 * where they are, and lets all others pass.
 *
 * Which instruction set is used is one setting of the process.  It may be changed between two
 * computations, never during one.  What it is not: a choice of what is fastest (model/tune). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kernels/isa.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Raised whenever the same operands give other bits or are computed at another speed: what was kept
 * of either, on disk, is of the kernels that were. */
enum { KERNELS_REVISION = 3 };

/* Registers with ggml; before the first model is loaded.  Calling it again does nothing.  False
 * where the ggml that is linked is not the one whose internal headers this was compiled with: then
 * no kernel of ours ever runs. */
bool kernels_install(void);

/* KERNEL_ISA_NONE: ggml computes everything.  `isa` must be here. */
void kernels_use(enum kernel_isa isa);
enum kernel_isa kernels_in_use(void);

/* Operations that our kernels have computed so far in this process. */
uint64_t kernels_n_computed(void);

#ifdef __cplusplus
}
#endif
