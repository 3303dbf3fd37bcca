#define _GNU_SOURCE
#include "cache/kvfile.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"

enum {
    MAGIC_BYTES = 8,
    FIRST_HASHED = 16, /* the head's hash covers what follows it */
    FIELDS_AT = 24,
    FIELD_BYTES = 24,
    MOST_FIELDS = 64,
    WRITE_BYTES = 1024 * 1024, /* of one write call */
    FILE_MODE = 0600,
    TEMPORARY_CHARS = 64,
};

static const char magic[MAGIC_BYTES + 1] = "PNSVKV1\n";
static const uint64_t largest_file_bytes = UINT64_C(1) << 31;

enum field {
    FIELD_KEY = 1,
    FIELD_PARENT = 2,
    FIELD_FINGERPRINT = 3,
    FIELD_BEGIN = 4,
    FIELD_TOKENS = 5,
    FIELD_DATA_HASH = 6,
    FIELD_DATA = 7,
    FIELD_MODEL = 8,
    FIELD_COUNT,
};

/* ---- Keys ---- */

struct kv_key kv_key_root(const char *fingerprint, uint64_t namespace_key)
{
    char number[8];
    bytes_put_u64(number, namespace_key);
    struct sha256 *h = sha256_create();
    sha256_update(h, magic, MAGIC_BYTES);
    sha256_update(h, fingerprint, strlen(fingerprint));
    sha256_update(h, number, sizeof number);
    struct kv_key key;
    sha256_finish(h, key.bytes);
    return key;
}

static void put_tokens(char *at, const model_token *tokens, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bytes_put_u32(at + 4 * i, (uint32_t)tokens[i]);
}

struct kv_key kv_key_child(const struct kv_key *parent, const model_token *tokens, size_t n)
{
    INVARIANT(n > 0 && n <= KVFILE_BLOCK_TOKENS);
    char bytes[KVFILE_BLOCK_TOKENS * 4];
    put_tokens(bytes, tokens, n);
    struct sha256 *h = sha256_create();
    sha256_update(h, parent->bytes, sizeof parent->bytes);
    sha256_update(h, bytes, n * 4);
    struct kv_key key;
    sha256_finish(h, key.bytes);
    return key;
}

bool kv_key_equal(const struct kv_key *a, const struct kv_key *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

uint64_t kv_key_short(const struct kv_key *key)
{
    return bytes_get_u64((const char *)key->bytes);
}

/* ---- Names ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_hex(const char *text, size_t n_bytes, unsigned char *out)
{
    for (size_t i = 0; i < n_bytes; i++) {
        int high = hex_value(text[2 * i]), low = high < 0 ? -1 : hex_value(text[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

void kvfile_name(const struct kv_key *key, uint64_t parent_short, char out[KVFILE_NAME_CHARS + 1])
{
    sha256_hex(key->bytes, out);
    snprintf(out + 2 * SHA256_BYTES, 17, "%016llx", (unsigned long long)parent_short);
}

bool kvfile_parse_name(const char *name, struct kv_key *out_key, uint64_t *out_parent_short)
{
    unsigned char bytes[KVFILE_NAME_CHARS / 2];
    if (strlen(name) != KVFILE_NAME_CHARS || !parse_hex(name, sizeof bytes, bytes))
        return false;
    memcpy(out_key->bytes, bytes, SHA256_BYTES);
    uint64_t parent = 0;
    for (size_t i = SHA256_BYTES; i < sizeof bytes; i++)
        parent = parent << 8 | bytes[i];
    *out_parent_short = parent;
    return true;
}

/* ---- The form ---- */

static size_t head_size(const struct kvfile_head *head)
{
    return FIELDS_AT + (FIELD_COUNT - 1) * FIELD_BYTES + 3 * SHA256_BYTES + 4 +
           4 * (size_t)head->n_tokens + 8 + strlen(head->model);
}

uint64_t kvfile_size(const struct kvfile_head *head, size_t data_bytes)
{
    return head_size(head) + data_bytes;
}

/* A head under construction: fields are appended to table and contents together. */
struct head_writer {
    char bytes[KVFILE_HEAD_BYTES];
    size_t n_fields;
    size_t len;
};

static char *add_field(struct head_writer *w, enum field id, size_t offset, size_t n_bytes)
{
    char *entry = w->bytes + FIELDS_AT + w->n_fields++ * FIELD_BYTES;
    bytes_put_u32(entry, id);
    bytes_put_u64(entry + 8, offset);
    bytes_put_u64(entry + 16, n_bytes);
    return w->bytes + offset;
}

static char *add_content(struct head_writer *w, enum field id, size_t n_bytes)
{
    char *at = add_field(w, id, w->len, n_bytes);
    w->len += n_bytes;
    return at;
}

static void make_head(struct head_writer *w, const struct kvfile_head *head, struct str data)
{
    unsigned char fingerprint[SHA256_BYTES];
    INVARIANT(head->n_tokens > 0 && head->n_tokens <= KVFILE_BLOCK_TOKENS);
    INVARIANT(parse_hex(head->fingerprint, sizeof fingerprint, fingerprint));
    *w = (struct head_writer){.len = FIELDS_AT + (FIELD_COUNT - 1) * FIELD_BYTES};
    memcpy(add_content(w, FIELD_KEY, SHA256_BYTES), head->key.bytes, SHA256_BYTES);
    memcpy(add_content(w, FIELD_PARENT, SHA256_BYTES), head->parent.bytes, SHA256_BYTES);
    memcpy(add_content(w, FIELD_FINGERPRINT, SHA256_BYTES), fingerprint, SHA256_BYTES);
    bytes_put_u32(add_content(w, FIELD_BEGIN, 4), head->begin);
    put_tokens(add_content(w, FIELD_TOKENS, 4 * (size_t)head->n_tokens), head->tokens,
               head->n_tokens);
    bytes_put_u64(add_content(w, FIELD_DATA_HASH, 8), hash_xxh3(data.ptr, data.len, 0));
    size_t n_model = strlen(head->model);
    memcpy(add_content(w, FIELD_MODEL, n_model), head->model, n_model);
    INVARIANT(w->len == head_size(head));
    add_field(w, FIELD_DATA, w->len, data.len);

    memcpy(w->bytes, magic, MAGIC_BYTES);
    bytes_put_u32(w->bytes + 16, (uint32_t)w->len);
    bytes_put_u32(w->bytes + 20, (uint32_t)w->n_fields);
    bytes_put_u64(w->bytes + 8, hash_xxh3(w->bytes + FIRST_HASHED, w->len - FIRST_HASHED, 0));
}

/* Where each field lies, by id; bytes 0: it is not there. */
struct field_place {
    uint64_t offset, bytes;
};

/* The size of the head, 0 where this is none. */
static size_t check_head(struct str file)
{
    if (file.len < FIELDS_AT || memcmp(file.ptr, magic, MAGIC_BYTES) != 0)
        return 0;
    size_t n_bytes = bytes_get_u32(file.ptr + 16), n_fields = bytes_get_u32(file.ptr + 20);
    if (n_bytes > KVFILE_HEAD_BYTES || n_bytes > file.len || n_fields > MOST_FIELDS ||
        n_bytes < FIELDS_AT + n_fields * FIELD_BYTES)
        return 0;
    uint64_t hash = hash_xxh3(file.ptr + FIRST_HASHED, n_bytes - FIRST_HASHED, 0);
    return hash == bytes_get_u64(file.ptr + 8) ? n_bytes : 0;
}

/* All fields but the data lie in the head; the data begins behind it. */
static bool find_fields(struct str file, size_t head_bytes, struct field_place out[FIELD_COUNT])
{
    size_t n_fields = bytes_get_u32(file.ptr + 20);
    for (size_t i = 0; i < n_fields; i++) {
        const char *entry = file.ptr + FIELDS_AT + i * FIELD_BYTES;
        uint32_t id = bytes_get_u32(entry);
        struct field_place place = {bytes_get_u64(entry + 8), bytes_get_u64(entry + 16)};
        if (id == FIELD_DATA ? place.offset != head_bytes
                             : place.offset > head_bytes || place.bytes > head_bytes - place.offset)
            return false;
        if (id < FIELD_COUNT)
            out[id] = place;
    }
    return out[FIELD_KEY].bytes == SHA256_BYTES && out[FIELD_PARENT].bytes == SHA256_BYTES &&
           out[FIELD_FINGERPRINT].bytes == SHA256_BYTES && out[FIELD_BEGIN].bytes == 4 &&
           out[FIELD_TOKENS].bytes % 4 == 0 && out[FIELD_TOKENS].bytes > 0 &&
           out[FIELD_TOKENS].bytes <= 4 * KVFILE_BLOCK_TOKENS && out[FIELD_DATA_HASH].bytes == 8 &&
           out[FIELD_MODEL].bytes < KVFILE_MODEL_BYTES && out[FIELD_DATA].bytes > 0 &&
           out[FIELD_DATA].bytes <= largest_file_bytes;
}

static void take_head(struct str file, const struct field_place *places, struct kvfile_head *out)
{
    memcpy(out->key.bytes, file.ptr + places[FIELD_KEY].offset, SHA256_BYTES);
    memcpy(out->parent.bytes, file.ptr + places[FIELD_PARENT].offset, SHA256_BYTES);
    unsigned char fingerprint[SHA256_BYTES];
    memcpy(fingerprint, file.ptr + places[FIELD_FINGERPRINT].offset, SHA256_BYTES);
    sha256_hex(fingerprint, out->fingerprint);
    size_t n_model = (size_t)places[FIELD_MODEL].bytes;
    memcpy(out->model, file.ptr + places[FIELD_MODEL].offset, n_model);
    out->model[n_model] = '\0';
    out->begin = bytes_get_u32(file.ptr + places[FIELD_BEGIN].offset);
    out->n_tokens = (uint32_t)(places[FIELD_TOKENS].bytes / 4);
    for (uint32_t i = 0; i < out->n_tokens; i++)
        out->tokens[i] = (model_token)bytes_get_u32(file.ptr + places[FIELD_TOKENS].offset + 4 * i);
}

enum status kvfile_check(struct str file, struct kvfile_head *out, struct str *out_data)
{
    struct field_place places[FIELD_COUNT] = {0};
    size_t head_bytes = check_head(file);
    if (head_bytes == 0 || !find_fields(file, head_bytes, places))
        return STATUS_CORRUPT;
    struct kvfile_head head;
    take_head(file, places, &head);
    struct kv_key key = kv_key_child(&head.parent, head.tokens, head.n_tokens);
    if (!kv_key_equal(&key, &head.key)) /* invariant 2 */
        return STATUS_CORRUPT;
    if (out_data != NULL) {
        struct str data = {file.ptr + head_bytes, file.len - head_bytes};
        if (data.len != places[FIELD_DATA].bytes ||
            hash_xxh3(data.ptr, data.len, 0) !=
                bytes_get_u64(file.ptr + places[FIELD_DATA_HASH].offset))
            return STATUS_CORRUPT;
        *out_data = data;
    }
    *out = head;
    return STATUS_OK;
}

/* ---- Writing ---- */

static atomic_int fault_kind;
static atomic_uint_fast64_t fault_steps; /* left before it happens */

void kvfile_fault_at(enum kvfile_fault fault, uint64_t n_steps)
{
    atomic_store(&fault_steps, n_steps);
    atomic_store(&fault_kind, fault);
}

/* How many of n steps may still be taken. */
static size_t steps_allowed(size_t n)
{
    if (atomic_load(&fault_kind) == KVFILE_FAULT_NONE)
        return n;
    uint64_t left = atomic_load(&fault_steps);
    size_t allowed = left < n ? (size_t)left : n;
    atomic_store(&fault_steps, left - allowed);
    return allowed;
}

/* A step that is not a byte; and what happens behind the last one that is allowed. */
static bool take_step(void)
{
    if (steps_allowed(1) == 1)
        return true;
    if (atomic_load(&fault_kind) == KVFILE_FAULT_KILL)
        raise(SIGKILL);
    errno = ENOSPC;
    return false;
}

static bool write_all(int fd, struct str bytes)
{
    while (bytes.len > 0) {
        size_t wanted = steps_allowed(bytes.len < WRITE_BYTES ? bytes.len : WRITE_BYTES);
        if (wanted == 0 && !take_step())
            return false;
        ssize_t n = write(fd, bytes.ptr, wanted);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        bytes.ptr += n;
        bytes.len -= (size_t)n;
    }
    return true;
}

static bool write_file(int folder_fd, const char *temporary, const struct head_writer *head,
                       struct str data)
{
    int fd = openat(folder_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                    FILE_MODE);
    if (fd < 0)
        return false;
    bool ok = write_all(fd, (struct str){head->bytes, head->len}) && write_all(fd, data);
    int why = errno;
    if (close(fd) != 0 && ok) {
        ok = false;
        why = errno;
    }
    errno = why;
    return ok;
}

enum status kvfile_write(int folder_fd, const struct kvfile_head *head, struct str data,
                         int *out_errno)
{
    static atomic_uint counter;
    char temporary[TEMPORARY_CHARS], name[KVFILE_NAME_CHARS + 1];
    snprintf(temporary, sizeof temporary, "%ld-%u%s", (long)getpid(), atomic_fetch_add(&counter, 1),
             KVFILE_TEMPORARY);
    kvfile_name(&head->key, kv_key_short(&head->parent), name);
    struct head_writer w;
    make_head(&w, head, data);
    if (write_file(folder_fd, temporary, &w, data) && take_step() &&
        renameat(folder_fd, temporary, folder_fd, name) == 0) {
        (void)take_step();
        return STATUS_OK;
    }
    *out_errno = errno;
    unlinkat(folder_fd, temporary, 0);
    return STATUS_IO;
}

/* ---- Reading ---- */

static enum status open_file(int folder_fd, const char *name, int *out_fd, uint64_t *out_bytes)
{
    int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? STATUS_NOT_FOUND : STATUS_IO;
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return STATUS_CORRUPT;
    }
    *out_fd = fd;
    *out_bytes = (uint64_t)info.st_size;
    return STATUS_OK;
}

/* As much as there is of n bytes; SIZE_MAX on an error. */
static size_t read_some(int fd, char *out, size_t n)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = read(fd, out + done, n - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return SIZE_MAX;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return done;
}

/* Whether the name is the one that the content has. */
static bool is_named(const struct kvfile_head *head, const char *name)
{
    char expected[KVFILE_NAME_CHARS + 1];
    kvfile_name(&head->key, kv_key_short(&head->parent), expected);
    return strcmp(name, expected) == 0;
}

enum status kvfile_read_head(int folder_fd, const char *name, struct kvfile_head *out)
{
    int fd;
    uint64_t n_file;
    enum status st = open_file(folder_fd, name, &fd, &n_file);
    if (st != STATUS_OK)
        return st;
    char bytes[KVFILE_HEAD_BYTES];
    size_t n = read_some(fd, bytes, sizeof bytes);
    close(fd);
    if (n == SIZE_MAX)
        return STATUS_IO;
    struct kvfile_head head;
    st = kvfile_check((struct str){bytes, n}, &head, NULL);
    if (st == STATUS_OK && !is_named(&head, name))
        st = STATUS_CORRUPT;
    if (st == STATUS_OK)
        *out = head;
    return st;
}

static enum status read_whole(int fd, uint64_t n_file, struct kvfile_buffer *buffer)
{
    if (n_file > largest_file_bytes)
        return STATUS_CORRUPT;
    if (n_file > buffer->capacity) {
        char *larger = mem_try_realloc(buffer->bytes, (size_t)n_file);
        if (larger == NULL)
            return STATUS_NO_MEMORY;
        *buffer = (struct kvfile_buffer){larger, (size_t)n_file};
    }
    size_t n = read_some(fd, buffer->bytes, (size_t)n_file);
    if (n == SIZE_MAX)
        return STATUS_IO;
    return n == n_file ? STATUS_OK : STATUS_CORRUPT;
}

enum status kvfile_read(int folder_fd, const char *name, struct kvfile_buffer *buffer,
                        struct kvfile_head *out, struct str *out_data)
{
    int fd;
    uint64_t n_file;
    enum status st = open_file(folder_fd, name, &fd, &n_file);
    if (st != STATUS_OK)
        return st;
    st = read_whole(fd, n_file, buffer);
    close(fd);
    struct kvfile_head head;
    struct str data;
    if (st == STATUS_OK)
        st = kvfile_check((struct str){buffer->bytes, (size_t)n_file}, &head, &data);
    if (st == STATUS_OK && !is_named(&head, name))
        st = STATUS_CORRUPT;
    if (st != STATUS_OK)
        return st;
    *out = head;
    *out_data = data;
    return STATUS_OK;
}

uint64_t kvfile_read_ahead(int folder_fd, const char *name)
{
    int fd;
    uint64_t n_file = 0;
    if (open_file(folder_fd, name, &fd, &n_file) != STATUS_OK)
        return 0;
#ifdef POSIX_FADV_WILLNEED
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED);
#endif
    close(fd);
    return n_file;
}

void kvfile_buffer_free(struct kvfile_buffer *buffer)
{
    mem_free(buffer->bytes);
    *buffer = (struct kvfile_buffer){0};
}
