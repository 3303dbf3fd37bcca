#include "hash.h"

#include <stdio.h>
#include <stdlib.h>
#define XXH_INLINE_ALL /* header-only use: nothing to link */
#include <xxhash.h>

#ifdef __APPLE__
#include <CommonCrypto/CommonDigest.h>
#include <CommonCrypto/CommonRandom.h>
#else
#include <openssl/evp.h>
#include <openssl/rand.h>
#endif

#include "mem.h"

uint64_t hash_xxh3(const void *bytes, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, n, seed);
}

#ifdef __APPLE__
struct sha256 {
    CC_SHA256_CTX ctx;
};

struct sha256 *sha256_create(void)
{
    struct sha256 *h = mem_alloc(sizeof *h);
    CC_SHA256_Init(&h->ctx);
    return h;
}

void sha256_update(struct sha256 *h, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    while (n > 0) { /* CC_LONG has 32 bits */
        CC_LONG part = n > 0x40000000u ? 0x40000000u : (CC_LONG)n;
        CC_SHA256_Update(&h->ctx, p, part);
        p += part;
        n -= part;
    }
}

void sha256_finish(struct sha256 *h, unsigned char out[SHA256_BYTES])
{
    CC_SHA256_Final(out, &h->ctx);
    mem_free(h);
}

void random_bytes(void *out, size_t n)
{
    INVARIANT(CCRandomGenerateBytes(out, n) == kCCSuccess);
}
#else
struct sha256 {
    EVP_MD_CTX *ctx;
};

struct sha256 *sha256_create(void)
{
    struct sha256 *h = mem_alloc(sizeof *h);
    h->ctx = EVP_MD_CTX_new();
    INVARIANT(h->ctx != NULL && EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) == 1);
    return h;
}

void sha256_update(struct sha256 *h, const void *bytes, size_t n)
{
    INVARIANT(EVP_DigestUpdate(h->ctx, bytes, n) == 1);
}

void sha256_finish(struct sha256 *h, unsigned char out[SHA256_BYTES])
{
    unsigned len = 0;
    INVARIANT(EVP_DigestFinal_ex(h->ctx, out, &len) == 1 && len == SHA256_BYTES);
    EVP_MD_CTX_free(h->ctx);
    mem_free(h);
}

void random_bytes(void *out, size_t n)
{
    INVARIANT(n <= 0x7fffffff && RAND_bytes(out, (int)n) == 1);
}
#endif

void sha256_hex(const unsigned char digest[SHA256_BYTES], char out[SHA256_HEX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[SHA256_HEX_BYTES - 1] = '\0';
}

void random_id(char *out, size_t capacity, const char *prefix)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    enum { RANDOM_CHARS = 24 };
    size_t prefix_len = strlen(prefix);
    INVARIANT(capacity > prefix_len + RANDOM_CHARS);
    memcpy(out, prefix, prefix_len);

    /* Bytes of 248 and more are drawn again, so that each of the 62 characters is as likely. */
    size_t n = 0;
    while (n < RANDOM_CHARS) {
        unsigned char pool[32];
        random_bytes(pool, sizeof pool);
        for (size_t i = 0; i < sizeof pool && n < RANDOM_CHARS; i++)
            if (pool[i] < 248)
                out[prefix_len + n++] = alphabet[pool[i] % 62];
    }
    out[prefix_len + n] = '\0';
}

bool secret_equal(struct str given, struct str expected)
{
    unsigned char a[SHA256_BYTES], b[SHA256_BYTES];
    struct sha256 *h = sha256_create();
    sha256_update(h, given.ptr, given.len);
    sha256_finish(h, a);
    h = sha256_create();
    sha256_update(h, expected.ptr, expected.len);
    sha256_finish(h, b);

    unsigned char difference = 0;
    for (size_t i = 0; i < SHA256_BYTES; i++)
        difference |= (unsigned char)(a[i] ^ b[i]);
    return difference == 0;
}
