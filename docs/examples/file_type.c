// docs/examples/file_type.c: says what type files have, with Magika's model, through weir's C API.
//
//     cc file_type.c $(pkg-config --cflags --libs weir) -o file_type
//     ./file_type model.onnx config.min.json FILE...
//
// What:  takes from each file what the model wants to see (up to 1024 bytes of its beginning and of
// its
//        end, without the white space around them), runs many files at once, prints file, type and
//        how sure the model is.
// Why:   a program to copy: engine, model, plan, session, run, status, in the order in which one
// meets them. Must not: use anything but the public headers. The model and its config come with the
// Python package magika.
#define _POSIX_C_SOURCE 200809L // strndup
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/weir.h>

#define BATCH 32
#define LABELS_MAX 1024

// What config.min.json says.
typedef struct config {
    size_t beginning, end, block, least; // bytes
    int32_t padding;
    size_t label_count;
    char *labels[LABELS_MAX];
    char *text; // the file; labels point into it
    const char *thresholds, *overwrites;
    double threshold;
} config_t;

// A file, and what was found out about it.
typedef struct item {
    const char *path;
    char type[64];
    double score; // 0 to 1; negative: no model was asked
    int sure;
    int failed; // type says why
} item_t;

// ---------------------------------------------------------------------------------------------
// Files and the config. The config is flat JSON without escapes, so a few string calls read it.
// ---------------------------------------------------------------------------------------------

// Reads up to `count` bytes at `offset`; -1 from the file's end. Returns how many, or -1.
static long file_read(FILE *file, long offset, int whence, unsigned char *out, size_t count)
{
    if (fseek(file, offset, whence))
        return -1;
    size_t got = fread(out, 1, count, file);
    return ferror(file) ? -1 : (long)got;
}

static char *file_text(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    size_t size = 1 << 20;
    char *text = calloc(1, size);
    if (text && fread(text, 1, size - 1, file) == 0) {
        free(text);
        text = NULL;
    }
    fclose(file);
    return text;
}

// What follows `"key":` in `text`, or NULL.
static const char *json_find(const char *text, const char *key)
{
    size_t length = strlen(key);
    for (const char *at = strstr(text, key); at; at = strstr(at + 1, key))
        if (at > text && at[-1] == '"' && at[length] == '"' && at[length + 1] == ':')
            return at + length + 2;
    return NULL;
}

static double json_number(const char *text, const char *key, double otherwise)
{
    const char *at = json_find(text, key);
    return at ? strtod(at, NULL) : otherwise;
}

// Copies the object that `key` names, braces included.
static char *json_object(const char *text, const char *key)
{
    const char *at = json_find(text, key), *end = at ? strchr(at, '}') : NULL;
    return end ? strndup(at, (size_t)(end - at) + 1) : strdup("{}");
}

static int config_load(config_t *config, const char *path)
{
    char *text = config->text = file_text(path);
    if (!text)
        return 0;
    config->beginning = (size_t)json_number(text, "beg_size", 0);
    config->end = (size_t)json_number(text, "end_size", 0);
    config->block = (size_t)json_number(text, "block_size", 0);
    config->least = (size_t)json_number(text, "min_file_size_for_dl", 0);
    config->padding = (int32_t)json_number(text, "padding_token", 0);
    config->threshold = json_number(text, "medium_confidence_threshold", 0.5);
    config->thresholds = json_object(text, "thresholds");
    config->overwrites = json_object(text, "overwrite_map");
    char *at = (char *)json_find(text, "target_labels_space");
    char *end = at ? strchr(at, ']') : NULL;
    while (end && config->label_count < LABELS_MAX && (at = strchr(at, '"')) && at < end) {
        config->labels[config->label_count++] = ++at;
        at = strchr(at, '"');
        *at++ = 0;
    }
    return config->label_count > 0 && config->thresholds && config->overwrites &&
           config->least > 0 && config->least <= config->beginning &&
           config->beginning < config->block && config->end < config->block;
}

static void config_free(config_t *config)
{
    free(config->text);
    free((void *)config->thresholds);
    free((void *)config->overwrites);
}

// ---------------------------------------------------------------------------------------------
// What the model wants to see of a file
// ---------------------------------------------------------------------------------------------

static int is_space(unsigned char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

// Whether `bytes` are whole UTF-8 characters (RFC 3629).
static int is_utf8(const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count;) {
        unsigned char c = bytes[i++];
        if (c < 0x80)
            continue;
        size_t more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
        if (c < 0xC2 || c > 0xF4 || count - i < more)
            return 0;
        unsigned char low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
        unsigned char high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
        for (; more > 0; more--, low = 0x80, high = 0xBF) {
            unsigned char next = bytes[i++];
            if (next < low || next > high)
                return 0;
        }
    }
    return 1;
}

// Fills one row of the model's input: config->beginning values, then config->end values.
// Returns 1 when the model is to be asked; 0 when item->type is already decided.
static int features_take(const config_t *config, item_t *item, unsigned char *block, int32_t *row)
{
    item->score = -1;
    item->sure = 1;
    errno = 0;
    FILE *file = fopen(item->path, "rb");
    long size = -1;
    if (file && fseek(file, 0, SEEK_END) == 0)
        size = ftell(file);
    long take = size < (long)config->block ? size : (long)config->block;
    if (size < 0 || file_read(file, 0, SEEK_SET, block, (size_t)take) != take) {
        snprintf(item->type, sizeof item->type, "%s", errno ? strerror(errno) : "cannot be read");
        item->failed = 1;
        if (file)
            fclose(file);
        return 0;
    }
    size_t from = 0, until = (size_t)take;
    while (from < until && is_space(block[from]))
        from++;
    for (size_t i = 0; i < config->beginning; i++)
        row[i] = from + i < until ? block[from + i] : config->padding;
    int enough = until - from >= config->least;
    if (!enough) // too little to go by: text or not is all that can be said
        snprintf(item->type, sizeof item->type, "%s",
            size == 0               ? "empty"
            : is_utf8(block, until) ? "txt"
                                    : "unknown");
    if (enough && file_read(file, -take, SEEK_END, block, (size_t)take) != take) {
        snprintf(item->type, sizeof item->type, "changed while it was read");
        item->failed = 1;
        enough = 0;
    }
    fclose(file);
    while (until > 0 && is_space(block[until - 1]))
        until--;
    int32_t *end = row + config->beginning;
    for (size_t i = 0; i < config->end; i++) // right-aligned
        end[config->end - 1 - i] = i < until ? block[until - 1 - i] : config->padding;
    return enough;
}

// Puts the model's answer for one file into words.
static void item_decide(const config_t *config, item_t *item, const float *scores)
{
    size_t best = 0;
    for (size_t i = 1; i < config->label_count; i++)
        if (scores[i] > scores[best])
            best = i;
    const char *label = config->labels[best];
    item->score = (double)scores[best];
    item->sure = item->score >= json_number(config->thresholds, label, config->threshold);
    const char *other = json_find(config->overwrites, label); // "randomtxt":"txt"
    if (other)
        snprintf(item->type, sizeof item->type, "%.*s", (int)strcspn(other + 1, "\""), other + 1);
    else
        snprintf(item->type, sizeof item->type, "%s", label);
}

// ---------------------------------------------------------------------------------------------
// The model
// ---------------------------------------------------------------------------------------------

// Runs the rows collected so far as one batch.
static weir_status_t batch_run(weir_session_t *session, const config_t *config, int32_t *rows,
    float *scores, item_t **items, size_t count)
{
    if (count == 0)
        return NULL;
    int64_t width = (int64_t)(config->beginning + config->end);
    weir_value_t in = weir_i32(rows, 2, (int64_t)count, width);
    weir_value_t out = weir_f32_out(scores, BATCH * config->label_count);
    WEIR_TRY(weir_session_run(session, NULL, 1, &in, 1, &out));
    for (size_t i = 0; i < count; i++)
        item_decide(config, items[i], scores + i * config->label_count);
    return NULL;
}

// Sorts files into those that need the model, and runs them BATCH at a time.
static weir_status_t items_identify(
    weir_session_t *session, const config_t *config, item_t *items, size_t item_count)
{
    size_t width = config->beginning + config->end, waiting = 0;
    int32_t *rows = malloc(BATCH * width * sizeof *rows);
    float *scores = malloc(BATCH * config->label_count * sizeof *scores);
    unsigned char *block = malloc(config->block);
    item_t *asked[BATCH];
    weir_status_t status = NULL;
    if (!rows || !scores || !block) {
        fprintf(stderr, "file_type: out of memory\n");
        exit(1);
    }
    for (size_t i = 0; i < item_count && !status; i++) {
        if (features_take(config, &items[i], block, rows + waiting * width))
            asked[waiting++] = &items[i];
        if (waiting == BATCH) {
            status = batch_run(session, config, rows, scores, asked, waiting);
            waiting = 0;
        }
    }
    if (!status)
        status = batch_run(session, config, rows, scores, asked, waiting);
    free(rows);
    free(scores);
    free(block);
    return status;
}

// Everything that weir is asked for, with one way out.
static weir_status_t identify(
    const char *model_path, const config_t *config, item_t *items, size_t item_count)
{
    weir_engine_t *engine = NULL;
    weir_model_t *model = NULL;
    weir_plan_t *plan = NULL;
    weir_session_t *session = NULL;
    weir_status_t status =
        weir_engine_create(NULL, &engine); // NULL: defaults that suit this machine
    if (!status)
        status = weir_model_load(engine, model_path, NULL, &model);
    if (!status)
        status = weir_plan_create(model, NULL, &plan);
    if (!status)
        status = weir_session_create(plan, NULL, &session);
    if (!status)
        status = items_identify(session, config, items, item_count);
    weir_session_free(session); // NULL is allowed
    weir_plan_free(plan);
    weir_model_free(model);
    weir_engine_free(engine);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: file_type MODEL CONFIG FILE...\n");
        return 2;
    }
    config_t config = {0};
    size_t count = (size_t)argc - 3;
    item_t *items = calloc(count, sizeof *items);
    if (!items || !config_load(&config, argv[2])) {
        fprintf(stderr, "file_type: %s: not a config of Magika (or out of memory)\n", argv[2]);
        free(items);
        config_free(&config);
        return 1;
    }
    for (size_t i = 0; i < count; i++)
        items[i].path = argv[i + 3];
    weir_status_t status = identify(argv[1], &config, items, count);
    int failed = status != NULL;
    if (status) {
        fprintf(stderr, "%s\n", weir_status_text(status)); // "weir: CODE: what, where, what to do"
        weir_status_free(status);
        count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        failed |= items[i].failed;
        if (items[i].failed)
            fprintf(stderr, "file_type: %s: %s\n", items[i].path, items[i].type);
        else if (items[i].score < 0)
            printf("%-44s %-14s     -\n", items[i].path, items[i].type);
        else
            printf("%-44s %-14s %5.1f %%%s\n", items[i].path, items[i].type, items[i].score * 100,
                items[i].sure ? "" : "  (a guess)");
    }
    free(items);
    config_free(&config);
    return failed;
}
