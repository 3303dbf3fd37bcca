/* address -- see the header.
 *
 * Sources: IANA's IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and what came since).
 * For IPv6 the table is turned around: what is not global unicast (2000::/3) is private, so that
 * loopback, link-local, unique local, multicast, IPv4-mapped and ranges given out later need no
 * row. */
#include "servertools/address.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

enum {
    V4_BYTES = 4,
    V6_BYTES = 16,
    NETWORK_MIN_BITS = 8, /* an interface with a shorter prefix (tunnels have such) says nothing
                             about who is near */
};

struct range {
    unsigned char bytes[V6_BYTES];
    unsigned bits;
};

static const struct range private_v4[] = {
    {{0}, 8},                 /* this network */
    {{10}, 8},                /* private */
    {{100, 64}, 10},          /* carrier-grade NAT */
    {{127}, 8},               /* loopback */
    {{168, 63, 129, 16}, 32}, /* Azure's host, inside what looks public */
    {{169, 254}, 16},         /* link-local, with the metadata service of most clouds */
    {{172, 16}, 12},          /* private */
    {{192, 0, 0}, 24},        /* protocol assignments */
    {{192, 0, 2}, 24},        /* documentation */
    {{192, 88, 99}, 24},      /* relays of 6to4 */
    {{192, 168}, 16},         /* private */
    {{198, 18}, 15},          /* benchmarks */
    {{198, 51, 100}, 24},     /* documentation */
    {{203, 0, 113}, 24},      /* documentation */
    {{224}, 4},               /* multicast */
    {{240}, 4},               /* reserved, broadcast */
};

static const struct range global_v6 = {{0x20}, 3};

/* Inside global_v6. */
static const struct range private_v6[] = {
    {{0x20, 0x01}, 23},             /* protocol assignments, Teredo */
    {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
    {{0x20, 0x02}, 16},             /* 6to4: an IPv4 address inside */
    {{0x3f, 0xff}, 20},             /* documentation */
};

/* Where a network has IPv6 alone, IPv4 is reached through this; the IPv4 address stands last. */
static const struct range nat64 = {{0x00, 0x64, 0xff, 0x9b}, 96};

static bool has_prefix(const unsigned char *bytes, const unsigned char *prefix, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(bytes, prefix, whole) != 0)
        return false;
    return rest == 0 || (bytes[whole] ^ prefix[whole]) >> (8 - rest) == 0;
}

static bool is_in(const unsigned char *bytes, const struct range *ranges, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (has_prefix(bytes, ranges[i].bytes, ranges[i].bits))
            return true;
    return false;
}

static bool is_private_v4(const unsigned char *bytes)
{
    return is_in(bytes, private_v4, sizeof private_v4 / sizeof private_v4[0]);
}

bool address_is_private(const unsigned char *bytes, size_t n)
{
    if (n == V4_BYTES)
        return is_private_v4(bytes);
    if (n != V6_BYTES)
        return true;
    if (is_in(bytes, &nat64, 1))
        return is_private_v4(bytes + V6_BYTES - V4_BYTES);
    return !is_in(bytes, &global_v6, 1) ||
           is_in(bytes, private_v6, sizeof private_v6 / sizeof private_v6[0]);
}

/* The bytes of a socket's address, and how many; 0 of another family. */
static size_t address_bytes(const struct sockaddr *a, const unsigned char **out)
{
    if (a == NULL)
        return 0;
    if (a->sa_family == AF_INET) {
        *out = (const unsigned char *)a + offsetof(struct sockaddr_in, sin_addr);
        return V4_BYTES;
    }
    if (a->sa_family == AF_INET6) {
        *out = (const unsigned char *)a + offsetof(struct sockaddr_in6, sin6_addr);
        return V6_BYTES;
    }
    return 0;
}

static unsigned mask_bits(const unsigned char *mask, size_t n)
{
    unsigned bits = 0;
    while (bits < n * 8 && (mask[bits / 8] >> (7 - bits % 8) & 1) != 0)
        bits++;
    return bits;
}

static bool is_near_interface(const struct ifaddrs *i, const unsigned char *bytes, size_t n)
{
    const unsigned char *own = NULL;
    if ((i->ifa_flags & IFF_UP) == 0 || address_bytes(i->ifa_addr, &own) != n || own == NULL)
        return false;
    unsigned bits = (unsigned)n * 8;
    /* Some systems leave the family of a mask empty: its bytes lie where the address's do. */
    if (i->ifa_netmask != NULL) {
        size_t at = (size_t)(own - (const unsigned char *)i->ifa_addr);
        bits = mask_bits((const unsigned char *)i->ifa_netmask + at, n);
    }
    return has_prefix(bytes, own, bits < NETWORK_MIN_BITS ? (unsigned)n * 8 : bits);
}

bool address_is_near(const unsigned char *bytes, size_t n)
{
    struct ifaddrs *all;
    if (getifaddrs(&all) != 0)
        return true; /* nothing is known, so nothing is allowed */
    bool is_near = false;
    for (const struct ifaddrs *i = all; i != NULL && !is_near; i = i->ifa_next)
        is_near = is_near_interface(i, bytes, n);
    freeifaddrs(all);
    return is_near;
}
