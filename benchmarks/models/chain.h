// benchmarks/models/chain.h: a model of nodes one after the other, made byte by byte, so that a
// benchmark needs no file. It must not grow into a writer of ONNX.
#ifndef WEIR_BENCHMARKS_CHAIN_H
#define WEIR_BENCHMARKS_CHAIN_H

#include <stdio.h>
#include <string.h>

enum { CHAIN_BYTES_MAX = 65536 };

// A message of protobuf that is being written.
typedef struct chain_bytes {
    size_t count;
    unsigned char bytes[CHAIN_BYTES_MAX];
} chain_bytes_t;

static inline void chain_number(chain_bytes_t *out, size_t number)
{
    for (; number >= 0x80; number >>= 7)
        out->bytes[out->count++] = (unsigned char)(number | 0x80);
    out->bytes[out->count++] = (unsigned char)number;
}

static inline void chain_field(chain_bytes_t *out, unsigned field, const void *bytes, size_t count)
{
    chain_number(out, field << 3 | 2);
    chain_number(out, count);
    memcpy(out->bytes + out->count, bytes, count);
    out->count += count;
}

static inline void chain_text(chain_bytes_t *out, unsigned field, const char *text)
{
    chain_field(out, field, text, strlen(text));
}

// An f32[N, columns] called `name` (N where rows is 0) as field `field` of the graph.
static inline void chain_port(chain_bytes_t *graph, unsigned field, const char *name,
    unsigned char rows, unsigned char columns)
{
    const unsigned char open[] = {10, 13, 8, 1, 18, 9, 10, 3, 18, 1, 'N', 10, 2, 8, columns},
                        fixed[] = {10, 12, 8, 1, 18, 8, 10, 2, 8, rows, 10, 2, 8, columns};
    chain_bytes_t port = {0};
    chain_text(&port, 1, name);
    if (rows)
        chain_field(&port, 2, fixed, sizeof fixed);
    else
        chain_field(&port, 2, open, sizeof open);
    chain_field(graph, field, port.bytes, port.count);
}

// f32[rows, columns] through `node_count` nodes `op`, from "x" to "y". rows 0: any number of them.
// rows and columns are below 128, and so many nodes that it fits.
static inline void chain_make(const char *op, int node_count, unsigned char rows,
    unsigned char columns, chain_bytes_t *out_model)
{
    static const unsigned char head[] = {8, 8}, opset[] = {16, 17};
    chain_bytes_t graph = {0};
    for (int i = 0; i < node_count; i++) {
        chain_bytes_t node = {0};
        char from[16], to[16];
        (void)snprintf(from, sizeof from, i ? "v%d" : "x", i);
        (void)snprintf(to, sizeof to, i + 1 < node_count ? "v%d" : "y", i + 1);
        chain_text(&node, 1, from);
        chain_text(&node, 2, to);
        chain_text(&node, 4, op);
        chain_field(&graph, 1, node.bytes, node.count);
    }
    chain_text(&graph, 2, op);
    chain_port(&graph, 11, "x", rows, columns);
    chain_port(&graph, 12, "y", rows, columns);
    memcpy(out_model->bytes, head, sizeof head);
    out_model->count = sizeof head;
    chain_field(out_model, 7, graph.bytes, graph.count);
    chain_field(out_model, 8, opset, sizeof opset);
}

#endif
