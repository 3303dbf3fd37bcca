/* address -- which network addresses a model may not make this machine talk to.
 *
 * What a model asks for may come from a page that it read, so that an address is an attacker's
 * choice: only the public internet may be reached, never what merely this machine or its network
 * can.  Judges the bytes of an address at the moment of connecting; names are not its matter, since
 * a name may resolve to something else each time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* `bytes` in network order, n of them: 4 of IPv4, 16 of IPv6.  True where IANA's registries of
 * special addresses keep it from the public internet, for known services of clouds, and for any
 * other n. */
bool address_is_private(const unsigned char *bytes, size_t n);

/* True for this machine's own addresses, public ones too, and for all of a network that one of its
 * interfaces is on: with IPv6 the devices of a home have public addresses. */
bool address_is_near(const unsigned char *bytes, size_t n);
