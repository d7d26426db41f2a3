// A tensor in one line: least, greatest, mean, first values.
#ifndef WEIR_CLI_SUMMARY_H
#define WEIR_CLI_SUMMARY_H

#include <weir/value.h>

#include "engine/cli/json.h"

enum { WEIR__CLI_SUMMARY_FIRST = 6 };

typedef struct weir__cli_summary {
    uint64_t count;
    uint64_t nan_count;                   // left out of the rest
    uint64_t least_index, greatest_index; // the first of equals; count: there is none
    double mean;
} weir__cli_summary_t;

// value: of a dtype that weir__cli_dtype_bytes() knows.
weir__cli_summary_t weir__cli_summary_make(const weir_value_t *value);
// "min -1.2  max 3.4 at 17  mean 0.01  first -0.2 0.5 ...". Returns `text`.
const char *weir__cli_summary_text(
    const weir__cli_summary_t *summary, const weir_value_t *value, char *text, size_t text_bytes);
// Members of the current object: count, nan_count, min, max, max_index, mean, first.
void weir__cli_summary_json(
    const weir__cli_summary_t *summary, const weir_value_t *value, weir__cli_json_t *json);

#endif
