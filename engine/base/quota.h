// engine/base/quota.h: see quota.c.
#ifndef WEIR_BASE_QUOTA_H
#define WEIR_BASE_QUOTA_H

#include <stdint.h>

// Thousandths of CPUs that the cgroups (v1 and v2, this one's and those above it) allow; 0: no
// quota. root: "" or the folder below which /proc and /sys are found, for tests. Reads files.
uint64_t weir__quota_milli(const char *root);

#endif
