// Reader of .npy files. It must not trust a byte: every length is checked against what is there
// before memory is taken, and the header's Python dict is parsed, never evaluated.
#include "engine/cli/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/cli/dtype.h"

typedef struct cursor {
    const char *at, *end; // text between braces and around them
    const char *what;     // the file, for the fault
    weir__cli_fault_t *fault;
} cursor_t;

static weir_code_t damaged(cursor_t *cursor, const char *detail)
{
    return weir__cli_fault_set(cursor->fault, WEIR_INVALID_ARGUMENT,
        "%s is not a valid .npy file: %s; write it with numpy.save()", cursor->what, detail);
}

static void skip_blanks(cursor_t *cursor)
{
    while (cursor->at < cursor->end && (*cursor->at == ' ' || *cursor->at == '\n'))
        cursor->at++;
}

static bool take(cursor_t *cursor, char c)
{
    skip_blanks(cursor);
    if (cursor->at >= cursor->end || *cursor->at != c)
        return false;
    cursor->at++;
    return true;
}

static bool take_word(cursor_t *cursor, const char *word)
{
    const size_t bytes = strlen(word);
    skip_blanks(cursor);
    if ((size_t)(cursor->end - cursor->at) < bytes || memcmp(cursor->at, word, bytes) != 0)
        return false;
    cursor->at += bytes;
    return true;
}

// A quoted string without escapes, which is all that numpy writes here.
static bool take_string(cursor_t *cursor, char *text, size_t text_bytes)
{
    skip_blanks(cursor);
    if (cursor->at >= cursor->end || (*cursor->at != '\'' && *cursor->at != '"'))
        return false;
    const char quote = *cursor->at++;
    const char *start = cursor->at;
    while (cursor->at < cursor->end && *cursor->at != quote) {
        if ((unsigned char)*cursor->at < ' ' || *cursor->at == '\\')
            return false;
        cursor->at++;
    }
    const size_t bytes = (size_t)(cursor->at - start);
    if (cursor->at >= cursor->end || bytes >= text_bytes)
        return false;
    memcpy(text, start, bytes);
    text[bytes] = '\0';
    cursor->at++;
    return true;
}

static weir_code_t parse_descr(cursor_t *cursor, weir__cli_npy_header_t *header)
{
    static const struct {
        char text[4];
        weir_dtype_t dtype;
    } types[] = {{"f2", WEIR_F16}, {"f4", WEIR_F32}, {"f8", WEIR_F64}, {"i1", WEIR_I8},
        {"i2", WEIR_I16}, {"i4", WEIR_I32}, {"i8", WEIR_I64}, {"u1", WEIR_U8}, {"u2", WEIR_U16},
        {"u4", WEIR_U32}, {"u8", WEIR_U64}, {"b1", WEIR_BOOL}};
    char text[32];
    skip_blanks(cursor);
    if (cursor->at < cursor->end && *cursor->at == '[')
        return weir__cli_fault_set(cursor->fault, WEIR_UNSUPPORTED,
            "%s holds records with fields: save each field as an array of its own", cursor->what);
    if (!take_string(cursor, text, sizeof(text)))
        return damaged(cursor, "'descr' is not a short string");
    if (text[0] == '>')
        return weir__cli_fault_set(cursor->fault, WEIR_UNSUPPORTED,
            "%s is big-endian (dtype %s): save it with x.astype('<%s')", cursor->what, text,
            text + 1);
    const bool has_order = text[0] == '<' || text[0] == '|' || text[0] == '=';
    for (size_t i = 0; has_order && i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(text + 1, types[i].text) == 0)
            header->dtype = types[i].dtype;
    }
    // '|' (no byte order) is for single bytes only.
    if (header->dtype == 0 || (text[0] == '|' && weir__cli_dtype_bytes(header->dtype) != 1))
        return weir__cli_fault_set(cursor->fault, WEIR_UNSUPPORTED,
            "%s has dtype %s, which weir does not read: convert it with x.astype(), for example to "
            "numpy.float32",
            cursor->what, text);
    return WEIR_OK;
}

static weir_code_t parse_shape(cursor_t *cursor, weir__cli_npy_header_t *header)
{
    if (!take(cursor, '('))
        return damaged(cursor, "'shape' is not a tuple");
    bool comma = true;
    while (!take(cursor, ')')) {
        if (!comma)
            return damaged(cursor, "'shape' lacks a comma");
        uint64_t dim = 0;
        const char *start = cursor->at; // take() has skipped the blanks
        while (cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9') {
            if (__builtin_mul_overflow(dim, (uint64_t)10, &dim) ||
                __builtin_add_overflow(dim, (uint64_t)(*cursor->at - '0'), &dim) || dim > INT64_MAX)
                return damaged(cursor, "a dim is over 2^63");
            cursor->at++;
        }
        if (cursor->at == start)
            return damaged(cursor, "'shape' holds something that is no size");
        if (header->rank == WEIR_RANK_MAX)
            return weir__cli_fault_set(cursor->fault, WEIR_LIMIT,
                "%s has more than %d dims: weir takes at most that many; reshape it", cursor->what,
                WEIR_RANK_MAX);
        header->dims[header->rank++] = (int64_t)dim;
        comma = take(cursor, ',');
    }
    // (3) is a number in Python, not a tuple.
    if (header->rank == 1 && !comma)
        return damaged(cursor, "'shape' is not a tuple");
    return WEIR_OK;
}

static weir_code_t parse_dict(cursor_t *cursor, weir__cli_npy_header_t *header)
{
    bool has_descr = false, has_order = false, has_shape = false, is_fortran = false;
    if (!take(cursor, '{'))
        return damaged(cursor, "the header is not a dict");
    bool comma = true;
    while (!take(cursor, '}')) {
        char key[16];
        if (!comma || !take_string(cursor, key, sizeof(key)) || !take(cursor, ':'))
            return damaged(cursor, "the header's dict is broken");
        bool *seen = strcmp(key, "descr") == 0           ? &has_descr
                     : strcmp(key, "fortran_order") == 0 ? &has_order
                     : strcmp(key, "shape") == 0         ? &has_shape
                                                         : NULL;
        if (!seen || *seen)
            return damaged(cursor, "the header has an unknown or doubled key");
        *seen = true;
        if (seen == &has_descr) {
            const weir_code_t code = parse_descr(cursor, header);
            if (code != WEIR_OK)
                return code;
        } else if (seen == &has_shape) {
            const weir_code_t code = parse_shape(cursor, header);
            if (code != WEIR_OK)
                return code;
        } else {
            is_fortran = take_word(cursor, "True");
            if (!is_fortran && !take_word(cursor, "False"))
                return damaged(cursor, "'fortran_order' is neither True nor False");
        }
        comma = take(cursor, ',');
    }
    skip_blanks(cursor);
    if (!has_descr || !has_order || !has_shape || cursor->at != cursor->end)
        return damaged(cursor, "the header lacks a key or has something after its dict");
    if (is_fortran && header->rank > 1)
        return weir__cli_fault_set(cursor->fault, WEIR_UNSUPPORTED,
            "%s is in Fortran order: save it with numpy.save(file, numpy.ascontiguousarray(x))",
            cursor->what);
    return WEIR_OK;
}

weir_code_t weir__cli_npy_parse(const uint8_t *bytes, size_t byte_count, const char *what,
    weir__cli_npy_header_t *out_header, weir__cli_fault_t *fault)
{
    *out_header = (weir__cli_npy_header_t){0};
    cursor_t cursor = {.what = what, .fault = fault};
    if (byte_count < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0)
        return damaged(&cursor, "it does not start as one");
    const uint8_t version = bytes[6];
    if (version < 1 || version > 3 || bytes[7] != 0)
        return damaged(&cursor, "its version is not 1.0, 2.0 or 3.0");
    size_t length = (size_t)bytes[8] | (size_t)bytes[9] << 8;
    size_t start = 10;
    if (version > 1) {
        if (byte_count < 12)
            return damaged(&cursor, "the file ends in the header");
        length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
        start = 12;
    }
    if (length > WEIR__CLI_NPY_HEADER_BYTES_MAX - start)
        return damaged(&cursor, "the header is over 64 KiB");
    if (length > byte_count - start)
        return damaged(&cursor, "the file ends in the header");
    cursor.at = (const char *)bytes + start;
    cursor.end = cursor.at + length;
    const weir_code_t code = parse_dict(&cursor, out_header);
    if (code != WEIR_OK)
        return code;
    out_header->data_offset = start + length;
    if (!weir__cli_dtype_size(
            out_header->dtype, out_header->rank, out_header->dims, &out_header->data_bytes))
        return damaged(&cursor, "its shape is larger than any memory");
    return WEIR_OK;
}

// Reads up to `bytes` bytes at `offset`; fewer at the end of the file. Returns false with errno
// set.
static bool read_at(int fd, void *memory, uint64_t bytes, uint64_t offset, uint64_t *out_bytes)
{
    uint64_t done = 0;
    while (done < bytes) {
        const ssize_t got =
            pread(fd, (char *)memory + done, (size_t)(bytes - done), (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return false;
        if (got == 0)
            break;
        done += (uint64_t)got;
    }
    *out_bytes = done;
    return true;
}

static weir_code_t unreadable(weir__cli_fault_t *fault, const char *path, int error)
{
    return weir__cli_fault_set(fault, weir__cli_fault_errno_code(error),
        "%s cannot be read: %s; check the path", path, strerror(error));
}

static weir_code_t load_data(int fd, const char *path, const weir__cli_npy_header_t *header,
    void *data, weir__cli_fault_t *fault)
{
    uint64_t got = 0;
    if (!read_at(fd, data, header->data_bytes, header->data_offset, &got))
        return unreadable(fault, path, errno);
    if (got != header->data_bytes)
        return weir__cli_fault_set(
            fault, WEIR_DATA_LOSS, "%s became shorter while it was read: try again", path);
    if (header->dtype == WEIR_BOOL) {
        const uint8_t *flags = data;
        for (uint64_t i = 0; i < got; i++) {
            if (flags[i] > 1)
                return weir__cli_fault_set(fault, WEIR_INVALID_ARGUMENT,
                    "%s: element %" PRIu64 " of a bool array is %u, neither 0 nor 1; save it with "
                    "x.astype(bool)",
                    path, i, flags[i]);
        }
    }
    return WEIR_OK;
}

static weir_code_t load(int fd, const char *path, weir_value_t *out_value, weir__cli_fault_t *fault)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return unreadable(fault, path, errno);
    if (!S_ISREG(info.st_mode))
        return weir__cli_fault_set(
            fault, WEIR_INVALID_ARGUMENT, "%s is not a regular file: give an .npy file", path);
    uint8_t *head = malloc(WEIR__CLI_NPY_HEADER_BYTES_MAX);
    if (!head)
        return weir__cli_fault_set(fault, WEIR_RESOURCE_EXHAUSTED, "no memory to read %s", path);
    uint64_t head_bytes = 0;
    weir__cli_npy_header_t header;
    weir_code_t code = WEIR_OK;
    if (!read_at(fd, head, WEIR__CLI_NPY_HEADER_BYTES_MAX, 0, &head_bytes))
        code = unreadable(fault, path, errno);
    else
        code = weir__cli_npy_parse(head, (size_t)head_bytes, path, &header, fault);
    free(head);
    if (code != WEIR_OK)
        return code;
    const uint64_t there =
        (uint64_t)info.st_size - WEIR_MIN((uint64_t)info.st_size, header.data_offset);
    if (there != header.data_bytes)
        return weir__cli_fault_set(fault, WEIR_INVALID_ARGUMENT,
            "%s holds %" PRIu64 " bytes of data, its shape needs %" PRIu64
            ": it is damaged; save it again",
            path, there, header.data_bytes);
    void *data = malloc(header.data_bytes ? (size_t)header.data_bytes : 1);
    if (!data)
        return weir__cli_fault_set(fault, WEIR_RESOURCE_EXHAUSTED,
            "no memory for the %" PRIu64 " bytes of %s: free some, or give a smaller input",
            header.data_bytes, path);
    code = load_data(fd, path, &header, data, fault);
    if (code != WEIR_OK) {
        free(data);
        return code;
    }
    *out_value = (weir_value_t){.data = data,
        .capacity_bytes = header.data_bytes,
        .dtype = header.dtype,
        .rank = header.rank};
    memcpy(out_value->dims, header.dims, sizeof(header.dims));
    return WEIR_OK;
}

weir_code_t weir__cli_npy_load(const char *path, weir_value_t *out_value, weir__cli_fault_t *fault)
{
    *out_value = (weir_value_t){0};
    // O_NONBLOCK: a named pipe is refused instead of waited for.
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return unreadable(fault, path, errno);
    const weir_code_t code = load(fd, path, out_value, fault);
    (void)close(fd);
    return code;
}
