#include "kernels/simd_neon.h"

#include "kernels/attention_tile.h"

void attention_block_neon(const struct attention_task *task,
                          const struct attention_scratch *scratch)
{
    attention_block(task, scratch);
}
