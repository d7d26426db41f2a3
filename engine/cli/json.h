// A writer of JSON: values in order, commas by itself.
//
// Why our own and not a library: docs/decisions/cjson.md. It must not hold a document: what is
// written is gone. Callers close what they open; a key is given inside objects and NULL inside
// arrays.
#ifndef WEIR_CLI_JSON_H
#define WEIR_CLI_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct weir__cli_json {
    FILE *out;
    bool needs_comma;
} weir__cli_json_t;

void weir__cli_json_open(weir__cli_json_t *json, const char *key, char bracket);     // '{' or '['
void weir__cli_json_close(weir__cli_json_t *json, char bracket);                     // '}' or ']'
void weir__cli_json_text(weir__cli_json_t *json, const char *key, const char *text); // NULL: null
void weir__cli_json_u64(weir__cli_json_t *json, const char *key, uint64_t number);
void weir__cli_json_i64(weir__cli_json_t *json, const char *key, int64_t number);
// NaN, Inf: null. digits: 9 say all of an f32, 17 of an f64.
void weir__cli_json_f64(weir__cli_json_t *json, const char *key, double number, int digits);
void weir__cli_json_bool(weir__cli_json_t *json, const char *key, bool flag);

#endif
