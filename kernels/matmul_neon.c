#include "kernels/matmul_neon.h"

const struct matmul_kernels matmul_kernels_neon = MATMUL_KERNELS;
