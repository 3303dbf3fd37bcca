/* fuzz -- what each fuzz target defines.  Built with libFuzzer (clang -fsanitize=fuzzer) the tool
 * calls it; built with any compiler, replay.c does, with the files of the corpus and deterministic
 * changes of them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
