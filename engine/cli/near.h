// The nearest known word to one that was mistyped.
#ifndef WEIR_CLI_NEAR_H
#define WEIR_CLI_NEAR_H

#include <stddef.h>

// Edits (insert, delete, change, swap of neighbours) that turn `a` into `b`; words over 63 bytes
// are infinitely far (SIZE_MAX).
size_t weir__cli_near_distance(const char *a, const char *b);

typedef struct weir__cli_near {
    const char *word; // what was typed
    const char *best; // the nearest candidate so far that is near enough to be meant; NULL: none
    size_t distance;
} weir__cli_near_t;

weir__cli_near_t weir__cli_near_start(const char *word);
// `candidate` outlives the search.
void weir__cli_near_offer(weir__cli_near_t *near, const char *candidate);

#endif
