/* kvfile -- one block of KV in one file: its form, and reading and writing it.
 *
 * A block is up to KVFILE_BLOCK_TOKENS tokens of a prompt and what the model computed for them.
 * Its key says all that the content depends on: SHA-256 of the parent's key and the tokens; the
 * root of such a chain is SHA-256 of the model's fingerprint and the namespace.  So two prompts
 * with the same beginning, of the same model and the same API key, have the same first keys, and
 * nobody else has.
 *
 * The file's name is the key and the first 8 bytes of the parent's, in hex; nothing in it tells
 * what the prompt says.  Its content does: files have mode 0600.
 *
 *     0   "PNSVKV1\n"
 *     8   u64  XXH3 of the rest of the head
 *     16  u32  bytes of the head
 *     20  u32  number of fields
 *     24  table of fields: u32 id, u32 zero, u64 offset, u64 bytes; ids that are not known are
 *         skipped
 *     ..  contents of the fields; the last one, the model's data, fills the file behind the head,
 *         and another field holds its XXH3
 *
 * Integers are little-endian.
 *
 * Invariants.
 *  1. What is read is, byte for byte, what was written under that key; anything else (torn, cut,
 *     grown, flipped, renamed) is STATUS_CORRUPT.  Nothing is ever flushed to the medium: after a
 *     power cut a file may be torn, and is found out.
 *  2. The tokens of a file that was read have the key that its name says.
 *  3. A file under its final name was written to its end: readers of a running system see all of it
 *     or no file.
 *
 * Not here: which files there are and which go (kvstore).  No state; any thread. */
#pragma once

#include "base/hash.h"
#include "model/model.h"

enum {
    KVFILE_BLOCK_TOKENS = 256,
    KVFILE_NAME_CHARS = 80,
    KVFILE_HEAD_BYTES = 4096, /* no head is larger */
    KVFILE_MODEL_BYTES = 128,
};

struct kv_key {
    unsigned char bytes[SHA256_BYTES];
};

struct kv_key kv_key_root(const char *fingerprint, uint64_t namespace_key);
struct kv_key kv_key_child(const struct kv_key *parent, const model_token *tokens, size_t n);
bool kv_key_equal(const struct kv_key *a, const struct kv_key *b);

/* The first 8 bytes, as a number: what names and indexes know of a parent. */
uint64_t kv_key_short(const struct kv_key *key);

/* What a file's head tells. */
struct kvfile_head {
    struct kv_key key;
    struct kv_key parent;
    char fingerprint[SHA256_HEX_BYTES];
    char model[KVFILE_MODEL_BYTES]; /* its name, for people; "" where it is not known */
    uint32_t begin;                 /* position of the first token */
    uint32_t n_tokens;
    model_token tokens[KVFILE_BLOCK_TOKENS];
};

void kvfile_name(const struct kv_key *key, uint64_t parent_short, char out[KVFILE_NAME_CHARS + 1]);

/* False where `name` is not of that form. */
bool kvfile_parse_name(const char *name, struct kv_key *out_key, uint64_t *out_parent_short);

/* Writes beside the folder's other files and renames.  `head->key` is what head->parent and the
 * tokens give.  STATUS_IO (errno_out says why; ENOSPC, EROFS, ...). */
MUST_USE enum status kvfile_write(int folder_fd, const struct kvfile_head *head, struct str data,
                                  int *out_errno);

/* The bytes of a file that was written with these. */
uint64_t kvfile_size(const struct kvfile_head *head, size_t data_bytes);

/* Only the head, checked.  STATUS_NOT_FOUND, _IO, _CORRUPT. */
MUST_USE enum status kvfile_read_head(int folder_fd, const char *name, struct kvfile_head *out);

/* All of it, checked; `buffer` holds the file and *out_data points into it.  STATUS_NOT_FOUND, _IO,
 * _NO_MEMORY, _CORRUPT. */
struct kvfile_buffer {
    char *bytes;
    size_t capacity;
};
MUST_USE enum status kvfile_read(int folder_fd, const char *name, struct kvfile_buffer *buffer,
                                 struct kvfile_head *out, struct str *out_data);
void kvfile_buffer_free(struct kvfile_buffer *buffer);

/* Asks the system to read the file ahead of need; nothing where it can't.  Returns its bytes, 0
 * where it is not there. */
uint64_t kvfile_read_ahead(int folder_fd, const char *name);

/* The check behind both: all of a file, or, where out_data is NULL, at least its head. */
MUST_USE enum status kvfile_check(struct str file, struct kvfile_head *out, struct str *out_data);

/* Names of temporary files end so; they begin with the writer's process id. */
#define KVFILE_TEMPORARY ".tmp"

/* Tests only: the step that passes the n-th from now on goes wrong.  Each byte written is a step,
 * and so are a rename's two sides. */
enum kvfile_fault {
    KVFILE_FAULT_NONE,
    KVFILE_FAULT_FULL, /* ENOSPC, now and until another is set */
    KVFILE_FAULT_KILL, /* the process dies by SIGKILL */
};
void kvfile_fault_at(enum kvfile_fault fault, uint64_t n_steps);
