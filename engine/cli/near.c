// Optimal string alignment distance (Damerau 1964 with adjacent swaps only), three rows of the
// table. It must not allocate: it runs on the way to an error message.
#include "engine/cli/near.h"

#include <stdint.h>
#include <string.h>

enum { WORD_BYTES_MAX = 63 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t weir__cli_near_distance(const char *a, const char *b)
{
    const size_t a_count = strlen(a);
    const size_t b_count = strlen(b);
    if (a_count > WORD_BYTES_MAX || b_count > WORD_BYTES_MAX)
        return SIZE_MAX;
    size_t rows[3][WORD_BYTES_MAX + 1];
    for (size_t j = 0; j <= b_count; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_count; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3];
        const size_t *above_that = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b_count; j++) {
            const size_t change = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = least(change, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], above_that[j - 2] + 1);
        }
    }
    return rows[a_count % 3][b_count];
}

weir__cli_near_t weir__cli_near_start(const char *word)
{
    // A third of the letters, at least one and a swap: "-j" must not suggest everything short.
    const size_t letters = strlen(word);
    return (weir__cli_near_t){.word = word, .best = NULL, .distance = letters / 3 + 2};
}

void weir__cli_near_offer(weir__cli_near_t *near, const char *candidate)
{
    const size_t distance = weir__cli_near_distance(near->word, candidate);
    if (distance < near->distance) {
        near->distance = distance;
        near->best = candidate;
    }
}
