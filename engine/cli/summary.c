// Summaries of tensors. Integers are compared as integers: two i64 may differ and be one double.
#include "engine/cli/summary.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "engine/cli/dtype.h"

static int64_t integer_at(const weir_value_t *value, uint64_t index)
{
    int64_t integer;
    memcpy(&integer, (const char *)value->data + index * sizeof(integer), sizeof(integer));
    return integer;
}

static bool is_less(const weir_value_t *value, uint64_t a, uint64_t b)
{
    if (value->dtype == WEIR_I64)
        return integer_at(value, a) < integer_at(value, b);
    if (value->dtype == WEIR_U64)
        return (uint64_t)integer_at(value, a) < (uint64_t)integer_at(value, b);
    return weir__cli_dtype_get(value->dtype, value->data, a) <
           weir__cli_dtype_get(value->dtype, value->data, b);
}

weir__cli_summary_t weir__cli_summary_make(const weir_value_t *value)
{
    weir__cli_summary_t summary = {.count = weir_value_count(value), .mean = NAN};
    summary.least_index = summary.greatest_index = summary.count;
    double sum = 0;
    for (uint64_t i = 0; i < summary.count; i++) {
        const double element = weir__cli_dtype_get(value->dtype, value->data, i);
        if (isnan(element)) {
            summary.nan_count++;
            continue;
        }
        sum += element;
        if (summary.least_index == summary.count || is_less(value, i, summary.least_index))
            summary.least_index = i;
        if (summary.greatest_index == summary.count || is_less(value, summary.greatest_index, i))
            summary.greatest_index = i;
    }
    if (summary.count > summary.nan_count)
        summary.mean = sum / (double)(summary.count - summary.nan_count);
    return summary;
}

const char *weir__cli_summary_text(
    const weir__cli_summary_t *summary, const weir_value_t *value, char *text, size_t text_bytes)
{
    char element[2][48];
    size_t used = 0;
    text[0] = '\0';
    if (summary->count > 1 && summary->least_index < summary->count)
        used += (size_t)snprintf(text, text_bytes, "min %s  max %s at %" PRIu64 "  mean %.5g  ",
            weir__cli_dtype_text(
                value->dtype, value->data, summary->least_index, 5, element[0], 48),
            weir__cli_dtype_text(
                value->dtype, value->data, summary->greatest_index, 5, element[1], 48),
            summary->greatest_index, summary->mean);
    if (summary->nan_count > 0 && used < text_bytes)
        used += (size_t)snprintf(
            text + used, text_bytes - used, "NaN %" PRIu64 "  ", summary->nan_count);
    if (used < text_bytes)
        used += (size_t)snprintf(text + used, text_bytes - used, "%s",
            summary->count == 0   ? "empty"
            : summary->count == 1 ? "value"
                                  : "first");
    for (uint64_t i = 0; i < summary->count && i < WEIR__CLI_SUMMARY_FIRST && used < text_bytes;
         i++)
        used += (size_t)snprintf(text + used, text_bytes - used, " %s",
            weir__cli_dtype_text(value->dtype, value->data, i, 5, element[0], 48));
    if (summary->count > WEIR__CLI_SUMMARY_FIRST && used < text_bytes)
        (void)snprintf(text + used, text_bytes - used, " ...");
    return text;
}

static void element_json(
    const char *key, const weir_value_t *value, uint64_t index, weir__cli_json_t *json)
{
    if (value->dtype == WEIR_I64)
        weir__cli_json_i64(json, key, integer_at(value, index));
    else if (value->dtype == WEIR_U64)
        weir__cli_json_u64(json, key, (uint64_t)integer_at(value, index));
    else if (value->dtype == WEIR_BOOL)
        weir__cli_json_bool(json, key, weir__cli_dtype_get(value->dtype, value->data, index) > 0);
    else if (weir__cli_dtype_is_float(value->dtype))
        weir__cli_json_f64(json, key, weir__cli_dtype_get(value->dtype, value->data, index),
            value->dtype == WEIR_F64 ? 17 : 9);
    else // at most 32 bits: a double holds it
        weir__cli_json_i64(
            json, key, (int64_t)weir__cli_dtype_get(value->dtype, value->data, index));
}

void weir__cli_summary_json(
    const weir__cli_summary_t *summary, const weir_value_t *value, weir__cli_json_t *json)
{
    weir__cli_json_u64(json, "count", summary->count);
    weir__cli_json_u64(json, "nan_count", summary->nan_count);
    if (summary->least_index < summary->count) {
        element_json("min", value, summary->least_index, json);
        element_json("max", value, summary->greatest_index, json);
        weir__cli_json_u64(json, "max_index", summary->greatest_index);
    } else {
        weir__cli_json_text(json, "min", NULL);
        weir__cli_json_text(json, "max", NULL);
        weir__cli_json_text(json, "max_index", NULL);
    }
    weir__cli_json_f64(json, "mean", summary->mean, 9);
    weir__cli_json_open(json, "first", '[');
    for (uint64_t i = 0; i < summary->count && i < WEIR__CLI_SUMMARY_FIRST; i++)
        element_json(NULL, value, i, json);
    weir__cli_json_close(json, ']');
}
