/* requantize -- a model file of which every matrix is of one type, to measure that type alone.
 *
 *      bench-requantize IN.gguf OUT.gguf q4_K|q5_K|q6_K|q4_0|q5_0|q8_0
 *
 * From a file that is quantised already, so what it says is worth less than what the same type made
 * of the original would: for bench/depth.py, not for use. */
#include <ggml.h>
#include <llama.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    enum llama_ftype ftype;
    enum ggml_type type;
} types[] = {
    {"q4_K", LLAMA_FTYPE_MOSTLY_Q4_K_S, GGML_TYPE_Q4_K},
    {"q5_K", LLAMA_FTYPE_MOSTLY_Q5_K_S, GGML_TYPE_Q5_K},
    {"q6_K", LLAMA_FTYPE_MOSTLY_Q6_K, GGML_TYPE_Q6_K},
    {"q4_0", LLAMA_FTYPE_MOSTLY_Q4_0, GGML_TYPE_Q4_0},
    {"q5_0", LLAMA_FTYPE_MOSTLY_Q5_0, GGML_TYPE_Q5_0},
    {"q8_0", LLAMA_FTYPE_MOSTLY_Q8_0, GGML_TYPE_Q8_0},
};

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: bench-requantize IN.gguf OUT.gguf TYPE\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, argv[3]) != 0)
            continue;
        struct llama_model_quantize_params params = llama_model_quantize_default_params();
        params.ftype = types[i].ftype;
        params.pure = true;
        params.allow_requantize = true;
        params.output_tensor_type = params.token_embedding_type = types[i].type;
        llama_backend_init();
        return llama_model_quantize(argv[1], argv[2], &params) == 0 ? 0 : 1;
    }
    fprintf(stderr, "bench-requantize: no such type: %s\n", argv[3]);
    return 2;
}
