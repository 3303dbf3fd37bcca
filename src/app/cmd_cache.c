/* cmd_cache -- the verb `cache`: what is kept of prompts and replies on disk, whether it is sound,
 * deleting it.  Works without a server, and beside one. */
#include <stdio.h>

#include "app/commands.h"
#include "base/clock.h"
#include "base/file.h"
#include "cache/kvfolder.h"
#include "cache/turnfile.h"
#include "wire/json_out.h"

enum {
    TEXT_BYTES = 256 * 1024,
    PATH_BYTES = 4096,
    MOST_MODELS = 64, /* that are told apart; the rest counts as the last one */
    DAY_S = 24 * 3600,
};

/* What a folder holds of one model. */
struct model_sum {
    char fingerprint[SHA256_HEX_BYTES];
    char name[KVFILE_MODEL_BYTES];
    uint64_t blocks, tokens, bytes;
    int64_t used_at;
};

struct folder_sum {
    struct model_sum models[MOST_MODELS];
    size_t n_models;
    uint64_t blocks, tokens, bytes;
    uint64_t damaged, unreadable;
    struct turnfile_sum replies; /* not among the numbers above */
};

char *cache_folder(const struct options *o)
{
    const char *folder = option_text(o, OPTION_CACHE_DIR);
    if (folder[0] == '\0')
        return file_user_path("cache", "prompts");
    struct strbuf path;
    strbuf_init(&path, PATH_BYTES);
    strbuf_printf(&path, "%s/prompts", folder);
    return strbuf_detach(&path, NULL);
}

/* ---- Counting ---- */

static struct model_sum *sum_of(struct folder_sum *sum, const struct kvfile_head *head)
{
    for (size_t i = 0; i < sum->n_models; i++)
        if (strcmp(sum->models[i].fingerprint, head->fingerprint) == 0)
            return &sum->models[i];
    if (sum->n_models == MOST_MODELS)
        return &sum->models[MOST_MODELS - 1];
    struct model_sum *m = &sum->models[sum->n_models++];
    snprintf(m->fingerprint, sizeof m->fingerprint, "%s", head->fingerprint);
    snprintf(m->name, sizeof m->name, "%s", head->model);
    return m;
}

static void count_block(void *arg, const struct kvfolder_block *block)
{
    struct folder_sum *sum = arg;
    sum->blocks++;
    sum->bytes += block->bytes;
    if (block->state != STATUS_OK) {
        *(block->state == STATUS_CORRUPT ? &sum->damaged : &sum->unreadable) += 1;
        return;
    }
    struct model_sum *m = sum_of(sum, &block->head);
    sum->tokens += block->head.n_tokens;
    m->tokens += block->head.n_tokens;
    m->bytes += block->bytes;
    m->blocks++;
    if (block->used_at > m->used_at)
        m->used_at = block->used_at;
}

/* ---- Printing ---- */

static void begin_json(struct json_out *w, struct strbuf *text)
{
    strbuf_init(text, TEXT_BYTES);
    json_out_begin(w, text);
}

static void end_json(struct json_out *w, struct strbuf *text)
{
    json_out_end(w);
    puts(strbuf_cstr(text));
    strbuf_free(text);
}

static void list_json(const struct folder_sum *sum)
{
    struct strbuf text;
    struct json_out w;
    begin_json(&w, &text);
    json_array_begin(&w);
    for (size_t i = 0; i < sum->n_models; i++) {
        const struct model_sum *m = &sum->models[i];
        json_object_begin(&w);
        json_field_cstr(&w, "model", m->name);
        json_field_cstr(&w, "fingerprint", m->fingerprint);
        json_field_int(&w, "blocks", (int64_t)m->blocks);
        json_field_int(&w, "tokens", (int64_t)m->tokens);
        json_field_int(&w, "bytes", (int64_t)m->bytes);
        json_field_int(&w, "used_at", m->used_at);
        json_object_end(&w);
    }
    json_array_end(&w);
    end_json(&w, &text);
}

static void list_text(const struct folder_sum *sum)
{
    printf("%-40s %8s %10s %10s  %s\n", "MODEL", "BLOCKS", "TOKENS", "SIZE", "USED");
    for (size_t i = 0; i < sum->n_models; i++) {
        const struct model_sum *m = &sum->models[i];
        int64_t days = (clock_wall_s() - m->used_at) / DAY_S;
        printf("%-40.40s %8llu %10llu %7.0f MB  %lld days ago\n", m->name,
               (unsigned long long)m->blocks, (unsigned long long)m->tokens, (double)m->bytes / 1e6,
               (long long)(days > 0 ? days : 0));
    }
}

static void stat_json(const struct options *o, const char *folder, const struct folder_sum *sum)
{
    struct strbuf text;
    struct json_out w;
    begin_json(&w, &text);
    json_object_begin(&w);
    json_field_cstr(&w, "folder", folder);
    json_field_bool(&w, "enabled", option_flag(o, OPTION_CACHE));
    json_field_int(&w, "blocks", (int64_t)sum->blocks);
    json_field_int(&w, "tokens", (int64_t)sum->tokens);
    json_field_int(&w, "bytes", (int64_t)sum->bytes);
    json_field_int(&w, "replies", (int64_t)sum->replies.replies);
    json_field_int(&w, "reply_bytes", (int64_t)sum->replies.bytes);
    json_field_int(&w, "budget_bytes", (int64_t)option_bytes(o, OPTION_CACHE_GB));
    json_field_int(&w, "written_today_bytes", (int64_t)kvfolder_written_today(folder));
    json_field_int(&w, "daily_bytes", (int64_t)option_bytes(o, OPTION_CACHE_DAILY_GB));
    json_field_int(&w, "days", option_number(o, OPTION_CACHE_DAYS));
    json_object_end(&w);
    end_json(&w, &text);
}

static double to_gb(uint64_t bytes)
{
    return (double)bytes / (1u << 30);
}

static void stat_text(const struct options *o, const char *folder, const struct folder_sum *sum)
{
    printf("folder    %s%s\n", folder, option_flag(o, OPTION_CACHE) ? "" : " (switched off)");
    printf("holds     %llu blocks, %llu tokens, %.2f of %.2f GB\n", (unsigned long long)sum->blocks,
           (unsigned long long)sum->tokens, to_gb(sum->bytes),
           to_gb(option_bytes(o, OPTION_CACHE_GB)));
    printf("replies   %llu, %.1f MB\n", (unsigned long long)sum->replies.replies,
           (double)sum->replies.bytes / 1e6);
    printf("written   %.2f of %.2f GB today\n", to_gb(kvfolder_written_today(folder)),
           to_gb(option_bytes(o, OPTION_CACHE_DAILY_GB)));
    printf("deleted   after %lld days without use\n",
           (long long)option_number(o, OPTION_CACHE_DAYS));
}

static void print_verified(const struct options *o, const struct folder_sum *sum)
{
    if (!o->json) {
        printf("%llu blocks, %llu sound, %llu damaged and deleted, %llu unreadable\n",
               (unsigned long long)sum->blocks,
               (unsigned long long)(sum->blocks - sum->damaged - sum->unreadable),
               (unsigned long long)sum->damaged, (unsigned long long)sum->unreadable);
        printf("%llu replies sound, %llu damaged and deleted\n",
               (unsigned long long)sum->replies.replies, (unsigned long long)sum->replies.damaged);
        return;
    }
    struct strbuf text;
    struct json_out w;
    begin_json(&w, &text);
    json_object_begin(&w);
    json_field_int(&w, "blocks", (int64_t)sum->blocks);
    json_field_int(&w, "damaged", (int64_t)sum->damaged);
    json_field_int(&w, "unreadable", (int64_t)sum->unreadable);
    json_field_int(&w, "replies", (int64_t)sum->replies.replies);
    json_field_int(&w, "damaged_replies", (int64_t)sum->replies.damaged);
    json_object_end(&w);
    end_json(&w, &text);
}

/* ---- The verbs ---- */

static enum status do_ls(const struct options *o, const char *folder, struct error *err)
{
    struct folder_sum *sum = mem_zalloc(sizeof *sum);
    enum status st = kvfolder_each(folder, false, count_block, sum, err);
    if (st == STATUS_OK && o->json)
        list_json(sum);
    else if (st == STATUS_OK)
        list_text(sum);
    mem_free(sum);
    return st;
}

static enum status do_stat(const struct options *o, const char *folder, struct error *err)
{
    struct folder_sum *sum = mem_zalloc(sizeof *sum);
    enum status st = kvfolder_each(folder, false, count_block, sum, err);
    if (st == STATUS_OK)
        st = turnfile_look(folder, &sum->replies, err);
    if (st == STATUS_OK && o->json)
        stat_json(o, folder, sum);
    else if (st == STATUS_OK)
        stat_text(o, folder, sum);
    mem_free(sum);
    return st;
}

static enum status do_verify(const struct options *o, const char *folder, struct error *err)
{
    struct folder_sum *sum = mem_zalloc(sizeof *sum);
    enum status st = kvfolder_each(folder, true, count_block, sum, err);
    if (st == STATUS_OK)
        st = turnfile_verify(folder, &sum->replies, err);
    if (st == STATUS_OK)
        print_verified(o, sum);
    if (st == STATUS_OK && sum->unreadable > 0)
        st = error_set(err, STATUS_IO, "%llu blocks could not be read",
                       (unsigned long long)sum->unreadable);
    mem_free(sum);
    return st;
}

static enum status do_clear(const struct options *o, const char *folder, struct error *err)
{
    uint64_t n_blocks, n_bytes;
    enum status st = kvfolder_clear(folder, &n_blocks, &n_bytes, err);
    if (st == STATUS_OK && o->json)
        printf("{\"deleted_blocks\":%llu,\"deleted_bytes\":%llu}\n", (unsigned long long)n_blocks,
               (unsigned long long)n_bytes);
    else if (st == STATUS_OK)
        printf("%llu blocks deleted, %.2f GB\n", (unsigned long long)n_blocks, to_gb(n_bytes));
    return st;
}

int cmd_cache(const struct options *o)
{
    static const struct {
        const char *name;
        enum status (*run)(const struct options *o, const char *folder, struct error *err);
    } verbs[] = {{"ls", do_ls}, {"stat", do_stat}, {"verify", do_verify}, {"clear", do_clear}};
    for (size_t i = 0; o->n_rest == 1 && i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(o->rest[0], verbs[i].name) != 0)
            continue;
        char *folder = cache_folder(o);
        struct error err = {0};
        enum status st = folder != NULL
                             ? verbs[i].run(o, folder, &err)
                             : error_set(&err, STATUS_INVALID, "no HOME: name a --cache-dir");
        mem_free(folder);
        return st == STATUS_OK ? EXIT_CODE_OK : complain(exit_code_for(&err), err.message);
    }
    return complain(EXIT_CODE_USAGE, "cache: should be ls, stat, verify or clear");
}
