#define VI_HAS_MATRIX
#include "kernels/matmul_neon.h"

const struct matmul_kernels matmul_kernels_neon_i8mm = MATMUL_KERNELS;
