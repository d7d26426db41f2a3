// Text for people: safe names, sizes, times, and tables with aligned columns.
#ifndef WEIR_CLI_TEXT_H
#define WEIR_CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

// Bytes of the valid UTF-8 character at `text` (not at its end); 0 when there is none.
size_t weir__cli_text_utf8_bytes(const char *text);

// Copies `text` with control and invalid characters as '?', so that a name in a model can't move
// the cursor or start a line of its own. Cut at out_bytes. Returns `out`.
const char *weir__cli_text_safe(const char *text, char *out, size_t out_bytes);

typedef struct weir__cli_text {
    char text[32];
} weir__cli_text_t;

weir__cli_text_t weir__cli_text_bytes(uint64_t bytes); // "12.3 MiB"
weir__cli_text_t weir__cli_text_ns(uint64_t ns);       // "1.23 ms"
weir__cli_text_t weir__cli_text_u64(uint64_t number);

enum { WEIR__CLI_TABLE_COLUMNS_MAX = 8 };

typedef struct weir__cli_table {
    char **cells; // [cell_count], row after row
    size_t cell_count, cell_capacity;
    size_t column_count;
    bool is_incomplete; // memory ran out
} weir__cli_table_t;

// A table of column_count columns. Cells are added one after the other, copied and made safe.
weir__cli_table_t weir__cli_table_start(size_t column_count);
void weir__cli_table_add(weir__cli_table_t *table, const char *cell);
// Writes the rows, each after `indent` blanks, and frees the table.
void weir__cli_table_finish(weir__cli_table_t *table, int indent, FILE *out);

#endif
