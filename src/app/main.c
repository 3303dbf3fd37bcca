/* main -- finds the verb and hands over. */
#include <stdio.h>
#include <string.h>

#include "app/commands.h"

static const struct verb {
    const char *name;
    int (*run)(const struct options *o);
    const char *help;
} verbs[] = {
    {"serve", cmd_serve, "answer the Anthropic Messages API from a model on this machine"},
    {"pull", cmd_pull, "fetch a model: pensieve pull [NAME]"},
    {"list", cmd_list, "the models that are known, and which are here"},
    {"status", cmd_status, "what the running server does"},
    {"stop", cmd_stop, "stop the running server; running answers may end"},
    {"cache", cmd_cache, "kept prompts: pensieve cache ls|stat|verify|clear"},
    {"version", cmd_version, "the program's version"},
    {"options", cmd_options, "every option, as a Markdown table"},
};

enum { N_VERBS = sizeof verbs / sizeof verbs[0] };

static void print_help(FILE *to)
{
    fputs(
        "Usage: pensieve VERB [OPTIONS]\n\n"
        "  pensieve pull                      fetch the model that suits this machine\n"
        "  pensieve serve                     answer on http://127.0.0.1:7777\n"
        "  scripts/claude-local               Claude Code on it, in this terminal only\n\nVerbs:\n",
        to);
    for (size_t i = 0; i < N_VERBS; i++)
        fprintf(to, "  %-10s %s\n", verbs[i].name, verbs[i].help);
    struct strbuf text;
    strbuf_init(&text, 64 * 1024);
    options_print_help(&text);
    fprintf(
        to,
        "\nOptions (each also as PENSIEVE_NAME in the environment and in the settings file):\n%s"
        "  %-34s machine-readable output of list, status, cache, version\n"
        "\nExit codes: 0 done, 64 usage, 65 model damaged, 66 model missing, 69 no server,\n"
        "71 not enough memory, 73 port taken, 74 download or disk, 75 stopped for lack of\n"
        "memory, 77 key, 78 settings, 70 and 1 other failures.\n",
        strbuf_cstr(&text), "--json");
    strbuf_free(&text);
}

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < N_VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static int unknown_verb(const char *name)
{
    const char *names[N_VERBS];
    for (size_t i = 0; i < N_VERBS; i++)
        names[i] = verbs[i].name;
    const char *near = str_nearest(str_from(name), names, N_VERBS);
    char text[256];
    snprintf(text, sizeof text, "unknown verb %.60s%s%s%s", name, near ? "; did you mean `" : "",
             near ? near : "; see pensieve --help", near ? "`?" : "");
    return complain(EXIT_CODE_USAGE, text);
}

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? EXIT_CODE_USAGE : EXIT_CODE_OK;
    }
    const struct verb *verb = find_verb(strcmp(argv[1], "--version") == 0 ? "version" : argv[1]);
    if (verb == NULL)
        return unknown_verb(argv[1]);

    struct options options;
    struct error err;
    enum status st = options_read(argc - 1, argv + 1, &options, &err);
    if (st != STATUS_OK)
        return complain(st == STATUS_CORRUPT ? EXIT_CODE_SETTINGS : EXIT_CODE_USAGE, err.message);
    int code = EXIT_CODE_OK;
    if (options.help)
        print_help(stdout);
    else
        code = verb->run(&options);
    options_free(&options);
    return code;
}
