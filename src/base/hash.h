/* hash -- XXH3 for checksums and look-ups, SHA-256 for identities, random bytes for ids.
 *
 * The libraries behind it (xxhash; libcrypto or CommonCrypto) are named in third_party/README.md.
 */
#pragma once

#include <stdint.h>

#include "status.h"
#include "str.h"

enum {
    SHA256_BYTES = 32,
    SHA256_HEX_BYTES = 65, /* terminated */
};

uint64_t hash_xxh3(const void *bytes, size_t n, uint64_t seed);

struct sha256;
struct sha256 *sha256_create(void);
void sha256_update(struct sha256 *h, const void *bytes, size_t n);
void sha256_finish(struct sha256 *h, unsigned char out[SHA256_BYTES]); /* destroys `h` */

/* Lower-case hexadecimal, terminated. */
void sha256_hex(const unsigned char digest[SHA256_BYTES], char out[SHA256_HEX_BYTES]);

/* Cryptographically random bytes; aborts if the system has none. */
void random_bytes(void *out, size_t n);

/* "`prefix`" + 24 random characters of [A-Za-z0-9]: the form of the API's ids (msg_, toolu_,
 * req_).  `out` holds strlen(prefix) + 25 bytes. */
void random_id(char *out, size_t capacity, const char *prefix);

/* Equal or not in a time that does not depend on where two secrets differ, nor on the length of the
 * known one: both are hashed first. */
bool secret_equal(struct str given, struct str expected);
