#include "kernels/simd_avx2.h"

#include "kernels/attention_tile.h"

void attention_block_avx2(const struct attention_task *task,
                          const struct attention_scratch *scratch)
{
    attention_block(task, scratch);
}
