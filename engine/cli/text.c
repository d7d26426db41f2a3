// Text for people. Names come from models, so nothing here writes one to a terminal as it is.
#include "engine/cli/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

size_t weir__cli_text_utf8_bytes(const char *text)
{
    const unsigned char *c = (const unsigned char *)text;
    const size_t bytes = c[0] < 0x80 ? 1 : c[0] < 0xc2 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : 4;
    if (bytes == 0 || c[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < bytes; i++) { // stops at the terminating zero too
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    }
    // Overlong forms, surrogates, and what lies past U+10FFFF (RFC 3629).
    if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f) ||
        (c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f))
        return 0;
    return bytes;
}

// C0, DEL, and C1, which some terminals obey as well.
static bool is_control(const char *text)
{
    const unsigned char *c = (const unsigned char *)text;
    return c[0] < ' ' || c[0] == 0x7f || (c[0] == 0xc2 && c[1] < 0xa0);
}

const char *weir__cli_text_safe(const char *text, char *out, size_t out_bytes)
{
    size_t used = 0;
    while (*text) {
        const size_t bytes = weir__cli_text_utf8_bytes(text);
        const bool is_bad = bytes == 0 || is_control(text);
        const size_t put = is_bad ? 1 : bytes;
        if (used + put + 1 > out_bytes)
            break;
        memcpy(out + used, is_bad ? "?" : text, put);
        used += put;
        text += bytes ? bytes : 1;
    }
    out[used] = '\0';
    return out;
}

weir__cli_text_t weir__cli_text_bytes(uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    weir__cli_text_t text;
    double size = (double)bytes / 1024;
    size_t unit = 0;
    for (; size >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        size /= 1024;
    if (bytes < 1024)
        (void)snprintf(text.text, sizeof(text.text), "%" PRIu64 " B", bytes);
    else
        (void)snprintf(text.text, sizeof(text.text), "%.3g %s", size, units[unit]);
    return text;
}

weir__cli_text_t weir__cli_text_ns(uint64_t ns)
{
    weir__cli_text_t text;
    const double time = (double)ns;
    if (ns < 1000000)
        (void)snprintf(text.text, sizeof(text.text), "%.3g us", time / 1e3);
    else if (ns < 1000000000)
        (void)snprintf(text.text, sizeof(text.text), "%.3g ms", time / 1e6);
    else
        (void)snprintf(text.text, sizeof(text.text), "%.2f s", time / 1e9);
    return text;
}

weir__cli_text_t weir__cli_text_u64(uint64_t number)
{
    weir__cli_text_t text;
    (void)snprintf(text.text, sizeof(text.text), "%" PRIu64, number);
    return text;
}

weir__cli_table_t weir__cli_table_start(size_t column_count)
{
    return (weir__cli_table_t){.column_count = column_count};
}

void weir__cli_table_add(weir__cli_table_t *table, const char *cell)
{
    if (table->cell_count == table->cell_capacity) {
        const size_t capacity = table->cell_capacity ? table->cell_capacity * 2 : 64;
        char **cells = realloc(table->cells, capacity * sizeof(*cells));
        if (!cells) {
            table->is_incomplete = true;
            return;
        }
        table->cells = cells;
        table->cell_capacity = capacity;
    }
    const size_t bytes = strlen(cell) + 1;
    char *copy = malloc(bytes);
    if (!copy) {
        table->is_incomplete = true;
        return;
    }
    (void)weir__cli_text_safe(cell, copy, bytes);
    table->cells[table->cell_count++] = copy;
}

// Characters, which is near enough to columns of a terminal.
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

void weir__cli_table_finish(weir__cli_table_t *table, int indent, FILE *out)
{
    size_t widths[WEIR__CLI_TABLE_COLUMNS_MAX] = {0};
    for (size_t i = 0; i < table->cell_count; i++) {
        const size_t width = width_of(table->cells[i]);
        size_t *widest = &widths[i % table->column_count];
        *widest = width > *widest ? width : *widest;
    }
    for (size_t row = 0; row < table->cell_count; row += table->column_count) {
        size_t pad = (size_t)indent; // written before the next cell, so that no line ends in blanks
        for (size_t column = 0; column < table->column_count; column++) {
            if (row + column >= table->cell_count)
                break;
            const char *cell = table->cells[row + column];
            if (*cell)
                (void)fprintf(out, "%*s%s", (int)pad, "", cell);
            const size_t rest = widths[column] - width_of(cell) + (widths[column] ? 2 : 0);
            pad = *cell ? rest : pad + rest;
        }
        (void)fputc('\n', out);
    }
    if (table->is_incomplete)
        (void)fprintf(out, "%*s(there was no memory for the rest of this table)\n", indent, "");
    for (size_t i = 0; i < table->cell_count; i++)
        free(table->cells[i]);
    free(table->cells);
    *table = (weir__cli_table_t){0};
}
