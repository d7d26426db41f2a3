// The JSON writer (RFC 8259). Names in a model are any bytes: what is not UTF-8 becomes U+FFFD.
#include "engine/cli/json.h"

#include <inttypes.h>
#include <math.h>

#include "engine/cli/text.h"

static void put_string(FILE *out, const char *text)
{
    (void)fputc('"', out);
    while (*text) {
        const unsigned char c = (unsigned char)*text;
        const size_t bytes = weir__cli_text_utf8_bytes(text);
        if (c == '"' || c == '\\')
            (void)fprintf(out, "\\%c", c);
        else if (c < ' ' || c == 0x7f)
            (void)fprintf(out, "\\u%04x", c);
        else if (bytes == 0)
            (void)fputs("\\ufffd", out);
        else
            (void)fwrite(text, 1, bytes, out);
        text += bytes ? bytes : 1;
    }
    (void)fputc('"', out);
}

static void put_key(weir__cli_json_t *json, const char *key)
{
    if (json->needs_comma)
        (void)fputs(", ", json->out);
    json->needs_comma = true;
    if (key) {
        put_string(json->out, key);
        (void)fputs(": ", json->out);
    }
}

void weir__cli_json_open(weir__cli_json_t *json, const char *key, char bracket)
{
    put_key(json, key);
    (void)fputc(bracket, json->out);
    json->needs_comma = false;
}

void weir__cli_json_close(weir__cli_json_t *json, char bracket)
{
    (void)fputc(bracket, json->out);
    json->needs_comma = true;
}

void weir__cli_json_text(weir__cli_json_t *json, const char *key, const char *text)
{
    put_key(json, key);
    if (text)
        put_string(json->out, text);
    else
        (void)fputs("null", json->out);
}

void weir__cli_json_u64(weir__cli_json_t *json, const char *key, uint64_t number)
{
    put_key(json, key);
    (void)fprintf(json->out, "%" PRIu64, number);
}

void weir__cli_json_i64(weir__cli_json_t *json, const char *key, int64_t number)
{
    put_key(json, key);
    (void)fprintf(json->out, "%" PRId64, number);
}

void weir__cli_json_f64(weir__cli_json_t *json, const char *key, double number, int digits)
{
    put_key(json, key);
    if (isfinite(number))
        (void)fprintf(json->out, "%.*g", digits, number);
    else
        (void)fputs("null", json->out);
}

void weir__cli_json_bool(weir__cli_json_t *json, const char *key, bool flag)
{
    put_key(json, key);
    (void)fputs(flag ? "true" : "false", json->out);
}
