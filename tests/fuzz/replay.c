/* replay -- runs a fuzz target without a fuzzer: `fuzz_x [-n CHANGES] [-s SEED] FILE|FOLDER...`.
 *
 * Every file is given to the target as it is, and then CHANGES times with a few bytes changed, by a
 * generator that starts from SEED and the file's place in the list: the same arguments, the same
 * inputs.  A finding is a crash (an INVARIANT, or a sanitizer), which the same arguments bring back
 * in a debugger. */
#define _GNU_SOURCE
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "fuzz/fuzz.h"

enum {
    INPUT_BYTES = 1024 * 1024,
    MOST_FILES = 4096,
    MOST_EDITS = 8,
};

struct replay {
    unsigned long n_changes;
    uint64_t seed;
    size_t n_files;
    size_t n_inputs;
};

/* xorshift64*: small, and the same everywhere. */
static uint64_t draw(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1Dull;
}

/* One edit: a byte changed, put in or taken out, a piece repeated, or the end cut off. */
static void edit(struct strbuf *input, uint64_t *state)
{
    static const char words[] = "{}[]\",:\\0-.eEu/*\n \x00\x80\xC3\xED\xF4\xFF";
    size_t at = input->len > 0 ? draw(state) % input->len : 0;
    char c = words[draw(state) % (sizeof words - 1)];
    struct strbuf out;
    strbuf_init(&out, INPUT_BYTES);
    size_t kept = at, dropped = 0;
    switch (draw(state) % 5) {
    case 0: /* change */
        dropped = 1;
        strbuf_append(&out, input->data, kept);
        strbuf_append_char(&out, c);
        break;
    case 1: /* put in */
        strbuf_append(&out, input->data, kept);
        strbuf_append_char(&out, c);
        break;
    case 2: /* take out */
        dropped = 1 + draw(state) % 16;
        strbuf_append(&out, input->data, kept);
        break;
    case 3: /* repeat what came before */
        strbuf_append(&out, input->data, kept);
        strbuf_append(&out, input->data, at < 32 ? at : 32);
        break;
    default: /* cut */
        strbuf_append(&out, input->data, kept);
        dropped = input->len;
        break;
    }
    size_t from = dropped < input->len - at ? at + dropped : input->len;
    strbuf_append(&out, input->data + from, input->len - from);
    strbuf_free(input);
    *input = out;
}

/* The target gets a block of exactly the input's size, so that a sanitizer sees a read behind it.
 */
static void give(struct replay *r, struct str input)
{
    uint8_t *copy = mem_alloc(input.len);
    if (input.len > 0)
        memcpy(copy, input.ptr, input.len);
    LLVMFuzzerTestOneInput(copy, input.len);
    mem_free(copy);
    r->n_inputs++;
}

static bool replay_file(struct replay *r, const char *path)
{
    struct strbuf original, input;
    struct error err;
    strbuf_init(&original, INPUT_BYTES / 2);
    strbuf_init(&input, INPUT_BYTES);
    if (file_read(path, &original, &err) != STATUS_OK) {
        fprintf(stderr, "%s\n", err.message);
        strbuf_free(&original);
        return false;
    }
    give(r, strbuf_str(&original));
    uint64_t state = r->seed * 0x9E3779B97F4A7C15ull + ++r->n_files;
    for (unsigned long i = 0; i < r->n_changes; i++) {
        strbuf_clear(&input);
        strbuf_append_str(&input, strbuf_str(&original));
        for (uint64_t n = 1 + draw(&state) % MOST_EDITS; n > 0 && input.len > 0; n--)
            edit(&input, &state);
        give(r, strbuf_str(&input));
    }
    strbuf_free(&original);
    strbuf_free(&input);
    return true;
}

static bool replay_path(struct replay *r, const char *path)
{
    struct stat sb;
    if (stat(path, &sb) != 0 || !S_ISDIR(sb.st_mode))
        return replay_file(r, path);
    struct dirent **names;
    int n = scandir(path, &names, NULL, alphasort);
    bool is_good = n >= 0;
    for (int i = 0; i < n; i++) {
        struct strbuf file;
        strbuf_init(&file, 4096);
        strbuf_printf(&file, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.')
            is_good = replay_file(r, strbuf_cstr(&file)) && is_good;
        strbuf_free(&file);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    return is_good;
}

int main(int argc, char **argv)
{
    struct replay r = {.seed = 1};
    bool is_good = true;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-n") == 0 && i + 1 < argc)
            r.n_changes = strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "-s") == 0 && i + 1 < argc)
            r.seed = strtoull(argv[++i], NULL, 10);
        else
            is_good = replay_path(&r, argv[i]) && is_good;
    }
    printf("%zu files, %zu inputs, seed %" PRIu64 "\n", r.n_files, r.n_inputs, r.seed);
    return is_good && r.n_files > 0 ? 0 : 1;
}
